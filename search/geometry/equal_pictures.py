"""Pictures too smooth for keypoints that are the same all the same: saved again, or resized, and nothing else.

Where verification cannot tell for want of details, the pixels may still agree outright. What varies slowly, such as a
sky or a lit wall, agrees with every other of its kind, so a picture counts only by what is left without it.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Keypoints
from search.geometry.overlap import overlap
from search.geometry.verification import SAME, Verification, size_of

_SIDE: Final = 48  # pixels at which the two are compared
_ASPECT: Final = 1.03
_SHOWN: Final = 8.0  # levels: standard deviation of what is left without slow changes
_APART: Final = 3.0  # levels: root mean square of the difference, as saving and resizing leave
_SHARE: Final = 0.1  # of what is shown, likewise


def equal_pictures(query: Keypoints, candidate: Keypoints) -> Verification | None:
    """Return a "yes" where two pictures agree pixel by pixel but for compression and size, else None."""
    ratio = (query.width * candidate.height) / (query.height * candidate.width)
    if max(ratio, 1 / ratio) > _ASPECT:
        return None
    one, other = _small(query), _small(candidate)
    shown = min(float(_without_slow_changes(one).std()), float(_without_slow_changes(other).std()))
    apart = float(np.sqrt(((one - other) ** 2).mean()))
    if shown < _SHOWN or apart > min(_APART, _SHARE * shown):
        return None
    model = np.diag((candidate.width / query.width, candidate.height / query.height, 1.0))
    agreement = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
    shared = overlap(model, size_of(query), size_of(candidate))
    return Verification(
        "yes", SAME, size_of(query), size_of(candidate), model=model, agreement=agreement, shared=shared
    )  # fmt: skip


def _small(picture: Keypoints) -> NDArray[np.float64]:
    small = cv2.resize(picture.thumbnail, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float64)


def _without_slow_changes(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (S, S) levels less the quadratic surface nearest to them."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(-1, 6)
    fitted = terms @ np.linalg.lstsq(terms, levels.ravel(), rcond=None)[0]
    return np.asarray(levels - fitted.reshape(levels.shape), np.float64)
