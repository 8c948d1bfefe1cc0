"""Refusals before a request costs anything: uvicorn's protocol, which looks at the entrance as soon as a head is there.
What is no HTTP at all is refused here, too, since no application ever sees it.

    socket -> head -> is there room? -> the usual way: a task, the application, Admission
                            no -> the answer at once: no task, no scope for the application, no middleware

When many times more comes than can be answered, nearly all of it is refused; what each refusal costs is then what keeps
the others waiting. Said is the same as Admission (admission.py) says, to whom the rest is left: servers of other kinds,
and requests that were sent before the one before them was answered.
"""

import asyncio
import sys
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi.responses import JSONResponse
from httptools import HttpParserCallbackError
from starlette.types import Scope
from uvicorn import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from api.http.admission import PROBES, Entrance, busy_problem
from api.http.batched_line import GONE
from api.http.lines import HELD, Held
from api.http.places import Busy, client_of
from api.http.problems import problem
from api.http.security_headers import SECURITY_HEADERS

MOST_DROPPED: Final = 32 << 20  # bytes of a refused request's body: more do not come from who listens


class EarlyRefusals(HttpToolsProtocol):
    """One connection. entrance: what its requests are measured by; see `refusing_early`."""

    entrance: Entrance

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._dropped: int | None = None  # bytes of the body of a request that was refused; None: of none

    def on_headers_complete(self) -> None:
        """Refuse a request that there is no room for, or let it go the usual way."""
        if self.transport.is_closing():  # refused, and what comes is not looked at any more
            self._dropped = 0
            return
        cast(Scope, self.scope)[GONE] = self.transport.is_closing
        try:
            self._look()
        except Busy as busy:
            self._refuse(busy)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, or drop it where its request was refused."""
        if self._dropped is None:
            super().on_body(body)
            return
        self._dropped += len(body)
        if self._dropped > MOST_DROPPED:
            self.transport.close()

    def on_message_complete(self) -> None:
        """Take the place of a request that is all there."""
        if self._dropped is not None:
            self._dropped = None
            return
        held: Held | None = cast(Scope, self.scope).get(HELD)
        if held is not None:
            held.take()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, and hang up: nobody can tell where the next request begins.

        Whole requests that came before it are answered first; nothing is said then.
        """
        at_work = self.cycle is not None and not self.cycle.response_complete
        if at_work and not self.cycle.more_body:
            self.flow.pause_reading()
            self.cycle.keep_alive = False  # of the last of them: with its answer the connection ends
            return
        # Nothing is said where it would be taken for the answer to a request before.
        if self._dropped is None and not (at_work and (self.cycle.response_started or self.pipeline)):
            status = HTTPStatus.BAD_REQUEST
            answer = problem("BadRequest", status, f"this is no HTTP/1.1 request: {_why_not() or msg}")
            self._write(status, *_bytes_of(answer), stays=False)
        self.transport.close()

    def _look(self) -> None:
        """Raises:
        Busy: there is no room for the request.
        """
        is_next = self.cycle is None or self.cycle.response_complete
        if not is_next or self.flow.write_paused or self.parser.should_upgrade():
            return  # its answer must wait: Admission looks at it when its turn comes
        path, _, _ = self.url.partition(b"?")
        text, scope = path.decode("latin-1"), cast(Scope, self.scope)
        if text in PROBES:
            return
        client = self._client(scope)
        line = self.entrance.line_of(self.parser.get_method().decode("latin-1"), text, self.headers)
        if line is not None:
            line.require_room(client)
        self.entrance.everything.require_room(client)
        if line is not None:
            scope[HELD] = Held(line, client)

    def _client(self, scope: Scope) -> str:
        """Return by what the client is known: behind a proxy as the application will know it."""
        if self.config.proxy_headers and any(name == b"x-forwarded-for" for name, _ in self.headers):
            scope = {"type": "http", "client": self.client, "headers": self.headers}
            _name_client(scope, ProxyHeadersMiddleware(_nothing, self.config.forwarded_allow_ips))
        return client_of(scope)

    def _refuse(self, busy: Busy) -> None:
        """Answer at once; what comes of the body is dropped."""
        self._dropped = 0
        # Who waits to be told whether to send a body may send it now or not: what comes next could be either.
        stays = self.parser.should_keep_alive() and not self.expect_100_continue
        head, body = _answer(busy.status, str(busy), busy.retry_after_s)
        self._write(busy.status, head, b"" if self.parser.get_method() == b"HEAD" else body, stays=stays)
        if not stays:
            self.transport.close()
        self.on_response_complete()

    def _write(self, status: HTTPStatus, head: bytes, body: bytes, *, stays: bool) -> None:
        self.transport.write(
            b"".join(
                [
                    STATUS_LINE[status],
                    *(b"%b: %b\r\n" % each for each in self.server_state.default_headers),
                    head,
                    b"" if stays else b"connection: close\r\n",
                    b"\r\n",
                    body,
                ]
            )
        )


def refusing_early(entrance: Entrance) -> type[EarlyRefusals]:
    """Return the protocol of a server with this entrance, for `uvicorn.Config(http=...)`."""
    return type("EarlyRefusalsOfServer", (EarlyRefusals,), {"entrance": entrance})


@lru_cache(maxsize=1024)  # the numbers in words differ a little
def _answer(status: HTTPStatus, detail: str, retry_after_s: int) -> tuple[bytes, bytes]:
    """Return the headers and the body that the application would answer with."""
    return _bytes_of(busy_problem(Busy(status, detail, retry_after_s)))


def _bytes_of(answer: JSONResponse) -> tuple[bytes, bytes]:
    headers = [*answer.raw_headers, *SECURITY_HEADERS.items()]
    return b"".join(b"%b: %b\r\n" % each for each in headers), bytes(answer.body)


def _why_not() -> str:
    """Return what the parser says of what it is just refusing."""
    error = sys.exception()
    if isinstance(error, HttpParserCallbackError):  # what it was called back from says why
        error = error.__context__
    return "" if error is None else str(error)


def _name_client(scope: Scope, proxies: ProxyHeadersMiddleware) -> None:
    """Put the client into a scope that trusted proxies name."""
    going = proxies(cast(Any, scope), cast(Any, _nothing), cast(Any, _nothing))
    try:
        going.send(None)
    except StopIteration:
        return
    raise RuntimeError("uvicorn waits for something before it knows who a proxy speaks for")


async def _nothing(*_: object) -> None:
    pass
