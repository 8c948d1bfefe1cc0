"""Every way of comparing all rows with all, against brute force."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from api import pair_finders
from api.pair_finders import OrCpu, pair_finder
from indexer.torch_pairs import TorchPairs
from search.embeddings import unit_rows
from search.errors import DeviceFailed, UsageError
from search.index import gpu_pairs
from search.index.cpu_pairs import CpuPairs
from search.index.gpu_pairs import GpuPairs
from search.index.pair_finder import (
    CoarseSearch,
    PairFinder,
    Progress,
    exact_scores,
    float16_margin,
    float32_margin,
    nearest_exactly,
    tiles,
)
from search.index.sketches import drawn, fit
from search.records import Embeddings
from tests.faiss_gpu_stand_ins import StandInGpu

Make = Callable[[], PairFinder]
FINDERS: dict[str, Make] = {
    "cpu": CpuPairs,
    "gpu": lambda: GpuPairs(StandInGpu()),
    "gpu in parts": lambda: GpuPairs(StandInGpu(), query_rows=70, device_rows=130),
    "torch": lambda: TorchPairs("cpu"),
    "torch float16": lambda: TorchPairs("cpu", dtype=torch.float16),
    "torch in tiles": lambda: TorchPairs("cpu", dtype=torch.float16, height=70, width=130),
}
every_finder = pytest.mark.parametrize("make", FINDERS.values(), ids=FINDERS)


def clustered(rows: int = 400, dims: int = 48, seed: int = 0) -> Embeddings:
    """Rows around 20 centres, the last tenth equal to the first."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(20, dims))
    embeddings = unit_rows(centres[random.integers(0, 20, rows)] + 0.4 * random.normal(size=(rows, dims)))
    embeddings[-rows // 10 :] = embeddings[: rows // 10]
    return embeddings


def all_scores(queries: Embeddings, embeddings: Embeddings) -> Embeddings:
    """Every cosine in float64, then rounded."""
    scores: Embeddings = (queries.astype(np.float64) @ embeddings.T.astype(np.float64)).astype(np.float32)
    return scores


def brute_force(embeddings: Embeddings, threshold: float) -> list[tuple[int, int]]:
    near = np.triu(all_scores(embeddings, embeddings) >= np.float32(threshold), 1)
    return sorted(zip(*(each.tolist() for each in np.nonzero(near)), strict=True))


def found(finder: PairFinder, embeddings: Embeddings, threshold: float) -> list[tuple[int, int]]:
    near = finder.pairs(embeddings, threshold)
    assert near.scores.dtype == np.float32
    assert near.rows.dtype == np.int64
    assert near.later.dtype == np.int64
    assert near.scores.tolist() == exact_scores(embeddings, near.rows, embeddings, near.later).tolist()
    return sorted(zip(near.rows.tolist(), near.later.tolist(), strict=True))


@every_finder
@pytest.mark.parametrize("threshold", [0.999, 0.9, 0.5])
def test_all_pairs_are_those_of_brute_force(make: Make, threshold: float) -> None:
    embeddings = clustered()
    expected = brute_force(embeddings, threshold)
    assert len(expected) > 30
    assert found(make(), embeddings, threshold) == expected


@every_finder
def test_pairs_that_score_exactly_the_threshold_are_near_and_the_next_lower_score_is_not(make: Make) -> None:
    # Thresholds are the scores themselves: every one is a tie, and its neighbour in float32 is not.
    embeddings = clustered(60)
    scores = np.unique(all_scores(embeddings, embeddings)[np.triu_indices(60, 1)])
    for score in scores[:: len(scores) // 12]:
        for threshold in (score, np.nextafter(score, np.float32(2))):
            assert found(make(), embeddings, float(threshold)) == brute_force(embeddings, float(threshold))


@every_finder
def test_equal_rows_are_near_and_no_row_is_near_itself(make: Make) -> None:
    embeddings = np.zeros((5, 8), np.float32)
    embeddings[[0, 1, 4], 0] = 1
    embeddings[[2, 3], 1] = 1
    near = make().pairs(embeddings, 1.0)
    assert list(zip(near.rows.tolist(), near.later.tolist(), strict=True)) == [(0, 1), (2, 3), (0, 4), (1, 4)]
    assert near.scores.tolist() == [1.0] * 4


@every_finder
@pytest.mark.parametrize("rows", [0, 1])
def test_where_there_are_no_two_rows_there_is_no_pair(make: Make, rows: int) -> None:
    embeddings = clustered(20)[:rows]
    near = make().pairs(embeddings, -1.0)
    assert [len(each) for each in near] == [0, 0, 0]
    nearest = make().nearest(clustered(20)[:3], embeddings, 10)
    assert (nearest.scores.shape, nearest.rows.shape) == ((3, rows), (3, rows))
    assert nearest.rows.tolist() == [[0] * rows] * 3


@every_finder
def test_the_nearest_are_those_of_brute_force_and_equal_ones_come_by_number(make: Make) -> None:
    embeddings = clustered()
    queries = np.concatenate([embeddings[:40], clustered(40, seed=1)])
    scores = all_scores(queries, embeddings)
    expected = np.lexsort((np.broadcast_to(np.arange(400), scores.shape), -scores), axis=1)[:, :10]
    nearest = make().nearest(queries, embeddings, 10)
    np.testing.assert_array_equal(nearest.rows, expected)
    np.testing.assert_array_equal(nearest.scores, np.take_along_axis(scores, expected, axis=1))


@every_finder
def test_no_queries_have_no_nearest(make: Make) -> None:
    nearest = make().nearest(np.empty((0, 48), np.float32), clustered(), 3)
    assert len(nearest.rows) == 0


@every_finder
def test_progress_only_grows_and_ends_with_all_rows(make: Make) -> None:
    calls: list[tuple[int, int]] = []
    progress: Progress = lambda done, total: calls.append((done, total))  # noqa: E731
    make().pairs(clustered(), 0.9, progress)
    assert calls == sorted(calls)
    assert calls[-1] == (400, 400)
    assert {total for _, total in calls} == {400}
    assert all(0 < done < 400 for done, _ in calls[:-1])
    calls.clear()
    make().nearest(clustered(90), clustered(), 5, progress)
    assert calls == sorted(calls)
    assert calls[-1] == (90, 90)


@pytest.mark.parametrize(("rows", "height", "width"), [(1, 1, 1), (7, 3, 2), (10, 4, 20), (23, 5, 7), (23, 7, 5)])
def test_tiles_hold_every_pair_once_and_no_row_outside(rows: int, height: int, width: int) -> None:
    times = np.zeros((rows, rows), int)
    for tile in tiles(rows, height, width):
        assert tile.stop - tile.start <= height
        assert tile.last - tile.first <= width
        times[tile.start : tile.stop, tile.first : tile.last] += 1
    assert (times[np.triu_indices(rows)] == 1).all()
    assert times.max() == 1


def test_the_margins_cover_the_errors_of_coarse_scores() -> None:
    for dims in (8, 256, 2_048):
        random = np.random.default_rng(dims)
        # Half the rows have a few large numbers and many that float16 has no normal form for.
        rows = random.normal(size=(300, dims)) * np.where(random.random((300, dims)) < 0.5, 1, 1e-5)
        unit = unit_rows(rows)
        exact = unit.astype(np.float64) @ unit.T.astype(np.float64)
        assert np.abs(unit @ unit.T - exact).max() <= float32_margin(dims)
        half = torch.from_numpy(unit).half()
        assert np.abs((half @ half.T).float().numpy() - exact).max() <= float16_margin(dims)


def test_a_gpu_holds_no_more_rows_than_it_may_and_gets_its_memory_back() -> None:
    gpu = StandInGpu()
    finder = GpuPairs(gpu, query_rows=50, device_rows=120)
    finder.pairs(clustered(), 0.9)
    finder.nearest(clustered(60), clustered(), 5)
    assert gpu.most_rows == 120
    assert max(queries for queries, _ in gpu.searches) == 50
    assert gpu.live == 0
    assert set(gpu.made) == {(True, True)}


def test_torch_never_multiplies_more_than_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, int]] = []
    multiply = torch.Tensor.__matmul__

    def watched(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        shapes.append((one.shape[0], other.shape[1]))
        return multiply(one, other)

    monkeypatch.setattr(torch.Tensor, "__matmul__", watched)
    finder = TorchPairs("cpu", height=64, width=100)
    finder.pairs(clustered(), 0.9)
    finder.nearest(clustered(90), clustered(), 5)
    assert len(shapes) > 10
    assert max(height for height, _ in shapes) == 64
    assert max(width for _, width in shapes) == 100


def test_a_row_with_more_neighbours_than_a_gpu_can_name_is_compared_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gpu_pairs, "MOST_NEIGHBOURS", 100)
    monkeypatch.setattr(gpu_pairs, "SQUARE", 50)
    embeddings = np.concatenate([np.repeat(clustered(20)[:1], 150, axis=0), clustered(20)[1:18]])
    gpu = StandInGpu(most_neighbours=100)
    finder = GpuPairs(gpu, query_rows=60, device_rows=140)
    assert found(finder, embeddings, 0.9999) == brute_force(embeddings, 0.9999)
    assert {k for _, k in gpu.searches} == {27, 64, 100}
    nearest = finder.nearest(embeddings[:2], embeddings, 3)
    assert nearest.rows.tolist() == [[0, 1, 2], [0, 1, 2]]


