"""What every store of a test process would do again is done once: making the tables, and the SQL of each statement.

A run opens thousands of stores where a program opens one, and half of its time went there. Nothing else is different: a
new catalogue gets what the migrations themselves made in the first one.
"""

from collections.abc import Iterator, MutableMapping
from functools import partial
from typing import Any

from sqlalchemy import create_engine

from search.database import database, schema
from search.database.database import Database


class SharedStatements(MutableMapping[Any, Any]):
    """A cache of compiled statements for all engines: its keys name the kind of database, not one engine's dialect."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        return self._compiled[_without_engine(key)]

    def __setitem__(self, key: Any, compiled: Any) -> None:
        self._compiled[_without_engine(key)] = compiled

    def __delitem__(self, key: Any) -> None:
        del self._compiled[_without_engine(key)]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._compiled)

    def __len__(self) -> int:
        return len(self._compiled)


def _without_engine(key: Any) -> Any:
    dialect, *statement = key
    return (type(dialect), dialect.server_version_info, *statement)


class KnownTables:
    """`schema.upgrade`, which fills an empty SQLite file as the migrations filled the first one."""

    def __init__(self) -> None:
        self._migrate = schema.upgrade
        self._known: list[str] = []

    def __call__(self, target: Database) -> None:
        if target.engine.dialect.name != "sqlite" or not _is_empty(target):
            self._migrate(target)
            return
        if not self._known:
            self._migrate(target)
            self._known = _dump(target)
            return
        with target.writing() as connection:
            for statement in self._known:
                connection.exec_driver_sql(statement)


def _is_empty(target: Database) -> bool:
    with target.reading() as connection:
        return not connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()


def _dump(target: Database) -> list[str]:
    """Return the statements that make the tables of a database again, with their rows."""
    with target.reading() as connection:
        made = connection.connection.driver_connection
        assert made is not None
        return [line for line in made.iterdump() if line not in ("BEGIN TRANSACTION;", "COMMIT;")]


def be_quick() -> None:
    """Do so in this process, for the engines that are made from now on."""
    if isinstance(schema.upgrade, KnownTables):
        return
    sharing = partial(create_engine, execution_options={"compiled_cache": SharedStatements()})
    database.create_engine = sharing  # type: ignore[attr-defined]
    schema.upgrade = KnownTables()  # type: ignore[assignment]
