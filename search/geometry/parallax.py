"""Telling a copy from another shot of the same scene: in the other shot, parts moved against each other.

The keypoints of a copy lie where the model says, to a fraction of their own size, and what remains is noise. When the
camera or the scene moved, near things shifted by another amount than far ones: neighbouring keypoints are off together.
"""

import numpy as np
from numpy.typing import NDArray

from search.geometry.transformation import Fit, Pairs, local_linear, moved

# Measured on 40 photographs with 28 edits and the stereo pair of scikit-image, whole and in parts: median distance from
# the model by the keypoint's size at most .26 of copies (pixelised ones), at least .24 of the pair.
_LOOSE = 0.2
_LOOSE_DISTANCE = 0.002  # in longer sides: below this the working picture has no more pixels
_TOGETHER = 0.15  # the same, after averaging neighbours; at most .11 of copies
_NEIGHBOURS = 5
_CLOSE_PIXELS = 0.93  # typical agreement of pixels above which noise explains what is loose
_FEWEST = 12


def has_moved(pairs: Pairs, found: Fit, diameters: NDArray[np.float64], typical: float) -> bool:
    """Return whether parts of the two pictures moved against each other.

    diameters: (M,) of the candidate's keypoints, in its longer sides. typical: agreement of the pixels.
    """
    if found.inliers < _FEWEST:
        return False
    source = pairs.source[found.agree]
    scale = np.sqrt(abs(np.linalg.det(local_linear(found.model, source.mean(axis=0)))))
    coarser = max(1.0, float(scale))
    off = (moved(found.model, source) - pairs.target[found.agree]) / coarser
    sizes = diameters[found.agree] / coarser
    distance = np.linalg.norm(off, axis=1)
    if np.median(distance) < _LOOSE_DISTANCE or np.median(distance / sizes) < _LOOSE:
        return False
    apart = np.linalg.norm(source[:, None] - source[None], axis=2)
    apart[apart < 1e-4] = np.inf  # noqa: PLR2004 (itself, and its own keypoints of other directions)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :_NEIGHBOURS]
    together = np.linalg.norm(off[nearest].mean(axis=1), axis=1) / sizes
    return bool(np.median(together) > _TOGETHER or typical < _CLOSE_PIXELS)
