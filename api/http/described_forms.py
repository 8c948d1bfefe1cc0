"""How the OpenAPI document describes multipart forms, which handlers read by themselves."""

from collections.abc import Mapping
from typing import Any, Final

FILE: Final[Mapping[str, object]] = {"type": "string", "format": "binary"}
# What stands for a file in examples, as curl spells it: no document holds a picture.
EXAMPLE_FILE: Final = "@beach.jpg"
BOX: Final[Mapping[str, object]] = {"type": "string", "description": "x,y,width,height in pixels"}


def form_of_image(fields: Mapping[str, object], *examples: Mapping[str, object]) -> dict[str, Any]:
    """Return what a body holds that must bring `image`. fields: their schemas. examples: of the fields, by name."""
    schema = {"type": "object", "required": ["image"], "properties": dict(fields), "examples": list(examples)}
    return {"schema": schema}


def files(most: int, about: str) -> dict[str, object]:
    """Return the schema of a field that may come several times with a file in each. about: for people."""
    return {"type": "array", "items": FILE, "minItems": 1, "maxItems": most, "description": about}


def body_of(content: Mapping[str, object]) -> dict[str, Any]:
    """Return what a route says of its body, by media type."""
    return {"requestBody": {"required": True, "content": dict(content)}}
