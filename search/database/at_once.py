"""Small reads of a SQLite database that never wait: for the one thread that nobody must wait for.

A reader of SQLite waits while somebody's commit reaches the disk, so a server's event loop leaves reads to other
threads. Handing over costs more than the read, though, and mostly nobody is committing.
"""

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote


class WouldWait(Exception):  # noqa: N818 -- to be asked again, in a thread that may wait
    """What was asked cannot be known at once."""


class AtOnce:
    """One connection that gives up instead of waiting. Thread-safe: who finds it in use is told that it would wait."""

    def __init__(self, file: str | None) -> None:
        """file: of the database; None where it is none of SQLite's, and everything would wait."""
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._in_use = threading.Lock()

    def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return what a SELECT finds.

        Raises:
            WouldWait: somebody is committing, or the database does not answer.
        """
        if self._file is None or not self._in_use.acquire(blocking=False):
            raise WouldWait
        try:
            if self._connection is None:
                self._connection = _opened(self._file)
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise WouldWait from error
        finally:
            self._in_use.release()

    def close(self) -> None:
        """Close the connection."""
        with self._in_use:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _opened(file: str) -> sqlite3.Connection:
    # Read-only, so that it never has to mend what a crash left: that is for who may wait, too.
    url = f"file:{quote(file)}?mode=ro"
    return sqlite3.connect(url, uri=True, timeout=0, isolation_level=None, check_same_thread=False)
