"""The Python client of a Lookalike server. It loads neither torch nor faiss nor a database library (docs/client.md)."""

from api.client.awaiting import AsyncClient
from api.client.blocking import Client
from api.client.errors import (
    AccessRefused,
    Busy,
    Conflict,
    NotFound,
    NotLookalike,
    Refused,
    RemoteError,
    ServerUnreachable,
)

__all__ = [
    "AccessRefused",
    "AsyncClient",
    "Busy",
    "Client",
    "Conflict",
    "NotFound",
    "NotLookalike",
    "Refused",
    "RemoteError",
    "ServerUnreachable",
]
