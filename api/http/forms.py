"""Multipart forms, read whole: one that is cut off is refused, since what it has lost could be what mattered."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus

from fastapi import HTTPException, Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser


class _Parser(MultiPartParser):
    ended = False

    def on_end(self) -> None:
        self.ended = True


@asynccontextmanager
async def form_of(request: Request, *, max_files: int, max_fields: int) -> AsyncIterator[FormData]:
    """Give the form that a request sends; its files are closed at the end.

    Raises:
        HTTPException: 400, it is no form, holds more than that, or ends before its closing boundary.
    """
    async with aclosing(request.stream()) as stream:
        parser = _Parser(request.headers, stream, max_files=max_files, max_fields=max_fields)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST, error.message) from error
    try:
        if not parser.ended:
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, "it ends before its closing boundary `--BOUNDARY--`; send all of it"
            )
        yield form
    finally:
        await form.close()
