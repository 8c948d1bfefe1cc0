"""A collection on its way to another space, and back.

A shadow space is filled beside the one that is searched: rows of `embedding` that no reader asks for. `promote` builds
an index of it first, and then ONE transaction flips the collection's space under its next commit sequence, so that a
reader in another process sees the old space or the new one, never both. What an indexing job commits after that for the
space it began with is refused (search/storing/commits.py). The old embeddings stay, for `rollback`.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, exists, func, insert, select, update

from search.blobs.segments import write_segment
from search.database.database import chunks, insert_missing
from search.database.tables import collection, content, embedding, image, reembedding, space
from search.errors import GuardRefused, StoreUnavailable, UsageError
from search.faults import fault
from search.finding.generations import Generations
from search.records import Collection, Embeddings, Label, SpaceSpec
from search.regions import REGIONS
from search.storing.labels import put_labels, source_of_labels
from search.storing.region_rows import has_regions, put_regions
from search.storing.segment_rows import put_segment
from search.storing.store import Store, put_space, spec_of

State = Literal["filling", "ready", "promoted", "rolled_back", "abandoned"]
ATTEMPTS = 5
OPEN: tuple[State, ...] = ("filling", "ready")


@dataclass(frozen=True, slots=True)
class Reembedding:
    """A collection's way to another space. report: what the filling found, {} before it has ended."""

    id: int
    from_space_id: int
    to_space_id: int
    state: State
    report: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ShadowRow:
    """The embedding of a content in a shadow space. labels: None when nobody asked.

    regions: (4, D) float32 of unit length, those of its regions; None when nobody asked.
    """

    content_id: int
    labels: tuple[Label, ...] | None = None
    regions: Embeddings | None = None


