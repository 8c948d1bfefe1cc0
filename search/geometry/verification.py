"""What comes of comparing two pictures: an answer, its reason, and the model that lays the one over the other.

Three answers. "yes": the same picture, whatever was done to it. "no": both have enough to compare and nothing fits, or
the same things were photographed once more. "cannot": one of them has too little to compare, which says nothing about
whether they are the same.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import Agreement
from search.geometry.keypoints import Keypoints
from search.geometry.overlap import Overlap, Size
from search.geometry.transformation import Model, moved

Answer = Literal["yes", "no", "cannot"]

SAME = "the same picture"
ANOTHER_SHOT = "the same scene, another shot"
ANOTHER_PAGE = "another page of the same form"
PART = "a part in common, such as a logo or a frame, in pictures that differ"
DIFFERENT = "nothing in common"
TOO_LITTLE = "one of the pictures shows too little to compare"

FEW_KEYPOINTS = 60  # fewer than these say little
ENOUGH_INLIERS = 15
ENOUGH_RATIO = 0.25
ENOUGH_CELLS = 3  # of 16, in each picture's part of the overlap
ENOUGH_AGREEMENT = 0.7
# So many inliers and such a ratio ask for less agreement: much of the picture may be covered. What a template has in
# common is less than half of the cells, and then the typical one does not agree at all.
_MANY = (50, 0.75, 0.5)
# One of these at least: of copies, those whose matches are below the ratio are blurred or pixelised and agree all over.
_SURE_RATIO = 0.6
_SURE_CELLS = 0.9  # share of the cells that agree
# Share of the overlap that may show something else. Of photographs with a quarter covered, cut into cells, it was .39
# at most; of pages of one application with another photograph on half of their area, .42 typically.
_MOST_DIFFERING = 0.4
# Bars, scribbles, confetti touch nearly every cell of pixels, and leave keypoints between them nearly everywhere: where
# so many inliers of such a ratio explain so much of what the candidate shows, this agreement is enough.
_EVERYWHERE = (50, 0.75, 0.7, 0.3)
# Share of one of the two that the other shows at least: less is a part in common, such as a detail that repeats itself.
_LEAST_INSIDE = 0.3
# Where too few cells of the overlap show something to measure agreement, this many inliers and this ratio must do.
_WITHOUT_AGREEMENT = (30, 0.5)


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """What came of comparing a query with a candidate.

    model: (3, 3) from places in the query to places in the candidate, in pixels of both; it mirrors where `mirrored`.
    matches, places: how many keypoints look alike; (inliers, 4) those of them that agree with the model, x and y in the
    query, x and y in the candidate.
    query_cells, candidate_cells: of 16 over the shared part, how many hold an inlier.
    agreement: typical correlation of the pixels in [-1, 1], None where there is too little to correlate.
    """

    answer: Answer
    reason: str
    query_size: Size
    candidate_size: Size
    matches: int = 0
    model: Model | None = None
    mirrored: bool = False
    places: NDArray[np.float64] | None = None
    query_cells: int = 0
    candidate_cells: int = 0
    agreement: float | None = None
    shared: Overlap | None = None

    @property
    def inliers(self) -> int:
        """Matches that agree with the model."""
        return 0 if self.places is None else len(self.places)

    @property
    def ratio(self) -> float:
        """Share of the matches that agree with the model."""
        return self.inliers / self.matches if self.matches else 0.0

    @property
    def spread(self) -> bool:
        """Whether the inliers spread over both pictures' shared part, as those of a logo or a caption do not."""
        return min(self.query_cells, self.candidate_cells) >= ENOUGH_CELLS


def size_of(keypoints: Keypoints) -> Size:
    """Return width and height of the picture that keypoints are of."""
    return keypoints.width, keypoints.height


def nothing_found(query: Keypoints, candidate: Keypoints, matches: int) -> Verification:
    """Return the answer where nothing fits: "no", or "cannot" where one of the two has too few keypoints to say so."""
    if min(len(query), len(candidate)) < FEW_KEYPOINTS:
        return Verification("cannot", TOO_LITTLE, size_of(query), size_of(candidate), matches)
    return Verification("no", DIFFERENT, size_of(query), size_of(candidate), matches)


def judged(found: Verification, measured: Agreement | None, *, apart: bool, explained: float = 0.0) -> Verification:
    """Return the answer that inliers, their spread and the pixels allow.

    measured: agreement of the pixels under the model. apart: parts of the pictures moved against each other.
    explained: share of the cells of the candidate's part with keypoints that hold an inlier (overlap.py).
    """
    enough = found.inliers >= ENOUGH_INLIERS and found.ratio >= ENOUGH_RATIO
    if measured is None:
        inliers, ratio = _WITHOUT_AGREEMENT
        agreed = found.inliers >= inliers and found.ratio >= ratio
    else:
        doubtful = found.ratio < _SURE_RATIO and measured.agreeing < _SURE_CELLS
        doubtful |= measured.differing > _MOST_DIFFERING
        many, ratio, typical = _MANY
        asked = typical if found.inliers >= many and found.ratio >= ratio else ENOUGH_AGREEMENT
        agreed = enough and measured.typical >= asked and not doubtful
        many, ratio, share, typical = _EVERYWHERE
        agreed |= found.inliers >= many and found.ratio >= ratio and explained >= share and measured.typical >= typical
    inside = found.shared is not None and max(found.shared.of_query, found.shared.of_candidate) >= _LEAST_INSIDE
    if agreed and inside and found.spread and not apart:
        return replace(found, answer="yes", reason=SAME)
    if not enough:
        return found
    return replace(found, answer="no", reason=ANOTHER_SHOT if apart else PART)


def turned_back(found: Verification) -> Verification:
    """Return what was found for the mirrored query in places of the query itself."""
    if found.model is None or found.shared is None:
        return found
    width = found.query_size[0]
    flip = np.array(((-1.0, 0.0, width), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    places = None if found.places is None else found.places * (-1, 1, 1, 1) + (width, 0, 0, 0)
    shared = replace(found.shared, in_query=moved(flip, found.shared.in_query))
    return replace(found, model=found.model @ flip, mirrored=True, places=places, shared=shared)


def reversed_roles(found: Verification) -> Verification:
    """Return what was found with the two pictures in each other's places."""
    turned = replace(
        found,
        query_size=found.candidate_size,
        candidate_size=found.query_size,
        query_cells=found.candidate_cells,
        candidate_cells=found.query_cells,
        places=None if found.places is None else found.places[:, (2, 3, 0, 1)],
    )
    if found.model is None or found.shared is None:
        return turned
    there = found.shared
    return replace(
        turned,
        model=np.asarray(np.linalg.inv(found.model), np.float64),
        shared=Overlap(there.in_candidate, there.in_query, there.of_candidate, there.of_query),
    )
