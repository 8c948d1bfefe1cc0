"""The shapes of collections: counts, index, upgrade, calibration."""

from typing import Literal

from api.shapes.base import Shape, shown


class NewCollection(Shape):
    """How a collection is begun. backbone: null takes one that is there as it is."""

    model_config = shown({"backbone": "builtin"})

    backbone: Literal["builtin"] | None = None


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
