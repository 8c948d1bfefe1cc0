"""The shapes of HTTP answers and bodies: what OpenAPI shows."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from api.queries import QueryRequest
from search.duplicates.groups import DuplicateKind
from search.finding.find_similar import MAX_K
from search.storing.verdicts import Said

T = TypeVar("T")
Score = Annotated[float, Field(ge=-1, le=1, description="cosine similarity, higher is closer")]
WHERE = Field(description="what a match must fulfil", examples=['width >= 1000 and label = "tabby"'])
URL = Field(description="the address of a picture, where the server has --allow-url", max_length=2048)
Relation = Literal["identical", "same_picture", "probable", "similar"]
Verified = Literal["yes", "no", "cannot"]


def _text(value: str) -> str:
    """Refuse half of a character: JSON can escape one, but no key has it and no database takes it."""
    value.encode()
    return value


Text = Annotated[str, AfterValidator(_text)]


class Shape(BaseModel):
    """Base of all shapes: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Label(Shape):
    """What a classifier sees in an image."""

    label: Annotated[str, Field(examples=["tabby, tabby cat"])]
    probability: Annotated[float, Field(ge=0, le=1)]


class LabelCount(Shape):
    """A label of a collection, and how many of its images have it among theirs."""

    label: str
    images: int


class Image(Shape):
    """An image of a collection."""

    id: Annotated[str, Field(examples=["17"])]
    key: str
    uri: Annotated[str, Field(examples=["file:///photos/a%20b.jpg"])]
    path: str | None = None
    width: int
    height: int
    bytes: int
    format: str
    taken_at: Annotated[
        str | None, Field(examples=["2024-01-31T23:59:59"], description="the camera's local time, where it says so")
    ] = None
    labels: list[Label] | None = None
    metadata: dict[str, object] | None = None


class ImagePatch(Shape):
    """What to change of an image, as a JSON merge patch (RFC 7396): null takes a key away, or all metadata."""

    metadata: Annotated[
        dict[str, object] | None, Field(examples=[{"rating": 5, "place": {"city": "Köln"}, "draft": None}])
    ] = None


class Edit(Shape):
    """One thing that was done to a picture."""

    kind: Annotated[str, Field(examples=["cropped"])]
    amount: Annotated[float | None, Field(examples=[0.62])]


class Region(Shape):
    """A part of an image, in shares of its width and height. x, y: of its upper left corner."""

    x: Annotated[float, Field(ge=0, le=1)]
    y: Annotated[float, Field(ge=0, le=1)]
    width: Annotated[float, Field(gt=0, le=1)]
    height: Annotated[float, Field(gt=0, le=1)]


class Match(Image):
    """An image that resembles the query."""

    score: Score
    relation: Relation
    verified: Verified | None
    probability: Annotated[
        float | None,
        Field(ge=0, le=1, description="that it shows the query's picture, where the collection is calibrated"),
    ] = None
    edits: Annotated[
        list[Edit] | None, Field(description="what was done to the image to get the query, where that is known")
    ] = None
    region: Annotated[
        Region | None, Field(description="the part of the image that scores so, where it is not all of it")
    ] = None


class Took(Shape):
    """Milliseconds spent in each step; null where a step did not happen."""

    decode: float | None
    embed: float | None
    search: float | None
    verify: float | None
    total: float


class Query(Shape):
    """What was searched by."""

    id: str | None = None
    key: str | None = None
    url: str | None = None
    name: str | None = None


class SearchAnswer(Shape):
    """The matches of one query, best first."""

    query: Query
    matches: list[Match]
    took_ms: Took
    note: Annotated[
        str | None,
        Field(
            description="why only identical images were compared, or none",
            examples=["the picture shows next to nothing, so only identical ones are compared"],
        ),
    ] = None


class SearchBody(Shape):
    """A search by something that need not be sent: exactly one of id, key and url."""

    id: Annotated[str | None, Field(pattern=r"^[0-9]{1,16}$")] = None
    key: Annotated[str, AfterValidator(_text)] | None = None
    url: Annotated[str, AfterValidator(_text), URL] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 10
    min_score: Score | None = None
    where: Annotated[str, AfterValidator(_text), WHERE] | None = None
    accurate: Annotated[
        bool, Field(description="also turned, mirrored and in parts; the pixels of the likeliest images are looked at")
    ] = False
    box: Annotated[
        str | None,
        Field(
            description="the part of the picture to search by: x,y,width,height in pixels", examples=["120,80,640,480"]
        ),
    ] = None

    def request(self) -> QueryRequest:
        """Return what is wanted of the workspace."""
        return QueryRequest(self.k, self.min_score, self.where, self.accurate, self.box)


