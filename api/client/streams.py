"""Answers that come a line at a time: read as they come, wherever they are cut."""

from typing import Generic, TypeVar

from httpx2 import Response
from pydantic import ValidationError

from api.client.calls import LINES, Lines, strange

T = TypeVar("T")


class LineReader(Generic[T]):
    """Makes items of the lines of one answer.

    Raises:
        Refused: the server says why it does not answer.
        NotLookalike: the answer is none of a Lookalike server.
    """

    def __init__(self, lines: Lines[T], response: Response) -> None:
        """response: of which nothing was read, but for one that is no success."""
        self._lines = lines
        self._response = response
        self._rest = b""
        if not response.is_success:
            lines.call.answered(response)
        kind = response.headers.get("content-type", "")
        if not kind.startswith(LINES):
            raise strange(response, kind.encode(), "not line by line")

    def hear(self, chunk: bytes) -> list[T]:
        """Return the items that have come with this, wherever it was cut.

        Raises:
            NotLookalike: a line is none of a Lookalike server.
        """
        # Not by the library's lines, which end at some characters inside of JSON, too.
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        return [self._item(line) for line in whole if line]

    def end(self) -> None:
        """Take that nothing more comes.

        Raises:
            NotLookalike: it ended in the middle of a line.
        """
        if self._rest:
            raise strange(self._response, self._rest, "it ends in the middle of a line")

    def _item(self, line: bytes) -> T:
        try:
            return self._lines.item(line)
        except ValidationError as error:
            raise strange(self._response, line, error.errors()[0]["msg"]) from error
