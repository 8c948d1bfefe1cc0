"""The shapes of the ingest gate over HTTP."""

from typing import Annotated, Literal

from pydantic import Field

from api.queries import CheckRequest
from api.shapes.base import Shape, Text, shown
from api.shapes.searches import URL, Edit, Id, Match, Score, Took, Verified


class CheckBody(Shape):
    """A check of something that need not be sent: exactly one of id, key and url."""

    model_config = shown({"id": "17", "threshold": 0.9}, {"url": "https://pictures.example/upload.jpg"})

    id: Id | None = None
    key: Text | None = None
    url: Annotated[Text, URL] | None = None
    threshold: Annotated[
        Score | None, Field(description="least cosine of a near copy; default: calibrated, else by backbone")
    ] = None
    accurate: Annotated[
        bool, Field(description="also turned, mirrored and in parts; the pixels of many images are looked at")
    ] = False

    def request(self) -> CheckRequest:
        """Return what is wanted of the gate."""
        return CheckRequest(self.threshold, self.accurate)


class CheckEvidence(Shape):
    """What an answer of the gate rests on; null where a step did not happen."""

    same_bytes: bool
    same_pixels: bool
    score: Score | None
    nearest: Annotated[str | None, Field(description="id of the image that scores so")]
    threshold: float | None
    threshold_source: Literal["calibrated", "user", "none"] | None
    verified: Verified | None
    reason: str | None
    inliers: Annotated[int | None, Field(description="places that agree in both pictures")]
    agreement: Annotated[float | None, Field(description="typical correlation of the pixels, once they are aligned")]
    edits: list[Edit] | None
    note: str | None


class CheckAnswer(Shape):
    """Whether a picture is new to a collection, an exact copy of an image there, or a near copy."""

    status: Literal["new", "exact", "near"]
    match: Annotated[Match | None, Field(description="what it is a copy of")] = None
    probability: Annotated[float | None, Field(ge=0, le=1)] = None
    evidence: CheckEvidence
    took_ms: Took
