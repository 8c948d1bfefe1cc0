"""A restore's claim on a PostgreSQL database: whose half-done work is in it.

The folder of a restore keeps a random word in its mark; the transaction that fills the catalogue writes the same word
as the comment of a table. A restore that was killed before its folder became a store finds its word again, and may
empty the database. Nobody else may: whoever has another word, or none, is refused as ever.
"""

import os
import re
import secrets

from sqlalchemy import Connection, MetaData, Table, func, inspect, select, text
from sqlalchemy.schema import DropTableComment, SetTableComment

from search.database.tables import collection, job, metadata
from search.moving.table_copy import is_empty

WORD = re.compile("[0-9a-f]{32}")
MAX_BYTES = 100


def found_word(mark: int) -> str | None:
    """Return the word of an open mark that a killed restore left, None for a new mark."""
    found = os.pread(mark, MAX_BYTES, 0).decode("ascii", "replace")
    return found if WORD.fullmatch(found) else None


def new_word(mark: int) -> str:
    """Write a word into an open mark, durably, and return it.

    Raises:
        OSError: the disk is full or refuses.
    """
    word = secrets.token_hex(16)
    os.ftruncate(mark, 0)
    os.pwrite(mark, word.encode(), 0)
    os.fsync(mark)
    return word


def claim(connection: Connection, word: str) -> None:
    """Say that the rows of this transaction belong to a restore that has not made its folder a store yet."""
    connection.execute(SetTableComment(Table(collection.name, MetaData(), comment=_claim_of(connection, word))))


def settle(connection: Connection) -> None:
    """Take the claim off: the rows belong to a store."""
    connection.execute(DropTableComment(Table(collection.name, MetaData())))


def is_claimed(connection: Connection) -> bool:
    """Return whether a restore that has not made its folder a store filled this database."""
    return _found(connection) is not None


def free_own(connection: Connection, word: str) -> bool:
    """Empty the database if all that is in it came from the restore with this word; return whether it is empty."""
    found = _found(connection)
    if found is not None and found == _claim_of(connection, word):
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        settle(connection)
    return is_empty(connection)


def _found(connection: Connection) -> str | None:
    tables = inspect(connection)
    return tables.get_table_comment(collection.name)["text"] if tables.has_table(collection.name) else None


def _claim_of(connection: Connection, word: str) -> str:
    """Return the word with what any later commit or job would change: a store may have been made here meanwhile."""
    commits = connection.execute(select(func.coalesce(func.sum(collection.c.sequence), 0))).scalar_one()
    jobs = connection.execute(select(func.coalesce(func.max(job.c.id), 0))).scalar_one()
    return f"restore {word} {commits} {jobs}"
