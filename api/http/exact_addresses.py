"""Addresses are taken as they are, or refused: nothing in them is replaced or passed over.

Bytes that are no UTF-8 come from the server as the same replacement character, whichever they were; two keys would be
one then.
"""

from urllib.parse import unquote_to_bytes

from fastapi import Request

from search.errors import UsageError


async def exact_address(request: Request) -> None:
    """Refuse a request whose address would be understood as another one. For everything below /v1.

    Raises:
        UsageError: the path or the query is no UTF-8.
    """
    _require_utf8("path", request.scope.get("raw_path") or b"")
    _require_utf8("query", request.scope["query_string"])


def _require_utf8(part: str, text: bytes) -> None:
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError as error:
        shown = text.decode("latin-1")[:80]
        raise UsageError(f"the {part} {shown!r} is not percent-encoded UTF-8; encode its letters so") from error
