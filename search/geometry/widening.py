"""Whether a picture that shows more than another one shows more of the scene, the same inside a frame, or nothing more.

Where a crop ends, the picture that it was cut from goes on; where a frame begins, there is an edge all along. White
beside a white backdrop has none, whoever put it there, and shows nothing.
"""

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Pixels, as_grey
from search.geometry.transformation import Points

_SIDE: Final = 512  # pixels of the longer side at which is looked
_NEAR, _FAR = 3.0, 6.0  # pixels on either side of the border, and of lines beside it
_STEP: Final = 3.0  # pixels between two places of the border
_FEWEST: Final = 12  # places of a side of the shared part that lie inside the picture
_EDGE: Final = 3.0  # times the typical step across lines beside it, which a step across a frame is
_LEAST: Final = 10.0  # levels
_EVEN: Final = 1.5  # levels: standard deviation along lines that were filled with one colour, after compression
_OF_ONE: Final = 8.0  # levels: within which nearly all pixels are that have one colour, after compression
_NEARLY_ALL: Final = 0.95
_SPILLS: Final = 2  # pixels beyond its border that resampling spills a picture over
_PLAIN: Final = 4.0  # levels: standard deviation along a line inside, below which the picture is even there, too
Beyond = Literal["scene", "frame", "nothing"]


def beyond(pixels: Pixels, shared: Points, size: tuple[int, int]) -> Beyond:
    """Return what a picture shows beyond the part that it shares with another one.

    pixels: of the picture, perhaps reduced. shared: (N, 2) the corners of that part, in pixels of its size: width and
    height. A part that ends nowhere inside the picture leaves nothing to tell, and counts as one where the scene goes
    on.
    """
    scale = min(1.0, _SIDE / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    small = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    corners = shared * (width / size[0], height / size[1])
    grey = cv2.GaussianBlur(as_grey(np.asarray(small, np.uint8)), (0, 0), 0.8)
    if not _goes_on(np.asarray(grey, np.float64), corners):
        return "frame"
    return "nothing" if _is_of_one_colour(np.asarray(small, np.uint8), corners) else "scene"


def _is_of_one_colour(pixels: Pixels, corners: Points) -> bool:
    """Tell whether everything outside a part has one colour, but for what compression spills over its border."""
    inside = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(inside, [np.round(corners).astype(np.int32)], 1)
    rest = pixels[cv2.dilate(inside, np.ones((2 * _SPILLS + 1,) * 2, np.uint8)) == 0].astype(np.float64)
    if len(rest) < _FEWEST:
        return False
    off = np.abs(rest - np.median(rest, axis=0))
    return bool((off <= _OF_ONE).mean() >= _NEARLY_ALL)


def _goes_on(grey: NDArray[np.float64], corners: Points) -> bool:
    centre = corners.mean(axis=0)
    framed = looked = 0
    for one, other in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        told = _is_edge(grey, one, other, centre)
        if told is not None:
            looked += 1
            framed += told
    return framed * 2 < looked or not looked


def _is_edge(grey: NDArray[np.float64], one: Points, other: Points, centre: Points) -> bool | None:
    """Return whether an edge runs all along a side of the shared part; None where too little of it is inside."""
    length = float(np.linalg.norm(other - one))
    if length < _STEP * _FEWEST:
        return None
    along = (other - one) / length
    out = np.array((along[1], -along[0]))
    out = out if float(out @ (one - centre)) > 0 else -out
    places = one + np.arange(0.08 * length, 0.92 * length, _STEP)[:, None] * along
    levels = {by: _levels(grey, places + by * out) for by in (-_NEAR - _FAR, -_FAR, -_NEAR, _NEAR, _FAR, _NEAR + _FAR)}
    inside = np.all([~np.isnan(level) for level in levels.values()], axis=0)
    if inside.sum() < _FEWEST:
        return None
    within = {by: level[inside] for by, level in levels.items()}
    across = float(np.median(np.abs(within[_NEAR] - within[-_NEAR])))
    beside = float(np.median(np.abs(within[-_FAR] - within[-_NEAR - _FAR])))
    if max(float(within[by].std()) for by in (_NEAR, _FAR)) < _EVEN:
        # Filled with one colour, or a backdrop: then it begins inside.
        even_inside = float(within[-_NEAR].std()) < _PLAIN
        return None if even_inside and across < _LEAST else True
    return across > max(_LEAST, _EDGE * beside)


def _levels(grey: NDArray[np.float64], places: Points) -> NDArray[np.float64]:
    """Return (N,) the levels at places, x and y, NaN outside the picture."""
    x, y = np.round(places - 0.5).astype(np.int64).T
    outside = (x < 0) | (y < 0) | (x >= grey.shape[1]) | (y >= grey.shape[0])
    found = grey[np.clip(y, 0, grey.shape[0] - 1), np.clip(x, 0, grey.shape[1] - 1)]
    return np.where(outside, np.nan, found)
