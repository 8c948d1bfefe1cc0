"""Batches of one fixed size over slots that take turns: the part of a GPU engine that needs no GPU."""

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeVar

import numpy as np
import torch

from indexer.backbones.backbone import Pixels
from search.errors import OutOfMemory
from search.records import Embeddings

_OUT_OF_MEMORY: Final = re.compile("out of memory|can't allocate memory|not enough memory", re.I)
USED_SHARE: Final = 0.6  # of the free memory; the rest is for what compiling and other programs need

T = TypeVar("T")


class Slot(Protocol):
    """A place for one batch at work."""

    def begin(self, part: Pixels) -> None:
        """Start on a part and return at once."""
        ...

    def collect(self) -> Embeddings:
        """Wait for the rows of the part begun last."""
        ...


def alternate(slots: Sequence[Slot], pixels: Pixels, size: int) -> Embeddings:
    """Return the rows of all pixels, `size` at a time: a slot is begun while the others are at work."""
    parts = [pixels[start : start + size] for start in range(0, len(pixels), size)]
    rows: list[Embeddings] = []
    for number, part in enumerate(parts):
        if number >= len(slots):
            rows.append(slots[number % len(slots)].collect())
        slots[number % len(slots)].begin(part)
    begun = max(0, len(parts) - len(slots))
    rows += [slots[number % len(slots)].collect() for number in range(begun, len(parts))]
    return np.concatenate(rows)


def fitting_batch(bytes_per_picture: float, free_bytes: int, largest: int) -> int:
    """Return the largest power of two of pictures, 1 to `largest`, that fits USED_SHARE of the free memory."""
    fitting = int(USED_SHARE * free_bytes / max(bytes_per_picture, 1))
    return 1 << max(0, min(fitting, largest).bit_length() - 1)


def halved_until_it_fits(build: Callable[[int], T], size: int, release: Callable[[], None]) -> T:
    """Return build(size), with the size halved each time memory runs out. release: gives back what a failure holds.

    Raises:
        OutOfMemory: not even a size of 1 fits.
    """
    while True:
        try:
            return build(size)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                raise OutOfMemory(
                    "the memory of the GPU does not hold the backbone with a single picture: free it, or choose a "
                    "smaller backbone or --image-size, or --device cpu"
                ) from error
            size //= 2
        release()


def is_out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out. On the CPU, and while a graph is recorded, torch raises a plain RuntimeError."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _OUT_OF_MEMORY.search(str(error)) is not None
