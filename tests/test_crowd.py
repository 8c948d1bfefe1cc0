"""More near pairs than are kept: what is listed and what a crowd answers are together those of brute force."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.duplicates.candidates import Candidates
from search.duplicates.find_duplicates import find_duplicates
from search.duplicates.find_leaks import find_leaks
from search.duplicates.report import DuplicateRequest
from search.embeddings import unit_rows
from search.index.crowd import Crowd, TooManyPairs
from search.index.gpu_pairs import GpuPairs
from search.index.pair_finder import NearPairs, PairFinder
from search.pairing import near_pairs as module
from search.pairing.crowded_pairs import CrowdedPairs
from search.pairing.known_pairs import FoundPairs
from search.pairing.near_pairs import near_pairs
from search.pairing.pair_file import BetweenFile, PairFile
from search.pairing.pairs_between import pairs_between
from search.records import Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.faiss_gpu_stand_ins import StandInGpu
from tests.fakes import facts, new_image, unit
from tests.test_find_leaks import SPACE, filled, snapshot
from tests.test_near_pairs import THRESHOLD, Album, brute_force, told
from tests.test_pair_finders import clustered
from tests.test_pairs_between import brute_force as brute_force_between

MOST = 300
FRAMES = 90  # of one scene: 4,005 pairs


@pytest.fixture(autouse=True)
def few_pairs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.index.crowd.MOST_PAIRS", MOST)


def burst(frames: int = FRAMES) -> Embeddings:
    """Return frames of one scene among pictures that have few near ones."""
    rows = clustered(100)
    scene = np.random.default_rng(3).standard_normal(rows.shape[1])
    noise = np.random.default_rng(4).standard_normal((frames, rows.shape[1]))
    frames_of_it = unit_rows(scene / np.linalg.norm(scene) + 0.1 * noise / np.linalg.norm(noise, axis=1)[:, None])
    return np.concatenate([rows[:50], frames_of_it.astype(np.float32), rows[50:]])


def everything(found: FoundPairs) -> dict[tuple[int, int], float]:
    """Return the pairs that are listed and those that the crowd answers, after a look whether the lists are short."""
    pairs = told(found)
    assert len(pairs) <= MOST
    assert found.crowd is not None
    for asked in found.crowd.names[0].tolist():
        for other, score in zip(*(each.tolist() for each in found.crowd.of(asked)), strict=True):
            pair = (min(asked, other), max(asked, other))
            assert pairs.setdefault(pair, score) == score
    return pairs


def test_a_crowd_lets_in_whoever_has_most_pairs() -> None:
    # 0 to 29 are all near to each other (435 pairs), 30 is near to 31: of that pair nothing is left out.
    one, other = np.triu_indices(30, 1)
    one, other = np.append(one, 30), np.append(other, 31)
    crowd = Crowd.of(np.zeros(32, np.bool_))
    kept = crowd.kept(one, other)
    assert crowd.left.tolist() == [True] * 30 + [False, False]
    assert np.argwhere(kept).ravel().tolist() == [435]
    assert crowd.right is crowd.left


@pytest.mark.parametrize("exact_rows", [10**6, 0], ids=["exact", "lists"])
@pytest.mark.parametrize("finder", [None, GpuPairs(StandInGpu(), query_rows=70, device_rows=130)], ids=["cpu", "gpu"])
def test_listed_and_answered_pairs_are_those_of_brute_force(
    exact_rows: int, finder: PairFinder | None, file: PairFile
) -> None:
    album = Album.of(burst())
    found = near_pairs(album, THRESHOLD, file=file, finder=finder, exact_rows=exact_rows)
    expected = brute_force(album)
    assert len(expected) > 10 * MOST
    assert everything(found) == expected
    if found.recall is not None:
        assert found.recall.found == found.recall.pairs
    # Frames that come and go, and another threshold, take the same file.
    album.embeddings |= Album.of(burst()[45:75], first=500).embeddings
    for gone in (3, 60, 61):
        del album.embeddings[gone]
    found = near_pairs(album, THRESHOLD, file=file, finder=finder, exact_rows=exact_rows)
    assert found.compared == 30
    assert everything(found) == brute_force(album)
    found = near_pairs(album, 0.985, file=file, exact_rows=exact_rows)
    assert found.compared == 0
    assert everything(found) == brute_force(album, 0.985)


@pytest.fixture
def file(tmp_path: Path) -> PairFile:
    return PairFile(tmp_path / "pairs", 1, "a space")


def test_pieces_of_a_run_keep_no_more_than_its_whole(file: PairFile, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each part of a GPU's work finds fewer pairs than are kept, all of them together more.
    monkeypatch.setattr(module, "GPU_ROWS", 8)
    album = Album.of(burst(20))
    found = near_pairs(album, THRESHOLD, file=file, finder=GpuPairs(StandInGpu(), query_rows=70, device_rows=130))
    monkeypatch.setattr("search.index.crowd.MOST_PAIRS", 100)
    assert told(found) == brute_force(album)
    again = near_pairs(album, THRESHOLD, file=file)
    assert len(told(again)) <= 100
    assert everything(again) == brute_force(album)
    album.embeddings |= Album.of(burst(20)[60:62], first=500).embeddings
    grown = near_pairs(album, THRESHOLD, file=file, finder=GpuPairs(StandInGpu(), query_rows=70, device_rows=130))
    assert len(told(grown)) <= 100
    assert everything(grown) == brute_force(album)


@pytest.mark.parametrize("exact_pairs", [10**9, 0], ids=["exact", "lists"])
@pytest.mark.parametrize("finder", [None, GpuPairs(StandInGpu(), query_rows=70, device_rows=130)], ids=["cpu", "gpu"])
def test_a_crowd_between_two_collections_answers_for_the_right_one(
    exact_pairs: int, finder: PairFinder | None, tmp_path: Path
) -> None:
    rows = burst()
    left, right = Album.of(rows[::2]), Album.of(rows[1::2], first=1_001)
    file = BetweenFile(tmp_path / "pairs", 1, 2, "a space")
    find: Callable[[], FoundPairs] = lambda: pairs_between(  # noqa: E731
        (left, right), THRESHOLD, file=file, finder=finder, exact_pairs=exact_pairs
    )
    found = find()
    assert found.crowd is not None
    assert set(found.crowd.names[0].tolist()) <= set(right.embeddings)
    assert everything(found) == brute_force_between(left, right)
    more = left.embeddings.pop(30)
    assert everything(find()) == brute_force_between(left, right)
    left.embeddings[400] = more
    assert everything(find()) == brute_force_between(left, right)


def test_candidates_are_the_same_with_a_crowd_and_without(monkeypatch: pytest.MonkeyPatch) -> None:
    album = Album.of(burst(), first=0)
    found = near_pairs(album, THRESHOLD)
    assert found.crowd is not None
    short = Candidates(len(album), NearPairs(found.one, found.other, found.scores), found.crowd)
    monkeypatch.setattr("search.index.crowd.MOST_PAIRS", 10**6)
    whole = near_pairs(album, THRESHOLD)
    assert whole.crowd is None
    full = Candidates(len(album), NearPairs(whole.one, whole.other, whole.scores))
    for picture in range(len(album)):
        assert [each.tolist() for each in short.of(picture)] == [each.tolist() for each in full.of(picture)]
        assert short.has_any(picture) == full.has_any(picture)
    both = found.crowd.names[0][:2].tolist()  # listed as well, as what people said is
    one, other = (np.array([each]) for each in both)
    said = Candidates(len(album), NearPairs(one, other, np.ones(1, np.float32)), found.crowd)
    assert said.of(both[0])[0].tolist().count(both[1]) == 1


def test_whoever_knows_of_no_crowd_is_refused() -> None:
    with pytest.raises(TooManyPairs, match=r"more than 300 pairs score at least 0\.90: choose a higher threshold"):
        GpuPairs(StandInGpu(), query_rows=70, device_rows=130).pairs(burst(), THRESHOLD)


def scene(name: str, images: int) -> dict[str, tuple[float, float]]:
    """Return near images: each its own angle, within a degree and a bit."""
    angles = np.linspace(0.0, 0.02, images)
    return {f"{name}{number}": (float(np.cos(one)), float(np.sin(one))) for number, one in enumerate(angles)}


def test_groups_and_leaks_are_the_same_with_a_crowd_and_without(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train", "test"):  # pictures that show nothing come first, so that numbers and places differ
        target = local_store.open_collection(name, SPACE)
        blank = replace(facts(f"blank {name}"), contrast=0.0)
        batch = Batch([new_image(f"{name}/blank", blank)], unit(1.0, 0.0))
        Committer(local_store.database, local_store.blobs, target).commit(batch)
    train, test = (
        filled(local_store, "train", SPACE, **scene("a", 60)),
        filled(local_store, "test", SPACE, **scene("b", 40)),
    )
    request = DuplicateRequest(0.99999, 0.99999)

    def found() -> list[object]:
        groups = find_duplicates(snapshot(local_store, train), local_store.catalogue, request).groups
        across = find_leaks(snapshot(local_store, train), snapshot(local_store, test), local_store.catalogue, request)
        return [*groups, *across.groups]

    crowded = found()
    assert len(crowded) > 4
    with monkeypatch.context() as patch:  # unless the crowd is asked, this test says nothing
        patch.setattr(CrowdedPairs, "of", lambda self, name: (np.empty(0, np.int64), np.empty(0, np.float32)))
        assert found() != crowded
    monkeypatch.setattr("search.index.crowd.MOST_PAIRS", 10**6)
    assert found() == crowded
