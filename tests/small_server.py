"""A real server on a small real store with tiny pictures, for whoever sends it strange things."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from tests.conftest import painted

PICTURES = 6


@dataclass(frozen=True)
class SmallServer:
    """Where it listens, and its parts."""

    port: int
    parts: Parts

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def small_store(folder: Path) -> Path:
    """Return a new store below a folder: six tiny pictures and a copy of one, with some metadata."""
    photos, store = folder / "photos", folder / "store"
    photos.mkdir()
    for number in range(PICTURES):
        painted(number, (24, 16)).save(photos / f"{number}.png")
    (photos / "copy of 0.png").write_bytes((photos / "0.png").read_bytes())
    try:
        main(["--store", str(store), "--progress", "none", "index", str(photos)])
    except SystemExit as stop:
        assert stop.code in (0, None)
    return store


@contextmanager
def small_server(store: Path, **parts: object) -> Iterator[SmallServer]:
    """Serve a store until the block ends. parts: instead of the usual ones."""
    with (
        Workspace(store, lasting=True) as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        socket.create_server(("127.0.0.1", 0)) as listening,
        ThreadPoolExecutor(1) as thread,
    ):
        made = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("127.0.0.1",))
        made = replace(made, **parts)  # type: ignore[arg-type]
        server = uvicorn.Server(uvicorn.Config(create_app(made), log_level="warning"))
        running = thread.submit(server.run, [listening])
        try:
            yield SmallServer(listening.getsockname()[1], made)
        finally:
            server.should_exit = True
            running.result()
