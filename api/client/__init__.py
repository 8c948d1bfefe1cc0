"""The Python client of a Lookalike server. It loads neither torch nor faiss nor a database library (docs/client.md)."""

from api.client.awaiting import AsyncClient
from api.client.blocking import Client
from api.client.errors import (
    AccessRefused,
    Busy,
    Conflict,
    JobCancelled,
    JobFailed,
    NotFound,
    NotLookalike,
    Refused,
    RemoteError,
    ServerUnreachable,
    WaitTimedOut,
)
from api.client.running_jobs import AsyncRunningJob, RunningJob
from api.client.views import CollectionMap
from api.client.webhooks import WebhookNotVerified, verify_webhook

__all__ = [
    "AccessRefused",
    "AsyncClient",
    "AsyncRunningJob",
    "Busy",
    "Client",
    "CollectionMap",
    "Conflict",
    "JobCancelled",
    "JobFailed",
    "NotFound",
    "NotLookalike",
    "Refused",
    "RemoteError",
    "RunningJob",
    "ServerUnreachable",
    "WaitTimedOut",
    "WebhookNotVerified",
    "verify_webhook",
]
