"""Torch's antialiased resize: Pillow's pixels to a hundredth of a level on average, in a fifth of the time.

It runs in the process that embeds, on pixels that a decoding child left in shared memory: torch in every child would
cost a second and 150 MB each.
"""

import threading
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexer.decoding.preparation import Preparation, cropped_centre, cut_to_longest_aspect, resized_to

Pixels = NDArray[np.uint8]
Resize = Callable[[Pixels], Pixels]

_thread = threading.local()
_FILTERS: Final = ("bilinear", "bicubic")  # what torch has of Pillow's


def resizer(preparation: Preparation) -> Resize | None:
    """Return what prepares (H, W, 3) uint8 pixels as `prepare` does, None where only Pillow can."""
    if preparation.interpolation not in _FILTERS:
        return None
    return lambda pixels: prepare_with_torch(pixels, preparation)


def _stay_alone() -> None:
    """Keep this thread from sharing its picture with others: every core has a picture of its own already."""
    if not getattr(_thread, "is_set", False):
        torch.set_num_threads(1)  # torch keeps the number for each thread
        _thread.is_set = True


def prepare_with_torch(pixels: Pixels, preparation: Preparation) -> Pixels:
    """Return (height, width, 3) uint8 of its own memory, within rounding of what `prepare` returns; see there."""
    if preparation.mode == "card":
        pixels = cut_to_longest_aspect(pixels)
    height, width, _ = pixels.shape
    goal_width, goal_height = resized_to((width, height), preparation)
    if (goal_width, goal_height) != (width, height):
        _stay_alone()
        picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        picture = F.interpolate(
            picture, (goal_height, goal_width), mode=preparation.interpolation, antialias=True, align_corners=False
        )
        pixels = picture[0].permute(1, 2, 0).numpy()
    if preparation.mode == "card":
        pixels = cropped_centre(pixels, preparation.width, preparation.height)
    return np.array(pixels, order="C")
