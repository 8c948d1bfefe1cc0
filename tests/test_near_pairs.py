"""All pairs with what earlier runs found, against brute force."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from search.embeddings import unit_rows
from search.index.gpu_pairs import GpuPairs
from search.pairing import comparing
from search.pairing.identified_rows import UNKNOWN
from search.pairing.known_pairs import FoundPairs
from search.pairing.near_pairs import near_pairs
from search.pairing.pair_file import PairFile, sweep
from search.records import Embeddings
from tests.faiss_gpu_stand_ins import StandInGpu
from tests.test_pair_finders import all_scores, clustered

THRESHOLD = 0.9


@dataclass
class Album:
    """Images by id, whose embeddings may change. read_ids: what was read of them."""

    embeddings: dict[int, Embeddings]
    located: bool = True
    reads: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, rows: Embeddings, first: int = 1) -> "Album":
        return cls({first + number: row for number, row in enumerate(rows)})

    @property
    def dims(self) -> int:
        return len(next(iter(self.embeddings.values())))

    @property
    def ids(self) -> NDArray[np.int64]:
        return np.array(sorted(self.embeddings), np.int64)

    @property
    def places(self) -> NDArray[np.uint64]:
        if not self.located:
            return np.full(len(self.embeddings), UNKNOWN)
        # As a segment's file: another embedding never lies at the same place.
        return np.array([abs(hash((n, self.embeddings[n].tobytes()))) | 1 for n in self.ids.tolist()], np.uint64)

    def __len__(self) -> int:
        return len(self.embeddings)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        self.reads += self.ids[numbers].tolist()
        rows = [self.embeddings[number] for number in self.ids[numbers].tolist()]
        return np.stack(rows) if rows else np.empty((0, self.dims), np.float32)


def brute_force(album: Album, threshold: float = THRESHOLD) -> dict[tuple[int, int], float]:
    ids = album.ids
    rows = np.stack([album.embeddings[number] for number in ids.tolist()])
    scores = all_scores(rows, rows)
    ones, others = np.nonzero(np.triu(scores >= np.float32(threshold), 1))
    return {(int(ids[a]), int(ids[b])): float(scores[a, b]) for a, b in zip(ones, others, strict=True)}


def told(found: FoundPairs) -> dict[tuple[int, int], float]:
    keys = list(zip(found.one.tolist(), found.other.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    assert keys == sorted(keys, key=lambda pair: (pair[1], pair[0]))
    return dict(zip(keys, found.scores.tolist(), strict=True))


@pytest.fixture
def file(tmp_path: Path) -> PairFile:
    return PairFile(tmp_path / "pairs", 1, "a space")


# Whether everything is compared with everything, or by lists.
EXACT, LISTS = 10**6, 0
both_ways = pytest.mark.parametrize("exact_rows", [EXACT, LISTS], ids=["exact", "lists"])


@both_ways
@pytest.mark.parametrize("threshold", [0.99, 0.9, 0.3])
def test_all_pairs_are_those_of_brute_force(exact_rows: int, threshold: float) -> None:
    album = Album.of(clustered())
    found = near_pairs(album, threshold, exact_rows=exact_rows)
    assert told(found) == brute_force(album, threshold)
    assert found.compared == 400
    if exact_rows == EXACT:
        assert found.recall is None
    else:
        assert found.recall is not None
        assert found.recall.found == found.recall.pairs > 0


@both_ways
def test_a_second_run_compares_only_what_is_new(exact_rows: int, file: PairFile) -> None:
    rows = clustered()
    album = Album.of(rows[:396])
    near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)
    album.embeddings |= Album.of(rows[396:], first=397).embeddings
    album.reads.clear()
    found = near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)
    assert told(found) == brute_force(album)
    assert found.compared == 4
    # The new ones are read, and those that they are near to.
    near = {one for one, other in brute_force(album) if other > 396}
    assert set(album.reads) <= near | set(range(397, 401)) | {one for pair in brute_force(album, 0.6) for one in pair}
    assert len(set(album.reads)) < 200
    album.reads.clear()
    assert told(near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)) == brute_force(album)
    assert not album.reads


@both_ways
@pytest.mark.parametrize("located", [True, False], ids=["located", "by digest"])
def test_however_images_come_change_and_go_the_pairs_are_those_of_a_fresh_run(
    exact_rows: int, located: bool, file: PairFile
) -> None:
    random = np.random.default_rng(exact_rows + located)
    rows = clustered(600)
    album = Album.of(rows[:150])
    album.located = located
    near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)
    for _ in range(6):
        known = sorted(album.embeddings)
        for gone in random.choice(known, 10, replace=False).tolist():
            del album.embeddings[gone]
        for changed in random.choice(sorted(album.embeddings), 10, replace=False).tolist():
            album.embeddings[changed] = rows[random.integers(600)]
        first = max(known) + 1
        added = int(random.integers(1, 60))
        album.embeddings |= Album.of(rows[random.integers(0, 600, added)], first).embeddings
        found = near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)
        assert told(found) == brute_force(album)
        assert found.compared <= added + 10


@both_ways
def test_a_run_that_is_interrupted_goes_on_where_it_was(
    exact_rows: int, file: PairFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tiles of 50 rows, lists by 5.
    monkeypatch.setattr("search.index.cpu_pairs.TILE_HEIGHT", 50)
    monkeypatch.setattr("search.index.cpu_pairs.TILE_WIDTH", 50)
    monkeypatch.setattr(comparing, "LISTS_AT_ONCE", 5)
    album = Album.of(clustered())
    everything = brute_force(album)
    shares: list[float] = []
    for stop in (0.5, 0.7, 0.9):
        share = stop

        def interrupt(done: int, total: int, share: float = share) -> None:
            if done > share * total:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows, progress=interrupt)
        known = file.load(THRESHOLD)
        assert known is not None
        shares.append(known.lists_done if exact_rows == LISTS else len(known))
    assert shares == sorted(shares)
    assert shares[0] > 0
    assert told(near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)) == everything
    known = file.load(THRESHOLD)
    assert known is not None
    assert known.is_whole
    assert len(known) == 400


@both_ways
def test_what_is_kept_on_the_way_survives_a_kill(
    exact_rows: int, file: PairFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.index.cpu_pairs.TILE_WIDTH", 50)
    monkeypatch.setattr(comparing, "LISTS_AT_ONCE", 5)
    monkeypatch.setattr(comparing, "CHECKPOINT_S", 0.0)
    album = Album.of(clustered())

    class Killed(Exception):  # nothing catches it, as nothing catches SIGKILL
        pass

    def kill(done: int, total: int) -> None:
        if done > 0.8 * total:
            raise Killed

    with pytest.raises(Killed):
        near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows, progress=kill)
    known = file.load(THRESHOLD)
    assert known is not None
    assert len(known.one) > 0
    # Rows that went meanwhile, and others that came.
    for gone in (3, 40, 333):
        del album.embeddings[gone]
    album.embeddings |= Album.of(clustered()[:5], first=500).embeddings
    assert told(near_pairs(album, THRESHOLD, file=file, exact_rows=exact_rows)) == brute_force(album)


def test_a_higher_threshold_takes_what_is_known_and_a_lower_one_begins_anew(file: PairFile) -> None:
    album = Album.of(clustered())
    assert near_pairs(album, 0.8, file=file).compared == 400
    found = near_pairs(album, 0.95, file=file)
    assert (found.compared, told(found)) == (0, brute_force(album, 0.95))
    found = near_pairs(album, 0.7, file=file)
    assert (found.compared, told(found)) == (400, brute_force(album, 0.7))


def test_above_the_bound_of_exact_runs_what_they_found_is_taken_along(file: PairFile) -> None:
    rows = clustered(300)
    album = Album.of(rows[:250])
    near_pairs(album, THRESHOLD, file=file, exact_rows=260)
    album.embeddings |= Album.of(rows[250:], first=251).embeddings
    found = near_pairs(album, THRESHOLD, file=file, exact_rows=260)
    assert (found.compared, told(found)) == (50, brute_force(album))
    assert found.recall is not None


def test_a_file_that_is_damaged_or_of_something_else_is_made_again(
    file: PairFile, caplog: pytest.LogCaptureFixture
) -> None:
    album = Album.of(clustered())
    near_pairs(album, THRESHOLD, file=file)
    sound = file.path.read_bytes()

    def flipped(at: int) -> bytes:
        return sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :]

    damages: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: sound[:-1],
        lambda: sound + b"x",
        lambda: flipped(3),
        lambda: flipped(12),
        lambda: flipped(26),
        lambda: flipped(len(sound) // 2),
    ]
    for damage in damages:
        caplog.clear()
        file.path.write_bytes(damage())
        found = near_pairs(album, THRESHOLD, file=file)
        assert (found.compared, told(found)) == (400, brute_force(album))
        assert "cannot be used" in caplog.text
        assert file.path.read_bytes() == sound
    other = PairFile(file.folder, 1, "another space")
    assert near_pairs(album, THRESHOLD, file=other).compared == 400


def test_where_nothing_can_be_kept_the_pairs_are_found_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.joinpath("pairs").write_text("a file where the folder should be")
    album = Album.of(clustered())
    file = PairFile(tmp_path / "pairs", 1, "a space")
    assert told(near_pairs(album, THRESHOLD, file=file)) == brute_force(album)
    assert "cannot keep what was found" in caplog.text


@both_ways
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_rows_are_no_special_case(exact_rows: int, rows: int) -> None:
    album = Album.of(np.repeat(unit_rows(np.ones((1, 40))), rows, axis=0))
    assert told(near_pairs(album, 1.0, exact_rows=exact_rows)) == brute_force(album, 1.0)
    assert len(brute_force(album, 1.0)) == rows * (rows - 1) // 2


@both_ways
def test_progress_only_grows_and_ends_with_all_rows(exact_rows: int) -> None:
    calls: list[tuple[int, int]] = []
    near_pairs(
        Album.of(clustered()),
        THRESHOLD,
        exact_rows=exact_rows,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls == sorted(calls)
    assert calls[-1] == (400, 400)
    assert {total for _, total in calls} == {400}


def test_a_full_disk_leaves_what_was_kept_before(
    file: PairFile, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    album = Album.of(clustered())
    near_pairs(album, THRESHOLD, file=file)
    before = file.path.read_bytes()
    album.embeddings |= Album.of(clustered()[:5], first=500).embeddings

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert told(near_pairs(album, THRESHOLD, file=file)) == brute_force(album)
    assert "No space left" in caplog.text
    assert [path.name for path in file.folder.iterdir()] == ["1.pairs"]
    assert file.path.read_bytes() == before


def test_files_of_collections_that_are_gone_are_swept_and_young_ones_left_alone(file: PairFile) -> None:
    near_pairs(Album.of(clustered(20)), THRESHOLD, file=file)
    for name in ("2.pairs", "1-2.pairs", "2-1.pairs", "1-3.pairs", "1.pairs.0123.partial", "young.partial"):
        file.folder.joinpath(name).touch()
        if name != "young.partial":
            os.utime(file.folder / name, (0, 0))
    gone = ["1-2.pairs", "1.pairs.0123.partial", "2-1.pairs", "2.pairs"]
    assert sweep(file.folder, [1, 3], 60.0) == gone
    assert sorted(path.name for path in file.folder.iterdir()) == ["1-3.pairs", "1.pairs", "young.partial"]


def test_a_gpu_compares_only_what_is_new_and_the_cpu_goes_on_from_there(file: PairFile) -> None:
    rows = clustered()
    album = Album.of(rows[:300])
    finder = GpuPairs(StandInGpu(), query_rows=70, device_rows=130)
    assert told(near_pairs(album, THRESHOLD, file=file, finder=finder)) == brute_force(album)
    album.embeddings |= Album.of(rows[300:350], first=301).embeddings
    found = near_pairs(album, THRESHOLD, file=file, finder=finder)
    assert (found.compared, told(found)) == (50, brute_force(album))
    album.embeddings |= Album.of(rows[350:], first=351).embeddings
    found = near_pairs(album, THRESHOLD, file=file)
    assert (found.compared, told(found)) == (50, brute_force(album))
