"""The tests of durability and truth are tested themselves: without a safeguard, the named check fails.

Each plant takes one safeguard out of the code; each check is what an ordinary test asserts.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import Connection, delete, select

from search.blobs.blobs import LocalBlobs
from search.blobs.checksums import _OpenFile, _OpenMap
from search.blobs.segments import write_segment
from search.database.tables import collection, embedding, image
from search.errors import LookalikeError
from search.finding import generations
from search.finding.snapshot import Snapshot, SnapshotReader
from search.storing import removals
from search.storing.catalogue import Catalogue, Located
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.store import Store
from search.upkeep import compaction, merging
from tests import fault_worker, test_bit_flips
from tests.fakes import new_image
from tests.fault_worker import DIMS, add, open_store, publish, remove
from tests.power_loss import violations_after_power_loss
from tests.test_store_machine import ORDINARY, StoreMachine

Patch = pytest.MonkeyPatch
Check = Callable[[Path], None]


def machine(_folder: Path) -> None:
    """tests/test_store_machine.py, a little longer; the first failure is enough."""
    found = settings(ORDINARY, max_examples=50, phases=[Phase.generate], report_multiple_bugs=False)
    run_state_machine_as_test(StoreMachine, settings=found)


def power_cut(*unseen: Any) -> Check:
    """tests/test_power_loss.py, on a disk that does not get to know some calls."""

    def check(folder: Path) -> None:
        assert violations_after_power_loss(folder, 60, unseen) == []

    return check


def flipped_bits(folder: Path) -> None:
    """tests/test_bit_flips.py."""
    assert test_bit_flips.undetected(folder, 100) == []


def flipped_settings(folder: Path) -> None:
    """tests/test_bit_flips.py."""
    test_bit_flips.test_no_flipped_bit_of_store_toml_leads_to_another_place(folder)


def flipped_manifest(folder: Path) -> None:
    """tests/test_bit_flips.py."""
    test_bit_flips.test_every_flipped_bit_of_a_backups_manifest_is_found(folder)


def failed_commit(folder: Path) -> None:
    """tests/journeys/test_faults.py, at the end of the second commit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.faults._hits", {"commit.end": 0})
        patch.setenv("LOOKALIKE_FAULT", "commit.end:2:eio")
        with pytest.raises(OSError, match="Input/output"):
            fault_worker.everything(folder)
    assert fault_worker.violations(folder) == []


def sweep_beside_a_commit(folder: Path) -> None:
    """A sweep in another process leaves the segment alone that a commit is about to name."""
    store, target = open_store(folder)
    write = write_segment

    def write_and_sweep(*arguments: Any) -> Any:
        written = write(*arguments)
        store.sweep()
        return written

    with store, pytest.MonkeyPatch.context() as patch:
        # As with object storage, where a segment is durable before the commit takes its lock.
        patch.setattr(LocalBlobs, "quick", False)
        patch.setattr("search.storing.commits.write_segment", write_and_sweep)
        add(folder, store, target, ["a"])
        assert fault_worker.violations(folder) == []


def removal_beside_a_build(folder: Path) -> None:
    """tests/test_compaction.py: an index that was built meanwhile does not bring images back."""
    store, target = open_store(folder)
    parts_of = generations._Stored.parts

    def parts_while_compacted(self: Any) -> Any:
        patch.undo()
        parts = list(parts_of(self))
        remove(folder, store, target, ["a", "b"])
        compaction.compact(store)
        return iter(parts)

    with store, pytest.MonkeyPatch.context() as patch:
        add(folder, store, target, ["a", "b"])
        patch.setattr(generations._Stored, "parts", parts_while_compacted)
        publish(store, target)
        assert len(SnapshotReader(store.database, store.blobs, target).current()) == 0


def copy_beside_a_compaction(folder: Path) -> None:
    """tests/test_removals.py: a copy of a content that is dropped meanwhile is refused, or found."""
    store, target = open_store(folder)
    with store:
        add(folder, store, target, ["a", "b"])
        with store.database.writing() as connection:
            content_id = connection.execute(select(image.c.content_id).where(image.c.key.like("%a"))).scalar_one()
            connection.execute(delete(embedding).where(embedding.c.content_id == content_id))
            connection.execute(delete(image).where(image.c.content_id == content_id))
        committer = Committer(store.database, store.blobs, target)
        try:
            committer.commit(Batch([new_image("copy", content_id)], no_embeddings(DIMS)))
        except Exception as error:  # noqa: BLE001 -- any refusal will do, but it must be told
            assert "run again" in str(error)
        living = store.catalogue.count_images(target.id)
        assert len(SnapshotReader(store.database, store.blobs, target).current()) == living


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

    def unmasked(self: Snapshot, *arguments: Any) -> None:
        made(self, *arguments)
        self._stale = np.empty(0, np.int64)

    patch.setattr(Snapshot, "__init__", unmasked)


