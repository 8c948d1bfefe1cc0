"""Whether the pixels of two pictures agree where a model lays one over the other.

The overlap is cut into cells, and each cell's pixels are correlated by themselves: a brighter, flatter or recoloured
copy agrees, a caption or a sticker spoils only the cells it covers, and another picture in the same frame disagrees.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Pixels, resized
from search.geometry.transformation import Model, local_linear, moved

_CELL = 9  # pixels of a cell's side at least; a smaller one correlates by chance
_SMALL_CELL = 6  # but in an overlap of fewer cells than a dozen
_CELLS = 8  # cells along the longer side at most
_FEWEST_CELLS = 4  # that show something
_SOFTENING = 1.0  # standard deviation in pixels of the blur before comparing, against noise and half-pixel shifts
_AGREES = 0.6  # correlation of a cell
_WIDE = 40  # pixels of the shorter side from which on the rim is two pixels
_SLOW = 5.0  # standard deviation in pixels of what changes slowly
_FLAT = 2.5  # levels: standard deviation below which a cell shows nothing
# A corner: the smaller eigenvalue of the structure tensor, by the variance of the overlap, at its highest in a cell.
_CORNER = 0.025
_CORNER_WINDOW = 9  # pixels
_LEAST_VARIANCE = 25.0  # squared levels


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """Two pictures on one canvas: float32 (h, w), and where both have pixels (h, w)."""

    query: NDArray[np.float32]
    candidate: NDArray[np.float32]
    both: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well the cells of an overlap correlate.

    typical: median of the cells judged, in [-1, 1]; judged are those where the picture that shows less shows something.
    agreeing: share of them at .6 and more. cells: how many. differing: share of all cells of the overlap, empty ones
    among them, in which one of the pictures shows something that the other does not.
    """

    typical: float
    agreeing: float
    cells: int
    differing: float


def align(query: Pixels, candidate: Pixels, model: Model, reduction: float = 1.0) -> Aligned | None:
    """Lay the query over the candidate, at the resolution of the coarser of the two; None where they do not meet.

    query, candidate: (H, W) grey. model: (3, 3) from places in the one to places in the other, in pixels of these
    arrays. reduction: makes the canvas so much smaller.
    """
    height, width = query.shape
    scale = _scale(model, query.shape, candidate.shape)
    if not np.isfinite(scale) or scale <= 0:
        return None
    canvas = resized(candidate, min(1.0, 1 / scale) * reduction)
    source = resized(query, min(1.0, scale) * reduction)
    onto = _stretch(candidate.shape, canvas.shape) @ model @ np.linalg.inv(_stretch((height, width), source.shape))
    size = (canvas.shape[1], canvas.shape[0])
    centred = _shift(-0.5) @ onto @ _shift(0.5)
    warped = cv2.warpPerspective(source.astype(np.float32), centred, size, flags=cv2.INTER_LINEAR)
    covered = cv2.warpPerspective(np.ones(source.shape, np.float32), centred, size, flags=cv2.INTER_LINEAR) > 0.99  # noqa: PLR2004
    both = _without_rim(covered)
    return Aligned(warped, canvas.astype(np.float32), both) if both.any() else None


def measure(aligned: Aligned, *, details: bool = False) -> Agreement | None:
    """Return how well two pictures agree on their canvas, None where too few cells show anything.

    details: leave out what changes slowly over the canvas, as light on a backdrop does, in which anything agrees.
    """
    box = _box(aligned.both)
    both = aligned.both[box]
    first, second = _softened(aligned.query[box], both), _softened(aligned.candidate[box], both)
    if details:
        first, second = first - _softened(first, both, _SLOW), second - _softened(second, both, _SLOW)
    return _correlated(first, second, both)


def closest(query: Pixels, candidate: Pixels, model: Model) -> Agreement | None:
    """Return how well the details of two pictures agree, at full or half resolution, whichever is better.

    Half is for copies that are blurred or pixelised. Arguments as of `align`.
    """
    measured = []
    for reduction in (1.0, 0.5):
        aligned = align(query, candidate, model, reduction)
        found = measure(aligned, details=True) if aligned is not None else None
        if found is not None:
            measured.append(found)
    return max(measured, key=lambda one: one.typical, default=None)


def count_corners(query: Pixels, candidate: Pixels, model: Model) -> int:
    """Return in how many of 64 cells of the overlap both pictures have a corner, at full or half resolution.

    Along a straight edge anything with a straight edge agrees; two objects of one shape, or the halves of a symmetric
    one, agree along all their edges. Only where the picture changes in two directions does agreement fix a place.
    Arguments as of `align`.
    """
    found = (align(query, candidate, model, reduction) for reduction in (1.0, 0.5))
    return max((_corners(aligned) for aligned in found if aligned is not None), default=0)


