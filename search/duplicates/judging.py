"""Whether two pictures are copies: what people said, what their dates and places say, then their pixels, then scores.

A "no" of the pixels is a no, whatever the score. Where the pixels cannot tell, the score does, from the threshold on,
and only where somebody stands for it: a calibration or the user.
"""

import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Final, NamedTuple

from search.duplicates.answer_values import as_numbers, of_numbers
from search.duplicates.answers import Answers, NoAnswers, Question
from search.duplicates.groups import SimilarKind
from search.duplicates.nodes import Node, NodePair
from search.duplicates.similar import SimilarPairs, as_shots
from search.finding.accurate import StoredPictures
from search.geometry.bending import unbent
from search.geometry.equal_pictures import TEXTURED, equal_pictures
from search.geometry.keypoints import Keypoints
from search.geometry.pages import page_by_page
from search.geometry.verification import ANOTHER_PAGE, ANOTHER_SHOT, Verification, reversed_roles
from search.geometry.verify import prepared, verify_in_order
from search.records import ImageRecord, Verified
from search.storing.verdicts import Verdict

# Below the threshold only a "yes" counts; after so many in a row that are none, the rest of a picture's neighbours, all
# less alike, are not looked at.
PATIENCE: Final = 16
_PAIR: Final = "pair"  # the kind of question that is kept
FILES_TRIED: Final = 3  # of images with the same pixels, until one can be read
_SIMILAR: Final[dict[str, SimilarKind]] = {ANOTHER_SHOT: "another_shot", ANOTHER_PAGE: "another_page"}


@dataclass(frozen=True, slots=True)
class Limits:
    """threshold: from which score on a pair counts where its pixels cannot tell, None for never. floor: pairs from this
    score on are looked at.
    """

    threshold: float | None
    floor: float


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """Why one picture is a copy of another. found: with the keeper as the candidate, None where nobody looked."""

    score: float
    verified: Verified | None
    confirmed: bool = False
    found: Verification | None = None


