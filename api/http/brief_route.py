"""The route of what is asked most: its handler is called without the framework's looking for what to hand it.

For each request FastAPI goes through all that a handler and those it depends on may take, which costs a search by a
stored image a tenth of its time. Here every handler takes the same, and is held to the same checks as all others.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.http.access import permitted
from api.http.exact_addresses import exact_address
from api.http.exact_json import plain_body

Check = Callable[[Request], Coroutine[Any, Any, None]]
# What every request below /v1 is held to (routes/v1.py), after `permitted`, to which all others are, too.
CHECKS: Final[tuple[Check, ...]] = (exact_address, plain_body)


class BriefRoute(APIRoute):
    """A route whose handler takes the request, the workspace, and the name of a collection, in this order."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        handler: Callable[..., Coroutine[Any, Any, Response]] = self.endpoint

        async def answer(request: Request) -> Response:
            for check in (permitted, *CHECKS):
                await check(request)
            return await handler(request, request.app.state.workspace, request.path_params["collection"])

        return answer
