"""Answers packed with gzip for those who take it: the page's files, and maps."""

import gzip

from fastapi import Request

LEVEL = 5


def takes_gzip(request: Request) -> bool:
    """Tell whether the client takes an answer packed with gzip."""
    offers = [offer.replace(" ", "").lower() for offer in request.headers.get("accept-encoding", "").split(",")]
    return any(offer.split(";")[0] == "gzip" and not offer.endswith(";q=0") for offer in offers)


def packed(data: bytes) -> bytes:
    """Return data packed with gzip, the same data always to the same bytes."""
    return gzip.compress(data, LEVEL, mtime=0)
