"""The lines of a batch of searches: read from the body as they are needed, each answered by itself."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO, Final

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.http.exact_json import exact_json
from search.errors import UsageError

IN_MEMORY_BYTES: Final = 1 << 20
MAX_LINES: Final = 10_000
MAX_LINE_BYTES: Final = 512 * 1024  # an embedding of the most dims there are, spelled generously

Line = tuple[int, bytes]


async def kept_body(request: Request) -> BinaryIO:
    """Return the body in a file, of which the beginning alone is in memory.

    It is read to its end before anything is answered: a client that sends all before it reads would wait for ever.

    Raises:
        UsageError: it has more than MAX_LINES lines.
    """
    kept = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 -- closed by whoever reads it
    lines = 0
    try:
        async for part in request.stream():
            lines += part.count(b"\n")
            if lines > MAX_LINES:
                raise UsageError(f"the batch has more than {MAX_LINES} lines; send several batches")
            await run_in_threadpool(kept.write, part)
        kept.seek(0)
    except BaseException:
        kept.close()
        raise
    return kept  # type: ignore[return-value]


async def lines_of(body: BinaryIO) -> AsyncIterator[Line]:
    """Yield the number of each line, from 1, and what it holds; empty lines are passed over.

    A line that is too long comes cut, one byte longer than it may be. The file is closed at the end.
    """
    with body:
        numbered = _read(body)
        while (found := await run_in_threadpool(next, numbered, None)) is not None:
            yield found


def _read(body: BinaryIO) -> Iterator[Line]:
    number = 0
    while part := body.readline(MAX_LINE_BYTES + 2):
        number += 1
        whole = part
        while part and not part.endswith(b"\n"):  # the rest of a line that is too long
            part = body.readline(MAX_LINE_BYTES)
        if whole.strip():
            yield number, whole.rstrip(b"\r\n")


def parsed_line(text: bytes) -> object:
    """Return the JSON of a line.

    Raises:
        UsageError: it is too long, no JSON, or an object in it has a key twice.
    """
    if len(text) > MAX_LINE_BYTES:
        raise UsageError(f"the line has more than {MAX_LINE_BYTES} bytes; send a shorter one")
    return exact_json(text, "the line")
