"""Who may do what over HTTP.

`Authentication` asks every request for its key before anything of it is read or looked up: 401. Every handler says by
`needs` which role its callers must have, and `permitted`, a dependency of the whole application, holds them to it: 403.
A handler that says nothing is for nobody.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import Depends, FastAPI, HTTPException, Request, Security
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import problem, status_of
from api.http.wrong_keys import MOST, WrongKeys
from search.database.at_once import WouldWait
from search.errors import LookalikeError
from search.storing.api_keys import ROLES, Role

Handler = TypeVar("Handler", bound=Callable[..., Any])
# `nothing` is for everybody, without a key.
Needed = Literal["nothing", "read", "write", "dedup", "admin"]
REALM = 'Bearer realm="lookalike"'
_MARK = "_lookalike_needs"
_RANKS: Mapping[str, int] = {"nothing": -1} | {role: rank for rank, role in enumerate(ROLES)}

# Only for the OpenAPI document: the key was looked at before.
bearer = Security(
    HTTPBearer(auto_error=False, scheme_name="key", description="a key of `lookalike keys create`, as lk_...")
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request. only: the collection that the key is for, None for all."""

    role: Role
    only: str | None = None

    def has(self, role: Needed) -> bool:
        """Tell whether the caller may do what needs a role."""
        return _RANKS[role] <= _RANKS[self.role]


ANYBODY = Caller("admin")  # where no keys are asked for


class KeyRefused(Exception):  # noqa: N818 -- an answer to a request, not a defect
    """A request has no key that opens anything. given: whether it had one at all."""

    def __init__(self, detail: str, *, given: bool) -> None:
        super().__init__(detail)
        self.given = given


class Gate(Protocol):
    """Knows the caller by the header `Authorization`."""

    def caller(self, authorization: str | None, *, at_once: bool = False) -> Caller:
        """Return who sends a request. at_once: without waiting for anything.

        Raises:
            KeyRefused: nobody who may come in.
            StoreUnavailable: the keys cannot be read.
            WouldWait: at_once, and this is not known without waiting.
        """
        ...


class OpenGate:
    """Asks for no keys: whoever can reach the server may do everything."""

    def caller(self, _authorization: str | None, *, at_once: bool = False) -> Caller:
        """Return that it may be anybody."""
        return ANYBODY


@dataclass(frozen=True, slots=True)
class _Need:
    role: Needed
    across: bool


def needs(role: Needed, *, across: bool = False) -> Callable[[Handler], Handler]:
    """Declare the role that callers of a handler must have, or a higher one.

    across: keys for one collection may use it although its path names none; the handler shows them no other.
    """

    def declare(handler: Handler) -> Handler:
        setattr(handler, _MARK, _Need(role, across))
        return handler

    return declare


async def permitted(request: Request) -> None:
    """Hold a caller to the role that the handler needs, and to the collection of the key.

    Raises:
        HTTPException: 403, which names the role.
    """
    need: _Need | None = getattr(request.scope["endpoint"], _MARK, None)
    if need is None:
        raise HTTPException(HTTPStatus.FORBIDDEN, "this handler does not say which role it needs, so it is for nobody")
    if need.role == "nothing":
        return
    caller: Caller = request.scope["caller"]
    if not caller.has(need.role):
        raise _forbidden(need.role, f"this needs a key of role {need.role} or a higher one; yours has {caller.role}")
    collection = request.path_params.get("collection")
    if caller.only not in (None, collection) and not (need.across and collection is None):
        asked = "the whole store" if collection is None else "this collection"
        raise _forbidden(
            need.role, f"this needs a key of role {need.role} for {asked}; yours is for {caller.only} only"
        )


def _forbidden(role: Needed, detail: str) -> HTTPException:
    challenge = f'{REALM}, error="insufficient_scope", scope="{role}"'
    return HTTPException(HTTPStatus.FORBIDDEN, detail, {"WWW-Authenticate": challenge})


async def _caller(request: Request) -> Caller:
    caller: Caller = request.scope["caller"]
    return caller


CalledBy = Annotated[Caller, Depends(_caller)]


def open_paths(app: FastAPI) -> frozenset[str]:
    """Return the paths that are for everybody: of handlers that say so, and the OpenAPI document."""
    found = {app.openapi_url}
    for route in app.routes:
        need: _Need | None = getattr(getattr(route, "endpoint", None), _MARK, None)
        if need is not None and need.role == "nothing":
            found.add(getattr(route, "path", None))
    return frozenset(path for path in found if path is not None)


class Authentication:
    """Finds out who sends a request, and refuses those who have no key, before their body is read."""

    def __init__(self, app: ASGIApp, *, gate: Gate, open_to_all: frozenset[str]) -> None:
        self._app = app
        self._gate = gate
        self._open = open_to_all
        self._wrong = WrongKeys()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller in the scope, or answer it with 401, or 429 after many wrong keys."""
        if scope["type"] != "http" or scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization")
        address = (scope.get("client") or ("",))[0]
        wait_s = 0 if given is None else self._wrong.retry_after_s(address, given)
        if wait_s:
            answer = problem(
                "TooManyWrongKeys",
                HTTPStatus.TOO_MANY_REQUESTS,
                f"your address has sent {MOST} wrong keys within a minute; try again in {wait_s} seconds",
            )
            answer.headers["Retry-After"] = str(wait_s)
            await answer(scope, receive, send)
            return
        try:
            caller = await self._caller(given)
        except KeyRefused as refused:
            if given is not None and refused.given:
                self._wrong.wrong(address, given)
            answer = problem("KeyNeeded", HTTPStatus.UNAUTHORIZED, str(refused))
            answer.headers["WWW-Authenticate"] = f'{REALM}, error="invalid_token"' if refused.given else REALM
            await answer(scope, receive, send)
        except LookalikeError as error:
            await problem(type(error).__name__, status_of(error), str(error))(scope, receive, send)
        else:
            if given is not None:
                self._wrong.right(given)
            await self._app({**scope, "caller": caller}, receive, send)

    async def _caller(self, authorization: str | None) -> Caller:
        if isinstance(self._gate, OpenGate):
            return ANYBODY
        try:
            return self._gate.caller(authorization, at_once=True)
        except WouldWait:
            # Not in the event loop: while somebody commits, SQLite lets readers wait.
            return await run_in_threadpool(self._gate.caller, authorization)
