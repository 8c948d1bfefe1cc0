"""The shapes of searches and their matches."""

from typing import Annotated, Literal

from pydantic import Field

from api.queries import MAX_DIMS, MAX_EXAMPLES, QueryRequest
from api.shapes.base import Shape, Text, shown
from api.shapes.images import Image
from api.shapes.problems import Problem
from search.records import MAX_K

Score = Annotated[float, Field(ge=-1, le=1, description="cosine similarity, higher is closer")]
Id = Annotated[str, Field(pattern=r"^[0-9]{1,16}$")]
Number = Annotated[float, Field(allow_inf_nan=False)]
EMBEDDING = "of the collection's space, of any length; `lookalike export` writes such"
WHERE = Field(description="what a match must fulfil", examples=['width >= 1000 and label = "tabby"'])
URL = Field(description="the address of a picture, where the server has --allow-url", max_length=2048)
Box = Annotated[
    str | None,
    Field(description="the part of the picture to search by: x,y,width,height in pixels", examples=["120,80,640,480"]),
]
Relation = Literal["identical", "same_picture", "probable", "similar"]
Verified = Literal["yes", "no", "cannot"]


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
    copies: Annotated[
        int | None, Field(ge=0, description="how many more images are copies of it, with `unique`", examples=[7])
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
    names: Annotated[list[str] | None, Field(description="of the pictures, where several were sent")] = None
    like: list[str] | None = None
    unlike: list[str] | None = None
    dims: Annotated[int | None, Field(description="of the embedding that was sent")] = None


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


class BatchLine(Shape):
    """The answer to a line of a batch: the matches, or what is wrong with it. line: its number, from 1."""

    line: Annotated[int, Field(ge=1)]
    answer: SearchAnswer | None = None
    problem: Problem | None = None


class SearchBody(Shape):
    """A search by something that need not be sent: one of id, key, url and embedding, or images to be like.

    With `like` and `unlike` the query is the mean of all that is liked, the picture by id, key, url or upload among it,
    less half the mean of those disliked. The stored images that a query is made of are no matches then.
    """

    model_config = shown(
        {"id": "17", "k": 20, "where": "width >= 1000"},
        {"like": ["17", "23"], "unlike": ["5"], "unique": True},
        {"url": "https://pictures.example/beach.jpg", "accurate": True},
    )

    id: Id | None = None
    key: Text | None = None
    url: Annotated[Text, URL] | None = None
    embedding: Annotated[list[Number] | None, Field(min_length=1, max_length=MAX_DIMS, description=EMBEDDING)] = None
    like: Annotated[list[Id], Field(max_length=MAX_EXAMPLES, description="ids of images", examples=[["17", "23"]])] = []
    unlike: Annotated[list[Id], Field(max_length=MAX_EXAMPLES, description="ids of images", examples=[["5"]])] = []
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 10
    min_score: Score | None = None
    where: Annotated[Text, WHERE] | None = None
    accurate: Annotated[
        bool, Field(description="also turned, mirrored and in parts; the pixels of the likeliest images are looked at")
    ] = False
    box: Box = None
    unique: Annotated[
        bool,
        Field(description="name each duplicate group once, as the last dedup found them; `copies` counts the others"),
    ] = False

    def request(self) -> QueryRequest:
        """Return what is wanted of the workspace."""
        return QueryRequest(self.k, self.min_score, self.where, self.accurate, self.box, self.unique)


class ExplainFields(Shape):
    """The field of a form beside the picture that is to be explained."""

    box: Box = None
