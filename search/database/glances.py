"""Single SELECTs of a SQLite database that every search asks, on connections kept for them.

A pool asks each connection that it takes back to roll back, and wraps all that it gives: more work than these questions
are. A SELECT outside a transaction begins and ends its own, so that nothing has to be undone between two of them.
"""

import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import PoolProxiedConnection
from sqlalchemy.exc import SQLAlchemyError

KEPT: Final = 5  # idle connections, as many as the pool keeps: each has a cache of pages


class Glances:
    """Idle connections, the last used first, each used by one thread at a time. Thread-safe."""

    def __init__(self, opened: Callable[[], PoolProxiedConnection]) -> None:
        """opened: gives a connection that commits by itself."""
        self._opened = opened
        self._idle: deque[tuple[PoolProxiedConnection, Any]] = deque()  # each with the driver's own
        self._is_closed = False

    def rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]] | None:
        """Return what a SELECT finds, None where the database reports an error."""
        try:
            kept, driver = self._idle.pop() if self._idle else self._new()
        except IndexError:  # another thread took the last one
            return self.rows(statement, values)
        except (sqlite3.Error, SQLAlchemyError):
            return None
        try:
            rows: list[tuple[Any, ...]] = driver.execute(statement, values).fetchall()
        except sqlite3.Error:
            kept.close()
            return None
        if self._is_closed or len(self._idle) >= KEPT:
            kept.close()
        else:
            self._idle.append((kept, driver))
        return rows

    def _new(self) -> tuple[PoolProxiedConnection, Any]:
        kept = self._opened()
        driver = kept.driver_connection
        kept.detach()  # none of those that the pool counts
        return kept, driver

    def close(self) -> None:
        """Close the connections that nobody uses; those in use are closed by whoever does."""
        self._is_closed = True
        while self._idle:
            self._idle.pop()[0].close()
