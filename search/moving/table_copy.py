"""Copies all rows of a catalogue into an empty one, from SQLite to PostgreSQL and back, in bounded memory."""

import json

from sqlalchemy import Connection, Table, func, insert, select, text

from search.database.database import chunks
from search.database.tables import metadata
from search.errors import CorruptFile

PAGE_ROWS = 1_000


def copy_tables(source: Connection, target: Connection) -> None:
    """Copy every row of our tables, and where the counting of ids goes on, so that none is ever used twice.

    source: sees one state of its database. target: has the tables, all empty.

    Raises:
        CorruptFile: a value that should be JSON is none.
    """
    for table in metadata.sorted_tables:
        _copy_rows(source, target, table)
    for table in metadata.sorted_tables:
        if "id" in table.c:
            _continue_ids(target, table, _last_id(source, table))


def _copy_rows(source: Connection, target: Connection, table: Table) -> None:
    rows = source.execute(select(table).execution_options(yield_per=PAGE_ROWS)).mappings()
    try:
        for page in chunks(rows, PAGE_ROWS):
            target.execute(insert(table), [dict(row) for row in page])
    except json.JSONDecodeError as error:
        raise CorruptFile(
            f"table {table.name} holds a value that is no JSON ({error}), so nothing was copied; `lookalike repair` "
            "mends the store that was backed up"
        ) from error


def is_empty(connection: Connection) -> bool:
    """Return whether none of our tables that are there holds a row."""
    there = set(connection.dialect.get_table_names(connection))
    tables = [table for table in metadata.sorted_tables if table.name in there]
    return all(connection.execute(select(1).select_from(table).limit(1)).first() is None for table in tables)


def _last_id(connection: Connection, table: Table) -> int:
    """Return the highest id that was ever given, also to rows that are gone."""
    if connection.dialect.name == "sqlite":
        counted = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        return int(counted.scalar() or 0)
    name = connection.execute(select(func.pg_get_serial_sequence(table.name, "id"))).scalar_one()
    # Quoted by PostgreSQL itself: the name comes from its own function.
    row = connection.exec_driver_sql(f"SELECT last_value, is_called FROM {name}").one()  # noqa: S608
    return int(row.last_value) if row.is_called else 0


def _continue_ids(connection: Connection, table: Table, last: int) -> None:
    if last == 0:
        return
    values = {"name": table.name, "last": last}
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table.name})
        connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :last)"), values)
        return
    connection.execute(text("SELECT setval(pg_get_serial_sequence(:name, 'id'), :last)"), values)
