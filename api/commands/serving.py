"""`serve`."""

import signal
import sys
import threading
import webbrowser
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from api.console import Session, say
from api.loading import for_good
from search.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")
LOOPBACK_NAMES = (*LOOPBACK, "[::1]")
OPEN_AFTER_S = 1.0


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(serve)


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen on.", envvar="LOOKALIKE_HOST")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", envvar="LOOKALIKE_PORT")
    ] = 8080,
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    auth: Annotated[
        str,
        typer.Option(
            help="keys: every request needs one. none: no request does, for proxies. auto: as soon as there is a key, "
            "or other machines can reach the address.",
            envvar="LOOKALIKE_AUTH",
        ),
    ] = "auto",
    admin_key_file: Annotated[
        Path | None,
        typer.Option(help="File with a key that may do everything.", envvar="LOOKALIKE_ADMIN_KEY_FILE"),
    ] = None,
    allow_url: Annotated[
        bool, typer.Option("--allow-url", help="Fetch pictures from addresses of the internet that visitors name.")
    ] = False,
    allow_root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of which visitors may name files to be indexed (repeat)."),
    ] = None,
    allow_webhook: Annotated[
        list[str] | None,
        typer.Option(
            help="Whom visitors may have told when their jobs have ended: addresses that begin so, wherever they lie, "
            "or `public` for all that everybody can reach (repeat)."
        ),
    ] = None,
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option(help="File with the secret that signs webhooks.", envvar="LOOKALIKE_WEBHOOK_SECRET_FILE"),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(help="Host name under which requests may come (repeat).", envvar="LOOKALIKE_ALLOWED_HOSTS"),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.", envvar="LOOKALIKE_WORKERS")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Where the backbone's weights file is now.")] = None,
) -> None:
    """Serve the web page and the HTTP API."""
    with for_good():
        from api.http.key_gate import Guard, auth_mode
        from api.http.server import Address, run_server
        from api.jobs.supervising import Launch

    session: Session = context.obj
    roots = tuple(allow_root or ())
    for root in roots:
        if not root.is_dir():
            raise UsageError(f"--allow-root {root} is no folder that exists")
    public = host not in LOOPBACK
    guard = Guard(
        auth_mode(auth), public, admin_key_file, allow_url, roots, tuple(allow_webhook or ()), webhook_secret_file
    )

    # After uvicorn has closed everything it raises the signal again: asked to end and ended is a success.
    signal.signal(signal.SIGTERM, _stopped)

    def ready(url: str) -> None:
        say(f"Lookalike listens on {url} (Ctrl-C stops it)")
        if browser:
            threading.Timer(OPEN_AFTER_S, webbrowser.open, (url,)).start()

    names = tuple(allow_host or (LOOPBACK_NAMES if host in LOOPBACK else ("*",)))
    launch = Launch(session.store, device, weights)
    run_server(launch, Address(host, port, names), guard, ready, workers=workers)


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
