"""The embeddings of regions in the catalogue: which contents have them, where they lie, and how they are written.

A content has the embeddings of all its regions in a space, or of none. All collections of a space share them, as they
share those of whole pictures; `collection.regions_rule` says which ask for them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, case, delete, exists, func, select, update

from search.database.bulk import insert_missing_rows
from search.database.database import Database, chunks
from search.database.tables import collection, embedding, image
from search.errors import UsageError
from search.records import Collection, ContentFacts, Embeddings
from search.regions import FIRST, LAST, REGIONS, rows_of_images
from search.storing.changed_rows import PAGE_ROWS, Located

EMBEDDING_COLUMNS = ("content_id", "space_id", "region", "segment_id", "row")
_is_region = embedding.c.region.between(FIRST, LAST)


@dataclass(frozen=True, slots=True)
class Regions:
    """Embeddings of the regions of contents: (4 R, D) float32 of unit length, four rows for each of R contents.

    contents: each by its facts where it is fresh, by its id where the catalogue has it.
    """

    contents: Sequence[ContentFacts | int]
    embeddings: Embeddings

    @property
    def known(self) -> set[int]:
        """Return the ids of the contents that were known by their whole picture before."""
        return {one for one in self.contents if isinstance(one, int)}

    def places(self, ids: Mapping[bytes, int], first: int) -> dict[int, int]:
        """Return the first row of each content in a segment where these embeddings begin at row `first`.

        ids: of fresh contents, by sha256. Of two files with one content the first counts.
        """
        contents = [ids[one.sha256] if isinstance(one, ContentFacts) else one for one in self.contents]
        return {at: first + REGIONS * place for place, at in reversed([*enumerate(contents)])}

    def require_four_rows_each(self, dims: int) -> None:
        """Raises:
        UsageError: there are not four rows of these dims for each content.
        """
        if self.embeddings.shape != (REGIONS * len(self.contents), dims):
            raise UsageError(f"regions of shape {self.embeddings.shape} for {len(self.contents)} contents, 4 rows each")


def contents_without_regions(database: Database, space_id: int, content_ids: Sequence[int]) -> set[int]:
    """Return those of the contents whose regions are not embedded in a space."""
    query = select(embedding.c.content_id).where(embedding.c.space_id == space_id, embedding.c.region == FIRST)
    with database.reading() as connection:
        known = {
            found
            for part in chunks(content_ids)
            for found in connection.execute(query.where(embedding.c.content_id.in_(part))).scalars()
        }
    return set(content_ids) - known


def any_regions(database: Database, target: Collection) -> bool:
    """Tell whether any image of a collection can be found by its regions."""
    with database.reading() as connection:
        return connection.execute(_images_with_regions(target).limit(1)).first() is not None


def count_images_with_regions(connection: Connection, target: Collection) -> int:
    """Return how many living images of a collection can be found by their regions."""
    return connection.execute(select(func.count()).select_from(_images_with_regions(target).subquery())).scalar_one()


def _images_with_regions(target: Collection) -> Select[tuple[int]]:
    mine = (image.c.collection_id == target.id, ~image.c.deleted)
    return select(image.c.id).where(*mine, has_regions(target.space_id))


def has_regions(space_id: int) -> ColumnElement[bool]:
    """Return what tells of an image that its content's regions are embedded in a space."""
    return exists().where(
        embedding.c.content_id == image.c.content_id, embedding.c.space_id == space_id, embedding.c.region == FIRST
    )


def regions_changed_since(database: Database, target: Collection, sequence: int, *, until: int) -> Located:
    """Return where the regions of images lie that changed in commits (sequence, until]; ids are those of regions.

    What an older index may know and is gone is marked deleted: the regions of tombstones, and those of images whose
    content has none.
    """
    regions = (embedding.c.content_id == image.c.content_id) & (embedding.c.space_id == target.space_id) & _is_region
    columns = (
        image.c.id,
        func.coalesce(embedding.c.region, 0),
        func.coalesce(embedding.c.segment_id, 0),
        func.coalesce(embedding.c.row, 0),
        image.c.deleted,
    )
    changed = (image.c.collection_id == target.id, image.c.sequence > sequence, image.c.sequence <= until)
    query = select(*columns).outerjoin(embedding, regions).where(*changed).order_by(image.c.id, embedding.c.region)
    if sequence == 0:  # nothing can know what is gone
        query = query.where(~image.c.deleted, embedding.c.region.is_not(None))
    pages = [np.empty((0, 5), np.int64)]
    with database.reading() as connection:
        for page in connection.execute(query.execution_options(yield_per=PAGE_ROWS)).partitions():
            pages.append(np.array([tuple(row) for row in page], np.int64).reshape(-1, 5))
    table = np.concatenate(pages)
    here = table[(table[:, 1] > 0) & (table[:, 4] == 0)]
    ids = here[:, 0] * REGIONS + here[:, 1] - FIRST
    gone = np.setdiff1d(rows_of_images(np.unique(table[:, 0])), ids) if sequence else np.empty(0, np.int64)
    order = np.argsort(np.concatenate([ids, gone]), kind="stable")
    nowhere = np.zeros(len(gone), np.int64)
    return Located(
        np.concatenate([ids, gone])[order],
        np.concatenate([here[:, 2], nowhere])[order],
        np.concatenate([here[:, 3], nowhere])[order],
        (np.arange(len(order)) >= len(ids))[order],
    )


def regions_are_incomplete() -> ColumnElement[bool]:
    """Return what tells, of the embeddings of one content in one space, that they are neither all nor none."""
    regions = func.count(case((embedding.c.region > 0, 1)))
    whole = func.count(case((embedding.c.region == 0, 1)))
    others = func.count(case((~embedding.c.region.between(0, LAST), 1)))
    return (regions.not_in([0, REGIONS])) | ((regions > 0) & (whole == 0)) | (others > 0)


def drop_regions(connection: Connection, space_id: int, content_ids: Iterable[int]) -> None:
    """Drop the embeddings of the regions of contents, so that the next `index` makes them again."""
    for part in chunks(sorted(set(content_ids))):
        mine = (embedding.c.space_id == space_id) & (embedding.c.region != 0) & embedding.c.content_id.in_(part)
        connection.execute(delete(embedding).where(mine))


def put_regions(connection: Connection, space_id: int, first_rows: Mapping[int, int], segment_id: int) -> None:
    """Name the embeddings of regions. first_rows: by content id, where in the segment its four rows begin."""
    rows = [
        (content_id, space_id, region, segment_id, first + region - FIRST)
        for content_id, first in sorted(first_rows.items())
        for region in range(FIRST, LAST + 1)
    ]
    insert_missing_rows(connection, embedding, EMBEDDING_COLUMNS, rows)


def show_regions(connection: Connection, space_id: int, content_ids: Iterable[int]) -> None:
    """Make images newer than the indexes whose content was known, but not by its regions: in all collections.

    To be called with all collections locked (`lock_collections`).
    """
    wanted = sorted(content_ids)
    for part in chunks(wanted):
        holds = (image.c.content_id.in_(part)) & ~image.c.deleted
        mine = select(image.c.collection_id).where(holds).distinct()
        here = collection.c.id.in_(mine) & (collection.c.space_id == space_id)
        taken = update(collection).where(here).values(sequence=collection.c.sequence + 1)
        for row in connection.execute(taken.returning(collection.c.id, collection.c.sequence)).all():
            newer = update(image).where(holds, image.c.collection_id == row.id)
            connection.execute(newer.values(sequence=row.sequence))