class SpaceUpgrade:
    """The spaces of one collection: the one that is searched, and the one on its way."""

    def __init__(self, store: Store, target: Collection) -> None:
        self._store = store
        self._target = target

    def newest(self) -> Reembedding | None:
        """Return the collection's last way to another space, None when it never went."""
        with self._store.database.reading() as connection:
            return _newest(connection, self._target.id)

    def begin(self, spec: SpaceSpec, *, accepted: str | None = None) -> Reembedding:
        """Begin to fill a space, or go on with it; one that was on its way to another is abandoned, its rows kept.

        accepted: the licence that was agreed to now, if any.

        Raises:
            UsageError: the collection is in this space already.
        """
        if spec.fingerprint == self._target.space.fingerprint:
            raise UsageError(
                f"collection {self._target.name!r} is in the space {spec.name} already; name another --backbone, "
                "--weights or --preprocess"
            )
        now = time.time()
        with self._store.database.writing() as connection:
            _lock(connection, self._target.id)
            space_id = put_space(connection, spec, accepted=accepted)
            here = reembedding.c.collection_id == self._target.id
            known = _newest(connection, self._target.id)
            stays = known is not None and known.state in OPEN and known.to_space_id == space_id
            abandoned = update(reembedding).where(here, reembedding.c.state.in_(OPEN))
            if stays and known is not None:
                abandoned = abandoned.where(reembedding.c.id != known.id)
                again = update(reembedding).where(reembedding.c.id == known.id)
                connection.execute(again.values(state="filling", changed_at=now))
            connection.execute(abandoned.values(state="abandoned", changed_at=now))
            if not stays:
                values = {"collection_id": self._target.id, "from_space_id": self._target.space_id, "report": {}}
                stamps = {"to_space_id": space_id, "state": "filling", "started_at": now, "changed_at": now}
                connection.execute(insert(reembedding).values(values | stamps))
            begun = _newest(connection, self._target.id)
            assert begun is not None  # noqa: S101 -- put there just above; for the type checker
            return begun

    def consent_to(self, backbone: str) -> str | None:
        """Return the licence of a backbone's weights that was agreed to for a space of this collection, None if none.

        Its spaces are the one that is searched, and those it was or is on its way to.
        """
        ways = select(reembedding.c.from_space_id, reembedding.c.to_space_id)
        with self._store.database.reading() as connection:
            been = connection.execute(ways.where(reembedding.c.collection_id == self._target.id)).all()
            mine = {self._target.space_id, *(space_id for way in been for space_id in way)}
            agreed = select(space.c.licence_accepted).where(space.c.id.in_(mine), space.c.backbone == backbone)
            return connection.execute(agreed.where(space.c.licence_accepted.is_not(None)).limit(1)).scalar()

    def in_space(self, space_id: int) -> Collection:
        """Return the collection as it would be in another of its spaces."""
        with self._store.database.reading() as connection:
            return replace(self._target, space_id=space_id, space=spec_of(connection, space_id))

    def missing(self, space_id: int, *, after: int, limit: int) -> list[Row[Any]]:
        """Return images without an embedding in a space: (id, uri, content_id, sha256), by id, those above `after`.

        Where the collection is searched in regions, also those without the embeddings of these.
        """
        query = (
            select(image.c.id, image.c.uri, image.c.content_id, content.c.sha256)
            .join(content, content.c.id == image.c.content_id)
            .where(self._unfinished(space_id), image.c.id > after)
            .order_by(image.c.id)
            .limit(limit)
        )
        with self._store.database.reading() as connection:
            return list(connection.execute(query))

    def count_missing(self, space_id: int) -> int:
        """Return how many living images have no embedding in a space."""
        with self._store.database.reading() as connection:
            return self._count(connection, space_id)

    def count_unfinished(self, space_id: int) -> int:
        """Return how many living images `missing` names."""
        with self._store.database.reading() as connection:
            return self._count_unfinished(connection, space_id)

    def fill(self, space_id: int, rows: Sequence[ShadowRow], embeddings: Embeddings) -> None:
        """Make embeddings of contents durable in a space: (N, D) float32 of unit length, N rows.

        In a shadow space nobody sees them yet; in the collection's own their images can be found from now on.

        Raises:
            StoreUnavailable: the disk is full or the database does not answer; nothing of it is visible.
        """
        regioned = [row for row in rows if row.regions is not None]
        of_regions = [row.regions for row in regioned if row.regions is not None]
        written = write_segment(self._store.blobs, np.concatenate([embeddings, *of_regions]))
        with self._store.database.writing() as connection:
            current = _lock(connection, self._target.id)
            fault("reembed.rows")
            segment_id = put_segment(connection, space_id, written)
            places = [
                {
                    "content_id": row.content_id,
                    "space_id": space_id,
                    "region": 0,
                    "segment_id": segment_id,
                    "row": number,
                }
                for number, row in enumerate(rows)
            ]
            insert_missing(connection, embedding, places)
            firsts = {row.content_id: len(rows) + REGIONS * number for number, row in enumerate(regioned)}
            put_regions(connection, space_id, firsts, segment_id)
            put_labels(connection, space_id, {row.content_id: row.labels for row in rows if row.labels})
            if current == space_id:
                _show(connection, self._target.id, [row.content_id for row in rows])
        fault("reembed.done")

    def finish(self, begun: Reembedding, report: Mapping[str, object]) -> None:
        """Record that a space is filled, and how it differs.

        Raises:
            UsageError: another `reembed`, to another space, was begun meanwhile.
        """
        here = (reembedding.c.id == begun.id) & reembedding.c.state.in_(OPEN)
        values = {"state": "ready", "report": dict(report), "changed_at": time.time()}
        with self._store.database.writing() as connection:
            if not connection.execute(update(reembedding).where(here).values(values)).rowcount:
                raise UsageError("another `lookalike reembed` of this collection was begun meanwhile; this one is over")

    def promote(self, *, allow_missing: bool = False) -> tuple[Collection, int]:
        """Search the shadow space from now on; return the collection, and how many images cannot be found any more.

        Raises:
            UsageError: there is no space on its way.
            GuardRefused: it is not filled, or images are missing from it; nothing was changed.
            CorruptFile: a segment of it is damaged; nothing was changed.
        """
        found = self._filled()
        return self._flip(found, found.to_space_id, "promoted", allow_missing)

    def after_promote(self, *, allow_missing: bool = False) -> Collection:
        """Return the collection as `promote` would make it; changes nothing, and raises what `promote` does."""
        return self._reachable(self._filled().to_space_id, allow_missing)

    def rollback(self, *, allow_missing: bool = False) -> tuple[Collection, int]:
        """Search the space from before `promote` again; return as `promote`.

        Raises:
            UsageError: the collection was not promoted.
            GuardRefused: images are missing from that space; nothing was changed.
            CorruptFile: a segment of it is damaged; nothing was changed.
        """
        found = self._promotion()
        return self._flip(found, found.from_space_id, "rolled_back", allow_missing)

    def after_rollback(self, *, allow_missing: bool = False) -> Collection:
        """Return the collection as `rollback` would make it; changes nothing, and raises what `rollback` does."""
        return self._reachable(self._promotion().from_space_id, allow_missing)

    def _filled(self) -> Reembedding:
        """Return the way to a space that is filled."""
        found = self.newest()
        if found is None or found.state not in OPEN:
            raise UsageError(f"collection {self._target.name!r} has no space to promote; `lookalike reembed` fills one")
        if found.state == "filling":
            raise GuardRefused("the new space is not filled yet; run `lookalike reembed` again to go on with it")
        return found

    def _promotion(self) -> Reembedding:
        """Return the way by which the collection came to its space."""
        with self._store.database.reading() as connection:
            found = _newest(connection, self._target.id, reembedding.c.state == "promoted")
        if found is None or found.to_space_id != self._target.space_id:
            raise UsageError(f"collection {self._target.name!r} was not promoted, so there is nothing to roll back")
        return found

    def _reachable(self, space_id: int, allow_missing: bool) -> Collection:
        goal = self.in_space(space_id)
        self._require_complete(self.count_missing(space_id), goal, allow_missing)
        return goal

    def _flip(self, way: Reembedding, space_id: int, state: State, allow_missing: bool) -> tuple[Collection, int]:
        """Build the index of a space, then make it the collection's own."""
        goal = self.in_space(space_id)
        for _ in range(ATTEMPTS):
            sequence = self._store.catalogue.collection(self._target.name).sequence
            unknown = self._unknown(space_id, sequence)
            self._require_complete(self.count_missing(space_id), goal, allow_missing)
            Generations(self._store.database, self._store.blobs, goal).publish(sequence)
            fault("promote.flip")
            with self._store.database.writing() as connection:
                # From here on no commit of the collection can come in between.
                if _lock(connection, self._target.id) != self._target.space_id:
                    raise UsageError(f"collection {self._target.name!r} went to another space meanwhile; look again")
                if self._count_unfinished(connection, space_id, image.c.sequence <= sequence) != unknown:
                    continue  # embedded after the index was built, so that neither it nor the delta would know them
                missing = self._count(connection, space_id)
                self._require_complete(missing, goal, allow_missing)
                self._enter(connection, space_id)
                self._record(connection, way, space_id, state)
            fault("promote.done")
            return self._store.catalogue.collection(self._target.name), missing
        raise StoreUnavailable("the new space is still being filled by another process; wait for it, then try again")

    def _unknown(self, space_id: int, sequence: int) -> int:
        with self._store.database.reading() as connection:
            return self._count_unfinished(connection, space_id, image.c.sequence <= sequence)

    def _enter(self, connection: Connection, space_id: int) -> None:
        labels = source_of_labels(connection, self._target.id, space_id)
        values = {"space_id": space_id, "sequence": collection.c.sequence + 1, "label_space_id": labels}
        connection.execute(update(collection).where(collection.c.id == self._target.id).values(values))

    def _record(self, connection: Connection, way: Reembedding, space_id: int, state: State) -> None:
        values: dict[str, object] = {"state": state, "changed_at": time.time()}
        here = (reembedding.c.collection_id == self._target.id) & (reembedding.c.to_space_id == space_id)
        arrived = update(reembedding).where(here, reembedding.c.state.in_(OPEN))
        connection.execute(arrived.values(values | {"state": "abandoned"}))
        if state == "promoted":
            values["from_space_id"] = self._target.space_id  # it may have been rolled back since the way was begun
        connection.execute(update(reembedding).where(reembedding.c.id == way.id).values(values))

    def _require_complete(self, missing: int, goal: Collection, allow_missing: bool) -> None:
        if missing and not allow_missing:
            raise GuardRefused(
                f"{missing} images of {self._target.name!r} have no embedding in {goal.space.name}; run `lookalike "
                f"reembed --backbone {goal.space.backbone}` to embed them, or say --allow-missing: searches would not "
                "find them"
            )

    def _without(self, space_id: int) -> ColumnElement[bool]:
        has = exists().where(
            embedding.c.content_id == image.c.content_id, embedding.c.space_id == space_id, embedding.c.region == 0
        )
        return (image.c.collection_id == self._target.id) & ~image.c.deleted & ~has

    def _count_unfinished(self, connection: Connection, space_id: int, *conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(image).where(self._unfinished(space_id), *conditions)
        return int(connection.execute(query).scalar_one())

    def _unfinished(self, space_id: int) -> ColumnElement[bool]:
        if not self._target.regions_rule:
            return self._without(space_id)
        here = (image.c.collection_id == self._target.id) & ~image.c.deleted
        return self._without(space_id) | (here & ~has_regions(space_id))

    def _count(self, connection: Connection, space_id: int, *conditions: ColumnElement[bool]) -> int:
        query = select(func.count()).select_from(image).where(self._without(space_id), *conditions)
        return int(connection.execute(query).scalar_one())


def upgrade_as_json(store: Store, target: Collection) -> dict[str, object] | None:
    """Return what `status` says of a collection's way to another space, None when there is nothing to say."""
    upgrade = SpaceUpgrade(store, target)
    found = upgrade.newest()
    if found is None or found.state == "abandoned":
        return None
    other = found.from_space_id if found.state == "promoted" else found.to_space_id
    return {
        "state": found.state,
        "from_space": upgrade.in_space(found.from_space_id).space.name,
        "to_space": upgrade.in_space(found.to_space_id).space.name,
        "missing": upgrade.count_missing(other),
    }


def _newest(connection: Connection, collection_id: int, *conditions: ColumnElement[bool]) -> Reembedding | None:
    columns = [reembedding.c[name] for name in Reembedding.__dataclass_fields__]
    query = select(*columns).where(reembedding.c.collection_id == collection_id, *conditions)
    row = connection.execute(query.order_by(reembedding.c.id.desc()).limit(1)).first()
    return None if row is None else Reembedding(*row)


def _show(connection: Connection, collection_id: int, content_ids: Sequence[int]) -> None:
    """Make images newer than the generations, which do not know their embeddings."""
    taken = update(collection).where(collection.c.id == collection_id).values(sequence=collection.c.sequence + 1)
    sequence = connection.execute(taken.returning(collection.c.sequence)).scalar_one()
    for part in chunks(content_ids):
        here = (image.c.collection_id == collection_id) & image.c.content_id.in_(part) & ~image.c.deleted
        connection.execute(update(image).where(here).values(sequence=sequence))


def _lock(connection: Connection, collection_id: int) -> int:
    """Keep commits of the collection out until the end of the transaction; return its space."""
    query = select(collection.c.space_id).where(collection.c.id == collection_id).with_for_update()
    return int(connection.execute(query).scalar_one())
