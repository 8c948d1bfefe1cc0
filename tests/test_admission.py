"""A real server under too much: who is refused before a body is read, in what words, and what it leaves behind."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http import admission
from api.http.app import Parts
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import Found
from api.workspace import Workspace
from bench.http_load import picture_request, request_bytes
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from tests.crowded_server import SEARCH, UPLOAD, Client, Running, crowded, inside, of_client, root, serving, until

__all__ = ["root"]


@pytest.fixture
def running(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server that refuses in the application, as where another protocol carries it."""
    with crowded(root, monkeypatch, early=False) as running:
        yield running


def test_a_full_line_refuses_before_the_body_is_sent_and_answers_again_when_there_is_room(running: Running) -> None:
    async def story() -> None:
        first = await Client.to(running.place, of_client(UPLOAD, "a"))
        await until(running.slow.begun)
        second = await Client.to(running.place, of_client(UPLOAD, "b"))
        await inside(running.lines.pictures, 2)

        head = of_client(UPLOAD, "c").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
        began = time.monotonic()
        refused = await Client.to(running.place, head)  # and nothing of its body, ever
        status, headers, problem = await refused.only_answer()
        assert (status, headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 5
        assert (problem["type"], problem["status"]) == ("urn:lookalike:problem:Overloaded", 503)
        assert headers["content-type"] == "application/problem+json"
        assert headers["x-content-type-options"] == "nosniff"

        status, _, problem = await (await Client.to(running.place, of_client(UPLOAD, "a"))).only_answer()
        assert (status, problem["type"]) == (429, "urn:lookalike:problem:TooManyRequests")
        # Other lines are not concerned.
        by_id = request_bytes(SEARCH, b'{"id": "1"}', "application/json")
        assert (await (await Client.to(running.place, by_id)).only_answer())[0] == 200

        running.slow.let.set()
        assert [(await one.only_answer())[0] for one in (first, second)] == [200, 200]
        assert (await (await Client.to(running.place, UPLOAD)).only_answer())[0] == 200

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

        status, _, _ = await (await Client.to(running.place, UPLOAD)).only_answer()
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
    monkeypatch.setattr(admission.Entrance.__init__, "__defaults__", (512, 100_000))

    async def story(place: tuple[str, int]) -> None:
        large = picture_request(SEARCH, bytes(90_000))
        slowly = await Client.to(place, large[:50_000])
        while (await (await Client.to(place, large[: large.index(b"\r\n\r\n") + 4])).only_answer())[0] != 503:
            await asyncio.sleep(0.01)
        chunked = large[: large.index(b"\r\n\r\n")].split(b"\r\n")
        head = b"\r\n".join(line for line in chunked if b"Content-Length" not in line)
        unannounced = await Client.to(place, head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        unannounced.writer.write(b"9c40\r\n" + bytes(40_000) + b"\r\n")
        status, headers, problem = await unannounced.only_answer()
        assert (status, headers["retry-after"]) == (503, "1"), problem
        slowly.writer.close()
        small = request_bytes(SEARCH, b'{"id": "1"}', "application/json")
        assert (await (await Client.to(place, small)).only_answer())[0] == 200
        while (await (await Client.to(place, large)).only_answer())[
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
        status, headers, problem = await (await Client.to(running.place, UPLOAD[:-5])).only_answer()
        assert (status, headers["connection"]) == (408, "close")
        assert problem["type"] == "urn:lookalike:problem:SlowBody"

    asyncio.run(story())
