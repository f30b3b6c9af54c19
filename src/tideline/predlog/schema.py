"""Makes the tables and brings older ones up to date, under a lock, so that processes may start together."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources

import sqlalchemy as sa

from tideline.contracts import TidelineError

_LOCK = 7_308_332_005_316_681  # PostgreSQL's advisory lock: any number will do, as long as it stays the same


def known_revisions() -> list[str]:
    """The migrations that this tideline has, oldest first."""
    folder = resources.files("tideline.migrations") / "versions"
    return sorted(file.name.split("_")[0] for file in folder.iterdir() if file.name.startswith("v"))


def read_revision(connection: sa.Connection) -> str | None:
    """The migration a store is at; None if it has no tables yet."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def prepare_schema(connection: sa.Connection, place: str) -> None:
    """Bring the store to the newest migration. `connection` is in autocommit mode; `place` names the store in errors.

    Raises TidelineError if a newer tideline wrote the store.
    """
    if _is_current(read_revision(connection), place):
        return
    is_sqlite = connection.dialect.name == "sqlite"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")
    try:
        if not is_sqlite:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        if not _is_current(read_revision(connection), place):  # nobody was faster
            _migrate(connection)
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        with suppress(sa.exc.SQLAlchemyError):  # the connection may be gone, and its transaction with it
            connection.exec_driver_sql("ROLLBACK")
        raise


def _is_current(revision: str | None, place: str) -> bool:
    known = known_revisions()
    if revision is not None and revision not in known:
        raise TidelineError(
            f"{place} has the tables of a newer tideline (migration {revision}, this one knows {known[-1]}); "
            "upgrade tideline, or use another store"
        )
    return revision == known[-1]


def _migrate(connection: sa.Connection) -> None:
    # Imported here: a store that is up to date, the common case when a server starts, does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("tideline.migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
