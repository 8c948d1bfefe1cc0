"""What a dedup job finds: stars of a keeper and the images that are copies of it."""

from dataclasses import dataclass
from typing import Literal

from search.records import Edit, ImageRecord, Relation, Verified

# What a member is to its keeper. same_bytes, same_pixels: nothing that can be seen differs. near: nobody looked at the
# pixels, or nobody can tell. The others are what the pixels show.
DuplicateKind = Literal[
    "same_bytes", "same_pixels", "re_encoded", "resized", "cropped", "turned", "edited", "near"
]  # fmt: skip
EXACT: frozenset[DuplicateKind] = frozenset({"same_bytes", "same_pixels"})


@dataclass(frozen=True, slots=True)
class DuplicateMember:
    """A copy of a keeper. score: exact cosine similarity. verified: whether the pixels show the same picture, None
    where nobody looked. edits: what was done to the keeper to get it. confirmed: whether somebody said that the two are
    duplicates.
    """

    image: ImageRecord
    score: float
    relation: Relation
    kind: DuplicateKind
    verified: Verified | None = None
    edits: tuple[Edit, ...] | None = None
    probability: float | None = None
    confirmed: bool = False

    def as_json(self) -> dict[str, object]:
        """Return the member object of the command line and of HTTP."""
        shape = self.image.as_json() | {"score": self.score, "relation": self.relation, "verified": self.verified}
        shape |= {"kind": self.kind, "confirmed": self.confirmed}
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

    def as_json(self) -> dict[str, object]:
        """Return the group object of the command line and of HTTP."""
        keeper = self.keeper.as_json() | {"reason": self.reason}
        return {"keeper": keeper, "weakest": self.weakest, "members": [member.as_json() for member in self.members]}
