"""Many rows in one go, past SQLAlchemy's work for each: the driver's executemany on SQLite, COPY on PostgreSQL.

Statements are put together once. Errors are SQLAlchemy's own, as everywhere.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Connection, Float, Integer, LargeBinary, String, Table
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from search.database.database import CHUNK

Row = tuple[object, ...]

# What travels in PostgreSQL's binary COPY; json travels as its text.
_TYPES: tuple[tuple[type[TypeEngine[Any]], str], ...] = (
    (BigInteger, "int8"),
    (Integer, "int4"),
    (Boolean, "bool"),
    (Float, "float8"),
    (LargeBinary, "bytea"),
    (JSON, "text"),
    (String, "text"),
)


def insert_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert rows that are new. rows: the values of `columns` in order; JSON as text.

    Raises:
        IntegrityError: one of them violates a key; the transaction is lost.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        _copy(connection, _quoted(connection, table.name), table, columns, rows)
    else:
        connection.exec_driver_sql(_insert(connection, table, columns), list(rows))


def insert_missing_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert those of the rows that violate no key; another worker may have been faster with the others.

    rows: the values of `columns` in order; they are inserted in the order given, so that workers which sort them
    alike wait for each other instead of deadlocking.
    """
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        statement = f"{_insert(connection, table, columns)} ON CONFLICT DO NOTHING"
        connection.exec_driver_sql(statement, list(rows))
        return
    # COPY knows no conflicts, so the rows wait in a table that only this connection sees, and that no log records.
    target, staged = _quoted(connection, table.name), _quoted(connection, f"staged_{table.name}")
    names = _names(connection, columns)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS AS "  # noqa: S608 -- our own names
        f"SELECT {names} FROM {target} WITH NO DATA"
    )
    connection.exec_driver_sql(f"DELETE FROM {staged}")  # noqa: S608 -- our own names
    _copy(connection, staged, table, columns, rows)
    connection.exec_driver_sql(
        f"INSERT INTO {target} ({names}) SELECT {names} FROM {staged} ORDER BY ctid "  # noqa: S608 -- our own names
        "ON CONFLICT DO NOTHING"
    )


def among(connection: Connection, statement: str, parameters: Row, values: Sequence[object]) -> Iterator[Any]:
    """Run a statement of our own for all of many values, and yield its rows.

    statement: `?` stands for each of the parameters in order, and `?*` at its end for the values, as in `uri IN ?*`.
    """
    head = statement.removesuffix(" IN ?*")
    if connection.dialect.name == "postgresql":
        if values:
            yield from _rows(connection, f"{head} = ANY(?)".replace("?", "%s"), (*parameters, list(values)))
        return
    for start in range(0, len(values), CHUNK):
        part = list(values[start : start + CHUNK])
        # Filled up with the last value, so that the driver finds the statement it has prepared before.
        filled = part + part[-1:] * (CHUNK - len(part)) if start else part
        yield from _rows(connection, f"{head} IN ({', '.join('?' * len(filled))})", (*parameters, *filled))


def _rows(connection: Connection, statement: str, parameters: Row) -> Sequence[Any]:
    result = connection.exec_driver_sql(statement, parameters)
    return result.cursor.fetchall() if result.returns_rows and result.cursor is not None else ()


def _copy(connection: Connection, target: str, table: Table, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    statement = f"COPY {target} ({_names(connection, columns)}) FROM STDIN (FORMAT BINARY)"
    driver: Any = connection.connection.driver_connection
    with _translated(connection, statement), driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_copied_types(table, columns))
        for row in rows:
            copy.write_row(row)


@lru_cache
def _copied_types(table: Table, columns: tuple[str, ...]) -> list[str]:
    return [next(name for kind, name in _TYPES if isinstance(table.c[column].type, kind)) for column in columns]


@contextmanager
def _translated(connection: Connection, statement: str) -> Iterator[None]:
    """Raise the driver's errors as SQLAlchemy would have."""
    base: type[Exception] = connection.dialect.loaded_dbapi.Error
    try:
        yield
    except base as error:
        raise DBAPIError.instance(statement, None, error, base, dialect=connection.dialect) from error


def _insert(connection: Connection, table: Table, columns: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {_quoted(connection, table.name)} ({_names(connection, columns)}) VALUES ({places})"  # noqa: S608 -- our own names


def _names(connection: Connection, columns: tuple[str, ...]) -> str:
    return ", ".join(_quoted(connection, column) for column in columns)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
