"""Use case: whether a picture is new to a collection, an exact copy of one of its images, or a near copy.

    same bytes -> same pixels -> nearest images -> pixels of the best of them, until one shows the same picture

Each step costs more than the one before and is taken only where those before it did not tell. It is asked for every
upload, so it looks at few images; an accurate search (search/finding/accurate.py) looks at many.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, NamedTuple, Protocol

from search.finding.accurate import StoredPictures
from search.finding.find_similar import QueryContent
from search.finding.plain_pictures import why_plain_image
from search.finding.snapshot import Snapshot
from search.geometry.keypoints import Keypoints
from search.geometry.pages import File, page_by_page
from search.geometry.pixel_edits import PictureFile, blur_between, edits_between
from search.geometry.verification import Verification
from search.geometry.verify import Query, verify
from search.records import Collection, Edit, Embeddings, ImageRecord, Match, Verified
from search.storing.catalogue import Catalogue

Status = Literal["new", "exact", "near"]

# Finding the keypoints of an image takes 40 ms, and a machine does two at once: the first comes with those of the
# picture itself, the others together, if the first was none.
LOOKED_AT: Final = 3
_NEAREST: Final = 10  # images, of which blank ones are left out
GONE: Final = "the file of one of the two cannot be read, or holds another picture by now"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What an answer rests on; None where a step did not happen.

    score: of the nearest image, or of the match; nearest: its id. verified: whether the pixels show the same picture;
    reason, inliers, agreement: as of `Verification`. note: why only identical images were compared.
    """

    same_bytes: bool = False
    same_pixels: bool = False
    score: float | None = None
    nearest: int | None = None
    verified: Verified | None = None
    reason: str | None = None
    inliers: int | None = None
    agreement: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Checked:
    """The answer of the gate. match: what it is a copy of, None where it is new."""

    status: Status
    match: Match | None
    evidence: Evidence


class Limits(NamedTuple):
    """threshold: the cosine from which images are near copies unless their pixels differ. look_from: the cosine from
    which the nearest image is looked at, and is a near copy if its pixels are the same.
    """

    threshold: float
    look_from: float


# What is compared with images: keypoints and pixels of the picture, None where its file cannot be had.
Seen = tuple[Query, PictureFile] | None


class GatePictures(StoredPictures, Protocol):
    """What the gate asks of indexed images."""

    def looked_at(self, image: ImageRecord) -> tuple[Keypoints | None, PictureFile | None]:
        """Return what `keypoints` and `file` say of an image, its file read once."""
        ...


class _Candidate(NamedTuple):
    image: ImageRecord
    score: float


def same_bytes(catalogue: Catalogue, target: Collection, sha256: bytes, but: int | None = None) -> Checked | None:
    """Return the answer for a picture that is there byte for byte, None where it is not. but: an image not to name."""
    ids = [one for one in catalogue.ids_of_contents(target.id, [sha256]) if one != but]
    found = catalogue.images_by_id(target.id, ids[:1])
    for image in found.values():
        return Checked("exact", Match(image, 1.0, "identical"), Evidence(True, True, 1.0, image.id))
    return None


def same_pixels(
    catalogue: Catalogue, target: Collection, content: QueryContent, but: int | None = None
) -> Checked | None:
    """Return the answer for a picture whose pixels are there in another file, None where they are not."""
    for image in catalogue.images_of_content(target, content.sha256, content.pixel_hash, None, 2):
        if image.id != but:
            evidence = Evidence(image.sha256 == content.sha256, True, 1.0, image.id)
            return Checked("exact", Match(image, 1.0, "identical"), evidence)
    return None


