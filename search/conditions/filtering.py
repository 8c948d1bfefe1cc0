"""Which images fulfil a condition: all ids of a collection, or those among a few that a search has found.

Ids come out of a database as one value, not as a row each: for 100,000 ids that is several times as fast.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Select, Text, bindparam, func, literal, select

from search.conditions.content_tests import OfContent, for_few
from search.conditions.where import Condition
from search.database.database import chunks
from search.database.tables import content, image
from search.records import Collection

# Candidates judged by one statement: with the values of a condition below the 999 parameters of the oldest SQLite.
CANDIDATES = 300


def matching_ids(
    connection: Connection, target: Collection, condition: Condition, limit: int | None = None
) -> NDArray[np.int64]:
    """Return the ids of the images of a collection that a condition lets through, ascending.

    limit: no more than these, whichever the database finds first.
    """
    return np.sort(_ids(connection, matching_query(target, condition).limit(limit)))


def matching_query(target: Collection, condition: Condition) -> Select[tuple[int]]:
    """Return the query for the ids of the images of a collection that a condition lets through, in no order."""
    return _selected(condition.sql(target.space_id)).where(image.c.collection_id == target.id)


def passing_ids(
    connection: Connection, target: Collection, condition: Condition, ids: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return those of some image ids that belong to the collection and fulfil a condition, ascending.

    ids: (N,) int64, in any order; costs a look-up for each.
    """
    test = for_few(condition.sql(target.space_id))
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
