"""Queues of the server: who is let in, who is told to come again, and what hanging up saves."""

import asyncio
import itertools
import math
import threading
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import pytest
from starlette.requests import ClientDisconnect, Request

from api.http import lines
from api.http.lines import HELD, Held, IngestLine, Line
from api.http.places import Busy
from search.unwanted import stop_if_unwanted


class Caller:
    """A client that has sent its body and waits. hung_up: set when it goes."""

    def __init__(self, address: str = "10.0.0.1", key: str | None = None) -> None:
        self.hung_up = asyncio.Event()
        headers = [] if key is None else [(b"authorization", key.encode())]
        self.request = Request({"type": "http", "headers": headers, "client": (address, 1)}, self._receive)

    async def _receive(self) -> dict[str, object]:
        await self.hung_up.wait()
        return {"type": "http.disconnect"}


class Work:
    """Something that takes as long as the test wants. done: how often it was."""

    def __init__(self) -> None:
        self.let, self.begun = threading.Event(), threading.Semaphore(0)
        self.done = 0

    def __call__(self) -> str:
        self.begun.release()
        assert self.let.wait(20)
        stop_if_unwanted()  # as there is between two steps of a search
        self.done += 1
        return "answer"


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await asyncio.sleep(0.005)


def test_who_finds_no_place_is_told_when_to_come_again() -> None:
    async def story() -> None:
        line, work = Line("pictures", 1, waiting=2), Work()
        asked = [asyncio.ensure_future(line.run(Caller(f"10.0.0.{n}").request, work)) for n in range(3)]
        await until(lambda: line.inside == 3)
        with pytest.raises(Busy) as busy:
            await line.run(Caller("10.0.0.9").request, work)
        assert (busy.value.status, busy.value.retry_after_s) == (HTTPStatus.SERVICE_UNAVAILABLE, 1)
        work.let.set()
        assert await asyncio.gather(*asked) == ["answer"] * 3
        assert (line.inside, line.done, line.refused[503]) == (0, 3, 1)
        assert await line.run(Caller().request, work) == "answer", "there is room again"
        line.close()

    asyncio.run(story())


def test_a_crowd_uses_up_the_reserve_which_fills_again_while_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "REFILL_S", math.inf)

    async def story() -> None:
        line, work = Line("pictures", 1, waiting=40), Work()

        async def crowd(expected: int) -> None:
            """Let many come until one is refused, who should be so many, and answer them."""
            work.let.clear()
            asked = []
            for number in itertools.count():
                asked.append(asyncio.ensure_future(line.run(Caller(f"10.0.0.{number}").request, work)))
                await asyncio.sleep(0)
                if line.refused[HTTPStatus.SERVICE_UNAVAILABLE]:
                    break
            assert line.inside == expected
            line.refused.clear()
            work.let.set()
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert answers[:-1] == ["answer"] * expected
            assert isinstance(answers[-1], Busy)

        await crowd(41)
        await crowd(1 + lines.STANDING)
        monkeypatch.setattr(lines, "REFILL_S", 1e-9)
        await crowd(41)
        line.close()

    asyncio.run(story())


