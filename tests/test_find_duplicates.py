"""Exact and near copies, against brute force."""

import numpy as np
import pytest

from api.workspace import Workspace
from search.duplicates.find_duplicates import find_duplicates
from search.duplicates.groups import DuplicateGroup
from search.duplicates.report import DuplicateRequest
from search.embeddings import unit_rows
from search.finding.find_similar import QueryContent, Wanted, find_similar
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.index.cpu_pairs import CpuPairs
from search.index.pair_finder import NearPairs, Progress
from search.records import Collection, ContentFacts, Embeddings
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, facts, new_image, unit


@pytest.fixture
def local(local_store: Store) -> Collection:
    from search.records import SpaceSpec

    return local_store.open_collection("default", SpaceSpec("axes", "0" * 64, "{}", 2))


def commit(store: Store, target: Collection, *items: tuple[str, Embeddings, ContentFacts]) -> None:
    images = [new_image(name, content) for name, _, content in items]
    Committer(store.database, store.blobs, target).commit(Batch(images, np.concatenate([row for _, row, _ in items])))


def groups_of(store: Store, target: Collection, threshold: float) -> list[list[str]]:
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    report = find_duplicates(snapshot, store.catalogue, DuplicateRequest(threshold, threshold))
    return [names(group) for group in report.groups]


def names(group: DuplicateGroup) -> list[str]:
    return [image.uri.rsplit("/", maxsplit=1)[1] for image in (group.keeper, *(m.image for m in group.members))]


def test_near_copies_meet_at_the_threshold_and_not_below(local_store: Store, local: Collection) -> None:
    # cos(a, b) = 0.8 exactly as 4/5; c is at a right angle to a.
    commit(
        local_store,
        local,
        ("a", unit(1, 0), facts("a", width=300)),
        ("b", unit(4, 3), facts("b")),
        ("c", unit(0, 1), facts("c")),
    )
    assert groups_of(local_store, local, 0.79) == [["a", "b"]]
    assert groups_of(local_store, local, 0.81) == []


def test_the_same_pixels_in_another_file_are_identical_whatever_the_threshold(
    local_store: Store, local: Collection
) -> None:
    commit(
        local_store,
        local,
        ("a.png", unit(1, 0), facts("a.png", pixels="same", width=300)),
        ("a.bmp", unit(1, 0), facts("a.bmp", pixels="same", width=300)),
    )
    snapshot = SnapshotReader(local_store.database, local_store.blobs, local).current()
    report = find_duplicates(snapshot, local_store.catalogue, DuplicateRequest(1.0, 1.0))
    assert [(m.relation, m.score) for m in report.groups[0].members] == [("identical", 1.0)]
    assert report.bytes_reclaimable == 1000


def test_blank_pictures_are_never_near_copies(local_store: Store, local: Collection) -> None:
    commit(
        local_store,
        local,
        ("white", unit(1, 0), facts("white", contrast=0.0)),
        ("grey", unit(1, 0), facts("grey", contrast=1.0)),
    )
    assert groups_of(local_store, local, 0.5) == []


def test_all_pairs_are_found_as_by_brute_force(store: Store, target: Collection) -> None:
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(20, FAKE_DIMS))
    embeddings = unit_rows(np.repeat(centres, 5, axis=0) + rng.normal(scale=0.3, size=(100, FAKE_DIMS)))
    images = [new_image(str(number)) for number in range(100)]
    Committer(store.database, store.blobs, target).commit(Batch(images, embeddings))
    threshold = 0.88
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    report = find_duplicates(snapshot, store.catalogue, DuplicateRequest(threshold, threshold))
    stored = snapshot.rows()[1]
    near = stored @ stored.T >= threshold
    in_groups = {image.id - 1 for group in report.groups for image in (group.keeper, *(m.image for m in group.members))}
    assert {int(row) for row in np.flatnonzero(near.sum(axis=1) > 1)} >= in_groups
    for group in report.groups:
        for member in group.members:
            assert near[group.keeper.id - 1, member.image.id - 1]
    # Whoever is in no group has no free neighbour left outside a group.
    outside = sorted(set(range(100)) - in_groups)
    assert not (near[np.ix_(outside, outside)] & ~np.eye(len(outside), dtype=bool)).any()


class Watched:
    """Compares like the CPU, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.between, self.nearest = CpuPairs().between, CpuPairs().nearest

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        self.asked.append(len(embeddings))
        return CpuPairs().pairs(embeddings, threshold, progress)


def test_a_job_compares_with_what_its_main_chose(
    local_store: Store, local: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(local_store, local, ("a", unit(1, 0), facts("a")), ("b", unit(1, 0), facts("b")))
    finder = Watched()
    chosen: list[tuple[int, str]] = []

    def choose(images: int, device: str) -> Watched:
        chosen.append((images, device))
        return finder

    monkeypatch.setattr("api.pair_finders.pair_finder", choose)
    with Workspace(local_store.root, device="cpu") as workspace:
        assert len(workspace.duplicates.find(workspace.collection("default"), 0.9).groups) == 1
    assert (chosen, finder.asked) == ([(2, "cpu")], [2])


def test_a_match_with_the_same_bytes_or_pixels_is_identical(local_store: Store, local: Collection) -> None:
    commit(
        local_store,
        local,
        ("a", unit(1, 0), facts("a", pixels="same")),
        ("b", unit(1, 0), facts("b", pixels="same")),
        ("c", unit(4, 3), facts("c")),
        ("d", unit(0, 1), facts("d")),
    )
    snapshot = SnapshotReader(local_store.database, local_store.blobs, local).current()
    query = QueryContent(facts("a").sha256, facts("a", pixels="same").pixel_hash)
    found = find_similar(snapshot, local_store.catalogue, unit(1, 0), query, Wanted(k=4, threshold=0.7))
    assert [match.relation for match in found] == ["identical", "identical", "probable", "similar"]
    assert [match.image.id for match in found] == [1, 2, 3, 4]


def test_min_score_cuts_the_ranking(local_store: Store, local: Collection) -> None:
    commit(local_store, local, ("a", unit(1, 0), facts("a")), ("b", unit(0, 1), facts("b")))
    snapshot = SnapshotReader(local_store.database, local_store.blobs, local).current()
    found = find_similar(snapshot, local_store.catalogue, unit(1, 0), None, Wanted(k=5, min_score=0.5))
    assert [match.image.id for match in found] == [1]


def test_what_was_removed_is_not_looked_at_again(local_store: Store, local: Collection) -> None:
    pictures = [(str(number), unit(1, number), facts(str(number))) for number in range(30)]
    commit(local_store, local, *pictures)
    Generations(local_store.database, local_store.blobs, local).publish(
        local_store.catalogue.collection("default").sequence
    )
    remove_images(local_store.database, local, [1, 30])
    snapshot = SnapshotReader(local_store.database, local_store.blobs, local).current()
    report = find_duplicates(snapshot, local_store.catalogue, DuplicateRequest(None, 0.5, ceiling=0.9))
    assert report.images == 28
