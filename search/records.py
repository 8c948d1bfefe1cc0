"""The values that travel between modules: frozen, plain, without behaviour beyond naming themselves."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]
# Of the 10 nearest images, the share an approximate index is tuned to find when nobody asks for another.
DEFAULT_RECALL = 0.99

# What an index does to embeddings before it compares them (search/index/post_transform.py).
TransformKind = Literal["none", "centre", "whiten-0.25", "whiten-0.5"]
TRANSFORMS: Final[tuple[TransformKind, ...]] = get_args(TransformKind)
NO_TRANSFORM: Final = "none"

# How a network's last map becomes one embedding (indexer/backbones/pooling.py).
Pooling = Literal["avg", "gem3", "gem4"]
POOLINGS: Final[tuple[Pooling, ...]] = get_args(Pooling)
AVERAGE: Final = "avg"

UNKNOWN_FORMAT = "unknown"  # of pictures whose embedding was imported
CODES: Final = "codes"  # the numeric class of a space whose rows are no embeddings (search/storing/local_rows.py)
IMPORTED = "imported"  # the weights of a space whose embeddings were made elsewhere
MAX_K: Final = 1000  # matches of one query
Relation = Literal["identical", "same_picture", "probable", "similar"]
Verified = Literal["yes", "no", "cannot"]
# What people can say about two pictures (search/storing/verdicts.py tells what each means).
Said = Literal["duplicate", "not_duplicate", "keep_both", "stack", "same", "different"]
SAID: Final[tuple[Said, ...]] = get_args(Said)
# What servers do beside answering (search/storing/server_jobs.py), and how far that is.
JobKind = Literal["import", "dedup", "apply", "undo", "purge"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """What makes two embeddings comparable. `licence` and `weights` are provenance, not identity.

    preparation: the preparation of pixels as canonical JSON text. dims: numbers per embedding. weights_sha256: over
    the headless tensors, not the file. pooling: one of POOLINGS, or IMPORTED. weights: where the tensors came from:
    "builtin", "hub", "imported", a path.
    """

    backbone: str
    weights_sha256: str
    preparation: str
    dims: int
    pooling: str = AVERAGE
    numeric: str = "float"
    licence: str | None = None
    weights: str = "builtin"

    @property
    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that are equal exactly when two spaces are comparable."""
        identity = [
            self.backbone,
            self.weights_sha256,
            self.preparation,
            self.dims,
            self.pooling,
            self.numeric,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @property
    def is_imported(self) -> bool:
        """Return whether its embeddings were made elsewhere, so that there is no backbone here that makes more."""
        return self.weights == IMPORTED

    @property
    def name(self) -> str:
        """Return a short name for people: the backbone and the first digits of the fingerprint."""
        return f"{self.backbone}-{self.fingerprint[:8]}"


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of images in one space. sequence: number of commits so far.

    labels: new images get labels, where the backbone can name what it sees. labels_from: the id of the space whose
    labels its images have, None for its own (search/storing/labels.py). licence_accepted: the licence of the weights
    that somebody agreed to, and licence_accepted_at: when, in seconds since 1970; None while nobody did. recall_target:
    the share of the 10 nearest images that the approximate index is tuned to find. transform: what its next index shall
    do to embeddings, one of TRANSFORMS. regions_rule: by which rule its images are searched in regions, too, 0 for
    whole pictures only (search/regions.py). local: new images get local features (search/storing/local_rows.py).
    """

    id: int
    name: str
    space_id: int
    space: SpaceSpec
    sequence: int
    labels: bool = False
    licence_accepted: str | None = None
    licence_accepted_at: float | None = None
    recall_target: float = DEFAULT_RECALL
    labels_from: int | None = None
    transform: str = NO_TRANSFORM
    regions_rule: int = 0
    local: bool = False

    @property
    def label_space_id(self) -> int:
        """Return the id of the space whose labels its images have."""
        return self.space_id if self.labels_from is None else self.labels_from


@dataclass(frozen=True, slots=True)
class ContentFacts:
    """What a file holds, known by its sha256 (32 bytes).

    width, height: as displayed, in pixels. pixel_hash: 16 bytes over the decoded pixels. perceptual_hash: 32 bytes.
    contrast: standard deviation of the luma, 0 to 127.5. taken_at: when the camera says it was taken, its local time
    as 2024-01-31T23:59:59; None where none says so.
    """

    sha256: bytes
    size_bytes: int
    format: str
    width: int
    height: int
    pixel_hash: bytes
    perceptual_hash: bytes
    contrast: float
    taken_at: str | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """What a classifier sees in a picture. label: as the classifier names it; probability: 0 to 1."""

    label: str
    probability: float

    def as_json(self) -> dict[str, object]:
        """Return the label object of the command line and of HTTP."""
        return {"label": self.label, "probability": self.probability}


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label of a collection, and how many of its images have it."""

    label: str
    images: int

    def as_json(self) -> dict[str, object]:
        """Return the item of HTTP's list of labels."""
        return {"label": self.label, "images": self.images}


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a collection as users see it. labels: highest probability first, none when nobody asked for them."""

    id: int
    key: str
    uri: str
    width: int
    height: int
    size_bytes: int
    format: str
    sha256: bytes
    pixel_hash: bytes
    contrast: float
    mtime_ns: int
    metadata: Mapping[str, object] = field(default_factory=dict)
    labels: tuple[Label, ...] = ()
    taken_at: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the image object of the command line and of HTTP."""
        shape: dict[str, object] = {"id": str(self.id), "key": self.key, "uri": self.uri}
        path = shown_path(self.uri)
        if path is not None:
            shape["path"] = path
        shape |= {"width": self.width, "height": self.height, "bytes": self.size_bytes, "format": self.format}
        if self.taken_at is not None:
            shape["taken_at"] = self.taken_at
        if self.labels:
            shape["labels"] = [label.as_json() for label in self.labels]
        if self.metadata:
            shape["metadata"] = dict(self.metadata)
        return shape


EditKind = Literal[
    "mirrored", "rotated", "cropped", "framed", "scaled", "stretched", "tilted",
    "grey", "recoloured", "brightened", "darkened", "blurred", "covered", "converted", "recompressed", "resaved",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Edit:
    """One thing that was done to a picture (search/geometry/edits.py). amount: None where there is nothing to count."""

    kind: EditKind
    amount: float | None = None

    def as_json(self) -> dict[str, object]:
        """Return the edit object of the command line and of HTTP."""
        return {"kind": self.kind, "amount": self.amount}


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture, in shares of its width and height, 0 to 1. x, y: of its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    def as_json(self) -> dict[str, object]:
        """Return the region object of the command line and of HTTP."""
        return {"x": self.x, "y": self.y, "width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class Match:
    """An image that resembles a query. score: exact cosine similarity, higher is closer.

    verified: whether the pixels show the same picture, None where nobody looked. edits: what was done to the image to
    get the query, None where nobody knows. probability: that it shows the same picture, None likewise. region: the part
    of the image that scores so; None where that is all of it, or nothing but whole pictures was compared. copies: how
    many more images of the collection are copies of it, None where each is a match of its own.
    """

    image: ImageRecord
    score: float
    relation: Relation
    verified: Verified | None = None
    edits: tuple[Edit, ...] | None = None
    probability: float | None = None
    region: Region | None = None
    copies: int | None = None

    def as_json(self) -> dict[str, object]:
        """Return the match object of the command line and of HTTP."""
        shape = self.image.as_json() | {"score": self.score, "relation": self.relation, "verified": self.verified}
        if self.probability is not None:
            shape["probability"] = self.probability
        if self.edits is not None:
            shape["edits"] = [edit.as_json() for edit in self.edits]
        if self.region is not None:
            shape["region"] = self.region.as_json()
        if self.copies is not None:
            shape["copies"] = self.copies
        return shape


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A file that could not be indexed. attempts: how often it was tried in this state."""

    uri: str
    reason: str
    detail: str
    attempts: int
    size_bytes: int
    mtime_ns: int

    def as_json(self) -> dict[str, object]:
        """Return the item of `failures`."""
        return {"uri": self.uri, "reason": self.reason, "detail": self.detail, "attempts": self.attempts}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something `verify` found wrong. kind: a stable word; where: what it concerns."""

    kind: str
    where: str
    detail: str

    def as_json(self) -> dict[str, object]:
        """Return the fault object of `verify`."""
        return {"kind": self.kind, "where": self.where, "detail": self.detail}


def uri_of_path(path: str) -> str:
    """Return the percent-encoded file uri of an absolute local path, also for names that are not UTF-8."""
    return "file://" + quote_from_bytes(str.encode(path, "utf-8", "surrogateescape"), safe="/~")


@lru_cache(maxsize=4096)  # of a group of copies it is asked again and again
def path_of_uri(uri: str) -> Path | None:
    """Return the local path of a file uri, None for every other uri, and for what lies inside an archive."""
    if not uri.startswith("file:///") or "!/" in uri:  # a ! in a file's own name is percent-encoded
        return None
    return Path(unquote_to_bytes(uri.removeprefix("file://")).decode("utf-8", "surrogateescape"))


def shown_path(uri: str) -> str | None:
    """Return the local path of a file uri as people see it, None where path_of_uri is."""
    if not uri.startswith("file:///") or "!/" in uri:
        return None
    text = unquote_to_bytes(uri.removeprefix("file://")).decode("utf-8", "replace")
    if "//" in text or "/." in text or text.endswith("/"):
        text = str(Path(text))  # as pathlib writes it; which is slow, so it is not asked about every path
    # No file has a NUL in its name, but a uri can spell one, and PostgreSQL takes none.
    return text.replace("\0", "\ufffd")


def displayable(path: Path) -> str:
    """Return a path as text that any terminal and any JSON reader accepts; undecodable bytes become U+FFFD."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
