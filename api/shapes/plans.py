"""The shapes of plans, and the bodies that act on them."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Page, Shape, shown
from api.shapes.webhooks import StartsJob

Kind = Literal["same_bytes", "same_pixels", "re_encoded", "resized", "cropped", "turned", "edited", "near"]
Action = Literal["quarantine", "hardlink", "reflink", "list"]
DRY_RUN = Field(description="check every file, tell what would be done, change nothing")


class Plan(Shape):
    """A plan of a dedup job and what became of it.

    planned: nothing was done by it. expired: nor can be any more. applied: some of its files lie in quarantine. purged:
    those were deleted for good. undone: all are back. groups, files, bytes: that it names; quarantined, purged: images.
    action: how it was applied last, and acted_at: when something was last moved by it, there or back; null where it was
    never applied.
    """

    id: Annotated[str, Field(examples=["20261123-0a1b2c3d"])]
    state: Literal["planned", "expired", "applied", "purged", "undone"]
    made_at: Annotated[str, Field(examples=["2026-11-23T14:00:00Z"])]
    expires_at: Annotated[str, Field(examples=["2026-12-23T14:00:00Z"])]
    threshold: float
    threshold_source: str
    groups: int
    files: int
    bytes: int
    quarantined: int
    purged: int
    action: Literal["quarantine", "hardlink", "reflink"] | None
    acted_at: Annotated[str | None, Field(examples=["2026-11-24T09:30:00Z"])]


class PlannedFile(Shape):
    """A file of a plan. why_not: why it can not be moved, null where it can."""

    id: str
    key: str
    uri: str
    path: str | None
    sha256: str
    bytes: int
    why_not: str | None


class PlannedMember(PlannedFile):
    """A copy that may go. confirmed: somebody said that it is one; it goes without `include`, as exact copies do.

    place: where it is, by the journal: at home as long as nothing was done with it.
    """

    score: float
    relation: Literal["identical", "same_picture", "probable", "similar"]
    verified: Literal["yes", "no", "cannot"] | None
    kind: Kind
    confirmed: bool
    place: Literal["home", "quarantine", "purged", "lost"]


class PlannedKeeper(PlannedFile):
    """The file that is kept, and why."""

    reason: str


class PlannedGroup(Shape):
    """A file to keep and its copies. group: its number in the plan."""

    group: int
    keeper: PlannedKeeper
    members: list[PlannedMember]


class PlanPage(Page[PlannedGroup], Plan):
    """A plan with a page of its groups."""


class Over(Shape):
    """A folder of which more would go than may. max_fraction: the least share that would allow it."""

    folder: str
    images: int
    going: int
    max_fraction: float


class Preview(Shape):
    """What `apply` would do by what is written down; no file is looked at, as a dry run does.

    groups, files, bytes: that would go. left: how many copies stay, by reason. over: set where that is too much at
    once, which `apply` refuses.
    """

    groups: int
    files: int
    bytes: int
    left: Annotated[dict[str, int], Field(examples=[{"near": 12}])]
    over: Over | None


class ApplyBody(StartsJob):
    """How to act on a plan. list: tell what would go, and touch nothing."""

    model_config = shown({"action": "quarantine"}, {"include": ["near"], "max_fraction": 0.5, "dry_run": True})

    action: Action = "quarantine"
    include: Annotated[
        list[Literal["near"]], Field(max_length=1, description="near: also what nobody confirmed, and large groups")
    ] = []
    max_fraction: Annotated[
        float | None,
        Field(gt=0, le=1, description="of an indexed folder's images that may go at once; default a fifth"),
    ] = None
    dry_run: Annotated[bool, DRY_RUN] = False


class UndoBody(StartsJob):
    """How to take a plan back."""

    model_config = shown({}, {"dry_run": True})

    dry_run: Annotated[bool, DRY_RUN] = False


class PurgeBody(StartsJob):
    """Which of a plan's files to delete for good."""

    model_config = shown({"older_than": "30d", "dry_run": True})

    older_than: Annotated[str, Field(description="how long ago they were moved", examples=["12h", "30d", "2w"])] = "30d"
    dry_run: Annotated[bool, DRY_RUN] = False