@dataclass(frozen=True, slots=True)
class NearGate:
    """Tells near copies from new pictures. stored: gives the pixels of indexed images, asked when they are needed."""

    snapshot: Snapshot
    catalogue: Catalogue
    stored: Callable[[], GatePictures]
    limits: Limits

    def check(self, embedding: Embeddings, see: Callable[[], Seen], but: int | None = None) -> Checked:
        """Return "near" or "new". Whether something is identical is asked before.

        embedding: (1, D) float32 of unit length. see: looks at the picture, called at most once, in another thread.
        but: an image that does not count. A copy that was verified is near from `look_from` on, one that nobody can
        verify from `threshold` on; one whose pixels are of another picture never is.
        """
        nearest = self._nearest(embedding, but)
        if not nearest:
            return Checked("new", None, Evidence())
        worth = [one for one in nearest if one.score >= self.limits.threshold] or nearest[:1]
        if worth[0].score < self.limits.look_from:
            return Checked("new", None, Evidence(score=worth[0].score, nearest=worth[0].image.id))
        return self._looked(worth, see)

    def _nearest(self, embedding: Embeddings, but: int | None) -> list[_Candidate]:
        ranked = self.snapshot.search(embedding, _NEAREST)
        records = self.catalogue.images_by_id(self.snapshot.collection.id, ranked.ids.tolist())
        found = [_Candidate(records[image], score) for image, score, _, _ in ranked.rows() if image in records]
        return [one for one in found if one.image.id != but and why_plain_image(one.image) is None][:LOOKED_AT]

    def _looked(self, worth: Sequence[_Candidate], see: Callable[[], Seen]) -> Checked:
        """Return what the pixels say, else what the scores say. worth: the best first, one at least."""
        stored, answers = self.stored(), list[Verification | None]()
        with ThreadPoolExecutor(1, "gate") as beside:
            looking: Future[Seen] = beside.submit(see)
            for one, (keypoints, file) in zip(worth, _images_seen(stored, worth), strict=True):
                seen = looking.result()
                if seen is None or keypoints is None:
                    answers.append(None)
                    continue
                found = verify(seen[0], keypoints)
                if found.answer == "yes":
                    read = partial(_file_of, one, file, stored)
                    # Begun before pages are told apart: most pictures cannot be taken for any.
                    blurring = None if file is None else beside.submit(blur_between, found, seen[1], file)
                    found = _page_by_page(found, seen, keypoints, read)
                    if found.answer == "yes":
                        return _near(one, found, _edited(one, found, seen[1], read(), blurring))
                answers.append(found)
        for one, answer in zip(worth, answers, strict=True):
            if one.score >= self.limits.threshold and (answer is None or answer.answer == "cannot"):
                return _near(one, answer, Match(one.image, one.score, "probable", "cannot"))
        return Checked("new", None, _evidence(worth[0], answers[0]))


def _images_seen(
    stored: GatePictures, worth: Sequence[_Candidate]
) -> Iterator[tuple[Keypoints | None, PictureFile | None]]:
    """Yield keypoints of each image, and the pixels of the first: it is the likeliest, and then asked for those, too.

    They are there before the picture itself has been looked at, and the others are looked at together.
    """
    yield stored.looked_at(worth[0].image)
    for keypoints in stored.keypoints([one.image for one in worth[1:]]):
        yield keypoints, None


def _file_of(one: _Candidate, file: PictureFile | None, stored: GatePictures) -> PictureFile | None:
    return file or stored.file(one.image)


def _page_by_page(
    found: Verification, seen: tuple[Query, PictureFile], keypoints: Keypoints, read: File
) -> Verification:
    """Return the answer as the files say it of what may be pages, where both can be had. read: that of the image."""
    query, own = seen
    return page_by_page(found, query.keypoints, keypoints, lambda: own, read) or found


def _edited(
    one: _Candidate,
    answer: Verification,
    picture: PictureFile,
    file: PictureFile | None,
    blurring: Future[list[Edit]] | None,
) -> Match:
    """Return the match with what was done to its image. file: of the image, None where it cannot be had."""
    edits = None if file is None else tuple(edits_between(answer, picture, file, blurring))
    return Match(one.image, one.score, "same_picture", "yes", edits)


def _near(one: _Candidate, answer: Verification | None, match: Match) -> Checked:
    return Checked("near", match, _evidence(one, answer))


def _evidence(one: _Candidate, answer: Verification | None) -> Evidence:
    if answer is None:
        return Evidence(score=one.score, nearest=one.image.id, verified="cannot", reason=GONE)
    return Evidence(
        score=one.score,
        nearest=one.image.id,
        verified=answer.answer,
        reason=answer.reason,
        inliers=answer.inliers,
        agreement=answer.agreement,
    )