class Member(Match):
    """A copy of a keeper."""

    sha256: Annotated[str, Field(description="of its content, by which verdicts know it")]
    kind: Annotated[DuplicateKind, Field(description="what it is to its keeper")]
    confirmed: Annotated[bool, Field(description="whether somebody said that the two are duplicates")]


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


class Page(Shape, Generic[T]):
    """A page of a list; next_cursor is null on the last one."""

    items: list[T]
    next_cursor: str | None


class Groups(Page[Group]):
    """A page of duplicate groups, largest first, with the totals of the whole report."""

    threshold: float
    threshold_source: Literal["calibrated", "user", "none"]
    images: int
    groups_total: int
    copies_total: int
    bytes_reclaimable: int


class Verdict(Shape):
    """What somebody said about two contents, the lower sha256 first. made_at: seconds since 1970."""

    first: str
    second: str
    verdict: Said
    made_at: float


class VerdictBody(Shape):
    """What two pictures are to each other. first, second: the key, id or sha256 of each."""

    first: Annotated[str, AfterValidator(_text), Field(max_length=4096)]
    second: Annotated[str, AfterValidator(_text), Field(max_length=4096)]
    verdict: Said


class VerdictsBody(Shape):
    """Several verdicts, written down all or none."""

    items: Annotated[list[VerdictBody], Field(min_length=1, max_length=1000)]


class Index(Shape):
    """The search index of a collection. delta: rows newer than it, searched exactly.

    recall_measured: on held-out queries, when the index was built; null for an exact one. transform: what searches do
    to embeddings right now; transform_chosen: what the collection is to have.
    """

    kind: str | None
    rows: int
    delta: int
    recall_target: float | None
    recall_measured: float | None
    transform: str
    transform_chosen: str
    explanation: str


class Upgrade(Shape):
    """A collection's way to another space. missing: images that the space which is not searched lacks."""

    state: Literal["filling", "ready", "promoted", "rolled_back"]
    from_space: str
    to_space: str
    missing: int


class Threshold(Shape):
    """A threshold of a calibration: score, with bound as the lower bound of its precision; null where none was shown.

    pairs, worth, needed: what shows it, how many independent pairs that is worth, how many without an error it takes.
    """

    precision: float
    score: float | None
    bound: float | None
    pairs: int
    worth: float
    needed: int
    recall: dict[str, float]
    false_discovery_rate: float | None


class Calibration(Shape):
    """What the scores of a collection mean. current: whether it still holds; objection: why not."""

    current: bool
    objection: str | None
    made_at: str
    automatic: Threshold
    review: Threshold
    verified: float | None
    prevalence: float
    images: int


class Regions(Shape):
    """How much of a collection is found by regions of its images, too: waiting have none yet.

    rule: by which regions are cut. index: the kind of their index, null before there is one.
    """

    rule: int
    images: int
    waiting: int
    index: str | None
    explanation: str


class LocalFeatures(Shape):
    """Local features, which accurate searches find small parts by.

    kept: new images get them. images: how many have them. bytes_per_image: in segments and in their index.
    fixed_bytes: of that index, however many images it knows.
    """

    kept: bool
    images: int
    bytes_per_image: int
    fixed_bytes: int


class Collection(Shape):
    """A collection and its counts: seen = images + ledger_only, images = embeddings = searchable.

    complete: whether that is so, and the last job looked at every file; missing: what is not, a sentence each.
    licence: of the weights; licence_accepted, licence_accepted_at: the consent it asked for, and when it was given.
    labels: new images get labels. labels_of: the space whose labels the images have, null for the collection's own.
    regions: null where only whole images are searched.
    """

    name: str
    space: str
    backbone: str
    licence: str | None
    licence_accepted: str | None
    licence_accepted_at: str | None
    labels: bool
    labels_of: str | None
    seen: int
    images: int
    ledger_only: int
    searchable: int
    failed: int
    ignored: int
    tombstones: int
    segments: int
    index: Index
    embeddings: int
    complete: bool
    summary: str
    missing: list[str]
    damage: str | None
    regions: Regions | None
    upgrade: Upgrade | None
    calibration: Calibration | None
    local: LocalFeatures


class Health(Shape):
    """The process answers."""

    status: Literal["ok"]
