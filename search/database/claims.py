"""A restore's claim in a database: whose half-done work lies there, until a store is opened on it.

PostgreSQL keeps it as the comment of a table, SQLite as the `user_version` in the head of its file. It is made before
anybody can see the rows, and goes as soon as any store is made or opened there: from then on somebody may rely on them.
"""

import logging
import re
import struct
from pathlib import Path

from sqlalchemy import Connection, MetaData, Table, Text, cast, func, literal_column, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import DropTableComment, SetTableComment

from search.database.database import Database
from search.database.tables import collection, metadata
from search.errors import LookalikeError

log = logging.getLogger(__name__)

_LOOK = {
    "sqlite": "PRAGMA user_version",
    "postgresql": f"SELECT obj_description(to_regclass('{collection.name}'), 'pg_class')",
}
_COMMENT = re.compile("restore ([0-9a-f]{32}) ([0-9]+)")
_HEAD = struct.Struct(">16s44xI")  # of an SQLite file: its magic, and the user_version at byte 60


def claim(connection: Connection, word: str) -> None:
    """Say that the rows of this transaction belong to a restore that has not made its folder a store yet."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {_number(word)}")
        return
    # As rows tell it by their xmin, which has 32 bits.
    transaction = connection.execute(select(func.txid_current())).scalar_one() % 2**32
    comment = f"restore {word} {transaction}"
    connection.execute(SetTableComment(Table(collection.name, MetaData(), comment=comment)))


def is_claimed(connection: Connection) -> bool:
    """Return whether a restore that has not made its folder a store filled this database."""
    found = _found(connection)
    # A comment may be anybody's.
    return bool(_COMMENT.fullmatch(found) if isinstance(found, str) else found)


def holds_only_claimed(connection: Connection, word: str) -> bool:
    """Return whether all that a PostgreSQL database holds is what the restore with this word wrote.

    If so, nobody else sees or changes it before this transaction ends. Costs one pass over all rows.
    """
    if _transaction_of(connection, word) is None:
        return False
    # A store that is being opened takes the claim off: after that, or not before all here is done.
    connection.execute(text(f'LOCK TABLE "{collection.name}" IN ACCESS EXCLUSIVE MODE'))
    transaction = _transaction_of(connection, word)
    # One that was open all along, on a catalogue without rows, changes rows without asking for a claim.
    changed = cast(literal_column("xmin"), Text) != transaction
    return transaction is not None and not any(
        connection.execute(select(literal_column("1")).select_from(table).where(changed).limit(1)).first()
        for table in metadata.sorted_tables
    )


def _transaction_of(connection: Connection, word: str) -> str | None:
    """Return which transaction claimed a PostgreSQL database with this word, None if none did."""
    claimed = _COMMENT.fullmatch(str(_found(connection)))
    return claimed[2] if claimed is not None and claimed[1] == word else None


def _found(connection: Connection) -> object:
    return connection.exec_driver_sql(_LOOK[connection.dialect.name]).scalar()


def _number(word: str) -> int:
    """Return a word as an SQLite file can keep it: 30 bits of it, and never 0."""
    return int(word[:8], 16) >> 1 | 1


def is_claimed_file(file: Path, word: str) -> bool:
    """Return whether a file is an SQLite database with the claim of this word.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD.size)
    except FileNotFoundError:
        return False
    return len(head) == _HEAD.size and _HEAD.unpack(head) == (b"SQLite format 3\0", _number(word))


def drop_claim(connection: Connection) -> None:
    """Take the claim off: the rows belong to a store."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA user_version = 0")
    else:
        connection.execute(DropTableComment(Table(collection.name, MetaData())))


def settle(database: Database) -> None:
    """Take the claim off, where there is one: a store is being opened. Costs one question where there is none.

    Raises:
        StoreUnavailable: the database does not answer.
    """
    with database.reading() as connection:
        claimed = is_claimed(connection)
    if not claimed:
        return
    try:
        with database.writing() as connection:
            drop_claim(connection)
    except (LookalikeError, SQLAlchemyError) as error:
        # Who cannot write may read nevertheless.
        log.warning("this catalogue was restored, and a killed restore could still empty it: %s", error)
