"""Lists as lines: one JSON object a line, for those who accept `application/x-ndjson`.

A list is asked for a page at a time, as its client would, so that one page of it is in memory however long it is.
"""

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE = "application/x-ndjson"
PAGE_ITEMS = 1000


def line(shape: object) -> bytes:
    """Return a value as a line."""
    return json.dumps(shape, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


class _Answer:
    """Takes an answer of the application instead of its client, if it can be a list; passes on any other at once."""

    def __init__(self, send: Send) -> None:
        self.status = 0
        self.headers = Headers()
        self.is_other = False
        self._send = send
        self._start: Message = {}
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start, self.status, self.headers = message, message["status"], Headers(raw=message["headers"])
            is_json = self.headers.get("content-type", "").startswith("application/json")
            self.is_other = self.status != HTTPStatus.OK or not is_json
        if self.is_other:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")

    async def page(self) -> dict[str, Any] | None:
        """Return the page of a list; None where the answer is something else, which is passed on."""
        if self.is_other:
            return None
        found = json.loads(self._body)
        if isinstance(found, dict) and {"items", "next_cursor"} <= set(found):
            return found
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._body)})
        return None


class ListsAsLines:
    """Answers lists line by line where the client accepts only that."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or ask for the pages of its list and send their items."""
        if scope["type"] != "http" or scope["method"] != "GET" or not wants_lines(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        first = await self._ask(scope, receive, send, {})
        page = await first.page()
        if page is None:
            return
        kept = {name: first.headers[name] for name in ("cache-control", "vary") if name in first.headers}
        answer = StreamingResponse(self._lines(scope, receive, page), media_type=MEDIA_TYPE, headers=kept)
        await answer(scope, receive, send)

    async def _lines(self, scope: Scope, receive: Receive, page: dict[str, Any]) -> AsyncIterator[bytes]:
        while True:
            yield b"".join(map(line, page["items"]))
            if page["next_cursor"] is None:
                return
            changed = {"cursor": page["next_cursor"], "limit": str(PAGE_ITEMS)}
            answer = await self._ask(scope, receive, _nowhere, changed)
            following = await answer.page()
            if following is None:
                # What was sent looks like a whole list: the connection must not end as if it were.
                raise ConnectionAbortedError(f"a page of the list was answered with {answer.status}")
            page = following

    async def _ask(self, scope: Scope, receive: Receive, send: Send, changed: dict[str, str]) -> _Answer:
        given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        asked = [(name, value) for name, value in given if name not in changed] + list(changed.items())
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"accept", b"accept-encoding")]
        inner = {**scope, "headers": [*headers, (b"accept", b"application/json")]}
        if changed:
            inner["query_string"] = urlencode(asked).encode("latin-1")
        answer = _Answer(send)
        await self._app(inner, receive, answer)
        return answer


def wants_lines(headers: Headers) -> bool:
    """Tell whether a client accepts lines and does not name JSON as well."""
    kinds = {offer.split(";")[0].strip().lower() for offer in headers.get("accept", "").split(",")}
    return MEDIA_TYPE in kinds and "application/json" not in kinds


async def _nowhere(_message: Message) -> None:
    """Send nothing: the client is in the middle of another answer."""


def lines_answer(lines: AsyncIterator[bytes]) -> StreamingResponse:
    """Return an answer of lines that are made while it is sent."""
    return StreamingResponse(lines, media_type=MEDIA_TYPE, headers={"X-Accel-Buffering": "no"})
