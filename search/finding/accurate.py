"""Use case: from a picture that was seen in several ways to the images that show it, and what was done to it.

    views of it -> candidates of each -> merged by normalised score -> the likeliest verified -> matches

Scores are normalised as in Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection" (2022): less what the
same query scores against pictures that have nothing to do with it. So a dull part of a picture, which is near to many
dull pictures, does not crowd out the others.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from search.conditions.where import Condition
from search.finding.filter_planner import search_each_where
from search.finding.find_similar import QueryContent, Wanted, same_pixels
from search.finding.ranked import Ranked
from search.finding.region_search import everywhere
from search.finding.snapshot import Snapshot
from search.finding.unique import PER_MATCH, Collapsing
from search.geometry.dense_maps import DenseMap, judged_by_maps
from search.geometry.keypoints import Keypoints
from search.geometry.pages import page_by_page
from search.geometry.pixel_edits import PictureFile, edits_between
from search.geometry.verification import ANOTHER_PAGE, PART, Verification
from search.geometry.verify import Query, verify_in_order
from search.records import Edit, Embeddings, ImageRecord, Match, Relation, Verified
from search.regions import region_numbered
from search.storing.catalogue import Catalogue
from search.unwanted import stop_if_unwanted

VERIFIED: Final = 50  # candidates whose pixels are looked at
IN_VAIN: Final = 100  # and as long as none of them shows the same picture
PATIENCE: Final = 16  # after the first that shows the same picture, so many in a row that do not are enough
MAPPED: Final = 10  # of those that keypoints cannot judge, compared by maps of the backbone
PER_VIEW: Final = 50  # candidates of each view of the query
BACKGROUND: Final = 500  # images that stand for all those that have nothing to do with a query
# Of the background, these ranks: the best may be a copy of the query.
FIRST_RANK, LAST_RANK = 1, 4


@dataclass(frozen=True, slots=True, eq=False)
class SeenPicture:
    """A query picture.

    views: (V, D) float32 of unit length, the whole picture first. geometry, file: None where its pixels cannot be had.
    content: None where it is only a part of a picture.
    """

    views: Embeddings
    geometry: Query | None
    file: PictureFile | None
    content: QueryContent | None


class StoredPictures(Protocol):
    """What the pixels of indexed images say: from their files, or from what is remembered of them."""

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterable[Keypoints | None]:
        """Yield the keypoints of each image in order, None where its file is not what was indexed any more."""
        ...

    def file(self, image: ImageRecord) -> PictureFile | None:
        """Return the pixels of an image, None where its file is not what was indexed any more."""
        ...


class LocalCandidates(Protocol):
    """A second source of candidates: images that share local features with a query (search/local/reading.py)."""

    def images(self, query: Query, condition: Condition | None) -> list[int]:
        """Return the ids of the images that share most and fulfil a condition, the likeliest first."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image worth looking at. score: the best cosine of any view of the query; normalised: the same, normalised.

    Where regions are searched it is that with the best part of the image. region: the number of that part in its best
    view, 0 for all of it. whole: the best cosine of any view with all of the image. local: it shares local features
    with the query.
    """

    image: ImageRecord
    score: float
    normalised: float
    region: int
    whole: float
    local: bool = False

    @classmethod
    def best(cls, image: ImageRecord, seen: Sequence[tuple[float, float, int, float]]) -> "Candidate":
        """Return an image with what it scores in several views: normalised score, score, region and whole of each."""
        normalised, _, region, _ = max(seen, key=lambda one: (one[0], -one[2]))
        return cls(image, max(one[1] for one in seen), normalised, region, max(one[3] for one in seen))


@dataclass(frozen=True, slots=True)
class AccurateSearch:
    """Searches that look at pixels. threads: that compare them.

    maps: makes the map of a picture that keypoints cannot judge, of the collection's backbone; None answers that there
    is none.
    """

    snapshot: Snapshot
    catalogue: Catalogue
    stored: StoredPictures
    local: LocalCandidates | None = None
    threads: int = 1
    maps: Callable[[PictureFile], DenseMap | None] | None = None

    def candidates(self, views: Embeddings, wanted: Wanted, geometry: Query | None = None) -> list[Candidate]:
        """Return the nearest images of several views of one picture, the likeliest first, PER_VIEW of each at least.

        views: (V, D) float32 of unit length. geometry: the picture's keypoints; images that share local features with
        them come in turns with the nearest.
        """
        sharing = [] if self.local is None or geometry is None else self.local.images(geometry, wanted.where)
        among, searched = np.unique(np.array(sharing, np.int64)), everywhere(self.snapshot)
        seen: dict[int, list[tuple[float, float, int, float]]] = {}
        # Where copies are named once, the nearest k may be few pictures.
        count = wanted.k if wanted.groups is None else PER_MATCH * wanted.k
        nearest = self._ranked(views, max(count, PER_VIEW), wanted.where)
        for view, ranked, level in zip(views, nearest, background_levels(self.snapshot, views), strict=True):
            shared = searched.rank(view[np.newaxis], len(among), among)
            for image, score, region, whole in (row for one in (ranked, shared) for row in one.rows()):
                seen.setdefault(image, []).append((score - level, score, region, whole))
        records = self.catalogue.images_by_id(self.snapshot.collection.id, list(seen))
        found = [Candidate.best(record, seen[image]) for image, record in records.items()]
        return _in_turns(sorted(found, key=lambda one: (-one.normalised, one.image.id)), sharing)

    def matches(self, picture: SeenPicture, candidates: Sequence[Candidate], wanted: Wanted) -> list[Match]:
        """Return at most k matches: first those that show the same picture, then those that have a part in common
        with it, then by normalised score.

        A match that is verified counts however low it scores. Each of the likeliest says whether it is; "cannot"
        where one of the two pictures has too little to compare, or the file of the image is gone. After one that is,
        PATIENCE others in a row that are not end it, VERIFIED in all, and IN_VAIN where there is none.
        """
        sharing = sum(one.local for one in candidates)
        looked_at = [one.image for one in candidates[: IN_VAIN + sharing]]
        answers = self._verified(picture, looked_at, VERIFIED + sharing)
        answers |= self._by_maps(picture, candidates, answers)
        ranked: list[tuple[tuple[float, ...], Match, Verification | None]] = []
        for number, one in enumerate(candidates):
            answer = answers.get(number)
            match = _judged(one, answer, picture.content, wanted, looked=number in answers)
            if match.verified == "yes" or wanted.min_score is None or one.score >= wanted.min_score:
                place = (*(-part for part in _certainty(match, answer)), -one.normalised, one.image.id)
                ranked.append((place, match, answer))
        ranked.sort(key=lambda entry: entry[0])
        if wanted.groups is None:
            best = [(match, answer) for _, match, answer in ranked[: wanted.k]]
        else:
            collapsing = Collapsing(self.catalogue.database, self.snapshot.collection.id, wanted.groups)
            places = collapsing.firsts([match for _, match, _ in ranked])[: wanted.k]
            counted = collapsing.counted([ranked[place][1] for place in places])
            best = [(match, ranked[place][2]) for match, place in zip(counted, places, strict=True)]
        return [self._explained(match, picture, answer) for match, answer in best]

    def _explained(self, match: Match, picture: SeenPicture, answer: Verification | None) -> Match:
        """Return a match with what was done to its image, where that can be told."""
        if match.relation == "identical":
            return replace(match, edits=_edits_of_a_copy(match.image, picture))
        if match.verified != "yes" or picture.file is None or answer is None:
            return match
        stored = self.stored.file(match.image)
        return match if stored is None else replace(match, edits=tuple(edits_between(answer, picture.file, stored)))

    def _ranked(self, views: Embeddings, count: int, condition: Condition | None) -> list[Ranked]:
        if condition is None:
            return everywhere(self.snapshot).search_each(views, count)
        return search_each_where(everywhere(self.snapshot), self.catalogue, views, count, condition)

    def _verified(
        self, picture: SeenPicture, images: Sequence[ImageRecord], enough: int
    ) -> dict[int, Verification | None]:
        """Return what came of each image that was looked at, by its place: the likeliest, up to where it is in vain.

        enough: so many are looked at where one of them shows the same picture.

        None: its pixels or those of the query cannot be had.
        """
        query = picture.geometry
        if query is None:
            return dict.fromkeys(range(len(images)))
        answers: dict[int, Verification | None] = {}
        places: list[int] = []
        waiting: deque[Keypoints] = deque()

        def there() -> Iterator[Keypoints]:
            for place, keypoints in enumerate(self.stored.keypoints(images)):
                if keypoints is None:
                    answers[place] = None
                else:
                    places.append(place)
                    waiting.append(keypoints)
                    yield keypoints

        found = False
        answered = verify_in_order(query, there(), patience=PATIENCE, threads=self.threads)
        for number, verification in enumerate(answered, start=1):
            stop_if_unwanted()
            place = places[number - 1]
            answer = self._page_by_page(verification, picture, images[place], waiting.popleft())
            answers[place] = answer
            found = found or answer.answer == "yes"
            if found and number >= enough:
                break
        return answers

    def _page_by_page(
        self, found: Verification, picture: SeenPicture, image: ImageRecord, keypoints: Keypoints
    ) -> Verification:
        """Return an answer as it counts where the two may be pages and both files can be read."""
        query = picture.geometry
        if query is None:
            return found
        files = (lambda: picture.file), (lambda: self.stored.file(image))
        return page_by_page(found, query.keypoints, keypoints, *files) or found

    def _by_maps(
        self, picture: SeenPicture, candidates: Sequence[Candidate], answers: dict[int, Verification | None]
    ) -> dict[int, Verification]:
        """Return what maps say of the likeliest candidates for which keypoints were too few, by their place."""
        unsure = [place for place, one in answers.items() if one is not None and one.answer == "cannot"][:MAPPED]
        if self.maps is None or picture.geometry is None or picture.file is None or not unsure:
            return {}
        asked, found = self.maps(picture.file), {}
        for place in unsure if asked is not None else []:
            stop_if_unwanted()
            image, before = candidates[place].image, answers[place]
            keypoints, file = next(iter(self.stored.keypoints([image]))), self.stored.file(image)
            if keypoints is not None and file is not None and before is not None:
                known = self.maps(file)
                judged = judged_by_maps(before, picture.geometry.keypoints, keypoints, asked, known)
                found[place] = self._page_by_page(judged, picture, image, keypoints)
        return found


def _in_turns(likeliest: Sequence[Candidate], sharing: Sequence[int]) -> list[Candidate]:
    """Return candidates, those that share local features in turns with the others: the two orders say different things.

    sharing: ids of images, those that share most first.
    """
    by_id = {one.image.id: one for one in likeliest}
    local = [replace(by_id[image], local=True) for image in sharing if image in by_id]
    placed: dict[int, Candidate] = {one.image.id: one for pair in zip(likeliest, local, strict=False) for one in pair}
    shared = {one.image.id: one for one in local}
    for one in (*local, *likeliest):
        placed.setdefault(one.image.id, one)
    return [shared.get(image, one) for image, one in placed.items()]


def background_levels(snapshot: Snapshot, queries: Embeddings) -> list[float]:
    """Return what each query scores against pictures that have nothing to do with it; 0 in a small collection.

    queries: (Q, D) float32 of unit length.
    """
    sample = snapshot.sample(BACKGROUND)
    if len(sample) < BACKGROUND:
        return [0.0] * len(queries)
    scores = snapshot.scores_among(queries, sample)
    best = -np.partition(-scores, range(LAST_RANK), axis=1)[:, FIRST_RANK:LAST_RANK]
    return [float(level) for level in best.mean(axis=1)]


def _edits_of_a_copy(image: ImageRecord, picture: SeenPicture) -> tuple[Edit, ...]:
    """Return what was done to an image that shows the very pixels of the query: nothing, or another file of them."""
    if picture.content is None or picture.content.sha256 == image.sha256 or picture.file is None:
        return ()
    return (Edit("resaved" if picture.file.format == image.format.upper() else "converted"),)


def _judged(
    candidate: Candidate,
    verification: Verification | None,
    content: QueryContent | None,
    wanted: Wanted,
    *,
    looked: bool,
) -> Match:
    verified: Verified | None = None
    if looked:
        verified = "cannot" if verification is None else verification.answer
    relation: Relation = "similar"
    if content is not None and same_pixels(candidate.image, content):
        relation, verified = "identical", "yes"
    elif verified == "yes":
        relation = "same_picture"
    elif verified != "no" and wanted.threshold is not None and candidate.whole >= wanted.threshold:
        relation = "probable"
    region = region_numbered(candidate.region, candidate.image.width, candidate.image.height)
    return Match(candidate.image, candidate.score, relation, verified, region=region)


def _certainty(match: Match, verification: Verification | None) -> tuple[float, float]:
    """Return what ranks a match before its score does: identical, then how much is shared and how well it agrees.

    Next come those that have a part in common, such as a picture half of which is covered; most inliers first.
    """
    if match.relation == "identical":
        return 3.0, 0.0
    if verification is not None and verification.answer == "no" and verification.reason in (PART, ANOTHER_PAGE):
        return 1.0, float(verification.inliers)
    if match.verified != "yes" or verification is None:
        return 0.0, 0.0
    share = verification.shared.of_query if verification.shared is not None else 1.0
    return 2.0, share * (verification.agreement if verification.agreement is not None else 1.0)
