"""What a member of a group is to its keeper, told from what was done to the one to get the other."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Self

from search.calibration.calibration import Calibration
from search.duplicates.groups import DuplicateKind, DuplicateMember
from search.duplicates.judging import Edge
from search.duplicates.picture_facts import PictureFacts
from search.geometry.pixel_edits import PictureFile
from search.records import Edit, ImageRecord, Relation

CERTAIN = 1.0  # of the same pixels
_TURNED = frozenset({"mirrored", "rotated"})
# A frame: whoever shows more of the scene is the keeper, so what a copy shows beyond it was put there.
_EDITED = frozenset({
    "framed", "stretched", "tilted", "grey", "recoloured", "brightened", "darkened", "blurred", "covered",
})  # fmt: skip


def kind_of(edits: Iterable[Edit]) -> DuplicateKind:
    """Return the kind of a copy that the pixels show to be one, by the edit that matters most."""
    done = {edit.kind for edit in edits}
    if done & _TURNED:
        return "turned"
    if done & _EDITED:
        return "edited"
    if "cropped" in done:
        return "cropped"
    return "resized" if "scaled" in done else "re_encoded"


class Describing:
    """Makes members of images and their edges. Used in a `with` statement, which ends its threads."""

    def __init__(self, facts: PictureFacts | None, known: Calibration | None, threads: int) -> None:
        """facts: None where nobody can look at pixels. known: what scores mean, None where nobody knows."""
        self.facts = facts
        self._known = known
        self._pool = ThreadPoolExecutor(threads, "describing")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def members(self, keeper: ImageRecord, copies: Iterable[tuple[ImageRecord, Edge]]) -> list[DuplicateMember]:
        """Return near copies as members, in their order."""
        files = None if self.facts is None else _Files(self.facts, keeper)
        return list(self._pool.map(lambda one: self._member(files, *one), copies))

    def exact(self, keeper: ImageRecord, image: ImageRecord) -> DuplicateMember:
        """Return an image with the keeper's pixels as a member."""
        kind: DuplicateKind = "same_bytes" if image.sha256 == keeper.sha256 else "same_pixels"
        probability = None if self._known is None else CERTAIN
        return DuplicateMember(image, 1.0, "identical", kind, probability=probability)

    def _member(self, files: "_Files | None", image: ImageRecord, edge: Edge) -> DuplicateMember:
        edits = self._edits(files, image, edge)
        relation: Relation = "same_picture" if edge.verified == "yes" else "probable"
        known = None if self._known is None else self._known.probability(edge.score)
        if self._known is not None and edge.verified == "yes" and self._known.verified is not None:
            known = max(known or 0.0, self._known.verified)
        return DuplicateMember(
            image,
            edge.score,
            relation,
            "near" if edits is None else kind_of(edits),
            edge.verified,
            edits,
            None if known is None else round(known, 6),
            edge.confirmed,
        )

    def _edits(self, files: "_Files | None", image: ImageRecord, edge: Edge) -> tuple[Edit, ...] | None:
        if files is None or self.facts is None or edge.found is None or edge.verified != "yes":
            return None
        return self.facts.edits(edge.found, image, files.keeper, files.file)


class _Files:
    """Reads the pictures of a group: the keeper's once, and only where one of its copies has to be looked at."""

    def __init__(self, facts: PictureFacts, keeper: ImageRecord) -> None:
        self.keeper = keeper
        self._facts = facts
        self._lock = Lock()
        self._own: list[PictureFile | None] = []

    def file(self, image: ImageRecord) -> PictureFile | None:
        """Return the pixels of an image, None where they cannot be had. Thread-safe."""
        if image.sha256 != self.keeper.sha256:
            return self._facts.file(image)
        with self._lock:
            if not self._own:
                self._own.append(self._facts.file(self.keeper))
            return self._own[0]
