"""The regions of a decoded picture, each prepared as if it were a picture of its own. Must never import torch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from search.records import Region
from search.regions import regions_of

Pixels = NDArray[np.uint8]


def region_frames(pixels: Pixels, size: tuple[int, int], prepared: Callable[[Pixels], Pixels]) -> Pixels:
    """Return the regions of a picture, (4, height, width, 3) uint8.

    pixels: (H, W, 3) uint8, upright, all of it, maybe decoded at a fraction of its size. size: width and height of the
    picture itself. prepared: makes the frame of a backbone of C-contiguous pixels.
    """
    return np.stack([prepared(cut(pixels, region)) for region in regions_of(*size)])


def cut(pixels: Pixels, region: Region) -> Pixels:
    """Return a region of (H, W, 3) pixels: a copy, in whole pixels, at least one a side."""
    rows = _line(pixels.shape[0], region.y, region.height)
    return np.ascontiguousarray(pixels[rows, _line(pixels.shape[1], region.x, region.width)])


def _line(length: int, start: float, share: float) -> slice:
    first = min(round(start * length), length - 1)
    return slice(first, max(first + 1, round((start + share) * length)))
