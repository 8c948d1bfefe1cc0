"""Addresses are taken as they are, or refused: nothing in them is replaced or passed over.

Bytes that are no UTF-8 come from the server as the same replacement character, whichever they were; two keys would be
one then. A parameter that nobody knows would be a filter that lets everything through.
"""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from search.errors import UsageError


async def exact_address(request: Request) -> None:
    """Refuse a request whose address would be understood as another one. For everything below /v1.

    Raises:
        UsageError: the path or the query is no UTF-8, or the query has a parameter that is not taken, or one twice.
    """
    _require_utf8("path", request.scope.get("raw_path") or b"")
    if request.scope["query_string"]:
        _require_utf8("query", request.scope["query_string"])
        _require_known(request.query_params.multi_items(), _parameters(request.scope["route"]))


def _require_utf8(part: str, text: bytes) -> None:
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        shown = text.decode("latin-1")[:80]
        raise UsageError(f"the {part} {shown!r} is not percent-encoded UTF-8; encode its letters so") from error


def _require_known(given: list[tuple[str, str]], known: Mapping[str, bool]) -> None:
    seen = set()
    for name, _ in given:
        if name not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there are none"
            raise UsageError(f"there is no query parameter {name[:40]!r} here; {there}")
        if name in seen and not known[name]:
            raise UsageError(f"the query parameter `{name}` is there twice; give it once")
        seen.add(name)


def _parameters(route: APIRoute) -> Mapping[str, bool]:
    """Return the query parameters of a route, and whether each may be there several times."""
    return dict(_parameters_of(route.dependant))


def _parameters_of(dependant: Dependant) -> list[tuple[str, bool]]:
    own = [(field.alias, _is_list(field.field_info.annotation)) for field in dependant.query_params]
    return own + [one for below in dependant.dependencies for one in _parameters_of(below)]


def _is_list(annotation: Any) -> bool:
    if get_origin(annotation) in {Union, types.UnionType}:
        return any(_is_list(one) for one in get_args(annotation))
    return get_origin(annotation) is list
