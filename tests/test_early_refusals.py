"""Refusals as soon as a head is there: the connection goes on, and the answer is the one of the application."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from api.http.admission import Admission
from api.http.lines import Held
from api.ingesting import Ingest, Ingested
from bench.http_load import picture_request, request_bytes
from tests.crowded_server import SEARCH, UPLOAD, Client, Running, crowded, inside, of_client, root, until

__all__ = ["root"]

IMAGES = SEARCH.replace("/search", "/images")
BY_ID = request_bytes(SEARCH, b'{"id": "1", "k": 1}', "application/json")


@pytest.fixture
def running(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    with crowded(root, monkeypatch) as running:
        yield running


@asynccontextmanager
async def full(running: Running) -> AsyncIterator[None]:
    """Fill the line of searches by picture until the block ends; then those who stood in it are answered."""
    running.slow.let.clear()
    first = await Client.to(running.place, of_client(UPLOAD, "a"))
    await until(running.slow.begun)
    second = await Client.to(running.place, of_client(UPLOAD, "b"))
    await inside(running.lines.pictures, 2)
    yield
    running.slow.let.set()
    assert [(await one.only_answer())[0] for one in (first, second)] == [200, 200]
    await inside(running.lines.pictures, 0)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests that the application is asked."""
    seen: list[str] = []
    admit = Admission.__call__

    async def note(self: Admission, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            seen.append(scope["path"])
        await admit(self, scope, receive, send)

    monkeypatch.setattr(Admission, "__call__", note)
    return seen


def test_a_refused_request_is_none_of_the_application_and_its_connection_goes_on(
    running: Running, seen: list[str]
) -> None:
    async def story() -> None:
        async with full(running):
            seen.clear()
            client = await Client.to(running.place, of_client(UPLOAD, "c"))
            for _ in range(3):  # its body, too, is passed over each time
                status, headers, problem = await client.answer()
                assert (status, headers["retry-after"]) == (503, "1")
                assert problem["type"] == "urn:lookalike:problem:Overloaded"
                assert "connection" not in headers
                client.writer.write(of_client(UPLOAD, "c"))
            await client.answer()
            assert not seen
            assert running.lines.pictures.refused == {503: 4}
            client.writer.write(BY_ID)
            status, _, found = await client.answer()
            assert (status, len(found["matches"])) == (200, 1)  # type: ignore[arg-type]
            assert seen == [SEARCH]
        client.writer.write(UPLOAD)
        assert (await client.only_answer())[0] == 200

    asyncio.run(story())


def test_what_was_sent_ahead_is_answered_in_its_order(running: Running) -> None:
    async def story() -> None:
        async with full(running):
            refused = of_client(UPLOAD, "c")
            client = await Client.to(running.place, refused + BY_ID + refused + refused + BY_ID)
            assert [(await client.answer())[0] for _ in range(5)] == [503, 200, 503, 503, 200]
            # In small pieces, and with a body whose length nobody said.
            head, _, body = refused.partition(b"\r\n\r\n")
            plain = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            for piece in (plain + b"\r\nTransfer-Enc", b"oding: chunked\r\n\r\n", chunks[:9], chunks[9:] + BY_ID):
                client.writer.write(piece)
                await client.writer.drain()
                await asyncio.sleep(0.02)
            assert [(await client.answer())[0] for _ in range(2)] == [503, 200]
            client.writer.close()

    asyncio.run(story())


@pytest.mark.parametrize("line", [b"Connection: close", b"Expect: 100-continue"])
def test_a_connection_that_cannot_go_on_ends_after_the_refusal(running: Running, line: bytes) -> None:
    """Who waits to be told to send a body may send it then, or something else: nobody could tell which."""

    async def story() -> None:
        async with full(running):
            head = of_client(UPLOAD, "c").partition(b"\r\n\r\n")[0] + b"\r\n" + line + b"\r\n\r\n"
            client = await Client.to(running.place, head)
            status, headers, _ = await client.answer()
            assert (status, headers["connection"]) == (503, "close")
            assert await client.reader.read() == b""
            client.writer.close()

    asyncio.run(story())


def test_the_answer_is_the_one_of_the_application(root: Path) -> None:
    async def refusals(running: Running) -> list[tuple[int, dict[str, str], dict[str, object]]]:
        async with full(running):
            asked = [of_client(UPLOAD, "c"), of_client(UPLOAD, "a"), of_client(UPLOAD, "c").replace(b"1.1", b"1.0", 1)]
            answers = [await (await Client.to(running.place, one)).only_answer() for one in asked]
        for _, headers, _ in answers:
            del headers["date"]
        return answers

    def of_server(*, early: bool) -> list[tuple[int, dict[str, str], dict[str, object]]]:
        with pytest.MonkeyPatch.context() as patch, crowded(root, patch, early=early) as running:
            return asyncio.run(refusals(running))

    early, late = of_server(early=True), of_server(early=False)
    assert early == late
    assert [list(one[1]) for one in early] == [list(one[1]) for one in late], "even their order"
    assert [one[0] for one in early] == [503, 429, 503]
    assert early[0][1]["x-content-type-options"] == "nosniff"
    assert json.dumps(early[2][1]).count("close") == 1


def test_clients_behind_a_proxy_are_told_apart_by_the_addresses_it_names(running: Running) -> None:
    def from_afar(address: str) -> bytes:
        return UPLOAD.replace(b"Host:", f"X-Forwarded-For: {address}\r\nHost:".encode(), 1)

    async def story() -> None:
        first = await Client.to(running.place, from_afar("10.0.0.1"))
        await until(running.slow.begun)
        status, _, problem = await (await Client.to(running.place, from_afar("10.0.0.1"))).only_answer()
        assert (status, problem["type"]) == (429, "urn:lookalike:problem:TooManyRequests")
        second = await Client.to(running.place, from_afar("10.0.0.2"))
        await inside(running.lines.pictures, 2)
        running.slow.let.set()
        assert [(await one.only_answer())[0] for one in (first, second)] == [200, 200]

    asyncio.run(story())


def test_a_place_is_taken_when_all_of_a_request_is_there_and_given_back_whatever_becomes_of_it(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = Held.take

    def note(held: Held) -> None:
        take(held)
        taken.append(running.lines.pictures.inside)

    monkeypatch.setattr(Held, "take", note)

    async def story() -> None:
        line = running.lines.pictures
        slow = await Client.to(running.place, of_client(UPLOAD, "a")[:-5])
        await asyncio.sleep(0.1)
        assert (line.inside, taken) == (0, []), "a slow sender keeps nobody from being answered"
        slow.writer.write(of_client(UPLOAD, "a")[-5:])
        await until(running.slow.begun)
        assert (line.inside, taken) == (1, [1]), "before its handler, and once"
        nothing = request_bytes(SEARCH, b"no form", "multipart/form-data; boundary=x")
        foreign = UPLOAD.replace(b"Host: localhost", b"Host: elsewhere", 1)
        for wrong in (nothing, foreign, request_bytes(SEARCH, b"{}", "text/plain")):
            assert (await (await Client.to(running.place, of_client(wrong, "b"))).only_answer())[0] in (400, 415, 422)
        await inside(line, 1)
        running.slow.let.set()
        assert (await slow.only_answer())[0] == 200
        await inside(line, 0)

    asyncio.run(story())


def test_pictures_to_be_taken_in_stand_in_a_line_of_their_own(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: object) -> Ingested:
        running.slow.begun.release()
        assert running.slow.let.wait(20)
        return Ingested("exists", None)

    monkeypatch.setattr(Ingest, "add", add)
    images = picture_request(IMAGES, b"a picture")
    put = picture_request(f"{IMAGES}/by-key/a", b"a picture").replace(b"POST", b"PUT", 1)

    async def story() -> None:
        line = running.lines.ingest
        asked = [await Client.to(running.place, of_client(images, "a"))]
        await until(running.slow.begun)
        assert (await (await Client.to(running.place, of_client(put, "a"))).only_answer())[0] == 429
        asked.append(await Client.to(running.place, of_client(images, "b")))
        await inside(line, 2)
        for request in (images, put):
            head = of_client(request, "c").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            status, headers, problem = await (await Client.to(running.place, head)).only_answer()
            assert (status, headers["retry-after"]) == (503, "1"), problem
        # Who looks and who searches is not concerned.
        assert (await (await Client.to(running.place, BY_ID)).only_answer())[0] == 200
        running.slow.let.set()
        assert [(await one.only_answer())[0] for one in asked] == [200, 200]
        await inside(line, 0)
        assert (line.done, line.refused) == (2, {429: 1, 503: 2})

    asyncio.run(story())


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", "Invalid header token"),
        (b"what is this?\r\n\r\n", "Invalid method"),
        (b"GET http:///// HTTP/1.1\r\nHost: localhost\r\n\r\n", "url"),
        (UPLOAD.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\nno size", "chunk size"),
    ],
)
def test_what_is_no_http_is_answered_with_a_problem_and_hung_up_on(running: Running, sent: bytes, said: str) -> None:
    async def story() -> None:
        client = await Client.to(running.place, sent)
        status, headers, problem = await client.answer()
        assert (status, headers["content-type"], headers["connection"]) == (400, "application/problem+json", "close")
        assert headers["x-content-type-options"] == "nosniff"
        assert problem["type"] == "urn:lookalike:problem:BadRequest"
        assert said in str(problem["detail"])
        assert await client.reader.read() == b""
        client.writer.close()

    asyncio.run(story())


@pytest.mark.parametrize("ahead", [b"", BY_ID, BY_ID + BY_ID])
def test_whole_requests_are_answered_before_what_is_no_http_after_them_ends_the_connection(
    running: Running, ahead: bytes
) -> None:
    async def story() -> None:
        slow = await Client.to(running.place, UPLOAD + ahead)
        await until(running.slow.begun)
        slow.writer.write(b"bad header\r\n\r\n")
        await slow.writer.drain()
        await asyncio.sleep(0.1)
        running.slow.let.set()
        answers = [await slow.answer() for _ in range(1 + ahead.count(b"POST"))]
        assert {status for status, _, _ in answers} == {200}
        assert await slow.reader.read() == b""
        slow.writer.close()

    asyncio.run(story())


def test_what_is_no_http_is_not_answered_in_the_place_of_a_request_before_it(running: Running) -> None:
    chunked = BY_ID.partition(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\nno size"

    async def story() -> None:
        slow = await Client.to(running.place, UPLOAD + chunked)
        assert await slow.reader.read() == b""
        slow.writer.close()

    asyncio.run(story())