def test_a_line_of_long_work_has_few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is let in should not wait longer than anybody stays."""

    async def story() -> None:
        line = Line("looks", 2, waiting=40)
        assert line.most() == 42
        monkeypatch.setattr(line, "_mean_s", 0.06)  # of its work
        assert line.most() == 2 + 10, "who is answered within .3 seconds"
        monkeypatch.setattr(line, "_mean_s", 1000.0)
        assert line.most() == 2 + lines.STANDING, "in any case"
        monkeypatch.setattr(line, "_reserve", 0.0)
        assert line.most() == 2 + 2, "one for each thread, however many come"
        line.close()

    asyncio.run(story())


def test_pictures_to_be_taken_in_take_turns_and_their_request_has_one_place() -> None:
    async def story() -> None:
        line, work = IngestLine("ingest", 1, waiting=0), Work()
        fetched = []

        async def fetch(name: str) -> str:
            fetched.append(name)
            return name

        async def request(*names: str) -> list[str]:
            with line.place(Caller().request):
                turns = [line.take(partial(fetch, name), lambda got: work() + " of " + got) for name in names]
                return await asyncio.gather(*turns)

        asked = asyncio.ensure_future(request("a", "b"))
        await until(lambda: work.begun.acquire(blocking=False))
        assert (line.inside, fetched) == (1, ["a"]), "it is not fetched before its turn"
        with pytest.raises(Busy):
            await request("c")
        work.let.set()
        assert await asked == ["answer of a", "answer of b"]
        assert (line.inside, line.done) == (0, 1)
        line.close()

    asyncio.run(story())


def test_a_place_that_is_held_is_handed_over_or_given_back_once() -> None:
    async def story() -> None:
        line, other, work = Line("finds", 1, waiting=0), Line("pictures", 1, waiting=0), Work()
        work.let.set()
        held = Held(line, "10.0.0.1")
        held.take()
        with pytest.raises(Busy):
            await line.run(Caller("10.0.0.2").request, work)
        caller = Caller("10.0.0.1")
        caller.request.scope[HELD] = held
        assert await line.run(caller.request, work) == "answer"
        held.give_back()
        await until(lambda: line.inside == 0)

        elsewhere = Held(line, "10.0.0.1")
        elsewhere.take()
        caller.request.scope[HELD] = elsewhere  # its head promised something else than its body
        assert await other.run(caller.request, work) == "answer"
        assert line.inside == 0
        late = Held(line, "10.0.0.1")
        late.give_back()
        late.take()  # its body came when it was answered already
        assert line.inside == 0
        for one in (line, other):
            one.close()

    asyncio.run(story())


def test_one_client_cannot_take_all_places() -> None:
    async def story() -> None:
        line, work = Line("pictures", 1, waiting=3), Work()
        asked = [asyncio.ensure_future(line.run(Caller(key="Bearer lk_a").request, work)) for _ in range(3)]
        await until(lambda: line.inside == 3)
        with pytest.raises(Busy) as busy:
            await line.run(Caller(key="Bearer lk_a").request, work)
        assert busy.value.status == HTTPStatus.TOO_MANY_REQUESTS
        assert "you have 3 requests here" in str(busy.value)
        asked.append(asyncio.ensure_future(line.run(Caller(key="Bearer lk_b").request, work)))
        await until(lambda: line.inside == 4)
        work.let.set()
        assert await asyncio.gather(*asked) == ["answer"] * 4
        line.close()

    asyncio.run(story())


def test_who_hangs_up_while_waiting_leaves_the_line_and_costs_nothing() -> None:
    async def story() -> None:
        line, work, unwanted = Line("pictures", 1, waiting=2), Work(), Work()
        first = asyncio.ensure_future(line.run(Caller("10.0.0.1").request, work))
        impatient = Caller("10.0.0.2")
        second = asyncio.ensure_future(line.run(impatient.request, unwanted))
        await until(lambda: line.inside == 2)
        impatient.hung_up.set()
        with pytest.raises(ClientDisconnect):
            await second
        await until(lambda: line.inside == 1)  # its place is free although the thread is busy
        work.let.set()
        assert await first == "answer"
        line._threads.shutdown(wait=True)
        assert (unwanted.begun.acquire(blocking=False), line.abandoned) == (False, 1)

    asyncio.run(story())


def test_what_is_done_for_who_hung_up_stops_at_its_next_step_and_keeps_its_thread_until_then() -> None:
    async def story() -> None:
        line, work = Line("pictures", 1, waiting=2), Work()
        caller = Caller()
        asked = asyncio.ensure_future(line.run(caller.request, work))
        await until(lambda: work.begun.acquire(blocking=False))
        caller.hung_up.set()
        with pytest.raises(ClientDisconnect):
            await asked
        assert line.inside == 1, "the thread is still at it"
        work.let.set()
        await until(lambda: line.inside == 0)
        assert work.done == 0
        line.close()

    asyncio.run(story())


def test_an_error_of_the_work_is_the_answer() -> None:
    def fail() -> None:
        raise ValueError("a defect")

    async def story() -> None:
        line = Line("finds", 1, brief=True)
        with pytest.raises(ValueError, match="a defect"):
            await line.run(Caller().request, fail)
        assert line.inside == 0
        line.close()

    asyncio.run(story())
