"""Pictures too smooth for keypoints that are the same all the same: saved again, or resized, and nothing else.

Where verification cannot tell for want of details, the pixels may still agree outright. What varies slowly, such as a
sky or a lit wall, agrees with every other of its kind, so a picture counts only by what is left without it.
"""

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import align
from search.geometry.by_keypoints import between_thumbnails
from search.geometry.keypoints import Keypoints
from search.geometry.overlap import overlap
from search.geometry.verification import SAME, TOO_LITTLE, Verification, size_of

# A picture with fewer keypoints shows next to nothing: a sky, a wall, a gradient, a few blobs, which agree with others.
TEXTURED: Final = 8
_SIDE: Final = 48  # pixels at which the two are compared
_ASPECT: Final = 1.03
_SHOWN: Final = 8.0  # levels: standard deviation of what is left without slow changes
_APART: Final = 3.0  # levels: root mean square of the difference, as saving and resizing leave
_SHARE: Final = 0.1  # of what is shown, likewise
_INSIDE, _LEAST_INSIDE = 0.99, 0.5  # of a reduced pixel, and of the box around what both show


def without_texture(found: Verification, query: Keypoints, candidate: Keypoints) -> Verification:
    """Return an answer as it counts where one of the two has next to no texture: "yes" for equal pixels alone.

    Under the model, that is: also a part of the other, turned, mirrored.
    """
    if found.answer != "yes" or min(len(query), len(candidate)) >= TEXTURED or found.model is None:
        return found
    aligned = align(query.thumbnail, candidate.thumbnail, between_thumbnails(found.model, query, candidate))
    if aligned is not None:
        rows, columns = (np.flatnonzero(aligned.both.any(axis=axis)) for axis in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = _small(aligned.both[box].astype(np.float64)) > _INSIDE
        if _are_equal(_small(aligned.query[box]), _small(aligned.candidate[box]), inside):
            return found
    return replace(found, answer="cannot", reason=TOO_LITTLE)


def equal_pictures(query: Keypoints, candidate: Keypoints) -> Verification | None:
    """Return a "yes" where two pictures agree pixel by pixel but for compression and size, else None."""
    ratio = (query.width * candidate.height) / (query.height * candidate.width)
    if max(ratio, 1 / ratio) > _ASPECT:
        return None
    one, other = _small(query.thumbnail), _small(candidate.thumbnail)
    if not _are_equal(one, other, np.ones(one.shape, np.bool_)):
        return None
    model = np.diag((candidate.width / query.width, candidate.height / query.height, 1.0))
    agreement = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    shared = overlap(model, size_of(query), size_of(candidate))
    return Verification(
        "yes", SAME, size_of(query), size_of(candidate), model=model, agreement=agreement, shared=shared
    )  # fmt: skip


def _are_equal(one: NDArray[np.float64], other: NDArray[np.float64], inside: NDArray[np.bool_]) -> bool:
    """Tell whether two pictures (S, S) agree where they lie over each other, and show something there."""
    if np.count_nonzero(inside) < _LEAST_INSIDE * inside.size:
        return False
    apart = float(np.sqrt(((one - other)[inside] ** 2).mean()))
    if apart > _APART:  # which nearly all pairs are; what follows costs a hundred times as much
        return False
    shown = min(float(_without_slow_changes(levels, inside).std()) for levels in (one, other))
    return shown >= _SHOWN and apart <= _SHARE * shown


def _small(levels: NDArray[np.generic]) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(levels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float64)


def _without_slow_changes(levels: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the levels inside less the quadratic surface nearest to them."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)[inside]
    found = levels[inside]
    return np.asarray(found - terms @ np.linalg.lstsq(terms, found, rcond=None)[0], np.float64)
