"""The shapes of keys."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Shape


class KeyFacts(Shape):
    """What the caller may do. role: read < write < dedup < admin. collection: that the key is for, null for all.

    urls: whether this server fetches pictures by their address.
    """

    role: Literal["read", "write", "dedup", "admin"]
    collection: Annotated[str | None, Field(examples=["default"])]
    urls: bool