def test_few_rows_are_asked_for_first_and_more_only_by_those_who_need_them() -> None:
    random = np.random.default_rng(3)
    embeddings = unit_rows(random.normal(size=(1_000, 64)))
    embeddings[:100] = embeddings[0]
    gpu = StandInGpu()
    near = GpuPairs(gpu).pairs(embeddings, 0.95)
    assert len(near.rows) == 100 * 99 // 2
    assert gpu.searches == [(1_000, 64), (100, 1_000)]


def test_who_has_many_rows_near_its_kth_is_asked_again() -> None:
    embeddings = np.repeat(np.eye(8, dtype=np.float32), 100, axis=0)
    asked: list[tuple[int, int]] = []

    def top(queries: Embeddings, count: int) -> tuple[np.ndarray, np.ndarray]:
        asked.append((len(queries), count))
        scores = queries @ embeddings.T
        rows = np.argsort(-scores, axis=1, kind="stable")[:, ::-1][:, -count:][:, ::-1]
        return np.take_along_axis(scores, rows, axis=1), rows

    alone = np.eye(8, dtype=np.float32)[:1]
    nearest = nearest_exactly(alone, embeddings, 5, CoarseSearch(top, 1e-3))
    assert nearest.rows.tolist() == [[0, 1, 2, 3, 4]]
    assert asked == [(1, 42), (1, 168)]


