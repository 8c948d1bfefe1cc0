"""Telling a picture seen through a lens from another shot of its scene: what a lens bends, it bends around one centre.

Both leave keypoints beside the best flat model. Where the camera moved, each thing is off by its own depth; where a
lens or its correction bent the picture, a place is off by the cube of its distance from the middle, times one number
(Brown, "Close-range camera calibration", 1971, with the first radial term).
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Keypoints
from search.geometry.matching import match
from search.geometry.transformation import moved
from search.geometry.verification import ANOTHER_SHOT, ENOUGH_AGREEMENT, SAME, Verification

# Of 22 photographs through a lens .13 at least, of 39 parts of a stereo pair .05 at most but for one with 40 fits.
_BENT: Final = 0.08
_TRIED: Final = np.linspace(-0.4, 0.4, 81)
_TOLERANCES: Final = (0.03, 0.02, 0.012, 0.008, 0.005, 0.005)  # longer sides, ever stricter
_NEAR: Final = 0.05
_FEWEST: Final = 60  # matches that fit
_SHARE: Final = 0.55  # of those that are near
_MORE: Final = 1.1  # times as many as fit the best flat model

Points = NDArray[np.float64]


def unbent(found: Verification, query: Keypoints, candidate: Keypoints) -> Verification | None:
    """Return a "yes" for what was taken for another shot and is the same picture through a lens, else None."""
    if found.reason != ANOTHER_SHOT or found.model is None or (found.agreement or 0.0) < ENOUGH_AGREEMENT:
        return None
    matches = next(match(query, [candidate]))
    if found.mirrored or len(matches) < _FEWEST:
        return None
    source, target = query.points()[matches.query], candidate.points()[matches.candidate] / candidate.longer_side
    middle = np.array((query.width / 2, query.height / 2))
    places = (source - middle) / float(np.linalg.norm(middle))
    start = np.linalg.norm(moved(found.model, source) / candidate.longer_side - target, axis=1)
    flat, _ = _fitting(places, target, start, np.zeros(1))
    bent, bend = _fitting(places, target, start, _TRIED)
    tight, near = int((bent < _TOLERANCES[-1]).sum()), int((bent < _NEAR).sum())
    enough = tight >= max(_FEWEST, _SHARE * near, _MORE * int((flat < _TOLERANCES[-1]).sum()))
    return replace(found, answer="yes", reason=SAME) if enough and abs(bend) >= _BENT else None


def _fitting(
    places: Points, target: Points, distance: NDArray[np.float64], tried: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return how far each place comes to lie from its target, (M,), and the bend that brings them nearest.

    places: (M, 2) around the middle, in half diagonals. target: (M, 2). distance: (M,) by another model, to begin with.
    """
    squared, bend = (places**2).sum(axis=1, keepdims=True), 0.0
    for tolerance in _TOLERANCES:
        agree = distance < tolerance
        if agree.sum() < _FEWEST // 2:
            break
        best = np.inf
        for one in tried:
            rows = np.column_stack((places * (1 + one * squared), np.ones(len(places))))
            off = rows @ np.linalg.lstsq(rows[agree], target[agree], rcond=None)[0] - target
            missed = float(np.abs(off[agree]).sum())
            if missed < best:
                best, bend, distance = missed, float(one), np.linalg.norm(off, axis=1)
    return distance, bend
