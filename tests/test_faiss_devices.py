"""Whether FAISS uses a GPU, and what it builds there."""

import logging
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from search.embeddings import unit_rows
from search.errors import DeviceFailed, LookalikeError, UsageError
from search.index import devices
from search.index.devices import FaissGpu, check_wheels, faiss_gpu, sees_gpu
from search.index.inverted import InvertedIndex
from search.index.training import build
from search.records import Embeddings
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.faiss_gpu_stand_ins import StandInGpu


class Library:
    """What of FAISS's module a GPU needs."""

    def __init__(self, gpus: int = 1) -> None:
        self.gpus = gpus
        self.made: list[tuple[str, Any, int, int, bool]] = []
        self.resources = 0

    def get_num_gpus(self) -> int:
        return self.gpus

    def StandardGpuResources(self) -> str:  # noqa: N802
        self.resources += 1
        return f"resources {self.resources}"

    class GpuIndexFlatConfig:
        device = -1
        useFloat16 = False

    def _flat(self, kind: str, resources: str, dims: int, settings: Any) -> Any:
        self.made.append((kind, resources, dims, settings.device, settings.useFloat16))
        return faiss.IndexFlatL2(dims)

    def GpuIndexFlatIP(self, *given: Any) -> Any:  # noqa: N802
        return self._flat("IP", *given)

    def GpuIndexFlatL2(self, *given: Any) -> Any:  # noqa: N802
        return self._flat("L2", *given)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_gpus", [])
    monkeypatch.delenv("LOOKALIKE_FAISS_GPU", raising=False)


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr(devices, "faiss", library)
    return library


class Matrix:
    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self._embeddings)

    def read(self, numbers: np.ndarray) -> Embeddings:
        rows: Embeddings = self._embeddings[numbers]
        return rows


@pytest.fixture(scope="module")
def rows() -> Matrix:
    random = np.random.default_rng(2)
    centres = random.normal(size=(50, 32))
    return Matrix(unit_rows(centres[random.integers(0, 50, 2_000)] + 1.2 * random.normal(size=(2_000, 32))))


def test_a_wheel_for_gpus_without_a_gpu_sees_none() -> None:
    assert sees_gpu(Library(gpus=1))
    assert not sees_gpu(Library(gpus=0))


def test_the_plain_wheel_sees_no_gpu() -> None:
    class Plain:
        @staticmethod
        def get_num_gpus() -> int:
            return 0

    assert not sees_gpu(Plain)
    assert not sees_gpu(object())


def test_resources_are_made_once_and_only_when_they_are_needed(library: Library) -> None:
    gpu = faiss_gpu()
    assert gpu is not None
    assert gpu is faiss_gpu()
    assert library.resources == 0
    for inner_product, float16 in ((True, True), (False, False)):
        with gpu.flat(8, inner_product=inner_product, float16=float16):
            pass
    assert library.made == [("IP", "resources 1", 8, 0, True), ("L2", "resources 1", 8, 0, False)]


@pytest.mark.usefixtures("library")
def test_the_environment_can_do_without_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_FAISS_GPU", "0")
    assert faiss_gpu() is None
    monkeypatch.setenv("LOOKALIKE_FAISS_GPU", "1")
    assert faiss_gpu() is not None
    monkeypatch.setenv("LOOKALIKE_FAISS_GPU", "no")
    with pytest.raises(UsageError, match="LOOKALIKE_FAISS_GPU is 'no', choose 0"):
        faiss_gpu()


@pytest.mark.parametrize(
    ("installed", "kept"),
    [
        (["numpy", "faiss_cpu", "faiss-gpu"], "faiss-gpu"),
        (["faiss-cpu", "faiss.gpu.cuvs"], "faiss-gpu-cuvs"),
        (["Faiss-CPU", "faiss-gpu-cu12"], "faiss-gpu-cu12"),
        (["faiss-gpu", "faiss-gpu-cuvs"], "faiss-gpu-cuvs"),
    ],
)
def test_two_wheels_are_named_with_the_commands_that_mend_it(installed: list[str], kept: str) -> None:
    with pytest.raises(LookalikeError) as caught:
        check_wheels(installed)
    both = sorted(name.lower().replace("_", "-").replace(".", "-") for name in installed if name != "numpy")
    assert " and ".join(both) in str(caught.value)
    assert f"`pip uninstall --yes {' '.join(both)}` and then `pip install {kept}`" in str(caught.value)


@pytest.mark.parametrize("installed", [[], ["faiss-cpu"], ["faiss-gpu"], ["faiss-cpu", "faiss_cpu", "faiss-tools"]])
def test_one_wheel_is_enough(installed: list[str]) -> None:
    check_wheels(installed)


