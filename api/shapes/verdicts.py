"""The shapes of verdicts."""

from typing import Annotated

from pydantic import Field

from api.shapes.base import Shape, Text, shown
from search.records import Said


class Verdict(Shape):
    """What somebody said about two contents, the lower sha256 first."""

    first: str
    second: str
    verdict: Said
    made_at: Annotated[str, Field(description="ISO 8601", examples=["2026-11-23T07:00:00.250000+00:00"])]


class VerdictBody(Shape):
    """What two pictures are to each other. first, second: the key, id or sha256 of each."""

    model_config = shown({"first": "17", "second": "23", "verdict": "duplicate"})

    first: Annotated[Text, Field(max_length=4096)]
    second: Annotated[Text, Field(max_length=4096)]
    verdict: Said


class VerdictsBody(Shape):
    """Several verdicts, written down all or none."""

    model_config = shown({"items": [{"first": "17", "second": "23", "verdict": "not_duplicate"}]})

    items: Annotated[list[VerdictBody], Field(min_length=1, max_length=1000)]
