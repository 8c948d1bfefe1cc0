"""The shape of errors."""

from pydantic import Field

from api.shapes.base import Shape


class Problem(Shape):
    """An RFC 9457 problem document.

    reason: the ledger's word when a picture was refused. position: of the wrong letter of a condition, from 1.
    """

    type: str = Field(examples=["urn:lookalike:problem:ImageNotFound"])
    title: str
    status: int
    detail: str
    reason: str | None = None
    position: int | None = None
