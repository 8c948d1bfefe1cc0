"""Telling a copy from another shot of the same scene: in the other shot, parts moved against each other.

The keypoints of a copy lie where the model says, to a fraction of their own size, and what remains is noise. When the
camera or the scene moved, near things shifted by another amount than far ones: neighbouring keypoints are off together,
or a whole group of them fits another transformation better.
"""

import numpy as np
from numpy.typing import NDArray

from search.geometry.transformation import Fit, Pairs, Points, fit, local_linear, moved, residuals

# Measured on 40 photographs with 28 edits and the stereo pair of scikit-image, whole and in parts: median distance from
# the model by the keypoint's size at most .26 of copies (pixelised ones), at least .24 of the pair.
_LOOSE = 0.2
_LOOSE_DISTANCE = 0.002  # in longer sides: below this the working picture has no more pixels
_TOGETHER = 0.15  # the same, after averaging neighbours; at most .11 of copies
_NEIGHBOURS = 5
_CLOSE_PIXELS = 0.93  # typical agreement of pixels above which noise explains what is loose
_FEWEST = 12
# A second group of matches: of copies at most 7 agreed on another model, of drawn scenes whose near part moved by a
# hundredth of the side at least 50. Places in longer sides.
_GROUP = 10
_GROUP_SHARE = 0.05  # of the inliers
_MISSED = 0.006
_MISSED_BY_SIZE = 0.3
_TIGHT = 0.004
_GROUP_SHIFT = 0.15  # farther away it is the same thing shown twice, or a texture that repeats
_GROUP_CHANGE = 0.3  # of scale and direction


def has_moved(pairs: Pairs, found: Fit, diameters: NDArray[np.float64], typical: float) -> bool:
    """Return whether parts of the two pictures moved against each other.

    diameters: (M,) of the candidate's keypoints, in its longer sides. typical: agreement of the pixels.
    """
    if found.inliers < _FEWEST:
        return False
    scale = np.sqrt(abs(np.linalg.det(local_linear(found.model, pairs.source[found.agree].mean(axis=0)))))
    coarser = max(1.0, float(scale))
    off = (moved(found.model, pairs.source) - pairs.target) / coarser
    sizes = diameters / coarser
    return _neighbours_off_together(pairs, found, off, sizes, typical) or _second_group(pairs, found, off, sizes)


def _neighbours_off_together(pairs: Pairs, found: Fit, off: Points, sizes: NDArray[np.float64], typical: float) -> bool:
    """Return whether what the model leaves over is motion and not noise: many depths, as in a stereo pair."""
    source, off, sizes = pairs.source[found.agree], off[found.agree], sizes[found.agree]
    distance = np.linalg.norm(off, axis=1)
    if np.median(distance) < _LOOSE_DISTANCE or np.median(distance / sizes) < _LOOSE:
        return False
    apart = np.linalg.norm(source[:, None] - source[None], axis=2)
    apart[apart < 1e-4] = np.inf  # noqa: PLR2004 (itself, and its own keypoints of other directions)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]
    together = np.linalg.norm(off[nearest].mean(axis=1), axis=1) / sizes
    return bool(np.median(together) > _TOGETHER or typical < _CLOSE_PIXELS)


def _second_group(pairs: Pairs, found: Fit, off: Points, sizes: NDArray[np.float64]) -> bool:
    """Return whether matches that the model misses agree on another one close to it: a thing that moved as a whole."""
    distance = np.nan_to_num(np.linalg.norm(off, axis=1), nan=np.inf)
    rest = np.flatnonzero((distance > _MISSED) & (distance > _MISSED_BY_SIZE * sizes) & (distance < _GROUP_SHIFT))
    others = Pairs(pairs.source[rest], pairs.target[rest], pairs.scales[rest], pairs.turns[rest])
    second = fit(others)
    if second is None:
        return False
    tight = residuals(others, second.model) < _TIGHT
    if tight.sum() < max(_GROUP, _GROUP_SHARE * found.inliers):
        return False
    middle = others.source[tight].mean(axis=0)
    change = local_linear(second.model, middle) @ np.linalg.inv(local_linear(found.model, middle)) - np.eye(2)
    return bool(np.abs(change).max() < _GROUP_CHANGE)
