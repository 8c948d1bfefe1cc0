"""The shape of what is said of two pictures that are the same, or not."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Shape
from api.shapes.searches import Edit

Place = Annotated[list[float], Field(min_length=2, max_length=2)]
Pair = Annotated[list[float], Field(min_length=4, max_length=4)]
Row = Annotated[list[float], Field(min_length=3, max_length=3)]


class Explanation(Shape):
    """Why a picture and an image are the same picture or not. Places are [x, y] in pixels of the image.

    matches: keypoints that resemble each other; inliers: those of them that agree on where the picture lies.
    """

    answer: Annotated[Literal["yes", "no", "cannot"], Field(description="whether they are the same picture")]
    reason: str
    mirrored: bool
    inliers: int
    matches: int
    agreement: Annotated[float | None, Field(description="how well the pixels fit, laid over each other; 1: entirely")]
    model: Annotated[
        list[Row] | None,
        Field(min_length=3, max_length=3, description="3 rows of 3: leads from places of the picture to the image's"),
    ]
    quad: Annotated[list[Place], Field(description="where the picture's corners lie, clockwise from its upper left")]
    shared: Annotated[list[Place], Field(description="the polygon that both show")]
    points: Annotated[list[Pair], Field(description="of inliers: x, y in the picture, x, y in the image")]
    visible: Annotated[float | None, Field(ge=0, le=1, description="share of the image that the picture shows")]
    filled: Annotated[float | None, Field(ge=0, le=1, description="share of the picture that the image fills")]
    edits: Annotated[list[Edit], Field(description="what was done to the image to get the picture")]
    sentences: Annotated[list[str], Field(description="the same in words, which may change")]
