"""Removing what vanished: tombstones, and the guards before them."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.jobs.index_images import IndexOptions
from indexer.sources.found import Source
from indexer.sources.pruning import Vanished, refusal
from indexer.sources.sources import resolve
from search.errors import UsageError
from search.finding.snapshot import SnapshotReader
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.conftest import Draw
from tests.fakes import FAKE_DIMS, new_image, unit
from tests.jobs import index, stored

PRUNE = IndexOptions(batch_size=8, prune=True)
HERE = [Source("/p", "folder", named=True, uri="file:///p")]


@pytest.fixture
def forty(local_store: Store, photos: Path, draw: Draw) -> Path:
    """Forty pictures, all indexed."""
    for number in range(40):
        draw(f"{number:02}.png", number)
    index(local_store, photos)
    return photos


def test_vanished_images_are_removed_when_that_is_asked_for(local_store: Store, forty: Path) -> None:
    (forty / "07.png").unlink()
    assert index(local_store, forty).counts.removed == 0
    summary = index(local_store, forty, options=PRUNE)
    assert (summary.counts.vanished, summary.counts.removed, summary.refused) == (1, 1, None)
    assert summary.as_json()["removed"] == 1
    assert len(stored(local_store)) == 39
    status = collection_status(local_store, local_store.catalogue.collection("default"))
    assert (status.images, status.searchable, status.tombstones) == (39, 39, 1)
    assert verify(local_store, deep=True) == []
    assert index(local_store, forty, options=PRUNE).counts.vanished == 0


def test_a_removed_file_that_comes_back_is_a_new_image_without_a_new_embedding(local_store: Store, forty: Path) -> None:
    data = (forty / "07.png").read_bytes()
    (forty / "07.png").unlink()
    index(local_store, forty, options=PRUNE)
    (forty / "07.png").write_bytes(data)
    counts = index(local_store, forty, options=PRUNE).counts
    assert (counts.indexed, counts.removed) == (1, 0)
    assert len(stored(local_store)) == 40


def test_a_moved_file_is_not_removed(local_store: Store, forty: Path) -> None:
    (forty / "07.png").rename(forty / "moved.png")
    counts = index(local_store, forty, options=PRUNE).counts
    assert (counts.moved, counts.vanished, counts.removed) == (1, 0, 0)


def test_too_many_vanished_at_once_are_kept_until_the_user_says_how_many(local_store: Store, forty: Path) -> None:
    for number in range(10):
        (forty / f"{number:02}.png").unlink()
    summary = index(local_store, forty, options=PRUNE)
    assert (summary.counts.vanished, summary.counts.removed) == (10, 0)
    assert summary.refused is not None
    assert "10 of 40 images have vanished, more than 5 % or 1,000" in summary.refused
    assert "--max-fraction 0.25" in summary.refused
    assert summary.as_json()["refused"] == summary.refused
    assert len(stored(local_store)) == 40
    agreed = IndexOptions(batch_size=8, prune=True, max_fraction=0.25)
    assert index(local_store, forty, options=agreed).counts.removed == 10


@pytest.mark.parametrize(
    ("missing", "known", "fraction", "refused"),
    [
        (5, 100, None, False),
        (6, 100, None, True),
        (1000, 100_000, None, False),
        (1001, 100_000, None, True),
        (1001, 100_000, 0.02, False),
        (3, 100, 0.02, True),
        (100, 100, 1.0, False),
        (1, 100, 0.0, True),
        (0, 0, None, False),
    ],
)
def test_the_guard_refuses_exactly_above_its_limits(
    missing: int, known: int, fraction: float | None, refused: bool
) -> None:
    assert (refusal(Vanished(range(missing), known), HERE, fraction) is not None) == refused


def test_an_emptied_folder_may_be_a_mount_point_and_nothing_is_removed(local_store: Store, forty: Path) -> None:
    for path in forty.iterdir():
        path.unlink()
    everything = IndexOptions(batch_size=8, prune=True, max_fraction=1.0)
    summary = index(local_store, forty, options=everything)
    assert (summary.counts.vanished, summary.counts.removed) == (40, 0)
    assert summary.refused is not None
    assert "mount point" in summary.refused


def test_a_missing_root_is_offline_and_the_other_sources_are_indexed(
    local_store: Store, forty: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    forty.rename(other)
    (other / "00.png").rename(other / "first.png")
    summary = index(local_store, forty, other, options=PRUNE)
    assert summary.offline == (forty.as_uri(),)
    assert summary.refused is not None
    assert "offline" in summary.refused
    assert summary.counts.removed == 0
    assert summary.counts.seen == 40


def test_a_missing_place_that_never_was_indexed_is_a_mistake(local_store: Store, forty: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        index(local_store, forty.parent / "photo")  # not a folder above what is known, though its name begins alike
    with pytest.raises(UsageError, match="No such file"):
        resolve([str(forty.parent / "photo")])


def test_an_unreadable_folder_hides_its_images_and_removes_none(
    local_store: Store, forty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir: Callable[..., object] = os.scandir

    def broken(path: str) -> object:
        if str(path) == str(forty):
            raise OSError(5, "Input/output error")
        return scandir(path)

    monkeypatch.setattr("indexer.sources.local_files.os.scandir", broken)
    everything = IndexOptions(batch_size=8, prune=True, max_fraction=1.0)
    summary = index(local_store, forty, options=everything)
    assert summary.counts.removed == 0
    assert summary.refused is not None
    assert "Input/output error" in summary.refused


def test_tombstones_are_a_commit_of_their_own_on_every_database(store: Store, target: Collection) -> None:
    committer = Committer(store.database, store.blobs, target)
    names = ["a", "b", "c"]
    rows = [unit(*([0.0] * at), 1.0, *([0.0] * (FAKE_DIMS - 1 - at))) for at in range(3)]
    import numpy as np

    committer.commit(Batch([new_image(name) for name in names], np.concatenate(rows)))
    reader = SnapshotReader(store.database, store.blobs, target)
    first, second, third = reader.current().delta.ids.tolist()
    assert committer.remove([first, third, 999]) == 2
    assert reader.current().delta.ids.tolist() == [second]
    assert committer.remove([first]) == 0
    assert store.catalogue.collection("default").sequence == 3
    assert verify(store, deep=True) == []


def test_excluded_files_stay_what_they_are(local_store: Store, forty: Path) -> None:
    summary = index(local_store, forty, exclude=["0*.png"], options=PRUNE)
    assert (summary.counts.unchanged, summary.counts.vanished, summary.counts.ignored) == (30, 0, 10)
    assert len(stored(local_store)) == 40


def test_a_disk_that_fails_while_removing_removes_nothing(
    local_store: Store, forty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (forty / "07.png").unlink()
    target = local_store.catalogue.collection("default")
    committer = Committer(local_store.database, local_store.blobs, target)
    ids = [image_id for image_id, _ in local_store.catalogue.uris(target.id)]
    monkeypatch.setattr("search.faults._hits", Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", "commit.end:1:enospc")
    with pytest.raises(OSError, match="No space left"):
        committer.remove(ids[:2])
    monkeypatch.delenv("LOOKALIKE_FAULT")
    assert len(stored(local_store)) == 40
    assert index(local_store, forty, options=PRUNE).counts.removed == 1
