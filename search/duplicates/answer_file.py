"""Answers in a file of the store: a cache that can always be made again.

An SQLite database of its own beside the catalogue, wherever that is: it grows by batches, is read pair by pair, and
several processes may have it open. Each row has a checksum over itself and its question. Rows that are damaged count as
unknown, a file that is none is removed; where the folder cannot be read or written, the log says so and everything is
looked at. There is one file for each version of the code that answers, so that no version ever reads another's.
"""

import contextlib
import hashlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import xxhash

from search.duplicates.answers import Question

FOLDER: Final = "answers"
SUFFIX: Final = ".answers"
BATCH: Final = 512  # answers in hand at most
BATCH_S: Final = 5.0  # and no longer than this
_UNUSED_S: Final = 7 * 24 * 3600  # after which the file of another version is removed
_PART: Final = 500  # names in one question to a database
_WAIT_S: Final = 5.0  # for another process that writes
_TABLE: Final = """
    create table if not exists answer (
        kind text not null, one blob not null, other blob not null, about blob not null,
        answer blob not null, checksum blob not null,
        primary key (kind, one, other, about)
    ) without rowid
"""

# What is wrong with the machine or with another process, and not with what the file holds.
_ELSEWHERE: Final = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT,
})  # fmt: skip
_PRIMARY: Final = 0xFF  # of a code of SQLite the bits that are no detail

T = TypeVar("T")
log = logging.getLogger(__name__)


class AnswerFile:
    """The Answers (search/duplicates/answers.py) of a store. Thread-safe. Closing it writes what is in hand."""

    def __init__(self, folder: Path, version: str) -> None:
        """version: what answers depend on beside their contents."""
        self.path = folder / f"{hashlib.sha256(version.encode()).hexdigest()[:16]}{SUFFIX}"
        self._lock = threading.Lock()
        self._waiting: dict[Question, bytes] = {}
        self._written = time.monotonic()
        self._connection: sqlite3.Connection | None = None
        self._guarded(lambda: self._open(folder), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what is in hand and let go of the file."""
        with self._lock:
            self._write()
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def find(self, question: Question) -> bytes | None:
        """Return what was answered, None where nothing is known."""
        query = "select answer, checksum from answer where kind = ? and one = ? and other = ? and about = ?"
        with self._lock:
            if question in self._waiting:
                return self._waiting[question]
            for answer, checksum in self._read(query, question):
                if self._is_sound(question, answer, checksum):
                    return bytes(answer)
        return None

    def find_all(self, kind: str, one: bytes, others: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """Return what was answered about a content beside each of others, by the other, where something is known."""
        asked, found = list(dict.fromkeys(others)), dict[bytes, bytes]()
        with self._lock:
            for start in range(0, len(asked), _PART):
                part = asked[start : start + _PART]
                marks = ", ".join("?" * len(part))
                query = (
                    "select other, answer, checksum from answer "  # noqa: S608 -- only marks
                    f"where kind = ? and one = ? and about = x'' and other in ({marks})"
                )
                for other, answer, checksum in self._read(query, (kind, one, *part)):
                    if self._is_sound(Question(kind, one, other), answer, checksum):
                        found[other] = answer
            for other in asked:
                waiting = self._waiting.get(Question(kind, one, other))
                if waiting is not None:
                    found[other] = waiting
        return found

    def keep(self, question: Question, answer: bytes) -> None:
        """Keep an answer, in the file with the next batch; a kill loses no more than that."""
        with self._lock:
            if self._connection is None:
                return
            self._waiting[question] = answer
            if len(self._waiting) >= BATCH or time.monotonic() - self._written > BATCH_S:
                self._write()

    def _open(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _remove_unused(folder, self.path)
        self._connection = _opened(self.path)

    def _write(self) -> None:
        rows = [(*question, answer, _checksum(question, answer)) for question, answer in self._waiting.items()]
        self._waiting.clear()
        if rows:
            self._guarded(lambda: self._insert(rows), None)
        self._written = time.monotonic()

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        if self._connection is not None:
            with self._connection:
                self._connection.executemany("insert or replace into answer values (?, ?, ?, ?, ?, ?)", rows)

    def _read(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        connection = self._connection
        if connection is None:
            return []
        return self._guarded(lambda: connection.execute(query, tuple(values)).fetchall(), [])

    def _is_sound(self, question: Question, answer: object, checksum: object) -> bool:
        sound = isinstance(answer, bytes) and checksum == _checksum(question, answer)
        if not sound:
            log.warning("%s: an answer in it is damaged and is found anew", self.path)
        return sound

    def _guarded(self, work: Callable[[], T], instead: T) -> T:
        """Do something with the file. What is wrong with it costs time, and nothing else."""
        try:
            return work()
        except OSError as error:
            self._let_go("cannot be used", error)
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY in _ELSEWHERE:
                self._let_go("cannot be used", error)
            else:
                self._let_go("are damaged", error)
                self._begin_anew()
        return instead

    def _begin_anew(self) -> None:
        with contextlib.suppress(OSError, sqlite3.Error):
            # Its journal first: left behind, it would be played back into the new file.
            self.path.with_name(f"{self.path.name}-journal").unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)
            self._connection = _opened(self.path)

    def _let_go(self, why: str, error: Exception) -> None:
        log.warning("answers kept in %s %s (%s); pictures are looked at again", self.path, why, error)
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None


def prune(folder: Path, living: Callable[[Sequence[bytes]], set[bytes]]) -> int:
    """Remove answers about contents that are gone; return how many.

    living: which of some contents, by their sha256, are still there.
    """
    removed = 0
    for path in folder.glob(f"*{SUFFIX}"):
        try:
            with contextlib.closing(_opened(path)) as connection:
                removed += _prune(connection, living)
        except sqlite3.Error as error:
            log.warning("%s cannot be pruned (%s)", path, error)
    return removed


def _prune(connection: sqlite3.Connection, living: Callable[[Sequence[bytes]], set[bytes]]) -> int:
    named = connection.execute("select one from answer union select other from answer where other <> x''")
    gone: list[bytes] = []
    while part := [name for (name,) in named.fetchmany(_PART)]:
        gone += set(part) - living(part)
    with connection:
        connection.execute("create temp table gone (name blob primary key)")
        connection.executemany("insert into gone values (?)", [(name,) for name in gone])
        which = "one in (select name from gone) or other in (select name from gone)"
        return connection.execute(f"delete from answer where {which}").rowcount  # noqa: S608 -- nothing of a user


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False)
    try:
        connection.execute("pragma synchronous = full")
        with connection:
            connection.execute(_TABLE)
    except BaseException:
        connection.close()
        raise
    return connection


def _remove_unused(folder: Path, but: Path) -> None:
    for path in folder.glob(f"*{SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if path != but and path.stat().st_mtime < time.time() - _UNUSED_S:
                path.unlink()


def _checksum(question: Question, answer: bytes) -> bytes:
    told = xxhash.xxh3_64()
    for part in (question.kind.encode(), question.one, question.other, question.about, answer):
        told.update(len(part).to_bytes(4, "little"))
        told.update(part)
    return told.digest()
