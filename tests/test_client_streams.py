"""Answers that come line by line, batches of searches, and maps that are being made, as the client reads them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from httpx2 import ConnectError, MockTransport, ReadError, Response

from api.client import AsyncClient, Client, NotFound, NotLookalike, ServerUnreachable, WaitTimedOut
from search.errors import UsageError
from tests.scripted_server import ADDRESS, Chunks, Server, problem

LINES = {"content-type": "application/x-ndjson"}
TOOK = {"decode": None, "embed": None, "search": 1.0, "verify": None, "total": 1.0}
LABELS = [{"label": "a\u2028b", "images": 3}, {"label": "tabby", "images": 2, "of a newer server": 1}]


def lines(*items: dict[str, Any], cut: int = 10_000, error: Exception | None = None) -> Response:
    whole = b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items)
    pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
    return Response(200, headers=LINES, stream=Chunks(*pieces, error=error))


def answer_to(number: int) -> dict[str, Any]:
    return {"line": number, "answer": {"query": {"id": "7"}, "matches": [], "took_ms": TOOK}}


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_a_list_may_come_line_by_line_wherever_it_is_cut(cut: int) -> None:
    server = Server(lines(*LABELS, cut=cut))
    assert [one.label for one in server.client().labels(page_size=None)] == ["a\u2028b", "tabby"]
    (request,) = server.asked
    assert (request.headers["accept"], request.url.query) == ("application/x-ndjson", b"")

    async def labels() -> list[str]:
        async with AsyncClient(ADDRESS, transport=MockTransport(Server(lines(*LABELS, cut=cut)))) as client:
            return [one.label async for one in client.labels(page_size=None)]

    assert asyncio.run(labels()) == ["a\u2028b", "tabby"]


def test_a_list_that_breaks_off_is_no_whole_list() -> None:
    seen: list[str] = []
    with pytest.raises(ServerUnreachable, match="broke off: gone; ask again"):
        seen.extend(
            one.label for one in Server(lines(*LABELS, error=ReadError("gone"))).client().labels(page_size=None)
        )
    half = Response(200, headers=LINES, content=b'{"label": "tabby", "images": 2}\n{"label": ')
    with pytest.raises(NotLookalike, match="in the middle of a line"):
        list(Server(half).client().labels(page_size=None))
    with pytest.raises(NotLookalike, match="not line by line"):
        list(Server(Response(200, text="<html>")).client().labels(page_size=None))
    with pytest.raises(NotLookalike, match="no answer of a Lookalike server"):
        list(Server(lines({"label": 3})).client().labels(page_size=None))
    with pytest.raises(NotFound, match="because"):
        list(Server(problem(404)).client().labels(page_size=None))


def test_a_batch_is_sent_in_parts_whose_lines_are_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.client.searching.BATCH_LINES", 2)
    wrong = {"line": 1, "problem": {"type": "urn:lookalike:problem:ImageNotFound", "title": "", "status": 404} | DETAIL}
    server = Server(lines(answer_to(1), answer_to(2)), lines(wrong))
    taken: list[int] = []

    def queries() -> Iterator[dict[str, Any]]:
        for number in (7, 8, 9):
            taken.append(number)
            yield {"id": number, "k": 3} if number < 9 else {"embedding": np.ones(2, np.float32)}

    answers = server.client().batch_search(queries())
    assert (next(answers).line, taken) == (1, [7, 8]), "queries are taken as they are needed"
    assert [(one.line, one.problem and one.problem.status) for one in answers] == [(2, None), (3, 404)]
    assert [request.content.splitlines() for request in server.asked] == [
        [b'{"id": "7", "k": 3}', b'{"id": "8", "k": 3}'],
        [b'{"embedding": [1.0, 1.0]}'],
    ]


DETAIL = {"detail": "there is no image 9"}


def test_a_wrong_query_of_a_batch_is_left_to_the_server_and_stops_no_other() -> None:
    server = Server(lines(*(answer_to(number) for number in range(1, 9))))
    holds_itself: dict[str, object] = {}
    holds_itself["where"] = holds_itself
    queries: list[Any] = [{"id": 7, "k": float("nan")}, {"colour": "red"}, {"embedding": "x"}, 5]
    queries += [{"image": b"x" * 100}, {("a", 1): 2}, holds_itself, {"id": 8}]
    assert len(list(server.client().batch_search(queries))) == 8
    assert server.asked[0].content.splitlines() == [
        b'{"id": "7", "k": NaN}',
        b'{"colour": "red"}',
        b'{"embedding": "x"}',
        b"5",
        b'{"image": "b\'xxxxxxxxxxx...xxxxxxxxxxxxx\'"}',
        b"""{"('a', 1)": "2"}""",
        b"""\"{'where': {'where': {...}}}\"""",
        b'{"id": "8"}',
    ]


