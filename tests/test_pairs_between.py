"""All pairs across two collections with what earlier runs found, against brute force."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from indexer.torch_pairs import TorchPairs
from search.index.gpu_pairs import GpuPairs
from search.index.pair_finder import PairFinder
from search.pairing import comparing, pairs_between
from search.pairing.known_pairs import FoundPairs
from search.pairing.pair_file import BetweenFile
from tests.faiss_gpu_stand_ins import StandInGpu
from tests.test_near_pairs import THRESHOLD, Album, told
from tests.test_pair_finders import all_scores, clustered

EXACT, LISTS = 10**9, 0
both_ways = pytest.mark.parametrize("exact_pairs", [EXACT, LISTS], ids=["exact", "lists"])


def brute_force(left: Album, right: Album, threshold: float = THRESHOLD) -> dict[tuple[int, int], float]:
    sides = [(album.ids, album.read(np.arange(len(album)))) for album in (left, right)]
    scores = all_scores(sides[0][1], sides[1][1])
    near = np.argwhere(scores >= np.float32(threshold)).tolist()
    return {(int(sides[0][0][a]), int(sides[1][0][b])): float(scores[a, b]) for a, b in near}


def two(left: int = 300, right: int = 200) -> tuple[Album, Album]:
    """Return albums of which some pictures are near to one another, within each and across."""
    return Album.of(clustered()[:left]), Album.of(clustered(500)[500 - right :], first=1_001)


@pytest.fixture
def file(tmp_path: Path) -> BetweenFile:
    return BetweenFile(tmp_path / "pairs", 1, 2, "a space")


Find = Callable[[Album, Album], FoundPairs]


def by(finder: PairFinder | None = None, exact_pairs: int = EXACT) -> Find:
    return lambda left, right: pairs_between.pairs_between(
        (left, right), THRESHOLD, finder=finder, exact_pairs=exact_pairs
    )


WAYS: dict[str, Find] = {
    "cpu": by(),
    "lists": by(exact_pairs=LISTS),
    "gpu": by(GpuPairs(StandInGpu(), query_rows=70, device_rows=130)),
    "torch": by(TorchPairs("cpu", height=70, width=130)),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("sizes", [(400, 150), (90, 310), (1, 400), (1, 30)])
def test_the_pairs_between_two_collections_are_those_of_brute_force(way: Find, sizes: tuple[int, int]) -> None:
    left, right = two(*sizes)
    found = way(left, right)
    assert told(found) == brute_force(left, right)
    assert found.compared == sum(sizes)


def test_an_empty_collection_has_no_pairs_and_fills_up_later(file: BetweenFile) -> None:
    class Filling(Album):
        dims = clustered().shape[1]

    full, right = two(300, 40)
    left = Filling({})
    assert told(pairs_between.pairs_between((left, right), THRESHOLD, file=file)) == {}
    left.embeddings |= full.embeddings
    found = pairs_between.pairs_between((left, right), THRESHOLD, file=file)
    assert (found.compared, told(found)) == (300, brute_force(left, right))


@both_ways
def test_a_second_run_compares_only_what_is_new_on_either_side(exact_pairs: int, file: BetweenFile) -> None:
    left, right = two()
    more, others = left.embeddings.pop(300), right.embeddings.pop(1_200)

    def find() -> FoundPairs:
        left.reads.clear()
        return pairs_between.pairs_between((left, right), THRESHOLD, file=file, exact_pairs=exact_pairs)

    assert find().compared == 498
    written = file.path.stat().st_mtime_ns
    assert find().compared == 0
    assert not left.reads
    assert file.path.stat().st_mtime_ns == written
    left.embeddings[300], right.embeddings[1_200] = more, others
    found, read = find(), set(left.reads)
    assert (found.compared, told(found)) == (2, brute_force(left, right))
    if exact_pairs == EXACT:  # the new one is read, and what may be near to the other
        assert 300 in read
        assert len(read) < 60


@both_ways
@pytest.mark.parametrize("located", [True, False], ids=["located", "by digest"])
def test_however_images_come_change_and_go_the_pairs_are_those_of_a_fresh_run(
    exact_pairs: int, located: bool, file: BetweenFile
) -> None:
    random = np.random.default_rng(1)
    rows = clustered(600)
    albums = (Album.of(rows[:120], 1), Album.of(rows[100:180], 5_000))
    for album in albums:
        album.located = located
    for _ in range(6):
        found = pairs_between.pairs_between(albums, THRESHOLD, file=file, exact_pairs=exact_pairs)
        assert told(found) == brute_force(*albums)
        for album in albums:
            for gone in random.choice(sorted(album.embeddings), 5, replace=False).tolist():
                del album.embeddings[gone]
            for changed in random.choice(sorted(album.embeddings), 5, replace=False).tolist():
                album.embeddings[changed] = rows[random.integers(600)]
            first = max(album.embeddings) + 1
            album.embeddings |= Album.of(rows[random.integers(0, 600, 20)], first).embeddings


class Killed(Exception):
    """Nothing catches it, as nothing catches SIGKILL."""


@both_ways
@pytest.mark.parametrize("stop", [KeyboardInterrupt, Killed])
def test_a_run_that_is_stopped_goes_on_where_it_was(
    exact_pairs: int, stop: type[BaseException], file: BetweenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 20 new rows at a time; what a kill may cost is what came since the last 30 seconds, here none.
    monkeypatch.setattr(pairs_between, "TILE_WIDTH", 20)
    monkeypatch.setattr(pairs_between, "VISITORS_AT_ONCE", 20)
    if stop is Killed:
        monkeypatch.setattr(comparing, "CHECKPOINT_S", 0.0)
    left, right = two()
    shares: list[int] = []
    for share in (0.3, 0.3, 0.3):  # of what was left to do

        def stopping(done: int, total: int, share: float = share) -> None:
            if done > share * total:
                raise stop

        with pytest.raises(stop):
            pairs_between.pairs_between((left, right), THRESHOLD, file=file, progress=stopping, exact_pairs=exact_pairs)
        known = file.load(THRESHOLD)
        assert known is not None
        shares.append(len(known.right))
        # Rows that went meanwhile, and others that came.
        del left.embeddings[min(left.embeddings)]
    assert 0 < shares[0] < shares[1] < shares[2] < 200
    left.embeddings |= Album.of(clustered()[300:320], first=500).embeddings
    found = pairs_between.pairs_between((left, right), THRESHOLD, file=file, exact_pairs=exact_pairs)
    assert told(found) == brute_force(left, right)
    assert found.compared == 20 + 200 - shares[2]
    if exact_pairs == LISTS:
        assert found.recall is not None
        assert found.recall.found == found.recall.pairs > 0


def test_a_higher_threshold_takes_what_is_known_and_a_lower_one_begins_anew(file: BetweenFile) -> None:
    left, right = two()
    for threshold, compared in ((0.8, 500), (0.95, 0), (0.7, 500)):
        found = pairs_between.pairs_between((left, right), threshold, file=file)
        assert (found.compared, told(found)) == (compared, brute_force(left, right, threshold))
    other = BetweenFile(file.folder, 1, 2, "another space")
    assert pairs_between.pairs_between((left, right), 0.8, file=other).compared == 500


def test_progress_only_grows_and_ends_with_all_rows() -> None:
    calls: list[tuple[int, int]] = []
    pairs_between.pairs_between(two(), THRESHOLD, progress=lambda done, total: calls.append((done, total)))
    assert calls == sorted(calls)
    assert calls[-1] == (500, 500)
