"""A real server under too much: who is refused before a body is read, in what words, and what it leaves behind."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn

from api.http import admission
from api.http.app import Parts, create_app
from api.http.lines import Line, Lines
from api.http.readiness import Readiness
from api.http.server import listen
from api.http.thumbnails import Thumbnails
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from bench.http_load import picture_request, request_bytes
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


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("store") / "store"
    with Store.create(root) as store:
        add(store, 1, 5)
    return root


@pytest.fixture
def running(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server with one thread and two places for searches by picture, which wait for the test."""
    lines = Lines(Line("finds", 1, 1, brief=True), Line("pictures", 1, 1), Line("looks", 1, 1))
    slow = Slow(threading.Event(), threading.Semaphore(0))
    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        monkeypatch.setattr(workspace, "search_by_picture", slow)
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("localhost",), lines=lines)
        with serving(parts) as place:
            yield Running(place, lines, slow)
        slow.let.set()


@contextmanager
def serving(parts: Parts) -> Iterator[tuple[str, int]]:
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(create_app(parts), log_level="warning", timeout_graceful_shutdown=5))
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
        self.writer.close()
        return int(head[0].split()[1]), headers, json.loads(body)


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


def test_a_full_line_refuses_before_the_body_is_sent_and_answers_again_when_there_is_room(running: Running) -> None:
    async def story() -> None:
        first = await Client.to(running.place, of_client(UPLOAD, "a"))
        await until(running.slow.begun)
        second = await Client.to(running.place, of_client(UPLOAD, "b"))
        await inside(running.lines.pictures, 2)

        head = of_client(UPLOAD, "c").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        began = time.monotonic()
        refused = await Client.to(running.place, head)  # and nothing of its body, ever
        status, headers, problem = await refused.answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 5
        assert (problem["type"], problem["status"]) == ("urn:lookalike:problem:Overloaded", 503)
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-content-type-options"] == "nosniff"

        status, _, problem = await (await Client.to(running.place, of_client(UPLOAD, "a"))).answer()
        assert (status, problem["type"]) == (429, "urn:lookalike:problem:TooManyRequests")
        # Other lines are not concerned.
        by_id = request_bytes(SEARCH, b'{"id": "1"}', "application/json")
        assert (await (await Client.to(running.place, by_id)).answer())[0] == 200

        running.slow.let.set()
        assert [(await one.answer())[0] for one in (first, second)] == [200, 200]
        assert (await (await Client.to(running.place, UPLOAD)).answer())[0] == 200

    asyncio.run(story())


def test_a_search_whose_client_hangs_up_is_not_finished(running: Running) -> None:
    async def story() -> None:
        first = await Client.to(running.place, of_client(UPLOAD, "a"))
        await until(running.slow.begun)
        waits = await Client.to(running.place, of_client(UPLOAD, "b"))
        await inside(running.lines.pictures, 2)
        waits.writer.close()
        await inside(running.lines.pictures, 1)
        first.writer.close()
        async with asyncio.timeout(20):
            while running.lines.pictures.abandoned != 2:
                await asyncio.sleep(0.01)
        running.slow.let.set()
        await inside(running.lines.pictures, 0)
        assert running.slow.done == 0

        status, _, _ = await (await Client.to(running.place, UPLOAD)).answer()
        assert (status, running.slow.done) == (200, 1)
        metrics = await Client.to(running.place, request_bytes("/metrics", b"", "text/plain", "GET"))
        head = await metrics.reader.readuntil(b"\r\n\r\n")
        text = (await metrics.reader.readexactly(int(head.split(b"content-length: ")[1].split()[0]))).decode()
        metrics.writer.close()
        assert 'lookalike_requests_abandoned_total{line="pictures"} 2.0' in text
        assert 'lookalike_requests_done_total{line="pictures"} 3.0' in text
        assert 'lookalike_requests{line="pictures",state="running"} 0.0' in text
        assert "lookalike_embedding_batches_total 0.0" in text

    asyncio.run(story())


def test_bodies_share_a_memory_of_bounded_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Announced ones are refused by their head, others as soon as they are too much."""
    monkeypatch.setattr(admission.Admission.__init__, "__kwdefaults__", {"most": 512, "bytes_": 100_000})

    async def story(place: tuple[str, int]) -> None:
        large = picture_request(SEARCH, bytes(90_000))
        slowly = await Client.to(place, large[:50_000])
        while (await (await Client.to(place, large[: large.index(b"\r\n\r\n") + 4])).answer())[0] != 503:
            await asyncio.sleep(0.01)
        chunked = large[: large.index(b"\r\n\r\n")].split(b"\r\n")
        head = b"\r\n".join(line for line in chunked if b"Content-Length" not in line)
        unannounced = await Client.to(place, head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        unannounced.writer.write(b"9c40\r\n" + bytes(40_000) + b"\r\n")
        status, headers, problem = await unannounced.answer()
        assert (status, headers["retry-after"]) == (503, "1"), problem
        slowly.writer.close()
        small = request_bytes(SEARCH, b'{"id": "1"}', "application/json")
        assert (await (await Client.to(place, small)).answer())[0] == 200
        while (await (await Client.to(place, large)).answer())[
            0
        ] != 422:  # its memory is free: it is read, and no picture
            await asyncio.sleep(0.01)

    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("localhost",))
        monkeypatch.setattr(workspace, "search_by_picture", refuse)
        with serving(parts) as place:
            asyncio.run(story(place))


def refuse(*_: object) -> Found:
    from search.errors import BadImage

    raise BadImage("not_an_image", "zeros")


def test_a_body_that_does_not_come_in_time_is_not_waited_for(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "BODY_S", 0.2)

    async def story() -> None:
        status, headers, problem = await (await Client.to(running.place, UPLOAD[:-5])).answer()
        assert (status, headers["connection"]) == (408, "close")
        assert problem["type"] == "urn:lookalike:problem:SlowBody"

    asyncio.run(story())