def dropping_embeddings_in_use(patch: Patch) -> None:
    def drop(store: Store) -> int:
        with store.database.writing() as connection:
            return connection.execute(delete(embedding)).rowcount

    patch.setattr(compaction, "_drop_embeddings", drop)


def naming_whatever_was_built(patch: Patch) -> None:
    patch.setattr("search.finding.generations.may_be_named", lambda *_: True)


def trusting_what_was_looked_up(patch: Patch) -> None:
    patch.setattr("search.storing.commits._require_embedded", lambda *_: None)


def nothing(_patch: Patch) -> None:
    """The check itself is sound."""


SQL_CHECKS = (machine, failed_commit, sweep_beside_a_commit, removal_beside_a_build, copy_beside_a_compaction)
# Safeguard: the plant, the check, and what the check then complains about.
PLANTED: dict[str, tuple[Callable[[Patch], None], Check, str]] = {
    "fsync": (nothing, power_cut("fsync"), "damaged|missing|bytes"),
    "fsync of the folder": (nothing, power_cut("folder"), "missing"),
    "rename": (without_rename, power_cut(), "missing"),
    "checksum": (without_checksum, flipped_bits, "bit"),
    "checksum of store.toml": (
        without_sums,
        flipped_settings,
        "byte",
    ),
    "checksum of a manifest": (
        without_sums,
        flipped_manifest,
        "byte",
    ),
    "order of acknowledgement": (acknowledging_first, failed_commit, "acknowledged and is lost"),
    "age guard": (without_age_guard, sweep_beside_a_commit, "missing"),
    "commit sequence of a removal": (without_a_commit_sequence, machine, "mismatch|was named"),
    "tombstones": (without_tombstones, machine, "mismatch|was named"),
    "order of copied rows": (with_rows_off_by_one, machine, "ismatch"),
    "segments that an index reads": (forgetting_segments_in_use, machine, "not there"),
    "masking of removed images": (without_masking, machine, "ismatch|was named"),
    "embeddings in use": (dropping_embeddings_in_use, machine, "mismatch"),
    "index built meanwhile": (naming_whatever_was_built, removal_beside_a_build, "2 == 0"),
    "content dropped meanwhile": (trusting_what_was_looked_up, copy_beside_a_compaction, "1 == 2"),
}


# Those that SQL has a part in. The machine takes longest to stumble over the slow ones.
LATE = (
    "fsync of the folder",
    "commit sequence of a removal",
    "tombstones",
    "order of copied rows",
    "segments that an index reads",
)
ON_POSTGRESQL = [
    pytest.param(name, marks=pytest.mark.slow if name in LATE else ())
    for name, (_, check, _) in PLANTED.items()
    if check in SQL_CHECKS or name in LATE
]


@pytest.mark.parametrize("safeguard", PLANTED)
def test_without_a_safeguard_the_check_fails(safeguard: str, quick_folder: Path, monkeypatch: Patch) -> None:
    fails_without(safeguard, quick_folder, monkeypatch)


def fails_without(safeguard: str, quick_folder: Path, monkeypatch: Patch) -> None:
    plant, check, complaint = PLANTED[safeguard]
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises((AssertionError, LookalikeError)) as caught:
            check(quick_folder)
    assert re.search(complaint, str(caught.value)), f"it failed for another reason: {caught.value}"


@pytest.mark.parametrize(
    "check", [failed_commit, sweep_beside_a_commit, removal_beside_a_build, copy_beside_a_compaction]
)
def test_with_all_safeguards_these_checks_pass(check: Check, quick_folder: Path) -> None:
    check(quick_folder)


@pytest.mark.parametrize("safeguard", ON_POSTGRESQL)
@pytest.mark.usefixtures("on_postgresql")
def test_without_a_safeguard_the_check_fails_on_postgresql_too(
    safeguard: str, quick_folder: Path, monkeypatch: Patch
) -> None:
    fails_without(safeguard, quick_folder, monkeypatch)


@pytest.mark.parametrize(
    "check", [failed_commit, sweep_beside_a_commit, removal_beside_a_build, copy_beside_a_compaction]
)
@pytest.mark.usefixtures("on_postgresql")
def test_with_all_safeguards_these_checks_pass_on_postgresql_too(check: Check, quick_folder: Path) -> None:
    check(quick_folder)
