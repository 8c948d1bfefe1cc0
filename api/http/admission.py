"""Requests that could not be answered soon are refused here, before anything of their bodies is read.

Looked at are the line a request would stand in (lines.py), how many requests there are in all, and the memory that
bodies hold: what is announced by Content-Length is set aside at once, the rest as it comes. A body must be there in
time, so that slow senders do not fill the server.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.lines import Busy, Line, Lines, Places, client_of
from api.http.problems import problem

BODIES_BYTES: Final = 256 << 20  # of all bodies together
BODY_S: Final = 60.0  # for one body to arrive
MOST: Final = 512  # requests at once, of all kinds
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
GONE: Final = 499  # nobody reads it; the access logs of proxies use the number for clients that hung up
_SEARCHES: Final = re.compile(r"/v1/collections/[^/]+/(search|check|images/[0-9]+/explain)$")


class SlowBody(Exception):  # noqa: N818 -- an answer to a request, not a defect
    """A body did not arrive in time."""


class Admission:
    """Lets requests in while there is room for them."""

    def __init__(self, app: ASGIApp, *, lines: Lines, most: int = MOST, bytes_: int = BODIES_BYTES) -> None:
        self._app = app
        self._lines = lines
        self._everything = Places("requests", most)
        self._bodies = Bodies(bytes_)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429 or 503."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        client = client_of(scope)
        try:
            line = self._line_of(scope)
            refused = None if line is None else line.refusal(client)
            if refused is not None:
                raise refused
            body = _Body(self._bodies, receive, _announced(scope))
            self._everything.enter(client)
        except Busy as busy:
            await busy_problem(busy)(scope, receive, send)
            return
        try:
            await self._app(scope, body.receive, send)
        finally:
            self._everything.leave(client)
            body.release()

    def _line_of(self, scope: Scope) -> Line | None:
        """Return the line that a request will stand in, as far as its head tells."""
        if scope["method"] != "POST" or _SEARCHES.match(scope["path"]) is None:
            return None
        kind = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
        return self._lines.finds if kind.startswith(b"application/json") else self._lines.pictures


class Bodies:
    """The memory that all bodies share. held: bytes set aside."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int) -> None:
        """Set bytes aside.

        Raises:
            Busy: so many are not left.
        """
        if self.held + size > self.most:
            raise Busy(
                HTTPStatus.SERVICE_UNAVAILABLE, f"the bodies of other requests hold {self.held} bytes; try again soon"
            )
        self.held += size


class _Body:
    """One request's body as it arrives."""

    def __init__(self, bodies: Bodies, receive: Receive, announced: int) -> None:
        """Raises:
        Busy: there is no memory for what is announced.
        """
        bodies.take(announced)
        self._bodies = bodies
        self._receive = receive
        self._taken = announced
        self._read = 0
        self._ends = asyncio.get_running_loop().time() + BODY_S
        self._is_complete = False

    async def receive(self) -> Message:
        """Return the next part, or that the client has hung up.

        Raises:
            SlowBody: the time for it is over.
            Busy: it is longer than announced, and there is no memory for it.
        """
        if self._is_complete:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._ends):
                message = await self._receive()
        except TimeoutError as error:
            raise SlowBody from error
        self._is_complete = not message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._taken:
            self._bodies.take(self._read - self._taken)
            self._taken = self._read
        return message

    def release(self) -> None:
        """Give its memory back."""
        self._bodies.held -= self._taken
        self._taken = 0


def _announced(scope: Scope) -> int:
    text = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(text) if text.isdigit() else 0


def busy_problem(busy: Busy) -> JSONResponse:
    """Return the answer to a request that cannot be taken now."""
    kind = "TooManyRequests" if busy.status == HTTPStatus.TOO_MANY_REQUESTS else "Overloaded"
    answer = problem(kind, busy.status, str(busy))
    answer.headers["Retry-After"] = str(busy.retry_after_s)
    return answer


def install_refusals(app: FastAPI) -> None:
    """Make what is raised here and in lines an answer."""
    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        Busy: _busy,
        SlowBody: _slow_body,
        ClientDisconnect: _gone,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


async def _busy(_request: Request, error: Exception) -> Response:
    if not isinstance(error, Busy):
        raise error
    return busy_problem(error)


async def _slow_body(_request: Request, _error: Exception) -> Response:
    answer = problem("SlowBody", HTTPStatus.REQUEST_TIMEOUT, f"the body was not here within {BODY_S:g} seconds")
    answer.headers["Connection"] = "close"
    return answer


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=GONE)
