"""Where the embeddings of images lie that changed since a commit: what an index does not know yet."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from search.database.tables import embedding, image

PAGE_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Located:
    """Where embeddings lie: parallel arrays, (N,) each, ordered by image id.

    deleted marks tombstones, whose segment and row mean nothing.
    """

    ids: NDArray[np.int64]
    segments: NDArray[np.int64]
    rows: NDArray[np.int64]
    deleted: NDArray[np.bool_]


def changed_rows(connection: Connection, collection_id: int, space_id: int, sequence: int, *, until: int) -> Located:
    """Return where the embeddings of images lie that changed in commits (sequence, until], tombstones too."""
    mine = (
        (embedding.c.content_id == image.c.content_id) & (embedding.c.space_id == space_id) & (embedding.c.region == 0)
    )
    # A tombstone must be seen also when compaction has dropped its embedding: an index may still know the image.
    query = (
        select(
            image.c.id,
            func.coalesce(embedding.c.segment_id, 0),
            func.coalesce(embedding.c.row, 0),
            image.c.deleted,
        )
        .outerjoin(embedding, mine)
        .where(
            image.c.collection_id == collection_id,
            image.c.sequence > sequence,
            image.c.sequence <= until,
            image.c.deleted | embedding.c.segment_id.is_not(None),
        )
        .order_by(image.c.id)
    )
    pages = [np.empty((0, 4), np.int64)]
    # A page at a time: as Python objects the rows of a large collection would fill ten times the memory.
    for page in connection.execute(query.execution_options(yield_per=PAGE_ROWS)).partitions():
        pages.append(np.array([tuple(row) for row in page], np.int64).reshape(-1, 4))
    table = np.concatenate(pages)
    return Located(table[:, 0].copy(), table[:, 1].copy(), table[:, 2].copy(), table[:, 3].astype(np.bool_))
