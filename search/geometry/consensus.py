"""How far the pictures of several copies are from each other, pixel by pixel, each laid over one of them.

Edits lie around what they were made of: a brighter copy and a greener one are each nearer to the original than to each
other. So the copy that is nearest to all others is the likeliest original.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Pixels
from search.geometry.overlap import Size
from search.geometry.transformation import Model

_SIDE: Final = 96  # pixels of the longer side of the common canvas
_LEAST_SHARED: Final = 0.2  # of the canvas


def distances(
    pictures: Sequence[Pixels], models: Sequence[Model], sizes: Sequence[Size], onto: Size
) -> NDArray[np.float64]:
    """Return (K, K) the mean difference in levels where two pictures both show something; NaN where they do not meet.

    pictures: (H, W, 3) each, perhaps reduced. models: (3, 3), from places in a picture of its size, width and height,
    to places in one of the size `onto`.
    """
    scale = _SIDE / max(onto)
    canvas = (max(1, round(onto[0] * scale)), max(1, round(onto[1] * scale)))
    laid = [
        _laid(picture, model, size, onto, canvas) for picture, model, size in zip(pictures, models, sizes, strict=True)
    ]
    found = np.zeros((len(laid), len(laid)))
    for one, (levels, shown) in enumerate(laid):
        for other, (theirs, also) in enumerate(laid[:one]):
            both = shown & also
            apart = np.nan
            if both.mean() >= _LEAST_SHARED:
                apart = float(np.abs(levels[both] - theirs[both]).mean())
            found[one, other] = found[other, one] = apart
    return found


def _laid(
    picture: Pixels, model: Model, size: Size, onto: Size, canvas: Size
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a picture on the canvas, (h, w, 3), and where it shows something, (h, w)."""
    small = np.diag((canvas[0] / onto[0], canvas[1] / onto[1], 1.0))
    full = np.diag((size[0] / picture.shape[1], size[1] / picture.shape[0], 1.0))
    whole = small @ model @ full
    # Reduced first, as warping takes single pixels: to about the canvas's resolution.
    times = float(np.sqrt(abs(np.linalg.det(whole[:2, :2] / whole[2, 2]))))
    less = min(1.0, max(times, 0.02))
    width, height = (max(1, round(side * less)) for side in (picture.shape[1], picture.shape[0]))
    reduced = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    onto_canvas = whole @ np.diag((picture.shape[1] / width, picture.shape[0] / height, 1.0))
    levels = cv2.warpPerspective(reduced, onto_canvas, canvas, flags=cv2.INTER_LINEAR)
    shown = cv2.warpPerspective(np.ones(reduced.shape[:2], np.float32), onto_canvas, canvas, flags=cv2.INTER_LINEAR)
    return np.asarray(levels, np.float32), np.asarray(shown > 0.99)  # noqa: PLR2004
