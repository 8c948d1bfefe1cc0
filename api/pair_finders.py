"""Which device compares all images of a collection with each other."""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from search.errors import DeviceFailed
from search.index.cpu_pairs import CpuPairs
from search.index.pair_finder import Nearest, NearPairs, PairFinder, Progress
from search.records import Embeddings

WORTH_A_GPU: Final = 20_000  # images: below, a CPU is done before a GPU has begun

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


def pair_finder(images: int, device: str = "auto") -> PairFinder:
    """Return what compares so many images: FAISS on a GPU, else torch on one, else FAISS on the CPU.

    device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        LookalikeError: two FAISS wheels are installed, or there is no such device.
    """
    if images < WORTH_A_GPU or device == "cpu":
        return CpuPairs()
    from search.index.devices import faiss_gpu

    gpu = faiss_gpu()
    if gpu is not None:
        from search.index.gpu_pairs import GpuPairs

        return OrCpu(GpuPairs(gpu))
    from indexer.devices import choose_device

    chosen = choose_device(device)
    if chosen == "cpu":
        return CpuPairs()
    from indexer.torch_pairs import TorchPairs

    return OrCpu(TorchPairs(chosen))


class OrCpu:
    """A PairFinder that begins again on the CPU where a device fails, as when its memory is full, and says so."""

    def __init__(self, finder: PairFinder) -> None:
        self._finder = finder

    def pairs(
        self, embeddings: Embeddings, threshold: float, progress: Progress = lambda done, total: None
    ) -> NearPairs:
        """Return all pairs that score at least a threshold (search/index/pair_finder.py)."""
        return self._try(lambda finder: finder.pairs(embeddings, threshold, progress))

    def between(
        self,
        left: Embeddings,
        right: Embeddings,
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> NearPairs:
        """Return all pairs of two matrices that score at least a threshold (search/index/pair_finder.py)."""
        return self._try(lambda finder: finder.between(left, right, threshold, progress))

    def nearest(
        self, queries: Embeddings, embeddings: Embeddings, k: int, progress: Progress = lambda done, total: None
    ) -> Nearest:
        """Return the k best rows of each query (search/index/pair_finder.py)."""
        return self._try(lambda finder: finder.nearest(queries, embeddings, k, progress))

    def _try(self, ask: Callable[[PairFinder], Answer]) -> Answer:
        try:
            return ask(self._finder)
        except DeviceFailed as error:
            log.warning("%s; the CPU does it instead, which takes longer", error)
        # Only now: the error holds on to what lies on the device.
        return ask(CpuPairs())
