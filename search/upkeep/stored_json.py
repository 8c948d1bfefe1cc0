"""The JSON in the tables: each value is an object. SQLite stores any text there, and whoever lists it then fails."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Column, Connection, LargeBinary, Text, cast, select

from search.database.tables import metadata
from search.upkeep.references import name_of

PAGE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that is no JSON object. row_id: its row; where: how people know that; text: the value, as it is."""

    row_id: int
    where: str
    text: str


def json_columns() -> list[Column[Any]]:
    """Return every column that holds JSON."""
    return [column for table in metadata.sorted_tables for column in table.c if isinstance(column.type, JSON)]


def kind_of(column: Column[Any]) -> str:
    """Return the kind of fault that an unreadable value of a column is."""
    return f"{column.name}_unreadable"


def unreadable(connection: Connection, column: Column[Any], only: str | None = None) -> Iterator[Unreadable]:
    """Yield the values of a column that are no JSON object. Costs reading those that are not empty.

    only: of the rows that people know by this name.
    """
    name = name_of(column.table)
    # As bytes where any are possible: SQLite's driver fails on text that is not UTF-8.
    stored = cast(column, LargeBinary() if connection.dialect.name == "sqlite" else Text())
    query = select(column.table.c.id, name, stored).where(cast(column, Text) != "{}")
    query = query if only is None else query.where(cast(name, Text) == only)
    for row_id, where, value in map(tuple, connection.execute(query.execution_options(yield_per=PAGE_ROWS))):
        data = value.encode() if isinstance(value, str) else bytes(value)
        if not _is_object(data):
            # No database takes a NUL, and a message should not hold one.
            yield Unreadable(row_id, str(where), data.decode("utf-8", "replace").replace("\0", "\ufffd"))


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data.decode()), dict)
    except (ValueError, RecursionError):
        return False
