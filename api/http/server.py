"""Composition of the server: the only module of the HTTP side that builds real parts."""

import logging
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory

import uvicorn
from pydantic import TypeAdapter
from threadpoolctl import threadpool_limits

from api.http.app import MAX_BODY_BYTES, Parts, create_app
from api.http.early_refusals import refusing_early
from api.http.key_gate import Guard, gate_of
from api.http.readiness import Readiness
from api.http.safe_fetch import FetchLimits, FetchNothing, SafeFetch
from api.http.thumbnails import Thumbnails
from api.http.worker_figures import WorkerFigures
from api.http.worker_processes import Workers
from api.jobs.runner import JobRunner
from api.jobs.supervising import Launch
from api.webhooks.deliveries import Deliveries
from api.webhooks.permission import WebhookPermission, permission_of
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.devices import usable_cores
from search.errors import UsageError
from search.storing.api_keys import ApiKeys
from search.storing.store import Store
from search.storing.uploads import Uploads

log = logging.getLogger()

SHUTDOWN_S = 20
BACKLOG = 2048
# How long a thread may hold Python while others wait for it. The loop that reads and answers has little to do, but
# often: with Python's own 5 ms it would wait for searches so often that even refusals were slow.
SWITCH_S = 0.0005
# The threads of requests share the cores already, and those of OpenBLAS spin after each product, however small it was:
# they took the core that the other half of a check was to have (docs/benchmarks.md, "Ingest gate").
BLAS_THREADS = 1


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and under which host names requests may come; `*` allows any."""

    host: str
    port: int
    names: tuple[str, ...]


def run_server(
    launch: Launch, address: Address, guard: Guard, ready: Callable[[str], None], *, workers: int = 1
) -> None:
    """Serve a store until Ctrl-C or SIGTERM. ready: called with the URL once it listens. workers: how many processes.

    Raises:
        LookalikeError: by name, why the store cannot be opened; or that workers end again and again.
        GuardRefused: other machines could reach it, and nobody has a key.
        UsageError: the address, the file with the admin key, or what is said of webhooks cannot be used.
    """
    permission_of(guard.allow_webhooks, guard.webhook_secret_file)  # what is wrong with it is said before all else
    if workers == 1:
        with listen(address.host, address.port) as listening:
            serve_on(listening, launch, address.names, guard, lambda: ready(url_of(listening)))
        return
    with Store(launch.root) as store:  # what is wrong with it is said here, and once
        gate_of(ApiKeys(store.database), guard)
    plain = {"launch": TypeAdapter(Launch).dump_python(launch, mode="json")}  # as worker.py reads it again
    plain |= {"guard": TypeAdapter(Guard).dump_python(guard, mode="json")}
    start = {**plain, "names": address.names, "log": log.getEffectiveLevel(), "count": workers}
    with TemporaryDirectory(prefix="lookalike-") as figures, listen(address.host, address.port) as listening:
        start["figures"] = figures
        Workers(workers, start, listening).run(lambda: ready(url_of(listening)), SHUTDOWN_S)


def serve_on(
    listening: socket.socket,
    launch: Launch,
    names: Sequence[str],
    guard: Guard,
    started: Callable[[], None],
    *,
    among: WorkerFigures | None = None,
) -> None:
    """Serve a store on a socket until SIGINT or SIGTERM. started: called once it answers.

    among: other processes that serve it, too: no connection is taken before everything is loaded.

    Raises:
        LookalikeError: as `run_server`.
    """
    sys.setswitchinterval(SWITCH_S)
    threadpool_limits(BLAS_THREADS, user_api="blas")
    children = max(1, usable_cores() // 2)
    with ExitStack() as stack:
        workspace = stack.enter_context(
            Workspace(launch.root, device=launch.device, weights=launch.weights, children=children, lasting=True)
        )
        gate = gate_of(ApiKeys(workspace.store.database), guard)
        # Thumbnails have children of their own, so that a page full of them does not hold up queries.
        pool = stack.enter_context(DecoderPool(BUILTIN_PREPARATION, children=children))
        launch = replace(launch, roots=guard.allow_roots, allow_url=guard.allow_url)
        webhooks = permission_of(guard.allow_webhooks, guard.webhook_secret_file)
        deliveries = _deliveries(stack, workspace.store, webhooks)
        runner = stack.enter_context(JobRunner(workspace.store.database, launch))
        stopping, readiness = Stopping(), Readiness(workspace)
        if among is not None:
            readiness.warm()
        parts = Parts(
            workspace=workspace,
            thumbnails=Thumbnails(pool, Uploads(workspace.store).small),
            readiness=readiness,
            allowed_hosts=tuple(names),
            started=started,
            gate=gate,
            fetch=SafeFetch(FetchLimits(most_bytes=MAX_BODY_BYTES)) if guard.allow_url else FetchNothing(),
            wake=runner.wake,
            stopping=stopping,
            roots=guard.allow_roots,
            webhooks=webhooks.rules,
            deliveries=deliveries,
            among=among,
        )
        app = create_app(parts)
        config = uvicorn.Config(
            app,
            http=refusing_early(app.state.entrance),
            log_level="warning",
            access_log=False,  # hidden at this level, but put together for each request all the same
            timeout_graceful_shutdown=SHUTDOWN_S,
            server_header=False,
        )
        server = stopping.server = uvicorn.Server(config)
        server.run(sockets=[listening])


def _deliveries(stack: ExitStack, store: Store, webhooks: WebhookPermission) -> Deliveries | None:
    """Return what tells receivers that jobs have ended, where the owner allows some; it works until the stack ends."""
    if not webhooks.rules.allow_any:
        return None
    return stack.enter_context(Deliveries(store.root, store.database, webhooks.rules, webhooks.keys))


class Stopping:
    """Tells whether a server was asked to end: who streams then stops, so that it need not wait."""

    server: uvicorn.Server | None = None

    def __call__(self) -> bool:
        """Tell it."""
        return self.server is not None and self.server.should_exit


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        UsageError: it is taken, or not one of this machine.
    """
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


def url_of(listening: socket.socket) -> str:
    """Return the address of what a socket serves, for people."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
