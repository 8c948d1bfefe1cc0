"""The shapes of classification: what pictures show, in words."""

from typing import Annotated

from pydantic import Field

from api.shapes.base import Shape
from api.shapes.images import Label


class ClassifyBody(Shape):
    """How pictures are to be named. collection: whose backbone is asked."""

    collection: Annotated[str, Field(max_length=200)] = "default"
    k: Annotated[int, Field(ge=1, le=5, description="labels of each picture")] = 5


class NamedPicture(Shape):
    """A picture that was sent, by the name of its file, and what it shows, most probable first."""

    name: str
    labels: list[Label]


class UnnamedPicture(Shape):
    """A picture that cannot be used, and why. reason: one of the ledger's words."""

    name: str
    reason: Annotated[str, Field(examples=["not_an_image"])]
    detail: str


class ClassifyAnswer(Shape):
    """What pictures show, in the order they were sent."""

    images: list[NamedPicture]
    failed: list[UnnamedPicture]
