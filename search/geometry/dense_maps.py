"""Comparing two pictures by maps of a network, one point of a coarse grid at a time: where SIFT has found nothing.

A map is (C, h, w) float32, such as a backbone's feature map of stride 16, of the whole picture: its cell (row, column)
lies at the centre of that cell of the picture. Points are matched by cosine, mutually; what RANSAC samples is
enumerated up to a number of pairs of matches, spread evenly.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import closest, count_corners
from search.geometry.by_keypoints import between_thumbnails, describe, to_thumbnail
from search.geometry.hypotheses import refined
from search.geometry.keypoints import Keypoints, mirrored
from search.geometry.transformation import Model, Points, moved, similarity
from search.geometry.verification import SAME, TOO_LITTLE, Verification, size_of, turned_back

DenseMap = NDArray[np.float32]  # (C, h, w)

_TOLERANCE = 1.2  # cells of the coarser map
_PAIRS = 3000  # pairs of matches tried at most
_APART = 3.0  # cells between the two matches of a pair: nearer ones fix no scale
_MOST_SCALE = 6.0
_FEWEST = 8  # matches that must agree
_RATIO = 0.25
# Agreement asked of the pixels' details, in so many cells, of which so many agree, and in so many there are corners:
# maps match what things are, not which picture they are in.
_DETAILS = (0.85, 12)
_AGREEING = 0.8
_CORNERS = 16
_INSIDE = 0.55  # share of one of the pictures that the other shows, as in by_pixels.py
_CENTRED = 1e-6


def compare_maps(query: Keypoints, candidate: Keypoints, query_map: DenseMap, candidate_map: DenseMap) -> Verification:
    """Return whether two pictures are the same by their maps; "yes", or "cannot", as maps never prove a difference.

    The mirror image of the query is tried, too: its map turned round, which a network answers nearly the same.

    Raises:
        ValueError: the maps have different channels or no points.
    """
    _require_maps(query_map, candidate_map)
    upright = _compared(query, candidate, query_map, candidate_map)
    if upright.answer == "yes":
        return upright
    other = _compared(mirrored(query), candidate, query_map[:, :, ::-1], candidate_map)
    return turned_back(other) if other.answer == "yes" else upright


def judged_by_maps(
    found: Verification, query: Keypoints, candidate: Keypoints, query_map: DenseMap | None, known: DenseMap | None
) -> Verification:
    """Return a "yes" where the maps allow it, else what was found before. known: the map of the candidate."""
    if query_map is None or known is None:
        return found
    answer = compare_maps(query, candidate, query_map, known)
    return answer if answer.answer == "yes" else found


def match_maps(query_map: DenseMap, candidate_map: DenseMap) -> tuple[Points, Points]:
    """Return (M, 2) and (M, 2), x and y in cells from the upper left, of points that are mutually nearest.

    What all points of both maps have in common is taken off before, as it says nothing about any of them.
    """
    one, other = _points_of(query_map), _points_of(candidate_map)
    common = (one.mean(axis=0) + other.mean(axis=0)) / 2
    one, other = _unit(one - common), _unit(other - common)
    products = one @ other.T
    nearest, back = products.argmax(axis=1), products.argmax(axis=0)
    rows = np.flatnonzero(back[nearest] == np.arange(len(one)))
    return _centres(rows, query_map.shape[2]), _centres(nearest[rows], candidate_map.shape[2])


def fit_points(source: Points, target: Points, tolerance: float = _TOLERANCE) -> tuple[Model, NDArray[np.bool_]] | None:
    """Return the similarity most matches agree on and which do, both in cells; None where no pair of matches fits.

    source, target: (M, 2). tolerance: cells of the coarser of the two.
    """
    first, second = np.triu_indices(len(source), 1)
    far = np.linalg.norm(source[first] - source[second], axis=1) >= _APART
    first, second = first[far], second[far]
    chosen = np.linspace(0, len(first) - 1, min(_PAIRS, len(first))).astype(np.int64)
    first, second = first[chosen], second[chosen]
    one, other = source @ (1, 1j), target @ (1, 1j)
    factors = (other[second] - other[first]) / (one[second] - one[first])
    sane = (np.abs(factors) < _MOST_SCALE) & (np.abs(factors) > 1 / _MOST_SCALE)
    first, factors = first[sane], factors[sane]
    if not len(factors):
        return None
    off = np.abs(factors[:, None] * (one[None] - one[first][:, None]) + other[first][:, None] - other[None])
    votes = (off < tolerance * np.maximum(1, np.abs(factors))[:, None]).sum(axis=1)
    best = int(votes.argmax())
    agree = off[best] < tolerance * max(1.0, float(abs(factors[best])))
    model = similarity(source[agree], target[agree])
    for _ in range(3):
        scale = float(np.sqrt(abs(np.linalg.det(model[:2, :2]))))
        within = np.linalg.norm(moved(model, source) - target, axis=1) < tolerance * max(1.0, scale)
        if within.sum() < 3:  # noqa: PLR2004
            break
        model, agree = similarity(source[within], target[within]), within
    return model, agree


def _compared(query: Keypoints, candidate: Keypoints, query_map: DenseMap, candidate_map: DenseMap) -> Verification:
    source, target = match_maps(query_map, candidate_map)
    nothing = Verification("cannot", TOO_LITTLE, size_of(query), size_of(candidate), len(source))
    found = fit_points(source, target)
    if found is None or found[1].sum() < max(_FEWEST, _RATIO * len(source)):
        return nothing
    from_cells, to_cells = _cell_size(query, query_map), _cell_size(candidate, candidate_map)
    rough = np.diag((*to_cells, 1.0)) @ found[0] @ np.diag((*(1 / from_cells), 1.0))
    # A cell of a map is several pixels of a thumbnail, so the pixels have the last word on where exactly.
    between = refined(between_thumbnails(rough, query, candidate), query.thumbnail, candidate.thumbnail)
    model = np.asarray(np.linalg.inv(to_thumbnail(candidate)) @ between @ to_thumbnail(query), np.float64)
    places = np.column_stack((source * from_cells, target * to_cells))[found[1]]
    described = describe(nothing, model, places)
    if described.model is None or described.shared is None or not described.spread:
        return nothing
    measured = closest(query.thumbnail, candidate.thumbnail, between)
    typical, cells = _DETAILS
    if measured is None or measured.typical < typical or measured.cells < cells or measured.agreeing < _AGREEING:
        return nothing
    if count_corners(query.thumbnail, candidate.thumbnail, between) < _CORNERS:
        return nothing
    if max(described.shared.of_query, described.shared.of_candidate) < _INSIDE:
        return nothing
    return replace(described, answer="yes", reason=SAME, agreement=measured.typical)


def _require_maps(query_map: DenseMap, candidate_map: DenseMap) -> None:
    shapes = query_map.shape, candidate_map.shape
    if any(len(shape) != 3 or 0 in shape for shape in shapes) or shapes[0][0] != shapes[1][0]:  # noqa: PLR2004
        raise ValueError(f"maps have the shapes {shapes[0]} and {shapes[1]}; (C, h, w) with the same C is needed")


def _points_of(dense: DenseMap) -> NDArray[np.float32]:
    """Return (h * w, C) points of length 1, row by row."""
    return _unit(dense.reshape(dense.shape[0], -1).T.astype(np.float32))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _CENTRED), np.float32)


def _centres(rows: NDArray[np.intp], columns: int) -> Points:
    return np.stack((rows % columns + 0.5, rows // columns + 0.5), axis=1)


def _cell_size(keypoints: Keypoints, dense: DenseMap) -> NDArray[np.float64]:
    return np.array((keypoints.width / dense.shape[2], keypoints.height / dense.shape[1]), np.float64)
