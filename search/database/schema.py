"""Creating and migrating the tables, with the migrations that ship in the package."""

import importlib.util
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from search.database.database import Database
from search.errors import CorruptFile, StoreTooNew


def upgrade(database: Database) -> None:
    """Bring the tables to the state this release needs, creating them where there are none.

    Raises:
        StoreTooNew: a newer release wrote them.
    """
    with database.writing() as connection:
        _refuse_unknown(connection)
        command.upgrade(_config(connection), "head")


def downgrade(database: Database, revision: str) -> None:
    """Take the tables back to an earlier revision; `base` removes them."""
    with database.writing() as connection:
        command.downgrade(_config(connection), revision)


def pending(database: Database) -> list[str]:
    """Return the revisions this release would still apply to a store's catalogue, oldest first; read-only.

    Raises:
        CorruptFile: the database has no tables of ours, although a store says it is its catalogue.
        StoreTooNew: a newer release wrote the tables.
    """
    with database.reading() as connection:
        current = _refuse_unknown(connection)
    if current is None:
        place = database.engine.url.render_as_string(hide_password=True)
        raise CorruptFile(f"the catalogue {place} is missing or empty; restore it from a backup")
    return [script.revision for script in _scripts().iterate_revisions("head", current)][::-1]


def _refuse_unknown(connection: Connection) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in _scripts().walk_revisions()}
    if current is not None and current not in known:
        raise StoreTooNew(
            f"the catalogue is at revision {current}, which this release of Lookalike does not know; "
            "install the release that wrote it, or a newer one"
        )
    return current


@cache
def _scripts() -> ScriptDirectory:
    """Return the migrations of this release; each is a module to load, and every opening of a store asks for them."""
    return ScriptDirectory.from_config(_config(None))


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_migrations_folder()))
    config.attributes["connection"] = connection
    return config


def _migrations_folder() -> Path:
    found = importlib.util.find_spec("migrations")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the package `migrations` is not installed; install lookalike again")
    return Path(found.origin).parent
