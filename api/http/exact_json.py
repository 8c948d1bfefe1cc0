"""JSON as it is spelled, or refused: of a key that an object has twice some readers take the last, some the first."""

import json
from collections.abc import Callable, Coroutine
from email.message import Message
from http import HTTPStatus
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from search.errors import UsageError

Handle = Callable[[Request], Coroutine[Any, Any, Response]]
SHOWN_LETTERS: Final = 40
PLAIN_JSON: Final = "application/json"


class _KeyTwice(ValueError):
    """An object has a key twice."""


def exact_json(text: bytes | str, what: str) -> object:
    """Return what JSON says. what: of the request it is, for messages.

    Raises:
        UsageError: it is no JSON, or an object in it has a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except _KeyTwice as error:
        raise UsageError(f"{what} has the key {error} twice in one object; give it once") from error
    except RecursionError as error:
        raise UsageError(f"{what} is not valid JSON: it is nested too deeply; send fewer levels") from error
    except ValueError as error:
        raise UsageError(f"{what} is not valid JSON: {error}") from error


async def plain_body(request: Request) -> None:
    """Refuse a body that says it is packed, or JSON in other letters than UTF-8: neither is undone here.

    Raises:
        HTTPException: 415, it is.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        refused = f"the body is packed ({coding[:SHOWN_LETTERS]}); send it as it is, without Content-Encoding"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, refused)
    kind = request.headers.get("content-type", "")
    if kind == PLAIN_JSON:  # as nearly all say it
        return
    message = Message()
    message["content-type"] = kind
    letters = str(message.get_param("charset") or "utf-8").lower()
    if message.get_content_subtype().endswith("json") and letters not in ("utf-8", "utf8", "us-ascii"):
        refused = f"the body is JSON in {letters[:SHOWN_LETTERS]}; send UTF-8"
        raise HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, refused)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise _KeyTwice(repr(twice[:SHOWN_LETTERS]))
    return made


class ExactRoute(APIRoute):
    """A route whose JSON, where the framework hands it to a handler, is read here."""

    def get_route_handler(self) -> Handle:
        """Return what answers a request."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle

        async def answer(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            await plain_body(request)
            body = await request.body()
            if body and kind.endswith("json"):
                request._json = exact_json(body, "the body")  # where the framework looks before it reads
            return await handle(request)

        return answer
