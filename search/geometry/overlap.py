"""The part that two pictures share, as a model lays one over the other."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.transformation import Model, Points, moved

Size = tuple[int, int]  # width, height in pixels

_CELLS = 4  # along each side of the grid that inliers shall spread over
_FINE_CELLS = 8  # and of the one that tells how much they explain
_NEAR = 0.02  # of the horizon's distance: places nearer to it than this are left out


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """The shared part as a polygon in each picture, (N, 2) pixels, and its share of each picture's area, 0..1."""

    in_query: Points
    in_candidate: Points
    of_query: float
    of_candidate: float


def overlap(model: Model, query: Size, candidate: Size) -> Overlap | None:
    """Return what two pictures share, None where they share nothing. model: (3, 3), from query to candidate pixels."""
    shared = _clipped(corners(query), model, candidate)
    if shared is None:
        return None
    there = moved(model, shared)
    if not np.isfinite(there).all():
        return None
    area, area_there = abs(_area(shared)), abs(_area(there))
    if area <= 0 or area_there <= 0:
        return None
    of_query, of_candidate = area / (query[0] * query[1]), area_there / (candidate[0] * candidate[1])
    return Overlap(shared, there, min(1.0, of_query), min(1.0, of_candidate))


def corners(size: Size) -> Points:
    """Return (4, 2) the corners of a picture, clockwise from the upper left."""
    width, height = size
    return np.array(((0.0, 0.0), (width, 0.0), (width, height), (0.0, height)))


def cells_covered(points: Points, region: Points) -> int:
    """Return how many of the 16 cells of a region's bounding box hold at least one of the points."""
    return len(_cells(points, region, _CELLS))


def share_explained(points: Points, of: Points, region: Points) -> float:
    """Return the share, 0..1, of those of 64 cells of a region's bounding box with a point of `of` that have one of
    `points`, too: inliers that lie wherever there are keypoints leave no room for another picture beside them.
    """
    low, high = region.min(axis=0), region.max(axis=0)
    inside = of[((of >= low) & (of <= high)).all(axis=1)]
    known = _cells(inside, region, _FINE_CELLS)
    return len(known & _cells(points, region, _FINE_CELLS)) / len(known) if known else 0.0


def _cells(points: Points, region: Points, aside: int) -> set[int]:
    low, high = region.min(axis=0), region.max(axis=0)
    cells = np.floor((points - low) / np.maximum(high - low, 1e-9) * aside).clip(0, aside - 1).astype(np.int64)
    return set((cells @ (1, aside)).tolist())


def is_convex(quad: Points) -> bool:
    """Return whether four corners in order make a convex quad, not folded, of either direction."""
    before, after = np.roll(quad, 1, axis=0) - quad, np.roll(quad, -1, axis=0) - quad
    crosses = after[:, 0] * before[:, 1] - after[:, 1] * before[:, 0]
    return bool(np.isfinite(quad).all() and ((crosses > 0).all() or (crosses < 0).all()))


def _clipped(frame: Points, model: Model, candidate: Size) -> Points | None:
    """Return the part of the query's frame that a model takes into the candidate."""
    width, height = candidate
    # Each side of the candidate is a line; what lies inside it is a half plane of the query's homogeneous places.
    x, y, depth = model
    sides = (x, width * depth - x, y, height * depth - y, depth - np.array((0.0, 0.0, _NEAR * depth[2])))
    polygon = frame
    for side in sides:
        polygon = _half(polygon, side)
        if len(polygon) < 3:  # noqa: PLR2004
            return None
    return polygon


def _half(polygon: Points, side: NDArray[np.float64]) -> Points:
    """Return what is left of a polygon where a linear function of (x, y, 1) is not negative (Sutherland, Hodgman)."""
    values = np.column_stack((polygon, np.ones(len(polygon)))) @ side
    kept: list[NDArray[np.float64]] = []
    for number, (place, value) in enumerate(zip(polygon, values, strict=True)):
        following, next_value = polygon[(number + 1) % len(polygon)], values[(number + 1) % len(polygon)]
        if value >= 0:
            kept.append(place)
        if (value < 0) != (next_value < 0):
            kept.append(place + (following - place) * (value / (value - next_value)))
    return np.array(kept).reshape(-1, 2)


def _area(polygon: Points) -> float:
    return float(cv2.contourArea(polygon.astype(np.float32)))
