"""The mark of a folder that is being restored into, and what it entitles to: emptying what the same restore filled.

It holds a random word, which the restore claims its database with (`search/database/claims.py`), and where an SQLite
catalogue shall lie. A restore that was killed before its folder became a store finds both again. Nobody else may
empty anything: whoever has another word, or none, is refused as ever.
"""

import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, text

from search.database.claims import drop_claim, holds_only_claimed
from search.database.tables import metadata
from search.moving.table_copy import is_empty

WORD = re.compile("[0-9a-f]{32}")
WORD_BYTES = 32
MAX_BYTES = 8_192


@dataclass(frozen=True, slots=True)
class Mark:
    """What a mark says. catalogue: the SQLite file that its restore makes, None before it has said so."""

    word: str
    catalogue: Path | None


def found_mark(mark: int) -> Mark | None:
    """Return what an open mark that a killed restore left says, None for a new mark."""
    data = os.pread(mark, MAX_BYTES, 0)
    word, _, catalogue = data.partition(b"\n")
    if not WORD.fullmatch(word.decode("ascii", "replace")):
        return None
    return Mark(word.decode(), Path(os.fsdecode(catalogue)) if catalogue else None)


def new_word(mark: int) -> str:
    """Write a word into an open mark, durably, and return it.

    Raises:
        OSError: the disk is full or refuses.
    """
    word = secrets.token_hex(WORD_BYTES // 2)
    os.ftruncate(mark, 0)
    os.pwrite(mark, word.encode(), 0)
    os.fsync(mark)
    return word


def note_catalogue(mark: int, catalogue: Path) -> None:
    """Write into an open mark, behind its word and durably, where the catalogue shall lie.

    Raises:
        OSError: the disk is full or refuses.
    """
    os.ftruncate(mark, WORD_BYTES)
    os.pwrite(mark, b"\n" + os.fsencode(catalogue), WORD_BYTES)
    os.fsync(mark)


def free_own(connection: Connection, word: str) -> bool:
    """Empty a database if all that is in it came from the restore with this word; return whether it is empty."""
    if holds_only_claimed(connection, word):
        names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
        connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY"))
        drop_claim(connection)
    return is_empty(connection)
