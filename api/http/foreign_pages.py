"""Requests that a page of another site makes a browser send: nothing that changes anything is done for them.

A browser says where a request comes from in headers that no page can write: `Sec-Fetch-Site`, and `Origin`. Programs
send neither. Bodies that a page may send without asking us first (forms, plain text) are taken nowhere, but for
multipart, in which pictures come; so those two headers are looked at in any case.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.problems import problem

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "text/plain"})
OUR_SITES = frozenset({"same-origin", "none"})  # none: typed or bookmarked
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class ForeignPages:
    """Refuses what pages of other sites send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, unless a page elsewhere sent it, or it is a form."""
        if scope["type"] != "http" or scope["method"] in SAFE:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        if is_foreign(headers):
            detail = "a page of another site sent this; only pages of this server and programs may"
            await problem("ForeignPage", HTTPStatus.FORBIDDEN, detail)(scope, receive, send)
        elif kind in FORM_TYPES:
            detail = f"send JSON, or a picture as multipart/form-data, not {kind}, which any page could send"
            await problem("UnsupportedMediaType", HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def is_foreign(headers: Headers) -> bool:
    """Tell whether a browser says that a page of another site sent a request."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in OUR_SITES
    origin = headers.get("origin")
    if origin is None:
        return False
    place = _place(origin)
    return not place or place != headers.get("host", "").lower()


def _place(origin: str) -> str:
    """Return the host of an origin as the header Host names it: without a port that is the usual one; "" for none."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return ""
    return parts.netloc.removesuffix(DEFAULT_PORTS.get(parts.scheme, ":"))
