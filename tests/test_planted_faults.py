"""The tests of durability and truth are tested themselves: without a safeguard, the named check fails.

Each plant takes one safeguard out of the code; each check is what an ordinary test asserts.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy import delete, select

from search.blobs.blobs import LocalBlobs
from search.blobs.segments import write_segment
from search.database.tables import embedding, image
from search.errors import LookalikeError
from search.finding.generation_parts import StoredRows
from search.finding.snapshot import SnapshotReader
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.store import Store
from search.upkeep import compaction
from tests import fault_worker, planned_trees, plants, test_bit_flips
from tests.fakes import new_image
from tests.fault_worker import DIMS, add, open_store, publish, remove
from tests.power_loss import violations_after_power_loss
from tests.store_machine import ApproximateMachine, SettledMachine, StoreMachine
from tests.test_store_machine import ORDINARY

LONGER = settings(ORDINARY, max_examples=50, phases=[Phase.generate], report_multiple_bugs=False)
Patch = pytest.MonkeyPatch
Check = Callable[[Path], None]


def machine(_folder: Path) -> None:
    """tests/test_store_machine.py, a little longer; the first failure is enough."""
    run_state_machine_as_test(SettledMachine, settings=LONGER)


def moving_machine(_folder: Path) -> None:
    """The same with backups and other spaces."""
    run_state_machine_as_test(StoreMachine, settings=LONGER)


def approximate_machine(_folder: Path) -> None:
    """tests/test_store_machine.py, with approximate indexes."""
    run_state_machine_as_test(ApproximateMachine, settings=LONGER)


def seeded(kind: type[StoreMachine], number: int) -> Check:
    """The same from another beginning, where the ordinary one takes five times as long to stumble."""

    def check(_folder: Path) -> None:
        machine = seed(number)(type("SeededMachine", (kind,), {}))
        run_state_machine_as_test(machine, settings=settings(LONGER, derandomize=False))

    return check


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
    parts_of = StoredRows.parts

    def parts_while_compacted(self: Any) -> Any:
        patch.undo()
        parts = list(parts_of(self))
        remove(folder, store, target, ["a", "b"])
        compaction.compact(store)
        return iter(parts)

    with store, pytest.MonkeyPatch.context() as patch:
        add(folder, store, target, ["a", "b"])
        patch.setattr(StoredRows, "parts", parts_while_compacted)
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


def planned_trees_until_one_fails(folder: Path) -> None:
    """tests/test_planned_trees.py."""
    empty = folder / "empty"
    Store.create(empty).close()
    for first in range(300):
        assert planned_trees.violations(empty, folder, range(first, first + 1)) == []


def nothing(_patch: Patch) -> None:
    """The check itself is sound."""


SQL_CHECKS = (machine, failed_commit, sweep_beside_a_commit, removal_beside_a_build, copy_beside_a_compaction)
# Safeguard: the plant, the check, and what the check then complains about.
PLANTED: dict[str, tuple[Callable[[Patch], None], Check, str]] = {
    "fsync": (nothing, power_cut("fsync"), "damaged|missing|bytes"),
    "fsync of the folder": (nothing, power_cut("folder"), "missing"),
    "rename": (plants.without_rename, power_cut(), "missing"),
    "checksum": (plants.without_checksum, flipped_bits, "bit"),
    "checksum of store.toml": (
        plants.without_sums,
        flipped_settings,
        "byte",
    ),
    "checksum of a manifest": (
        plants.without_sums,
        flipped_manifest,
        "byte",
    ),
    "order of acknowledgement": (plants.acknowledging_first, failed_commit, "acknowledged and is lost"),
    "age guard": (plants.without_age_guard, sweep_beside_a_commit, "missing"),
    "commit sequence of a removal": (plants.without_a_commit_sequence, machine, "mismatch|was named"),
    "tombstones": (plants.without_tombstones, machine, "mismatch|was named"),
    "order of copied rows": (plants.with_rows_off_by_one, machine, "ismatch"),
    "segments that an index reads": (
        plants.forgetting_segments_in_use,
        seeded(SettledMachine, 3),
        "not there|tombstones are left",
    ),
    "masking of removed images": (plants.without_masking, machine, "ismatch|was named"),
    "living images of an approximate index": (
        plants.without_the_living,
        seeded(ApproximateMachine, 6),
        "ismatch|was named",
    ),
    "mask of the delta": (plants.without_the_mask_of_the_delta, approximate_machine, "ismatch|was named"),
    "filter of an approximate index": (plants.without_the_filter, seeded(ApproximateMachine, 1), "filter leaves out"),
    "missing images of a promoted space": (plants.counting_nothing_as_missing, moving_machine, "ismatch"),
    "images of a backup": (plants.backing_up_all_but_one, seeded(StoreMachine, 4), "missing from the catalogue"),
    "embeddings in use": (plants.dropping_embeddings_in_use, seeded(SettledMachine, 5), "mismatch"),
    "index built meanwhile": (plants.naming_whatever_was_built, removal_beside_a_build, "2 == 0"),
    "last copy": (plants.without_looking_again_before_deleting, planned_trees_until_one_fails, "it was the last copy"),
    "what a kill left": (plants.without_settling, planned_trees_until_one_fails, "is left|->"),
    "content dropped meanwhile": (plants.trusting_what_was_looked_up, copy_beside_a_compaction, "1 == 2"),
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
    if check in SQL_CHECKS or name in LATE or name == "embeddings in use"
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
