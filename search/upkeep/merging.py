"""Merging the segments of a space: small ones into large ones, without the rows that nothing uses any more.

A merged segment holds the same float16 bytes as before. It is durable before ONE transaction, under the lock of all
collections, points the embedding rows to it and retires what they left; a row that moved or went meanwhile stays as
it is. Retired segments keep their file: generations from before still read it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, bindparam, exists, func, insert, select, update

from search.blobs.blobs import Blobs
from search.blobs.checksums import StreamedChecksums
from search.blobs.segments import FOLDER, HEADER, MAGIC, SUFFIX, Segment, SegmentRecord
from search.database.database import Database
from search.database.sequences import advance_all
from search.database.tables import embedding, segment
from search.errors import CorruptFile
from search.faults import fault

MERGED_ROWS = 65_536
COPIED_ROWS = 1_024  # in memory while a segment is written
# A segment that is this full, in rows of a merged one and in rows that are used, is left alone.
LARGE_SHARE = 0.5
USED_SHARE = 0.75


@dataclass(frozen=True, slots=True)
class Part:
    """A segment that is to be replaced. used: rows that embeddings refer to."""

    id: int
    record: SegmentRecord
    used: int


@dataclass(frozen=True, slots=True)
class Row:
    """A used row: the embedding (content, region) and where it lies."""

    content_id: int
    region: int
    segment_id: int
    row: int


class SegmentMerger:
    """Replaces segments of one space. copied: called with the number of rows just copied."""

    def __init__(self, database: Database, blobs: Blobs, space: tuple[int, int], copied: Callable[[int], None]) -> None:
        """space: its id and its dims."""
        self._database = database
        self._blobs = blobs
        self._space_id, self._dims = space
        self._copied = copied

    def parts(self) -> list[Part]:
        """Return the segments in use, oldest first, with how many of their rows are used."""
        used = (
            select(embedding.c.segment_id, func.count().label("used"))
            .where(embedding.c.space_id == self._space_id)
            .group_by(embedding.c.segment_id)
            .subquery()
        )
        columns = (segment.c.name, segment.c.rows, segment.c.size_bytes, segment.c.sha256, segment.c.checksums)
        query = (
            select(segment.c.id, func.coalesce(used.c.used, 0), *columns)
            .outerjoin(used, used.c.segment_id == segment.c.id)
            .where(segment.c.space_id == self._space_id, segment.c.retired_at.is_(None))
            .order_by(segment.c.id)
        )
        with self._database.reading() as connection:
            return [Part(row[0], SegmentRecord(*row[2:]), row[1]) for row in connection.execute(query)]

    def sound(self, part: Part) -> bool:
        """Return whether every byte of a segment is what was written."""
        try:
            Segment(self._blobs, part.record, self._dims).check()
        except CorruptFile:
            return False
        return True

    def merge(self, group: Sequence[Part]) -> None:
        """Replace the segments of a group by as few as hold their used rows.

        Raises:
            CorruptFile: a segment of the group is damaged; what was not replaced yet stays.
            StoreUnavailable: the disk is full or the database does not answer; what was not replaced yet stays.
        """
        ids = [part.id for part in group]
        opened = {part.id: Segment(self._blobs, part.record, self._dims) for part in group if part.used}
        for one in opened.values():
            one.check()
        rows = self._used_rows(ids)
        while self.replace(ids, rows, opened) and (rows := self._used_rows(ids)):
            pass

    def replace(self, replaced: Sequence[int], rows: Sequence[Row], opened: Mapping[int, Segment]) -> bool:
        """Write rows, ordered by segment, into one of their own; point their embeddings to it; retire what is unused.

        Return False when another process was faster and nothing was changed.
        """
        written = self._write(rows, opened) if rows else None
        with self._database.writing() as connection:
            fault("merge.begin")
            advance_all(connection)
            if _retired(connection, {row.segment_id for row in rows}):
                return False  # what was written is swept
            if written is not None:
                self._repoint(connection, written, rows)
            unused = ~exists().where(embedding.c.segment_id == segment.c.id)
            gone = segment.c.id.in_(replaced) & segment.c.retired_at.is_(None) & unused
            connection.execute(update(segment).where(gone).values(retired_at=time.time()))
            fault("merge.end")
        fault("merge.done")
        return True

    def _used_rows(self, segment_ids: Sequence[int]) -> list[Row]:
        mine = (embedding.c.space_id == self._space_id) & embedding.c.segment_id.in_(segment_ids)
        query = select(embedding.c.content_id, embedding.c.region, embedding.c.segment_id, embedding.c.row).where(mine)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(embedding.c.segment_id, embedding.c.row).limit(MERGED_ROWS))
            return [Row(*row) for row in rows]

    def _write(self, rows: Sequence[Row], opened: Mapping[int, Segment]) -> SegmentRecord:
        sums = StreamedChecksums()
        name = self._blobs.write(FOLDER, SUFFIX, self._bytes(rows, opened, sums), point="merge")
        return SegmentRecord(name, len(rows), sums.size, sums.sha256.digest(), sums.blocks())

    def _bytes(self, rows: Sequence[Row], opened: Mapping[int, Segment], sums: StreamedChecksums) -> Iterator[bytes]:
        head = HEADER.pack(MAGIC, self._dims, len(rows))
        sums.update(head)
        yield head
        for start in range(0, len(rows), COPIED_ROWS):
            part = rows[start : start + COPIED_ROWS]
            data = b"".join(_stored(opened, part))
            sums.update(data)
            yield data
            self._copied(len(part))

    def _repoint(self, connection: Connection, written: SegmentRecord, rows: Sequence[Row]) -> None:
        values = {name: getattr(written, name) for name in SegmentRecord.__dataclass_fields__}
        added = insert(segment).values(space_id=self._space_id, **values).returning(segment.c.id)
        new_id = connection.execute(added).scalar_one()
        fault("merge.rows")
        unmoved = (
            (embedding.c.content_id == bindparam("of_content"))
            & (embedding.c.space_id == self._space_id)
            & (embedding.c.region == bindparam("of_region"))
            & (embedding.c.segment_id == bindparam("from_segment"))
            & (embedding.c.row == bindparam("from_row"))
        )
        moved = update(embedding).where(unmoved).values(segment_id=new_id, row=bindparam("to_row"))
        places = [
            {
                "of_content": row.content_id,
                "of_region": row.region,
                "from_segment": row.segment_id,
                "from_row": row.row,
                "to_row": place,
            }
            for place, row in enumerate(rows)
        ]
        connection.execute(moved, places)


def groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Return which segments are worth replacing, and together: at most MERGED_ROWS used rows in each group."""
    found: list[list[Part]] = []
    open_group: list[Part] = []
    for part in parts:
        if part.record.rows >= LARGE_SHARE * MERGED_ROWS and _well_used(part):
            continue
        if sum(one.used for one in open_group) + part.used > MERGED_ROWS:
            found.append(open_group)
            open_group = []
        open_group.append(part)
    found.append(open_group)
    return [group for group in found if len(group) > 1 or any(not _well_used(part) for part in group)]


def _well_used(part: Part) -> bool:
    return part.used > 0 and part.used >= USED_SHARE * part.record.rows


def _retired(connection: Connection, segment_ids: set[int]) -> bool:
    """Tell whether any of the segments has been retired, or forgotten, since it was chosen."""
    living = select(func.count()).where(segment.c.id.in_(segment_ids), segment.c.retired_at.is_(None))
    return connection.execute(living).scalar_one() < len(segment_ids)


def _stored(opened: Mapping[int, Segment], rows: Sequence[Row]) -> Iterator[bytes]:
    """Yield the bytes of rows that come ordered by segment."""
    ids = np.array([row.segment_id for row in rows], np.int64)
    places = np.array([row.row for row in rows], np.int64)
    for segment_id in np.unique(ids).tolist():
        if segment_id not in opened:
            raise CorruptFile(f"segment {segment_id} is not in the catalogue any more; run again")
        yield opened[segment_id].stored(places[ids == segment_id]).tobytes()
