"""The shapes of views of a collection: facets, timeline, map, failures, status."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Page, Shape
from api.shapes.collections import Collection


class FacetValue(Shape):
    """A value that images can be narrowed to, and how many have it. where: the condition that narrows them."""

    value: Annotated[str, Field(examples=["2024-03"])]
    images: int
    where: Annotated[str, Field(examples=["taken_at = 2024-03"])]


class Facets(Shape):
    """What images can be narrowed by. images: of how many, those of the collection that fulfil a condition, or all."""

    images: int
    labels: Annotated[list[FacetValue], Field(description="most frequent first, at most 200")]
    folders: Annotated[
        list[FacetValue], Field(description="those below the deepest that holds all, most frequent first, at most 200")
    ]
    sizes: Annotated[list[FacetValue], Field(description="by the pixels of the longer side, small ones first")]
    months: Annotated[list[FacetValue], Field(description="by the camera's date, oldest first")]
    undated: Annotated[int, Field(description="images whose camera says no date")]


class Month(Shape):
    """A month, and how many images were taken in it."""

    month: Annotated[str, Field(examples=["2024-03"])]
    images: int
    where: Annotated[str, Field(examples=["taken_at = 2024-03"])]


class Timeline(Page[Month]):
    """The months in which images were taken, oldest first; undated: images whose camera says no date."""

    undated: int


class MapPoint(Shape):
    """The place of an image on the map, 0 to 1."""

    id: str
    x: float
    y: float


class Map(Shape):
    """Images, near each other where they look alike. images: how many there are, of which these are all or a sample."""

    images: int
    points: list[MapPoint]


class MapProgress(Shape):
    """The map is being made; done: the share of it, 0 to 1."""

    state: Literal["making"]
    done: float


class Failure(Shape):
    """A file that could not be indexed; attempts: how often it was tried as it is."""

    uri: str
    reason: str
    detail: str
    attempts: int


class Failures(Page[Failure]):
    """A page of the ledger of files that could not be indexed. reasons: how many files there are of each."""

    reasons: dict[str, int]


class LiveRecall(Shape):
    """How many of the 10 nearest images live searches found, of those that were compared with an exact search."""

    recall: float
    checks: int


class Status(Collection):
    """A collection and its counts, with what live searches found. live: null before one was checked, or needs to be."""

    live: LiveRecall | None
