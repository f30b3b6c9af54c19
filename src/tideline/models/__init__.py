"""Model families: one file each, exposing `SPEC`. Files that start with an underscore hold what families share."""
