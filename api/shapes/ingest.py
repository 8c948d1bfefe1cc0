"""The shapes of taking pictures in: what is sent with them, and what became of each."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Shape, Text, shown
from api.shapes.checks import CheckAnswer
from api.shapes.images import Image, Label
from api.shapes.problems import Problem

_NO_NUL = r"^[^\x00]+$"
Key = Annotated[
    Text,
    Field(max_length=1024, pattern=_NO_NUL, description="its name in the collection; default: its address, or sha256"),
]
Uri = Annotated[
    Text,
    Field(max_length=2048, pattern=_NO_NUL, examples=["https://pictures.example/a.jpg", "file:///photos/a%20b.jpg"]),
]
OnDuplicate = Annotated[
    Literal["allow", "link", "reject"],
    Field(description="what becomes of a picture of which `check` says that a copy is there"),
]
Keep = Annotated[
    Literal["original", "thumbnail", "none"],
    Field(description="what the server keeps of the file; what lies below --allow-root stays where it is"),
]
Metadata = dict[str, object]
MOST_AT_ONCE = 100


class Described(Shape):
    """What is said of one picture. labels: instead of those that a classifier would give."""

    key: Key | None = None
    metadata: Metadata | None = None
    labels: Annotated[list[Label] | None, Field(max_length=100)] = None


class UriBody(Described):
    """One picture by its address."""

    model_config = shown({"uri": "https://pictures.example/a.jpg", "key": "shop/17", "on_duplicate": "reject"})

    uri: Uri
    on_duplicate: OnDuplicate = "allow"
    keep: Keep = "original"


class UriItem(Described):
    """One of several pictures, by its address."""

    uri: Uri


class UrisBody(Shape):
    """Several pictures by their addresses."""

    model_config = shown({"items": [{"uri": "/photos/a.jpg"}, {"uri": "/photos/b.jpg", "metadata": {"rating": 5}}]})

    items: Annotated[list[UriItem], Field(min_length=1, max_length=MOST_AT_ONCE)]
    on_duplicate: OnDuplicate = "allow"
    keep: Keep = "original"


class FormFields(Shape):
    """The fields of a form beside its pictures. key, metadata, labels: none, or as many as pictures, in their order; an
    empty one says nothing.
    """

    key: list[str] = []
    metadata: list[str] = []
    labels: list[str] = []
    on_duplicate: OnDuplicate = "allow"
    keep: Keep = "original"


class PutFields(Shape):
    """The fields of a form beside the picture of a key."""

    metadata: str | None = None
    labels: str | None = None
    keep: Keep = "original"


class PutUri(Shape):
    """The picture of a key, by its address."""

    model_config = shown({"uri": "https://pictures.example/a.jpg", "metadata": {"price": 30}})

    uri: Uri
    metadata: Metadata | None = None
    labels: Annotated[list[Label] | None, Field(max_length=100)] = None
    keep: Keep = "original"


class Ingested(Shape):
    """What became of a picture.

    added: it is an image now. replaced: its key had led to another picture. linked: nothing of it was stored, since a
    copy is there: image, or, where a key was given, a new image of that copy. exists: it is there already under its
    key. rejected: problem says why; image is what it is a copy of. check: what the gate said, where it was asked.
    note: what of that was sent did not count, and why.
    """

    outcome: Literal["added", "replaced", "linked", "exists", "rejected"]
    image: Image | None
    problem: Problem | None = None
    check: CheckAnswer | None = None
    note: str | None = None


class IngestAnswer(Shape):
    """What became of each picture, in their order."""

    items: list[Ingested]
