"""Which images fulfil a condition: all ids of a collection, or those among a few that a search has found.

Who wants all ids gets them as one value, not as a row each: SQLAlchemy's rows take several times as long. Who may be
content with the first ones gets the rows of a cursor as the driver gives them (`Matches`): .3 us an id more than as one
value (SQLite, 2 slow cores), where looking twice would cost most of another scan.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, CursorResult, Select, Text, bindparam, func, literal, select

from search.conditions.content_tests import OfContent, for_few
from search.conditions.where import Condition
from search.database.database import chunks
from search.database.tables import content, image
from search.records import Collection

# Candidates judged by one statement: with the values of a condition below the 999 parameters of the oldest SQLite.
CANDIDATES = 300


# Rows that one call of the driver gives, as long as there are more.
FETCHED = 10_000


def matching_ids(connection: Connection, target: Collection, condition: Condition) -> NDArray[np.int64]:
    """Return the ids of the images of a collection that a condition lets through, ascending."""
    return np.sort(_ids(connection, matching_query(target, condition)))


class Matches:
    """The ids of the images that a condition lets through, found by one pass of the database, as far as one reads."""

    def __init__(
        self, connection: Connection, result: CursorResult[tuple[int]], target: Collection, condition: Condition
    ) -> None:
        """result: of `matching_query`; it is open, and read by nobody else."""
        self._connection = connection
        self._result = result
        self._target = target
        self._condition = condition
        # What streams has fetched one row already, which the driver does not give again.
        row = result.fetchone()
        self._read = [np.array([] if row is None else [row[0]], np.int64)]
        self._ended = row is None

    def first(self, count: int) -> NDArray[np.int64]:
        """Return the ids that the database finds first, ascending: `count` of them, fewer when there are no more."""
        self._fetch(count - 1)
        return np.sort(np.concatenate(self._read))[:count]

    def all(self) -> NDArray[np.int64]:
        """Return all ids, ascending; those that were read are not looked for again."""
        while not self._ended:
            self._fetch(FETCHED)
        return np.sort(np.concatenate(self._read))

    def passing(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of some image ids that the condition lets through, ascending; costs a look-up for each.

        ids: (N,) int64, in any order; those of other collections and of tombstones fail.
        """
        return passing_ids(self._connection, self._target, self._condition, ids)

    def _fetch(self, count: int) -> None:
        cursor = self._result.cursor
        if self._ended or cursor is None:
            return
        rows = cursor.fetchmany(count)
        self._read.append(np.fromiter(chain.from_iterable(rows), np.int64, len(rows)))
        self._ended = len(rows) < count


@contextmanager
def reading_matches(connection: Connection, target: Collection, condition: Condition) -> Iterator[Matches]:
    """Give the images of a collection that a condition lets through, to be read while this is open."""
    # Of PostgreSQL's ordinary cursors the driver would fetch everything before the first row.
    streamed = connection.dialect.name == "postgresql"
    query = matching_query(target, condition).execution_options(stream_results=streamed)
    with connection.execute(query) as result:
        yield Matches(connection, result, target, condition)


def matching_query(target: Collection, condition: Condition) -> Select[tuple[int]]:
    """Return the query for the ids of the images of a collection that a condition lets through, in no order."""
    return _selected(condition.sql(target.label_space_id)).where(image.c.collection_id == target.id)


def passing_ids(
    connection: Connection, target: Collection, condition: Condition, ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return those of some image ids that belong to the collection and fulfil a condition, ascending.

    ids: (N,) int64, in any order; costs a look-up for each.
    """
    test = for_few(condition.sql(target.label_space_id))
    # Not by an index of collections: SQLite would think that one holds ten images, and read them all.
    ours = (image.c.collection_id + 0) == target.id
    query = _selected(test).where(ours, image.c.id.in_(bindparam("candidates", expanding=True)))
    parts = [
        np.fromiter(connection.execute(query, {"candidates": part}).scalars(), np.int64)
        for part in chunks(ids.tolist(), CANDIDATES)
    ]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def _selected(test: ColumnElement[bool]) -> Select[tuple[int]]:
    query = select(image.c.id).where(~image.c.deleted, test)
    # Every image has a content; to look for it only pays when the condition asks for something of it.
    return query.join(content, content.c.id == image.c.content_id) if _asks_content(test) else query


def _asks_content(test: ColumnElement[bool]) -> bool:
    parts: list[Any] = [test]
    while parts:
        part = parts.pop()
        if getattr(part, "table", None) is content:
            return True
        if not isinstance(part, OfContent):  # which looks for itself
            parts += part.get_children()
    return False


def _ids(connection: Connection, query: Select[tuple[int]]) -> NDArray[np.int64]:
    """Return the ids of a query, in no order."""
    ids = query.subquery().c.id
    if connection.dialect.name == "postgresql":
        joined = select(func.string_agg(func.int8send(ids), literal(b"")))
        data = connection.execute(joined).scalar_one()
        return np.frombuffer(data or b"", ">i8").astype(np.int64)
    text = connection.execute(select(func.group_concat(ids, type_=Text()))).scalar_one()
    return np.fromstring(text or "", np.int64, sep=",")
