"""The shapes of images, and of what changes them."""

from typing import Annotated

from pydantic import Field

from api.shapes.base import Shape, shown


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

    model_config = shown({"metadata": {"rating": 5, "draft": None}}, {"metadata": None})

    metadata: Annotated[
        dict[str, object] | None, Field(examples=[{"rating": 5, "place": {"city": "Köln"}, "draft": None}])
    ] = None