def correlation_map(aligned: Aligned) -> NDArray[np.float32]:
    """Return (h, w) the local correlation around each pixel, in a window of a cell; 1 where neither shows anything."""
    both = aligned.both.astype(np.float32)
    first, second = _softened(aligned.query, aligned.both), _softened(aligned.candidate, aligned.both)
    window = (2 * _CELL - 1, 2 * _CELL - 1)
    weight = np.maximum(cv2.boxFilter(both, -1, window), 1e-6)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.boxFilter(values * both, -1, window) / weight, np.float32)

    one, other = mean(first), mean(second)
    cross = mean(first * second) - one * other
    spread = np.maximum(mean(first**2) - one**2, 0), np.maximum(mean(second**2) - other**2, 0)
    flat = (spread[0] < _FLAT**2) & (spread[1] < _FLAT**2)
    found = cross / np.sqrt(np.maximum(spread[0], _FLAT**2) * np.maximum(spread[1], _FLAT**2))
    return np.where(flat | ~aligned.both, 1, found).astype(np.float32)


def _correlated(first: NDArray[np.float32], second: NDArray[np.float32], both: NDArray[np.bool_]) -> Agreement | None:
    """Return how well the cells of two aligned pictures correlate, None where too few show anything."""
    cell_side = _CELL if (both.shape[0] // _CELL) * (both.shape[1] // _CELL) >= 12 else _SMALL_CELL  # noqa: PLR2004
    across, down = (max(1, min(_CELLS, side // cell_side)) for side in (both.shape[1], both.shape[0]))
    x = np.arange(both.shape[1]) * across // both.shape[1]
    y = np.arange(both.shape[0]) * down // both.shape[0]
    cell = (y[:, None] * across + x[None, :])[both]
    one, other = first[both].astype(np.float64), second[both].astype(np.float64)
    count = np.maximum(np.bincount(cell, minlength=across * down), 1)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.bincount(cell, values, minlength=across * down) / count

    mean_one, mean_other = mean(one), mean(other)
    cross = mean(one * other) - mean_one * mean_other
    spreads = (np.maximum(mean(values**2) - middle**2, 0) for values, middle in ((one, mean_one), (other, mean_other)))
    spread_one, spread_other = spreads
    full = count >= both.size / (across * down) / 2
    shown, shown_other = full & (spread_one >= _FLAT**2), full & (spread_other >= _FLAT**2)
    # Words on an empty sky say nothing about the sky: the picture that shows less decides where to look.
    fewer = shown.sum() - shown_other.sum()
    judged = shown | shown_other if fewer == 0 else shown if fewer < 0 else shown_other
    if judged.sum() < _FEWEST_CELLS:
        return None
    found = cross / np.sqrt(np.maximum(spread_one, 1) * np.maximum(spread_other, 1))
    agree = found >= _AGREES
    differing = (shown | shown_other) & ~agree
    return Agreement(
        float(np.median(found[judged])),
        float(agree[judged].mean()),
        int(judged.sum()),
        float(differing.sum() / full.sum()),
    )


def _box(both: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns that hold the overlap."""
    rows, columns = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _corners(aligned: Aligned) -> int:
    box = _box(aligned.both)
    both = aligned.both[box]
    strengths = []
    for values in (aligned.query[box], aligned.candidate[box]):
        soft = _softened(values, both)
        variance = max(float(soft[both].var()), _LEAST_VARIANCE)
        strengths.append(cv2.cornerMinEigenVal(soft, _CORNER_WINDOW) / variance)
    strength = np.minimum(*strengths) * both
    # The highest of each cell; cells of less than a pixel there are none where it matters.
    rows, columns = (np.arange(_CELLS) * side // _CELLS for side in both.shape)
    highest = np.maximum.reduceat(np.maximum.reduceat(strength, rows, axis=0), columns, axis=1)
    return int((highest >= _CORNER).sum())


def _softened(values: NDArray[np.float32], both: NDArray[np.bool_], sigma: float = _SOFTENING) -> NDArray[np.float32]:
    """Blur inside the overlap, so that what lies outside does not leak in."""
    weight = np.maximum(cv2.GaussianBlur(both.astype(np.float32), (0, 0), sigma), 1e-6)
    return np.asarray(cv2.GaussianBlur(values * both, (0, 0), sigma) / weight, np.float32)


def _without_rim(covered: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the overlap without its outermost pixels, in which what surrounds a picture may bleed."""
    margin = 2 if min(covered.shape) > _WIDE else 1
    ones = np.ones((3, 3), np.uint8)
    eroded = cv2.erode(covered.astype(np.uint8), ones, iterations=margin, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.asarray(eroded > 0)


def _scale(model: Model, query: tuple[int, ...], candidate: tuple[int, ...]) -> float:
    """Return how many candidate pixels a query pixel covers along a side, amid the overlap."""
    centre = np.array(((candidate[1] / 2, candidate[0] / 2),), np.float64)
    middle = moved(np.asarray(np.linalg.inv(model), np.float64), centre)[0]
    place = np.asarray(np.clip(np.nan_to_num(middle), 0, (query[1], query[0])), np.float64)
    return float(np.sqrt(abs(np.linalg.det(local_linear(model, place)))))


def _stretch(before: tuple[int, ...], after: tuple[int, ...]) -> Model:
    return np.diag((after[1] / before[1], after[0] / before[0], 1.0))


def _shift(by: float) -> Model:
    return np.array(((1.0, 0.0, by), (0.0, 1.0, by), (0.0, 0.0, 1.0)))
