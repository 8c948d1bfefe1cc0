"""Batches of a fixed size, and what happens when memory runs out: the part of the GPU engine that needs no GPU."""

import numpy as np
import pytest
import torch

from indexer.backbones.backbone import Pixels
from indexer.backbones.fixed_batches import alternate, fitting_batch, halved_until_it_fits
from indexer.backbones.torch_engine import in_batches
from search.errors import OutOfMemory
from search.records import Embeddings


class RecordingSlot:
    """Answers every picture with the value of its first sample, and writes down what it was told in which order."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.part: Pixels | None = None

    def begin(self, part: Pixels) -> None:
        assert self.part is None, "begun again before its answer was collected"
        self.log.append(f"begin {self.name}")
        self.part = part

    def collect(self) -> Embeddings:
        assert self.part is not None
        self.log.append(f"collect {self.name}")
        rows, self.part = self.part[:, 0, 0, :1].astype(np.float32), None
        return rows


def numbered(count: int) -> Pixels:
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_every_picture_has_its_own_row_in_order(count: int) -> None:
    slots = [RecordingSlot("a", []), RecordingSlot("b", [])]
    assert alternate(slots, numbered(count), 2)[:, 0].tolist() == list(range(count))


def test_one_slot_is_filled_while_the_other_is_at_work() -> None:
    log: list[str] = []
    alternate([RecordingSlot("a", log), RecordingSlot("b", log)], numbered(7), 2)
    assert log == [
        *("begin a", "begin b", "collect a", "begin a", "collect b", "begin b"),
        *("collect a", "collect b"),
    ]


@pytest.mark.parametrize(
    ("bytes_per_picture", "free", "batch"),
    [(10, 1000, 32), (10, 100, 4), (10, 10**9, 256), (10**9, 10, 1), (0, 100, 32)],
)
def test_the_batch_is_a_power_of_two_that_fills_no_more_than_three_fifths(
    bytes_per_picture: float, free: int, batch: int
) -> None:
    assert fitting_batch(bytes_per_picture, free, 256) == batch


def test_a_graph_that_does_not_fit_is_built_for_half_the_batch() -> None:
    tried: list[int] = []
    released: list[bool] = []

    def build(size: int) -> str:
        tried.append(size)
        if size > 8:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return f"graph of {size}"

    assert halved_until_it_fits(build, 64, lambda: released.append(True)) == "graph of 8"
    assert tried == [64, 32, 16, 8]
    assert len(released) == 3


def test_a_gpu_without_room_for_one_picture_is_an_error_that_names_the_ways_out() -> None:
    def build(_: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(OutOfMemory, match="smaller backbone or --image-size, or --device cpu"):
        halved_until_it_fits(build, 4, lambda: None)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory: 9 GB")]
)
def test_out_of_memory_halves_the_batch_and_goes_on(error: Exception) -> None:
    sizes: list[int] = []

    def run(part: Pixels) -> Embeddings:
        sizes.append(len(part))
        if len(part) > 3:
            raise error
        return part[:, 0, 0, :1].astype(np.float32)

    rows, size = in_batches(run, numbered(8), 8)
    assert rows[:, 0].tolist() == list(range(8))
    assert sizes == [8, 4, 2, 2, 2, 2]
    assert size == 2


def test_a_picture_that_never_fits_is_an_error_and_other_errors_are_not_hidden() -> None:
    def full(_: Pixels) -> Embeddings:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(_: Pixels) -> Embeddings:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(OutOfMemory, match="single picture of 2 x 2 pixels"):
        in_batches(full, numbered(4), 4)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        in_batches(broken, numbered(4), 4)
