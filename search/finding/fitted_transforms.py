"""The transform that a collection's next generation uses: chosen by the user, fitted once, and then kept.

A transform that were fitted with every generation would change all scores a little each time, and with them what was
calibrated. So the one that was fitted is written down in the catalogue, which backups keep, too; it is fitted again
when the collection has doubled since, up to the size of a whole sample, and when somebody asks for it.
"""

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select

from search.database.tables import collection, post_transform, space
from search.errors import CorruptFile, UsageError
from search.index.held_out import Rows, some_rows
from search.index.post_transform import NONE, PostTransform, fit, known_kind, require_enough, sample_rows
from search.records import NO_TRANSFORM, Collection

SEED: Final = 20261123
OUTGROWN: Final = 2  # times the rows that a transform was fitted to

log = logging.getLogger(__name__)


def recorded(connection: Connection, target: Collection) -> PostTransform | None:
    """Return the transform that was fitted last to a collection in its space, None where there is none.

    Raises:
        CorruptFile: what the catalogue holds is not what was fitted.
    """
    row = connection.execute(select(post_transform).where(*_of(target))).first()
    return None if row is None else checked(row, target.space.dims)


def checked(row: Row[tuple[object, ...]], dims: int) -> PostTransform:
    """Return the transform in a row of the catalogue.

    Raises:
        CorruptFile: it does not have its fingerprint, or is none for so many dims.
    """
    try:
        mean = np.frombuffer(row.mean, "<f4")
        matrix = None if row.matrix is None else np.frombuffer(row.matrix, "<f4").reshape(dims, -1)
    except ValueError as error:
        raise CorruptFile(f"the transform {row.kind!r} is not one of {dims} dims: {error}") from error
    found = PostTransform(row.kind, mean, matrix, row.rows)
    # Its kind is part of its fingerprint, so that it is a known one.
    if len(mean) != dims or found.fingerprint != row.fingerprint:
        raise CorruptFile(f"the transform {row.kind!r} is not what was fitted: it has another fingerprint")
    return found


def write_down(connection: Connection, target: Collection, transform: PostTransform) -> None:
    """Write down what was fitted to a collection in its space, in place of what was before."""
    try:
        known = recorded(connection, target)
    except CorruptFile:
        known = None
    if known is not None and known.fingerprint == transform.fingerprint:
        return  # it may be megabytes
    connection.execute(delete(post_transform).where(*_of(target)))
    if transform.is_none:
        return
    values = {
        "collection_id": target.id,
        "space_id": target.space_id,
        "kind": transform.kind,
        "rows": transform.rows,
        "fingerprint": transform.fingerprint,
        "mean": _bytes(transform.mean),
        "matrix": None if transform.matrix is None else _bytes(transform.matrix),
    }
    connection.execute(insert(post_transform).values(values))


def damaged(connection: Connection) -> dict[int, tuple[str, str]]:
    """Return the fitted transforms that are not what was written: by their id, their collection and what is wrong."""
    query = select(post_transform, collection.c.name, space.c.dims)
    query = query.join(collection, collection.c.id == post_transform.c.collection_id)
    query = query.join(space, space.c.id == post_transform.c.space_id).order_by(post_transform.c.id)
    found = {}
    for row in connection.execute(query):
        try:
            checked(row, row.dims)
        except CorruptFile as error:
            found[int(row.id)] = (row.name, str(error))
    return found


def chosen_anew(kind: str, rows: Rows, dims: int) -> PostTransform:
    """Return a transform of this kind, fitted now to a sample of these rows. The same rows give the same transform.

    Raises:
        UsageError: there is no such kind, or the rows are too few or too much alike for it.
    """
    if known_kind(kind) == NO_TRANSFORM:
        return NONE
    require_enough(kind, len(rows), dims)
    return fit(kind, rows.read(some_rows(rows, np.random.default_rng(SEED), sample_rows(dims))))


def kept_or_anew(known: PostTransform | None, kind: str, rows: Rows, dims: int) -> PostTransform:
    """Return the transform that a generation of these rows uses, where nobody asks for a new one.

    Where too many images went for it to be fitted again, and it is lost, embeddings are compared as they are stored
    until they are enough: a search that works, whose status tells, is better than an index that nobody can build.
    """
    if known is not None and known.kind == kind and not _is_outgrown(known, len(rows), dims):
        return known
    try:
        return chosen_anew(kind, rows, dims)
    except UsageError as error:
        log.warning("the search index goes without its transform for now: %s", error)
        return NONE


def _is_outgrown(known: PostTransform, rows: int, dims: int) -> bool:
    return known.rows < sample_rows(dims) and rows >= OUTGROWN * known.rows


def _of(target: Collection) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return (post_transform.c.collection_id == target.id, post_transform.c.space_id == target.space_id)


def _bytes(numbers: NDArray[np.float32]) -> bytes:
    return np.ascontiguousarray(numbers, "<f4").tobytes()
