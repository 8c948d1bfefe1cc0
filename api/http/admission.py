"""Requests that could not be answered soon are refused here, before anything of their bodies is read.

Looked at are the line a request would stand in (lines.py), how many requests there are in all, and the memory that
bodies hold: what is announced by Content-Length is set aside at once, the rest as it comes. A body must be there in
time, so that slow senders do not fill the server. `Entrance` holds what is asked; early_refusals.py beside this asks it
earlier still, where the server lets it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.all_lines import Lines
from api.http.lines import HELD, Held, Line
from api.http.places import Busy, Places, client_of
from api.http.problems import problem

BODIES_BYTES: Final = 256 << 20  # of all bodies together
BODY_S: Final = 60.0  # for one body to arrive
MOST: Final = 512  # requests at once, of all kinds
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
GONE: Final = 499  # nobody reads it; the access logs of proxies use the number for clients that hung up
_LINED: Final = {  # by method: which paths stand in a line
    "POST": re.compile(r"/v1/collections/[^/]+/(?:(search|check)|images/[0-9]+/(explain)|(images))"),
    "PUT": re.compile(r"/v1/collections/[^/]+/images/(by-key)/.+"),
}


class SlowBody(Exception):  # noqa: N818 -- an answer to a request, not a defect
    """A body did not arrive in time."""


class Entrance:
    """What a request is measured by before it is let in."""

    def __init__(self, lines: Lines, most: int = MOST, bytes_: int = BODIES_BYTES) -> None:
        self.lines = lines
        self.everything = Places("requests", most)
        self.bodies = Bodies(bytes_)

    def line_of(self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]]) -> Line | None:
        """Return the line that a request will stand in, as far as its head tells."""
        pattern = _LINED.get(method)
        found = None if pattern is None else pattern.fullmatch(path)
        if found is None:
            return None
        name = found[found.lastindex or 0]
        if name in ("images", "by-key"):
            return self.lines.ingest
        if name == "explain":
            return self.lines.looks
        kind = next((value for name, value in headers if name == b"content-type"), b"")
        return self.lines.finds if kind.startswith(b"application/json") else self.lines.pictures


class Admission:
    """Lets requests in while there is room for them."""

    def __init__(self, app: ASGIApp, *, entrance: Entrance) -> None:
        self._app = app
        self._entrance = entrance

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 429 or 503."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        client, entrance = client_of(scope), self._entrance
        held: Held | None = scope.get(HELD)
        try:
            line = entrance.line_of(scope["method"], scope["path"], scope["headers"])
            if line is not None and held is None:  # else it was asked already
                line.require_room(client)
            entrance.everything.require_room(client)
            body = _Body(entrance.bodies, receive, _announced(scope))
            entrance.everything.enter(client)  # there is room still, so that the body's memory is given back
        except Busy as busy:
            _give_back(held)
            await busy_problem(busy)(scope, receive, send)
            return
        try:
            await self._app(scope, body.receive, send)
        finally:
            _give_back(held)
            entrance.everything.leave(client)
            body.release()


def _give_back(held: Held | None) -> None:
    if held is not None:
        held.give_back()


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