class Judge:
    """Judges the pairs of a picture and its neighbours. Remembers what only looks like copies in `similar`."""

    def __init__(
        self,
        nodes: Sequence[Node],
        limits: Limits,
        said: Mapping[NodePair, Verdict],
        pictures: StoredPictures | None = None,
        threads: int = 1,
        answers: Answers | None = None,
    ) -> None:
        """said: by pairs of nodes, the lower first. pictures: None where nobody can look at pixels. answers: of earlier
        runs, and for the next.
        """
        self.similar = SimilarPairs()
        self.looked_at = self.known = 0  # pairs, by this run and by earlier ones
        self._nodes = nodes
        self._limits = limits
        self._said = said
        self._pictures = pictures
        self._threads = threads
        self._answers = answers or NoAnswers()

    def edges(self, centre: int, others: Sequence[int], scores: Sequence[float]) -> dict[int, Edge]:
        """Return the copies of a picture among others, given best first with their scores."""
        confirmed: list[tuple[int, float]] = []
        unsure: list[tuple[int, float]] = []
        for other, score in zip(others, scores, strict=True):
            said = self._said.get((min(centre, other), max(centre, other)))
            if said is None:
                if not self._are_shots(centre, other, score):
                    unsure.append((other, score))
            elif said.is_duplicate:
                confirmed.append((other, score))
        return self._confirmed(centre, confirmed) | self._by_pixels(centre, unsure)

    def _are_shots(self, centre: int, other: int, score: float) -> bool:
        """Tell whether dates or places say that two pictures are no copies, and remember them."""
        one, two = self._nodes[centre][0], self._nodes[other][0]
        kind = as_shots(one, two)
        if kind is not None:
            self.similar.add(kind, one, two, score)
        return kind is not None

    def _by_pixels(self, centre: int, others: Sequence[tuple[int, float]]) -> dict[int, Edge]:
        """Return the copies among others by their pixels, and by their scores where pixels cannot tell."""
        edges: dict[int, Edge] = {}
        in_vain = 0
        for (other, score), looked in zip(others, self._looked(centre, others), strict=False):
            counts = self._limits.threshold is not None and score >= self._limits.threshold
            if not counts and in_vain >= PATIENCE:
                break
            in_vain += 1
            if looked is None:
                if counts:
                    edges[other] = Edge(score, self._unknown)
            elif looked.found.answer == "yes":
                edges[other], in_vain = Edge(score, "yes", found=looked.found), 0
            elif (kind := _SIMILAR.get(looked.found.reason)) is not None:
                self.similar.add(kind, self._nodes[centre][0], self._nodes[other][0], score)
            elif looked.found.answer == "cannot" and counts and looked.keypoints >= TEXTURED:
                edges[other] = Edge(score, "cannot")
        return edges

    def _confirmed(self, centre: int, others: Sequence[tuple[int, float]]) -> dict[int, Edge]:
        """Return the edges that people confirmed, with what their pixels say."""
        edges = {}
        for (other, score), looked in zip(others, self._looked(centre, others), strict=True):
            verified = self._unknown if looked is None else looked.found.answer
            found = looked.found if looked is not None and looked.found.answer == "yes" else None
            edges[other] = Edge(score, verified, confirmed=True, found=found)
        return edges

    @property
    def _unknown(self) -> Verified | None:
        return None if self._pictures is None else "cannot"

    def _looked(self, centre: int, others: Sequence[tuple[int, float]]) -> Iterator["_Looked | None"]:
        """Yield what comes of comparing each with the centre, which is the candidate; None where files are gone."""
        if self._pictures is None or not others:
            yield from (None for _ in others)
            return
        first = [self._nodes[other][0].sha256 for other, _ in others]
        kept = self._answers.find_all(_PAIR, self._nodes[centre][0].sha256, first)
        new = [other for (other, _), name in zip(others, first, strict=True) if name not in kept]
        looking = self._looked_anew(self._pictures, centre, new)
        for name in first:
            if name in kept:
                self.known += 1
                yield _of_text(kept[name])
            else:
                yield next(looking)

    def _looked_anew(self, pictures: StoredPictures, centre: int, others: Sequence[int]) -> Iterator["_Looked | None"]:
        """Yield what the pixels of each say beside those of the centre, and keep it. Reads nothing before it is due."""
        own = next(self._read(pictures, [centre]))
        if own is None:
            yield from (None for _ in others)
            return
        known: deque[_Read | None] = deque()
        own_file = cache(partial(pictures.file, own.image))  # of several that may be its copies

        def readable() -> Iterator[Keypoints]:
            for read in self._read(pictures, others):
                known.append(read)
                if read is not None:
                    yield read.keypoints

        for found in verify_in_order(prepared(own.keypoints), readable(), threads=self._threads):
            while (read := known.popleft()) is None:
                yield None
            self.looked_at += 1
            looked = _looked_at(own.keypoints, read.keypoints, found)
            file = partial(pictures.file, read.image)
            paged = page_by_page(looked.found, read.keypoints, own.keypoints, file, own_file)
            if paged is not None:  # what depends on a file that cannot be read is never kept
                looked = replace(looked, found=paged)
                self._answers.keep(Question(_PAIR, own.image.sha256, read.image.sha256), _text_of(looked))
            yield looked
        yield from known  # type: ignore[misc]  # only None is left

    def _read(self, pictures: StoredPictures, nodes: Sequence[int]) -> Iterator["_Read | None"]:
        """Yield the keypoints of each node, of whichever of its images has a file; None where none has."""
        first = [self._nodes[node][0] for node in nodes]
        for node, keypoints in zip(nodes, pictures.keypoints(first), strict=True):
            if keypoints is not None:
                yield _Read(self._nodes[node][0], keypoints)
                continue
            others = self._nodes[node][1:FILES_TRIED]
            tried = zip(others, pictures.keypoints(others), strict=True) if others else ()
            yield next((_Read(image, one) for image, one in tried if one is not None), None)


class _Read(NamedTuple):
    """An image that could be read, and its keypoints."""

    image: ImageRecord
    keypoints: Keypoints


@dataclass(frozen=True, slots=True, eq=False)
class _Looked:
    """What comes of looking at two pictures. keypoints: of the one that has fewer."""

    found: Verification
    keypoints: int


def _looked_at(own: Keypoints, other: Keypoints, found: Verification) -> _Looked:
    """Return what a verification is worth among copies. own: of the centre, other: of the picture beside it."""
    fewest = min(len(own), len(other))
    sure = equal_pictures(own, other) if found.answer == "cannot" else unbent(found, own, other)
    # Where the inliers lie is of no use any more, and it is most of what an answer holds.
    return _Looked(replace(reversed_roles(sure or found), places=None), fewest)


def _text_of(looked: _Looked) -> bytes:
    shape = as_numbers(looked.found) | {"keypoints": looked.keypoints}
    return json.dumps(shape, separators=(",", ":")).encode()


def _of_text(answer: bytes) -> _Looked:
    shape = json.loads(answer)
    return _Looked(keypoints=shape.pop("keypoints"), found=of_numbers(shape))