def test_what_no_json_can_hold_is_refused_by_its_name() -> None:
    with pytest.raises(UsageError, match="min_score is nan"):
        Server().client().search(id=7, min_score=float("nan"))


def map_of(ids: list[int], points: list[list[float]]) -> Response:
    body = np.array([9, *ids], "<f8").tobytes() + np.array(points, "<f4").tobytes()
    return Response(200, headers={"content-type": "application/octet-stream"}, content=body)


MAKING = {"state": "making", "done": 0.25}


def test_a_map_that_is_being_made_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("api.client.blocking.time.sleep", slept.append)
    told: list[float] = []
    server = Server(Response(202, json=MAKING), map_of([3, 2**52 + 1], [[0.5, 1], [0, 0.25]]))
    found = server.client().map(progress=told.append)
    assert (found.images, found.ids.tolist(), found.points.tolist()) == (9, [3, 2**52 + 1], [[0.5, 1], [0, 0.25]])
    assert (told, slept) == ([0.25], [1.0])
    with pytest.raises(WaitTimedOut, match=r"still being made \(25 %\)"):
        Server(Response(202, json=MAKING)).client().map(timeout_s=0)


@pytest.mark.parametrize("body", [b"", b"1234567", bytes(9)])
def test_what_is_no_map_is_told_apart(body: bytes) -> None:
    with pytest.raises(NotLookalike, match="it is no map"):
        Server(Response(200, headers={"content-type": "application/octet-stream"}, content=body)).client().map()


def test_whether_searches_will_be_answered_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(problem(503, "NotReady", **{"retry-after": "1"}), Response(200, json={"status": "ok"}))
    with pytest.raises(Exception, match="because"):
        server.client().ready()
    assert server.client().ready().status == "ok"


ADDS: list[tuple[str, Callable[[Client], object]]] = [
    ("there are 1 keys for 2 pictures", lambda client: client.add_all([b"a", b"b"], keys=["k"])),
    ("there are 3 labels for 1 pictures", lambda client: client.add_all(uris=["/a.jpg"], labels=[{}, {}, {}])),
    ("no mixture", lambda client: client.add_all([b"a"], uris=["/a.jpg"])),
]


@pytest.mark.parametrize(("said", "add"), ADDS)
def test_what_is_said_of_pictures_must_be_as_many_as_they_are(said: str, add: Callable[[Client], object]) -> None:
    with pytest.raises(UsageError, match=said):
        add(Server(ConnectError("nothing is sent")).client())


def test_a_request_keeps_its_name_when_it_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.client.blocking.time.sleep", lambda _seconds: None)

    def names(*keys: str | None) -> list[str]:
        server = Server(*[answer for _ in keys for answer in (problem(503), problem(422))])
        for key in keys:
            with pytest.raises(Exception, match="because"):
                server.client().add(b"x", idempotency_key=key)
        return [request.headers["idempotency-key"] for request in server.asked]

    assert names("mine") == ["mine", "mine"]
    first, again, second, _ = names(None, None)
    assert first == again != second
