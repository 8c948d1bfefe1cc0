"""FAISS on a GPU: whether there is one, and its use by one thread at a time.

FAISS for GPUs is another wheel of the same module (docs/operations.md): the plain one has no StandardGpuResources.
Those are not thread-safe even for reads, so there is one set for each process, behind a lock. What is written is always
an index for CPUs.
"""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import distributions
from typing import Any, Final, TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from search.errors import DeviceFailed, LookalikeError, UsageError

VARIABLE: Final = "LOOKALIKE_FAISS_GPU"
MOST_NEIGHBOURS: Final = 2_048  # of one search; FAISS's kernels select no more
_WHEEL: Final = re.compile(r"faiss-(cpu|gpu(-[a-z0-9]+)*)")

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")
# (dims, inner product rather than squared distance, rounded to float16) give an empty flat index on the device.
MakeFlat = Callable[[int, bool, bool], Any]


class DeviceFlat:
    """An exact index on a device. Each call waits for the device."""

    def __init__(self, index: Any, lock: threading.Lock) -> None:
        self._index = index
        self._lock = lock

    def add(self, rows: NDArray[np.float32]) -> None:
        """Add (N, D) float32 rows, whose numbers follow those there are.

        Raises:
            DeviceFailed: the device does not hold them.
        """
        rows = np.ascontiguousarray(rows)
        self._run(lambda: self._index.add(rows))

    def search(self, queries: NDArray[np.float32], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the scores or squared distances of the k nearest, and their rows: (Q, k) both, nearest first.

        k: at most MOST_NEIGHBOURS, and at most as many as there are rows.

        Raises:
            DeviceFailed: the device cannot search.
        """
        queries = np.ascontiguousarray(queries)
        found: tuple[NDArray[np.float32], NDArray[np.int64]] = self._run(lambda: self._index.search(queries, k))
        return found

    def train(self, clustering: Any, codes: NDArray[np.float32]) -> None:
        """Train a faiss.Kmeans that searches this index, which must be empty.

        Raises:
            DeviceFailed: the device cannot.
        """
        clustering.index = self._index
        try:
            self._run(lambda: clustering.train(codes))
        finally:
            clustering.index = None  # or the memory of the device would live as long as the centroids

    def close(self) -> None:
        """Give the memory back."""
        with self._lock:
            self._index = None

    def _run(self, work: Callable[[], Answer]) -> Answer:
        try:
            with self._lock:
                return work()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
        # Not from FAISS's error, which holds on to the index, and with it to the memory of the device.
        raise DeviceFailed(f"FAISS cannot finish this on the GPU: {reason}")


class FaissGpu:
    """The first GPU that FAISS sees."""

    def __init__(self, make: MakeFlat) -> None:
        self._make = make
        self._lock = threading.Lock()

    @contextmanager
    def flat(self, dims: int, *, inner_product: bool, float16: bool) -> Iterator[DeviceFlat]:
        """Yield an empty exact index, and give its memory back.

        Raises:
            DeviceFailed: the device does not hold it.
        """
        try:
            with self._lock:
                index = DeviceFlat(self._make(dims, inner_product, float16), self._lock)
        except RuntimeError as error:
            raise DeviceFailed(f"FAISS cannot use the GPU: {str(error).strip().splitlines()[-1]}") from error
        try:
            yield index
        finally:
            index.close()


_first = threading.Lock()
_gpus: list[FaissGpu] = []


def faiss_gpu() -> FaissGpu | None:
    """Return the GPU that FAISS works on, None where it sees none or LOOKALIKE_FAISS_GPU=0 forbids it.

    Raises:
        LookalikeError: two FAISS wheels are installed.
        UsageError: LOOKALIKE_FAISS_GPU is neither 0 nor 1.
    """
    if not _allowed():
        return None
    with _first:
        if not _gpus:
            check_wheels()
            if sees_gpu(faiss):
                _gpus.append(FaissGpu(_maker(faiss)))
        return _gpus[0] if _gpus else None


def sees_gpu(library: Any) -> bool:
    """Return whether this FAISS was built for GPUs and finds one."""
    return hasattr(library, "StandardGpuResources") and library.get_num_gpus() > 0


def check_wheels(installed: Iterable[str] | None = None) -> None:
    """Make sure that FAISS was installed once. installed: names of distributions, by default those there are.

    Raises:
        LookalikeError: two wheels are; they write the same files, so what runs is a mixture.
    """
    names = _installed(tuple(sys.path)) if installed is None else installed
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in names}
    wheels = sorted(name for name in normal if _WHEEL.fullmatch(name))
    if len(wheels) > 1:
        kept = next(name for name in reversed(wheels) if name != "faiss-cpu")
        raise LookalikeError(
            f"{' and '.join(wheels)} are installed together, and each overwrites files of the other: run "
            f"`pip uninstall --yes {' '.join(wheels)}` and then `pip install {kept}`"
        )


@cache
def _installed(places: tuple[str, ...]) -> frozenset[str]:
    """Return the names of the distributions in these folders; a FAISS that comes later was not imported here."""
    return frozenset(each.metadata["Name"] or "" for each in distributions(path=list(places)))


def _allowed() -> bool:
    value = os.environ.get(VARIABLE) or "1"
    if value not in ("0", "1"):
        raise UsageError(f"{VARIABLE} is {value!r}, choose 0 (FAISS leaves the GPU alone) or 1")
    return value == "1"


def _maker(library: Any) -> MakeFlat:
    """Return what makes flat indexes on the first GPU, all with one set of resources, made at the first of them."""
    resources: list[Any] = []

    def make(dims: int, inner_product: bool, float16: bool) -> Any:
        if not resources:
            resources.append(library.StandardGpuResources())
            log.info("FAISS works on the GPU")
        settings = library.GpuIndexFlatConfig()
        settings.device = 0
        settings.useFloat16 = float16
        kind = library.GpuIndexFlatIP if inner_product else library.GpuIndexFlatL2
        return kind(resources[0], dims, settings)

    return make
