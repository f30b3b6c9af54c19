-- Prefect has a database of its own beside the prediction log.
CREATE DATABASE prefect OWNER tideline;
