"""The ways an accurate search sees a query picture: the eight turns and mirrors, and five overlapping parts."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.preparation import Preparation, prepare

Pixels = NDArray[np.uint8]

PART: Final = 0.6  # of the sides of a picture: a part


def turned(pixels: Pixels) -> list[Pixels]:
    """Return the other seven of the eight turns and mirrors of (H, W, 3) pixels."""
    turns = [np.rot90(pixels, quarter) for quarter in range(4)]
    return [*turns[1:], *(turn[:, ::-1] for turn in turns)]


def parts(pixels: Pixels) -> list[Pixels]:
    """Return the four corners and the middle of (H, W, 3) pixels, each PART of the sides; at least one pixel."""
    height, width, _ = pixels.shape
    tall, wide = max(1, round(PART * height)), max(1, round(PART * width))
    below, beside = height - tall, width - wide
    starts = [(0, 0), (0, beside), (below, 0), (below, beside), (below // 2, beside // 2)]
    return [pixels[top : top + tall, left : left + wide] for top, left in starts]


def variants(whole: Pixels, pixels: Pixels, preparation: Preparation) -> Pixels:
    """Return everything the backbone is shown of a query, (13, height, width, 3) uint8, the whole picture first.

    whole: the picture as it is prepared for indexing. pixels: (H, W, 3) uint8, large enough for its parts.
    """
    square = whole.shape[0] == whole.shape[1]
    # A turned frame is the frame of the turned picture where the frame is square.
    others = turned(whole) if square else [_prepared(one, preparation) for one in turned(pixels)]
    return np.stack([whole, *others, *(_prepared(part, preparation) for part in parts(pixels))])


def _prepared(pixels: Pixels, preparation: Preparation) -> Pixels:
    return prepare(np.ascontiguousarray(pixels), preparation)
