"""The answer of the keypoints: a transformation that they agree on, and the pixels under it."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import align, measure
from search.geometry.keypoints import Keypoints
from search.geometry.matching import KeypointMatches
from search.geometry.overlap import cells_covered, corners, is_convex, overlap, share_explained
from search.geometry.parallax import has_moved, leftover
from search.geometry.transformation import Model, Pairs, fit, is_sane, moved
from search.geometry.verification import ENOUGH_INLIERS, Verification, judged, nothing_found


def compare_keypoints(query: Keypoints, candidate: Keypoints, matches: KeypointMatches) -> Verification:
    """Return what the matches of two pictures' keypoints say about them."""
    nothing = nothing_found(query, candidate, len(matches))
    pairs = _pairs(query, candidate, matches)
    found = fit(pairs)
    if found is None or not is_sane(found, pairs):
        return nothing
    places = np.column_stack((query.points()[matches.query], candidate.points()[matches.candidate]))[found.agree]
    described = describe(nothing, in_pixels(found.model, query, candidate), places)
    if described.model is None or described.inliers < ENOUGH_INLIERS:
        return described
    aligned = align(query.thumbnail, candidate.thumbnail, between_thumbnails(described.model, query, candidate))
    measured = measure(aligned) if aligned is not None else None
    if measured is None:
        return judged(described, None, apart=False)
    sizes = candidate.diameters[matches.candidate].astype(np.float64)
    left = leftover(pairs, found, sizes, query.longer_side, candidate.longer_side)
    apart = has_moved(pairs, found, left, measured)
    return judged(
        replace(described, agreement=measured.typical),
        measured,
        apart=apart,
        explained=_explained(described, query, candidate),
    )


def _explained(found: Verification, query: Keypoints, candidate: Keypoints) -> float:
    """Return how much of what both show is explained by inliers; by the one of them that they explain less of."""
    if found.places is None or found.shared is None:
        return 0.0
    return min(
        share_explained(found.places[:, :2], query.points(), found.shared.in_query),
        share_explained(found.places[:, 2:], candidate.points(), found.shared.in_candidate),
    )


def describe(nothing: Verification, model: Model, places: NDArray[np.float64]) -> Verification:
    """Return a model with what it means for two pictures; `nothing` itself where it folds them or parts them.

    model: (3, 3) from query to candidate pixels. places: (N, 4) of the keypoints that agree, in pixels.
    """
    shared = overlap(model, nothing.query_size, nothing.candidate_size)
    if shared is None or not is_convex(moved(model, corners(nothing.query_size))):
        return nothing
    return replace(
        nothing,
        model=model,
        places=places,
        shared=shared,
        query_cells=cells_covered(places[:, :2], shared.in_query),
        candidate_cells=cells_covered(places[:, 2:], shared.in_candidate),
    )


def in_pixels(model: Model, query: Keypoints, candidate: Keypoints) -> Model:
    """Return a model between places in longer sides as one between places in pixels."""
    larger = np.diag((candidate.longer_side, candidate.longer_side, 1.0))
    onto = larger @ model @ np.diag((1 / query.longer_side, 1 / query.longer_side, 1.0))
    return np.asarray(onto / onto[2, 2], np.float64)


def between_thumbnails(model: Model, query: Keypoints, candidate: Keypoints) -> Model:
    """Return a model between places of two pictures as one between places of their thumbnails."""
    return to_thumbnail(candidate) @ model @ np.linalg.inv(to_thumbnail(query))


def to_thumbnail(keypoints: Keypoints) -> Model:
    """Return the model (3, 3) from places of a picture to those of its thumbnail."""
    height, width = keypoints.thumbnail.shape
    return np.diag((width / keypoints.width, height / keypoints.height, 1.0))


def _pairs(query: Keypoints, candidate: Keypoints, matches: KeypointMatches) -> Pairs:
    return Pairs(
        query.points()[matches.query] / query.longer_side,
        candidate.points()[matches.candidate] / candidate.longer_side,
        np.log(candidate.diameters[matches.candidate].astype(np.float64))
        - np.log(query.diameters[matches.query].astype(np.float64)),
        candidate.angles()[matches.candidate] - query.angles()[matches.query],
    )