def test_a_gpu_without_room_gives_up_by_name() -> None:
    with pytest.raises(DeviceFailed, match="out of memory"):
        GpuPairs(StandInGpu(memory_rows=100)).pairs(clustered(), 0.9)


def test_torch_without_room_gives_up_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(torch, "nonzero", full)
    with pytest.raises(DeviceFailed, match="Tried to allocate 20 GiB"):
        TorchPairs("cpu").pairs(clustered(), 0.9)


def test_where_a_gpu_gives_up_the_cpu_finds_the_same_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    embeddings = clustered()
    finder = OrCpu(GpuPairs(StandInGpu(memory_rows=100)))
    with caplog.at_level(logging.WARNING):
        assert found(finder, embeddings, 0.9) == brute_force(embeddings, 0.9)
    assert "out of memory; the CPU does it instead" in caplog.text


def test_what_a_progress_raises_is_no_failure_of_the_device() -> None:
    def stop(done: int, total: int) -> None:
        raise RuntimeError("stopped by its user")

    for make in FINDERS.values():
        with pytest.raises(RuntimeError, match="stopped by its user"):
            OrCpu(make()).pairs(clustered(), 0.9, stop)


def test_threads_use_a_gpu_one_after_another() -> None:
    finder = GpuPairs(StandInGpu(), query_rows=20)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: finder.pairs(clustered(), 0.9), range(8)))
    for near in results:
        np.testing.assert_array_equal(near.rows, results[0].rows)


def test_the_choice_is_faiss_on_a_gpu_then_torch_on_one_then_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = [StandInGpu()]
    monkeypatch.setattr("search.index.devices.faiss_gpu", lambda: seen[0])
    monkeypatch.setattr("indexer.devices.choose_device", lambda device: device)
    many = pair_finders.WORTH_A_GPU

    def chosen(images: int, device: str) -> type:
        finder = pair_finder(images, device)
        return type(finder._finder) if isinstance(finder, OrCpu) else type(finder)

    assert chosen(many, "cuda") is GpuPairs
    assert chosen(many, "cpu") is CpuPairs
    assert chosen(many - 1, "cuda") is CpuPairs
    seen[0] = None
    monkeypatch.setattr("indexer.torch_pairs.TorchPairs.__init__", lambda self, device: None)
    assert chosen(many, "cuda") is TorchPairs


