"""What all shapes of HTTP answers and bodies share, and the words they are written in."""

from typing import Annotated, Generic, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.config import JsonDict

T = TypeVar("T")


def _text(value: str) -> str:
    """Refuse half of a character: JSON can escape one, but no key has it and no database takes it."""
    value.encode()
    return value


Text = Annotated[str, AfterValidator(_text)]


def shown(*examples: JsonDict, demanding: JsonDict | None = None) -> ConfigDict:
    """Return the configuration of a body with examples, which OpenAPI shows.

    demanding: what a validator of the shape demands, as JSON Schema.
    """
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [*examples], **(demanding or {})})


class Shape(BaseModel):
    """Base of all shapes: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class Page(Shape, Generic[T]):
    """A page of a list; next_cursor is null on the last one."""

    items: list[T]
    next_cursor: str | None


class Health(Shape):
    """The process answers."""

    status: Literal["ok"]
