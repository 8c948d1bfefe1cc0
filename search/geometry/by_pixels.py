"""The answer of the pixels, where keypoints are too few to give one: details agree under a model, or under a guess."""

from dataclasses import replace

import numpy as np

from search.geometry.agreement import Agreement, closest, count_corners
from search.geometry.by_keypoints import between_thumbnails, to_thumbnail
from search.geometry.hypotheses import Guess, Turns, crops, whole_pictures
from search.geometry.keypoints import Keypoints
from search.geometry.overlap import overlap
from search.geometry.verification import DIFFERENT, FEW_KEYPOINTS, SAME, TOO_LITTLE, Verification, size_of

# Few inliers are enough where the pixels agree all the better: inliers, their share of the matches, agreement of
# details, cells that show some. Of blurred, pixelised and tiny copies that are found so, .47 of the matches agree at
# least; where a pattern repeats itself (fences, racks, lattices) the pixels agree as well, but .3 of the matches.
_FEWER = ((10, 0.45, 0.9, 4), (6, 0.6, 0.75, 6), (4, 0.6, 0.85, 9))
# Of a picture that lies in a small part of the other, few keypoints are in that part, and most matches are chance:
# its share of the other at most, and the same four.
_SMALL_SHARE, _SMALL_PART = 0.25, (4, 0.25, 0.98, 9)
_FEWER_INSIDE = 0.55  # share of one of the pictures that the other shows; a repeated detail lies in small parts of both
_AGREEING = 0.8  # share of the cells that must agree; of different tiles of a photograph at most .7 did
# Cells of 64 in which both must have a corner. Copies without texture (blurred, of a few squares) have 16 in which it
# is 1.5 times as strong at least; halves of symmetric things have 16 in which it is .6 times as strong at most.
_CORNERS = 16
# A guess that no keypoint supports needs agreement of details in so many cells. Of 39,800 pairs of different
# photographs, one of each blurred, the likest had .73 in 18 cells.
_WHOLE = (0.85, 12)
_CROP = (0.9, 16)
_SMALLEST_CROP = 0.08  # of the area of the whole
_INSIDE = 0.9  # share of a crop that lies in the whole


def compare_pixels(found: Verification, query: Keypoints, turns: Turns, candidate: Keypoints) -> Verification:
    """Return a "yes" where the pixels of the thumbnails allow it, else what the keypoints found.

    turns: of the query's thumbnail.
    """
    if found.reason not in (DIFFERENT, TOO_LITTLE):
        return found
    for guess in whole_pictures(turns, candidate.thumbnail):
        seen = _seen(guess, query, candidate, *_WHOLE)
        if seen is not None:  # asked first: its model is exact, that of few inliers is not
            return seen
    measured = _details_agree(found, query, candidate)
    if measured is not None:
        return replace(found, answer="yes", reason=SAME, agreement=measured.typical)
    if min(len(query), len(candidate)) < FEW_KEYPOINTS:
        for guess in crops(query.thumbnail, candidate.thumbnail):
            seen = _seen(guess, query, candidate, *_CROP)
            if seen is not None:
                return seen
    return found


def _details_agree(found: Verification, query: Keypoints, candidate: Keypoints) -> Agreement | None:
    """Return the agreement of details under a model of few inliers, None where it is not enough."""
    if found.model is None or found.shared is None or not found.spread or found.inliers < min(_FEWER)[0]:
        return None
    smaller, larger = sorted((found.shared.of_query, found.shared.of_candidate))
    if larger < _FEWER_INSIDE:
        return None
    between = between_thumbnails(found.model, query, candidate)
    measured = closest(query.thumbnail, candidate.thumbnail, between)
    if measured is None or measured.agreeing < _AGREEING:
        return None
    ways = (*_FEWER, _SMALL_PART) if larger >= _INSIDE and smaller <= _SMALL_SHARE else _FEWER
    enough = any(
        found.inliers >= inliers and found.ratio >= ratio and measured.typical >= typical and measured.cells >= cells
        for inliers, ratio, typical, cells in ways
    )
    cornered = enough and count_corners(query.thumbnail, candidate.thumbnail, between) >= _CORNERS
    return measured if cornered else None


def _seen(guess: Guess, query: Keypoints, candidate: Keypoints, typical: float, cells: int) -> Verification | None:
    measured = closest(query.thumbnail, candidate.thumbnail, guess.model)
    if measured is None or measured.typical < typical or measured.cells < cells or measured.agreeing < _AGREEING:
        return None
    if count_corners(query.thumbnail, candidate.thumbnail, guess.model) < _CORNERS:
        return None
    model = np.linalg.inv(to_thumbnail(candidate)) @ guess.model @ to_thumbnail(query)
    shared = overlap(model, size_of(query), size_of(candidate))
    if shared is None:
        return None
    smaller, larger = sorted((shared.of_query, shared.of_candidate))
    if smaller < _SMALLEST_CROP or larger < _INSIDE:
        return None
    return Verification(
        "yes",
        SAME,
        size_of(query),
        size_of(candidate),
        model=model,
        mirrored=guess.mirrored,
        agreement=measured.typical,
        shared=shared,
    )
