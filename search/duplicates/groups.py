"""What a dedup job finds: stars of a keeper and the images that are copies of it, and what only looks like copies."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from search.records import Edit, ImageRecord, Relation, Verified

# What a member is to its keeper. same_bytes, same_pixels: nothing that can be seen differs. near: nobody looked at the
# pixels, or nobody can tell. The others are what the pixels show.
DuplicateKind = Literal[
    "same_bytes", "same_pixels", "re_encoded", "resized", "cropped", "turned", "edited", "near"
]  # fmt: skip
EXACT: frozenset[DuplicateKind] = frozenset({"same_bytes", "same_pixels"})
REVIEW_MEMBERS: Final = 50  # groups with more are for people to look at

# Why two images that look like copies are none: another moment, the two files of one exposure, or a person says so.
SimilarKind = Literal["burst", "another_shot", "another_page", "raw_and_jpeg", "stack"]


def bytes_freed(members: Mapping[str, int], keepers: Iterable[str]) -> int:
    """Return how many bytes come free when members go: each file once, and none that a keeper has, too.

    members: sizes by uri; images of the same bytes that were sent under several keys share one. keepers: uris.
    """
    return sum(members.values()) - sum(members.get(uri, 0) for uri in set(keepers))


@dataclass(frozen=True, slots=True)
class DuplicateMember:
    """A copy of a keeper. score: exact cosine similarity. verified: whether the pixels show the same picture, None
    where nobody looked. edits: what was done to the keeper to get it. confirmed: whether somebody said that the two are
    duplicates. copy_of: of a near copy, the image with the very same pixels that stays where near copies stay.
    """

    image: ImageRecord
    score: float
    relation: Relation
    kind: DuplicateKind
    verified: Verified | None = None
    edits: tuple[Edit, ...] | None = None
    probability: float | None = None
    confirmed: bool = False
    copy_of: ImageRecord | None = None

    def as_json(self) -> dict[str, object]:
        """Return the member object of the command line and of HTTP."""
        shape = _named(self.image) | {"score": self.score, "relation": self.relation, "verified": self.verified}
        shape |= {"kind": self.kind, "confirmed": self.confirmed}
        shape["copy_of"] = None if self.copy_of is None else str(self.copy_of.id)
        if self.probability is not None:
            shape["probability"] = self.probability
        if self.edits is not None:
            shape["edits"] = [edit.as_json() for edit in self.edits]
        return shape


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """A star: every member has a direct edge to the keeper. reason: why the keeper was chosen."""

    keeper: ImageRecord
    reason: str
    members: tuple[DuplicateMember, ...]

    @property
    def weakest(self) -> float:
        """Return the lowest score of a member: how far the group reaches."""
        return min((member.score for member in self.members), default=1.0)

    @property
    def bytes_reclaimable(self) -> int:
        """Return how many bytes removing every member would free."""
        return bytes_freed({one.image.uri: one.image.size_bytes for one in self.members}, [self.keeper.uri])

    @property
    def review(self) -> bool:
        """Return whether it is so large that somebody should look at it before anything is done."""
        return len(self.members) > REVIEW_MEMBERS

    @property
    def answered(self) -> bool:
        """Return whether somebody has spoken about every member and its keeper, so that nothing is left to ask."""
        return all(member.confirmed for member in self.members)

    def as_json(self) -> dict[str, object]:
        """Return the group object of the command line and of HTTP."""
        keeper = _named(self.keeper) | {"reason": self.reason}
        told = {"weakest": self.weakest, "review": self.review, "answered": self.answered}
        return {"keeper": keeper, **told, "members": [member.as_json() for member in self.members]}


@dataclass(frozen=True, slots=True)
class SimilarShots:
    """Images that belong together and are no copies of each other. score: the lowest of the pairs that were met."""

    kind: SimilarKind
    images: tuple[ImageRecord, ...]
    score: float

    def as_json(self) -> dict[str, object]:
        """Return the object of the list `similar`."""
        return {"kind": self.kind, "score": self.score, "images": [_named(image) for image in self.images]}


def _named(image: ImageRecord) -> dict[str, object]:
    """Return an image with the name that verdicts know it by."""
    return image.as_json() | {"sha256": image.sha256.hex()}
