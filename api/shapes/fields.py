"""The shapes of fields: what conditions can be about."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Shape


class FieldValues(Shape):
    """A field of `where`. type: of its values; mixed: several types; other: lists, which can only be `null` or not."""

    field: Annotated[str, Field(examples=["metadata.rating"])]
    type: Literal["number", "text", "date", "flag", "mixed", "other"]
    values: Annotated[
        list[bool | int | float | str],
        Field(description="frequent ones, most frequent first; none of fields that differ for every image"),
    ]
