"""Writes that can name themselves by an Idempotency-Key: routes that give the same request the same answer."""

import hashlib
import re
from typing import Any, Final

from fastapi import Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.http.access import permitted
from api.http.exact_json import ExactRoute, Handle
from api.http.once import NAME, IdempotencyKey, once

HEADER: Final = "idempotency-key"
SAME_REQUEST: dict[int | str, dict[str, Any]] = {409: {"description": "the same request is still at work"}}


async def _named(idempotency_key: IdempotencyKey = None) -> None:
    """Say in the OpenAPI document that a request can name itself, and refuse what is no name."""


names_itself = Depends(_named)


class OnceRoute(ExactRoute):
    """A route below a collection whose handler is called once for all requests of one name.

    Handlers that are to be so say it by `dependencies=[names_itself]`.
    """

    def get_route_handler(self) -> Handle:
        """Return what answers a request."""
        handle = super().get_route_handler()
        if names_itself not in self.dependencies:
            return handle

        async def answer(request: Request) -> Response:
            name = request.headers.get(HEADER)
            if name is None or re.fullmatch(NAME, name) is None:
                return await handle(request)
            # The answer of before is for those who may ask, too.
            await permitted(request)
            target = await run_in_threadpool(request.app.state.workspace.collection, request.path_params["collection"])
            return await once(request, target, name, await _digest(request), lambda: handle(request))

        return answer


async def _digest(request: Request) -> bytes:
    """Return the sha256 of all that is asked."""
    asked = [request.method, str(request.url.path), request.url.query]
    asked += [request.headers.get(name, "") for name in ("content-type", "if-match")]
    return hashlib.sha256("\n".join(asked).encode() + b"\n\n" + await request.body()).digest()
