"""Safeguards taken out of the code, one by one: tests/test_planted_faults.py holds a check that misses each of them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import Connection, delete, select

from search.blobs.blobs import LocalBlobs
from search.blobs.checksums import _OpenFile, _OpenMap
from search.database.tables import collection, embedding
from search.finding.following import Delta
from search.finding.generations import Generation
from search.finding.snapshot import Snapshot
from search.index.inverted import InvertedIndex
from search.moving import backup
from search.plans import history, purge_quarantine, undo_plan, verifying
from search.records import Collection
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing import removals
from search.storing.catalogue import Catalogue, Located
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from search.upkeep import compaction, merging
from tests import fault_worker

Patch = pytest.MonkeyPatch


def without_checksum(patch: Patch) -> None:
    for reader in (_OpenMap, _OpenFile):
        patch.setattr(reader, "_check", lambda self, block: None)


def without_sums(patch: Patch) -> None:
    for module in ("search.settings", "search.moving.backup_files"):
        patch.setattr(f"{module}._sum_of", lambda _: "0" * 64)


def without_rename(patch: Patch) -> None:
    rename = Path.rename
    patch.setattr(Path, "rename", lambda self, to: to if to.parent.name == "segments" else rename(self, to))


def acknowledging_first(patch: Patch) -> None:
    commit = Committer.commit

    def commit_after_promise(self: Committer, batch: Batch) -> int:
        names = [new.uri.rsplit("/")[-1] for new in batch.images]
        fault_worker.promise(cast(LocalBlobs, self._blobs).path(".").resolve().parent, "+", names)
        return commit(self, batch)

    patch.setattr(Committer, "commit", commit_after_promise)


def without_age_guard(patch: Patch) -> None:
    sweep = LocalBlobs.sweep
    patch.setattr(LocalBlobs, "sweep", lambda self, folder, named, _age: sweep(self, folder, named, -1))


def without_a_commit_sequence(patch: Patch) -> None:
    def same(connection: Connection, collection_id: int) -> int:
        return int(connection.execute(select(collection.c.sequence)).scalar_one())

    patch.setattr(removals, "next_sequence", same)


def without_tombstones(patch: Patch) -> None:
    changed_since = Catalogue.changed_since

    def only_living(self: Catalogue, *arguments: int, until: int) -> Located:
        found = changed_since(self, *arguments, until=until)
        alive = ~found.deleted
        return Located(found.ids[alive], found.segments[alive], found.rows[alive], found.deleted[alive])

    patch.setattr(Catalogue, "changed_since", only_living)


def with_rows_off_by_one(patch: Patch) -> None:
    repoint = merging.SegmentMerger._repoint

    def rolled(self: Any, connection: Connection, written: Any, rows: Sequence[Any]) -> None:
        repoint(self, connection, written, [*rows[1:], *rows[:1]])

    patch.setattr(merging.SegmentMerger, "_repoint", rolled)


def forgetting_segments_in_use(patch: Patch) -> None:
    patch.setattr(compaction, "_segments_of", lambda *_: set())
    patch.setattr(compaction, "_forget_superseded", lambda *_: None)
    patch.setattr(compaction, "_published_if_needed", lambda *_: None)


def without_masking(patch: Patch) -> None:
    made = Snapshot.__init__

    def unmasked(self: Snapshot, *arguments: Any, **others: Any) -> None:
        made(self, *arguments, **others)
        self._stale = np.empty(0, np.int64)

    patch.setattr(Snapshot, "__init__", unmasked)


def without_the_living(patch: Patch) -> None:
    """Every row of an approximate index may be a candidate, also of an image that changed or went."""
    made = Snapshot.__init__

    def unmasked(self: Snapshot, *arguments: Any, **others: Any) -> None:
        made(self, *arguments, **others)
        self._living = None

    patch.setattr(Snapshot, "__init__", unmasked)


def without_the_mask_of_the_delta(patch: Patch) -> None:
    made = Snapshot.__init__

    def unmasked(
        self: Snapshot, target: Collection, generation: Generation | None, delta: Delta, **others: Any
    ) -> None:
        made(self, target, generation, replace(delta, changed=np.empty(0, np.int64)), **others)

    patch.setattr(Snapshot, "__init__", unmasked)


def without_the_filter(patch: Patch) -> None:
    candidates = InvertedIndex.candidates

    def unfiltered(self: InvertedIndex, code: Any, k: int, count: int, wanted: Any = None, only: Any = None) -> Any:
        return candidates(self, code, k, count, wanted if only is None else None, only)

    patch.setattr(InvertedIndex, "candidates", unfiltered)


def counting_nothing_as_missing(patch: Patch) -> None:
    """Nothing is ever missing from the other space, whatever was added since it was filled."""
    patch.setattr(SpaceUpgrade, "_count", lambda *_: 0)


def backing_up_all_but_one(patch: Patch) -> None:
    """The catalogue of a backup lacks the newest image."""
    slimmed = backup._slimmed

    def without_newest(path: Path) -> Any:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM image WHERE id = (SELECT max(id) FROM image)")
        return slimmed(path)

    patch.setattr(backup, "_slimmed", without_newest)


def dropping_embeddings_in_use(patch: Patch) -> None:
    def drop(store: Store) -> int:
        with store.database.writing() as connection:
            return connection.execute(delete(embedding)).rowcount

    patch.setattr(compaction, "_drop_embeddings", drop)


def naming_whatever_was_built(patch: Patch) -> None:
    patch.setattr("search.finding.generations.may_be_named", lambda *_: True)


def trusting_what_was_looked_up(patch: Patch) -> None:
    patch.setattr("search.storing.commits._require_embedded", lambda *_: None)


def without_looking_again(patch: Patch) -> None:
    """Before files are moved."""
    patch.setattr(verifying, "require_as_planned", lambda *_: None)
    patch.setattr(verifying, "have_same_bytes", lambda *_: True)
    patch.setattr(verifying.Verifier, "_require_sha256", lambda *_: None)


def without_looking_again_before_deleting(patch: Patch) -> None:
    patch.setattr(purge_quarantine, "require_another_copy", lambda *_: None)


def without_settling(patch: Patch) -> None:
    """What a killed process left between an intent and its outcome."""
    patch.setattr(undo_plan, "settle", lambda journal: history.history(journal.lines))
