"""Composition of the server: the only module of the HTTP side that builds real parts."""

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from api.http.app import MAX_BODY_BYTES, Parts, create_app
from api.http.key_gate import Guard, gate_of
from api.http.readiness import Readiness
from api.http.safe_fetch import FetchLimits, FetchNothing, SafeFetch
from api.http.thumbnails import Thumbnails
from api.jobs.runner import JobRunner
from api.jobs.supervising import Launch
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.errors import UsageError
from search.storing.api_keys import ApiKeys
from search.storing.uploads import Uploads

SHUTDOWN_S = 20
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and under which host names requests may come; `*` allows any."""

    host: str
    port: int
    names: tuple[str, ...]


def run_server(
    root: Path,
    address: Address,
    guard: Guard,
    ready: Callable[[str], None],
    *,
    device: str = "auto",
    weights: Path | None = None,
) -> None:
    """Serve the store in this folder until Ctrl-C or SIGTERM. ready: called with the URL once it listens.

    Raises:
        LookalikeError: by name, why the store cannot be opened.
        GuardRefused: other machines could reach it, and nobody has a key.
        UsageError: the address or the file with the admin key cannot be used.
    """
    children = max(1, (os.cpu_count() or 1) // 2)
    with ExitStack() as stack:
        workspace = stack.enter_context(
            Workspace(root, device=device, weights=weights, children=children, lasting=True)
        )
        gate = gate_of(ApiKeys(workspace.store.database), guard)
        listening = stack.enter_context(_listen(address.host, address.port))
        # Thumbnails have children of their own, so that a page full of them does not hold up queries.
        pool = stack.enter_context(DecoderPool(BUILTIN_PREPARATION, children=children))
        runner = stack.enter_context(JobRunner(workspace.store.database, Launch(root, device, weights)))
        stopping = Stopping()
        parts = Parts(
            workspace=workspace,
            thumbnails=Thumbnails(pool, Uploads(workspace.store).small),
            readiness=Readiness(workspace),
            allowed_hosts=address.names,
            started=lambda: ready(_url(listening)),
            gate=gate,
            fetch=SafeFetch(FetchLimits(most_bytes=MAX_BODY_BYTES)) if guard.allow_url else FetchNothing(),
            wake=runner.wake,
            stopping=stopping,
            roots=guard.allow_roots,
        )
        config = uvicorn.Config(
            create_app(parts), log_level="warning", timeout_graceful_shutdown=SHUTDOWN_S, server_header=False
        )
        server = stopping.server = uvicorn.Server(config)
        server.run(sockets=[listening])


class Stopping:
    """Tells whether a server was asked to end: who streams then stops, so that it need not wait."""

    server: uvicorn.Server | None = None

    def __call__(self) -> bool:
        """Tell it."""
        return self.server is not None and self.server.should_exit


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named, not left to the system: asyncio sends small answers at once (TCP_NODELAY) on connections whose protocol it
    # is told alone; on others each answer waits some 40 ms for the client's acknowledgement of its head.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        # Listening from here on: whoever reads the line with the address may connect at once, and waits.
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise UsageError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