def test_a_job_on_a_machine_without_a_gpu_stays_on_the_cpu() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert isinstance(pair_finder(10**9), CpuPairs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_device_finds_what_the_cpu_finds() -> None:
    embeddings = clustered(5_000, dims=512)
    finders: list[PairFinder] = [TorchPairs("cuda"), TorchPairs("cuda", height=512, width=700)]
    from search.index.devices import faiss_gpu

    gpu = faiss_gpu()
    if gpu is not None:
        finders += [GpuPairs(gpu), GpuPairs(gpu, query_rows=512, device_rows=700)]
    expected, nearest = CpuPairs().pairs(embeddings, 0.9), CpuPairs().nearest(embeddings[:99], embeddings, 10)
    for finder in finders:
        for mine, theirs in zip(finder.pairs(embeddings, 0.9), expected, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for mine, theirs in zip(finder.nearest(embeddings[:99], embeddings, 10), nearest, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def hard_rows(kind: str, dims: int) -> Embeddings:
    """300 rows that sketches have the least to go by."""
    random = np.random.default_rng(dims)
    noise = random.normal(size=(300, dims))
    if kind == "all equal":
        return np.repeat(unit_rows(noise[:1]), 300, axis=0)
    if kind == "opposite":
        return unit_rows(np.concatenate([noise[:150], -noise[:150]]))
    if kind == "no axis holds more than another":
        return unit_rows(noise)
    if kind == "pairs that differ in one axis alone":
        return unit_rows(np.repeat(noise[:150], 2, axis=0) + 4 * np.eye(300, dims)[np.arange(300) % min(300, dims)])
    if kind == "half of them zeros":
        return np.where(np.arange(300)[:, np.newaxis] % 2, unit_rows(noise), np.float32(0)).astype(np.float32)
    centres = np.repeat(noise[:6], 50, axis=0)
    return unit_rows(centres + 0.3 * noise)  # clusters


KINDS = [
    "all equal",
    "opposite",
    "no axis holds more than another",
    "pairs that differ in one axis alone",
    "half of them zeros",
    "clusters",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [3, 140, 300])
def test_the_product_of_sketches_is_never_below_the_cosine(kind: str, dims: int) -> None:
    rows = hard_rows(kind, dims)
    cosines = rows.astype(np.float64) @ rows.T.astype(np.float64)
    # Axes that were fitted to other rows, or to a few, leave out less but are no less true.
    for sample in (rows, hard_rows("clusters", dims), rows[:90]):
        sketch = fit(sample, 0.9)
        sketches = sketch.of(rows).astype(np.float32)
        assert (sketches @ sketches.T - cosines).min() >= -sketch.margin
        assert sketch.margin < 0.02


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [3, 140])
def test_no_pair_of_hard_rows_is_missed_nor_one_made_up(kind: str, dims: int) -> None:
    rows = hard_rows(kind, dims)
    scores = all_scores(rows, rows)[np.triu_indices(300, 1)]
    # At the threshold itself, and a bit of float32 above it.
    for score in (np.float32(-0.5), np.float32(0.0), np.quantile(scores, 0.9), scores.max()):
        for threshold in (score, np.nextafter(np.float32(score), np.float32(2))):
            assert found(CpuPairs(), rows, float(threshold)) == brute_force(rows, float(threshold))


def test_sketches_let_few_pairs_through_where_rows_have_few_axes() -> None:
    random = np.random.default_rng(0)
    turned = random.normal(size=(20, 512))
    rows = unit_rows(random.normal(size=(2_000, 20)) @ turned + 0.5 * random.normal(size=(2_000, 512)))
    sketch = fit(rows[drawn(2_000)], 0.9)
    assert sketch.width == 64
    sketches = sketch.of(rows).astype(np.float32)
    let_through = np.triu(sketches @ sketches.T >= 0.9 - sketch.margin, 1).sum()
    assert len(brute_force(rows, 0.9)) <= let_through < 0.001 * 2_000**2 / 2


def test_more_pairs_than_a_report_could_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.index.crowd.MOST_PAIRS", 1_000)
    with pytest.raises(UsageError, match="more than 1,000 pairs score at least -1.00: choose a higher threshold"):
        CpuPairs().pairs(clustered(), -1.0)


def test_where_whole_rows_are_multiplied_ties_with_the_threshold_are_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.index.pair_scoring.DENSE", 0.0)
    monkeypatch.setattr("search.index.pair_scoring.FEW", 0)
    embeddings = clustered(120, dims=700)
    for score in np.unique(all_scores(embeddings, embeddings)[np.triu_indices(120, 1)])[::600]:
        assert found(CpuPairs(), embeddings, float(score)) == brute_force(embeddings, float(score))
