"""A real server whose searches by picture take as long as a test wants, and clients that write every byte by hand."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.http.all_lines import Lines
from api.http.app import Parts, create_app
from api.http.batched_line import BatchedLine
from api.http.early_refusals import refusing_early
from api.http.lines import IngestLine, Line
from api.http.readiness import Readiness
from api.http.server import listen
from api.http.thumbnails import Thumbnails
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from bench.http_load import picture_request
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.records import Collection
from search.storing.store import Store
from search.unwanted import stop_if_unwanted
from tests.stored_rows import add

SEARCH = "/v1/collections/default/search"
UPLOAD = picture_request(SEARCH, b"a picture")


@dataclass
class Slow:
    """Searches by picture that take as long as the test wants. done: how many got to their end."""

    let: threading.Event
    begun: threading.Semaphore
    done: int = 0

    def __call__(self, _target: Collection, _data: bytes, _name: str, _wanted: QueryRequest) -> Found:
        self.begun.release()
        assert self.let.wait(20)
        stop_if_unwanted()
        self.done += 1
        return Found([], 0.0, 0.0, 0.0)


@dataclass
class Running:
    place: tuple[str, int]
    lines: Lines
    slow: Slow


@contextmanager
def serving(parts: Parts, *, early: bool = True) -> Iterator[tuple[str, int]]:
    """Serve until the block ends. early: refuse where a head is all there, as `serve` does."""
    app = create_app(parts)
    http = refusing_early(app.state.entrance) if early else HttpToolsProtocol
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_level="warning", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()[:2]
        server.should_exit = True
        thread.join()


class Client:
    """One connection, by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, place: tuple[str, int], sent: bytes) -> "Client":
        client = cls(*await asyncio.open_connection(*place))
        client.writer.write(sent)
        return client

    async def answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """Return status, headers and JSON."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body) if body else {}

    async def only_answer(self) -> tuple[int, dict[str, str], dict[str, object]]:
        """Return the answer, and hang up."""
        answer = await self.answer()
        self.writer.close()
        return answer


async def until(semaphore: threading.Semaphore) -> None:
    assert await asyncio.to_thread(semaphore.acquire, timeout=20)


async def inside(line: Line, count: int) -> None:
    async with asyncio.timeout(20):
        while line.inside != count:
            await asyncio.sleep(0.01)


def key(name: str) -> bytes:
    return f"Authorization: Bearer {name}\r\n".encode()


def of_client(request: bytes, name: str) -> bytes:
    """Return a request with a key, by which clients are told apart."""
    return request.replace(b"Host:", key(name) + b"Host:", 1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a few images."""
    root = tmp_path_factory.mktemp("store") / "store"
    with Store.create(root) as store:
        add(store, 1, 5)
    return root


@contextmanager
def crowded(root: Path, monkeypatch: pytest.MonkeyPatch, *, early: bool = True) -> Iterator[Running]:
    """Serve with one thread and two places for searches by picture, which wait for the test."""
    lines = Lines(BatchedLine("finds", 1), Line("pictures", 1, 1), Line("looks", 1, 1), IngestLine("ingest", 1, 1))
    slow = Slow(threading.Event(), threading.Semaphore(0))
    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        monkeypatch.setattr(workspace, "search_by_picture", slow)
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("localhost",), lines=lines)
        with serving(parts, early=early) as place:
            yield Running(place, lines, slow)
        slow.let.set()
