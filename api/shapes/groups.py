"""The shapes of duplicate groups."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Page, Shape
from api.shapes.images import Image
from api.shapes.searches import Match
from search.duplicates.groups import DuplicateKind


class Member(Match):
    """A copy of a keeper."""

    sha256: Annotated[str, Field(description="of its content, by which verdicts know it")]
    kind: Annotated[DuplicateKind, Field(description="what it is to its keeper")]
    confirmed: Annotated[bool, Field(description="whether somebody said that the two are duplicates")]
    copy_of: Annotated[str | None, Field(description="of a near copy: id of the same picture that stays in its place")]


class Keeper(Image):
    """The image of a group to keep, and why."""

    sha256: Annotated[str, Field(description="of its content, by which verdicts know it")]
    reason: str


class Group(Shape):
    """A duplicate group: every member resembles the keeper directly."""

    keeper: Keeper
    weakest: Annotated[float, Field(description="the lowest score of a member")]
    review: Annotated[bool, Field(description="so many members that somebody should look at them first")]
    answered: Annotated[bool, Field(description="somebody has spoken about every member and the keeper")]
    members: list[Member]


class Scores(Shape):
    """How many near copies have which score."""

    lowest: float
    median: float
    highest: float
    start: Annotated[float, Field(description="where the scores of the first number in counts begin")]
    step: Annotated[float, Field(description="how far those of each number reach")]
    counts: list[int]


class Report(Shape):
    """A report of a dedup job that is kept, and its totals as they were when it was made.

    plan: that was written with it, null where there was nothing to plan. between, within: the other collection, or the
    folder, where not the whole collection was compared with itself. changed: whether the collection has changed since.
    kinds: how many copies are of which kind, null in a report of an earlier version. scores: null without near copies.
    """

    threshold: float
    threshold_source: Literal["calibrated", "user", "none"]
    images: int
    groups_total: int
    copies_total: int
    bytes_reclaimable: int
    plan: str | None
    between: str | None
    within: str | None
    kinds: Annotated[dict[DuplicateKind, int] | None, Field(examples=[{"same_bytes": 3, "resized": 1}])]
    scores: Scores | None
    made_at: Annotated[str, Field(examples=["2026-11-23T14:00:00.000Z"], description="ISO 8601, UTC")]
    changed: bool


class Groups(Page[Group], Report):
    """A page of the duplicate groups of a report, largest first, without what went since."""