def second_wheel(folder: Path) -> None:
    for name in ("faiss_cpu", "faiss_gpu"):
        folder.joinpath(f"{name}-1.15.1.dist-info").mkdir()
        folder.joinpath(f"{name}-1.15.1.dist-info", "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.15.1\n"
        )


def test_two_wheels_stop_whoever_would_use_a_gpu_and_verify_names_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_store: Store, rows: Matrix
) -> None:
    second_wheel(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for use in (faiss_gpu, lambda: build(rows, 0.9)):
        with pytest.raises(LookalikeError, match="faiss-cpu and faiss-gpu are installed together"):
            use()
    (fault,) = verify(local_store)
    assert (fault.kind, fault.where) == ("two_faiss_wheels", "this Python")
    assert "pip uninstall --yes faiss-cpu faiss-gpu" in fault.detail
    monkeypatch.setenv("LOOKALIKE_FAISS_GPU", "0")
    assert faiss_gpu() is None


def test_an_index_built_on_a_gpu_is_the_one_of_the_cpu(rows: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = build(rows, 0.9)
    gpu = StandInGpu()
    monkeypatch.setattr("search.index.training.faiss_gpu", lambda: gpu)
    built = build(rows, 0.9)
    # The stand-in computes as the CPU does, so here not even rounding may differ.
    np.testing.assert_array_equal(built.index.dump(), expected.index.dump())
    assert built.measured == expected.measured
    assert gpu.made == [(False, False)] * 2  # for the centroids, and for the nearest of each row
    assert sum(queries for queries, _ in gpu.searches) == 2_000
    assert gpu.live == 0
    assert gpu.filled == [built.index.lists] * 2  # FAISS searched there, too, while it found the centroids
    loaded = InvertedIndex.load(built.index.dump(), 2_000, built.projection.dims, 0.0, 0.0)
    np.testing.assert_array_equal(loaded.list_of_rows(), expected.index.list_of_rows())


def test_a_gpu_compares_all_centroids_where_the_cpu_walks_a_graph(
    rows: Matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.index.inverted.GRAPH_LISTS", 10)
    monkeypatch.setattr("search.index.training.faiss_gpu", StandInGpu)
    built = build(rows, 0.9)
    codes = built.projection.codes(rows.read(np.arange(2_000)))
    centroids = built.index._centroids
    distances = ((codes[:, np.newaxis].astype(np.float64) - centroids) ** 2).sum(axis=2)
    chosen = np.take_along_axis(distances, built.index.list_of_rows()[:, np.newaxis].astype(np.int64), axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distances.min(axis=1), rtol=1e-4)


def test_where_the_gpu_fails_the_index_is_built_on_the_cpu_and_a_warning_says_so(
    rows: Matrix, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = build(rows, 0.9)
    gpu = StandInGpu()
    gpu.broken = True
    monkeypatch.setattr("search.index.training.faiss_gpu", lambda: gpu)
    with caplog.at_level(logging.WARNING):
        built = build(rows, 0.9)
    np.testing.assert_array_equal(built.index.dump(), expected.index.dump())
    assert "an illegal memory access was encountered; the index is built on the CPU instead" in caplog.text
    assert gpu.live == 0


def test_memory_is_given_back_even_where_somebody_keeps_the_index() -> None:
    gpu = StandInGpu()
    with gpu.flat(8, inner_product=True, float16=True) as kept:
        assert gpu.live == 1
    assert gpu.live == 0, kept


def test_a_gpu_that_cannot_hold_an_index_is_named() -> None:
    def full(*_: object) -> Any:
        raise RuntimeError("Error in cudaMalloc\nout of memory")

    with pytest.raises(DeviceFailed, match="FAISS cannot use the GPU: out of memory"):
        FaissGpu(full).flat(8, inner_product=True, float16=True).__enter__()


@pytest.mark.gpu
@pytest.mark.skipif(not sees_gpu(faiss), reason="needs a FAISS that sees a GPU")
def test_a_real_gpu_builds_an_index_that_cpus_read(rows: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build(rows, 0.9)
    assert built.measured.recall >= 0.9
    monkeypatch.setenv("LOOKALIKE_FAISS_GPU", "0")
    expected = build(rows, 0.9)
    mine, theirs = (each.projection.codes(rows.read(np.arange(2_000))) for each in (built, expected))
    np.testing.assert_array_equal(mine, theirs)
    loaded = InvertedIndex.load(built.index.dump(), 2_000, built.projection.dims, 0.0, 0.0)
    assert (loaded.list_of_rows() == expected.index.list_of_rows()).mean() > 0.9
