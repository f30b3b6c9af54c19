"""Alembic's migrations of the prediction store; `tideline.predlog.schema` runs them."""
