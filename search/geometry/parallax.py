"""Telling a copy from another shot of the same scene: in the other shot, parts moved against each other.

The keypoints of a copy lie where the model says, to a fraction of their own size, and what remains is noise. When the
camera or the scene moved, near things shifted by another amount than far ones: neighbouring keypoints are off together,
or a whole group of them fits another transformation better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import Agreement
from search.geometry.transformation import Fit, Pairs, Points, fit, local_linear, moved, residuals

# Measured on copies of 40 photographs after 27 edits, and on 70 parts of the stereo pair of scikit-image.
_FEWEST = 12
# Many inliers: the median distance from the model by the size of the keypoint is above .13 for most of the pair and
# for copies that are tiny or pixelised; the latter agree in all cells. Distances below a part of a pixel of the smaller
# picture are what reducing it leaves.
_MANY = 30
_LOOSE = 0.13
_LOOSE_PIXELS = 0.4
_ALL_CELLS = 0.97
# Few: at most .26 of copies, at least .21 of the pair; after averaging neighbours at most .11 of copies.
_LOOSE_AMONG_FEW = 0.2
_LOOSE_DISTANCE = 0.002  # in longer sides
_TOGETHER = 0.15
_NEIGHBOURS = 5
_CLOSE_PIXELS = 0.93  # typical agreement of pixels above which noise explains what is loose
# A second group of matches: of copies at most 7 agreed on another model, of drawn scenes whose near part moved by a
# hundredth of the side at least 50. Places in longer sides.
_GROUP = 10
_GROUP_SHARE = 0.05  # of the inliers
_MISSED = 0.006
_MISSED_BY_SIZE = 0.3
_TIGHT = 0.004
_GROUP_SHIFT = 0.15  # farther away it is the same thing shown twice, or a texture that repeats
_GROUP_CHANGE = 0.3  # of scale and direction


@dataclass(frozen=True, slots=True, eq=False)
class Leftover:
    """What a model leaves over, in longer sides of the coarser picture: (M, 2) errors and (M,) keypoints' diameters.

    pixel: of the picture that has fewer of them there.
    """

    errors: Points
    sizes: NDArray[np.float64]
    pixel: float


def leftover(
    pairs: Pairs, found: Fit, diameters: NDArray[np.float64], query_side: int, candidate_side: int
) -> Leftover:
    """Return what a model leaves over.

    diameters: (M,) of the candidate's keypoints, in its longer sides. query_side, candidate_side: those, in pixels.
    """
    scale = np.sqrt(abs(np.linalg.det(local_linear(found.model, pairs.source[found.agree].mean(axis=0)))))
    coarser = max(1.0, float(scale))
    pixel = max(1 / candidate_side, float(scale) / query_side) / coarser
    return Leftover((moved(found.model, pairs.source) - pairs.target) / coarser, diameters / coarser, pixel)


def has_moved(pairs: Pairs, found: Fit, left: Leftover, measured: Agreement) -> bool:
    """Return whether parts of the two pictures moved against each other. measured: agreement of their pixels."""
    if found.inliers < _FEWEST:
        return False
    return _is_loose(pairs.source[found.agree], found, left, measured) or _second_group(pairs, found, left)


def _is_loose(source: Points, found: Fit, left: Leftover, measured: Agreement) -> bool:
    """Return whether what the model leaves over is motion and not noise: many depths, as in a stereo pair."""
    off, sizes = left.errors[found.agree], left.sizes[found.agree]
    distance = np.linalg.norm(off, axis=1)
    typical, by_size = float(np.median(distance)), float(np.median(distance / sizes))
    if found.inliers >= _MANY and by_size > _LOOSE and typical > _LOOSE_PIXELS * left.pixel:
        return measured.agreeing < _ALL_CELLS or by_size > _LOOSE_AMONG_FEW and _is_common(source, off, sizes)
    if typical < _LOOSE_DISTANCE or by_size < _LOOSE_AMONG_FEW:
        return False
    return measured.typical < _CLOSE_PIXELS or _is_common(source, off, sizes)


def _is_common(source: Points, off: Points, sizes: NDArray[np.float64]) -> bool:
    """Return whether neighbours are off the model in the same direction."""
    apart = np.linalg.norm(source[:, None] - source[None], axis=2)
    apart[apart < 1e-4] = np.inf  # noqa: PLR2004 (itself, and its own keypoints of other directions)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]
    return bool(np.median(np.linalg.norm(off[nearest].mean(axis=1), axis=1) / sizes) > _TOGETHER)


def _second_group(pairs: Pairs, found: Fit, left: Leftover) -> bool:
    """Return whether matches that the model misses agree on another one close to it: a thing that moved as a whole."""
    distance = np.nan_to_num(np.linalg.norm(left.errors, axis=1), nan=np.inf)
    rest = np.flatnonzero((distance > _MISSED) & (distance > _MISSED_BY_SIZE * left.sizes) & (distance < _GROUP_SHIFT))
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
