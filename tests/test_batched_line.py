"""The line whose thread answers many at once: who is asked with whom, and that each gets the answer to its own."""

import asyncio
import threading
from collections.abc import Sequence
from functools import partial

import pytest
from starlette.requests import ClientDisconnect, Request

from api.http.batched_line import GONE, MOST, BatchedLine, Together
from api.http.places import Busy
from tests.test_lines import Caller, Work, until


class Answers:
    """Answers a name with its letters turned round, as soon as the test lets it. asked: each batch."""

    def __init__(self) -> None:
        self.let = threading.Event()
        self.asked: list[list[str]] = []

    def __call__(self, names: Sequence[str]) -> Sequence[bytes | Exception]:
        self.asked.append([*names])
        assert self.let.wait(20)
        return [ValueError(name) if name.startswith("bad") else name[::-1].encode() for name in names]


def request(number: int = 1, *, gone: bool = False) -> Request:
    return Request({"type": "http", "headers": [], "client": (f"10.0.0.{number}", 1), GONE: lambda: gone})


def asking(
    line: BatchedLine, answers: Answers, name: str, same: str = "", *, gone: bool = False
) -> "asyncio.Future[bytes]":
    number = sum(map(ord, name)) % 250  # everybody from elsewhere
    return asyncio.ensure_future(line.ask(request(number, gone=gone), name, Together(same, answers)))


def test_who_finds_the_thread_free_is_answered_alone_and_who_comes_meanwhile_together() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        asked = [asking(line, answers, name) for name in ("ab", "cd", "ef", "gh")]
        await until(lambda: line.inside == 4)
        answers.let.set()
        assert await asyncio.gather(*asked) == [b"ba", b"dc", b"fe", b"hg"]
        assert answers.asked == [["ab"], ["cd", "ef", "gh"]]
        assert (line.inside, line.done) == (0, 4)
        line.close()

    asyncio.run(story())


def test_only_those_who_want_the_same_are_asked_together_and_nobody_is_forgotten() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        wants = [("first", "x"), ("ab", "x"), ("cd", "y"), ("ef", "x"), ("gh", "y")]
        asked = [asking(line, answers, name, same) for name, same in wants]
        await until(lambda: line.inside == len(wants))
        answers.let.set()
        assert await asyncio.gather(*asked) == [name[::-1].encode() for name, _ in wants]
        assert answers.asked == [["first"], ["ab", "ef"], ["cd", "gh"]]
        line.close()

    asyncio.run(story())


def test_a_batch_has_an_end_so_that_its_first_does_not_wait_for_all() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        asked = [asking(line, answers, f"{number:02d}") for number in range(MOST + 3)]
        await until(lambda: line.inside == len(asked))
        answers.let.set()
        await asyncio.gather(*asked)
        assert [len(batch) for batch in answers.asked] == [1, MOST, 2]
        line.close()

    asyncio.run(story())


def test_an_error_is_told_to_whom_it_belongs_and_one_of_all_to_all() -> None:
    def fail(_names: Sequence[str]) -> Sequence[bytes | Exception]:
        raise RuntimeError("a defect")

    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        asked = [asking(line, answers, name) for name in ("ab", "bad one", "cd")]
        await until(lambda: line.inside == 3)
        answers.let.set()
        good, bad, other = await asyncio.gather(*asked, return_exceptions=True)
        assert (good, other) == (b"ba", b"dc")
        assert isinstance(bad, ValueError)
        failing = [line.ask(request(number), "ab", Together("", fail)) for number in range(3)]
        failed = await asyncio.gather(*failing, return_exceptions=True)
        assert [str(one) for one in failed] == ["a defect"] * 3
        assert line.inside == 0
        line.close()

    asyncio.run(story())


def test_those_who_are_being_answered_do_not_wait() -> None:
    """Else every batch would use up the reserve that is there for crowds."""

    async def story() -> None:
        line, first, others = BatchedLine("finds"), Answers(), Answers()
        alone = asking(line, first, "ab", "x")
        rest = [asking(line, others, f"{number:02d}", "y") for number in range(MOST)]
        await until(lambda: line.inside == MOST + 1)
        assert (line.at_work, line.waiting) == (1, MOST)
        first.let.set()
        await alone
        await until(lambda: bool(others.asked))
        assert (line.inside, line.at_work, line.waiting) == (MOST, MOST, 0)
        others.let.set()
        await asyncio.gather(*rest)
        assert (line.at_work, line.waiting) == (1, 0)
        line.close()

    asyncio.run(story())


def test_who_hangs_up_while_waiting_costs_nothing() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        first, gone, last = (asking(line, answers, name, gone=name == "gone") for name in ("ab", "gone", "cd"))
        await until(lambda: line.inside == 3)
        answers.let.set()
        assert (await first, await last) == (b"ba", b"dc")
        with pytest.raises(ClientDisconnect):
            await gone
        assert answers.asked == [["ab"], ["cd"]]
        assert (line.abandoned, line.inside) == (1, 0)
        line.close()

    asyncio.run(story())


def test_other_work_of_the_line_takes_its_turn_between_two_batches() -> None:
    async def story() -> None:
        line, answers, work = BatchedLine("finds"), Answers(), Work()
        work.let.set()
        first = asking(line, answers, "ab")
        await until(lambda: bool(answers.asked))
        other = asyncio.ensure_future(line.run(Caller().request, work))
        await until(lambda: line.inside == 2)
        second = asking(line, answers, "cd")
        answers.let.set()
        assert (await first, await other, await second) == (b"ba", "answer", b"dc")
        line.close()

    asyncio.run(story())


def test_who_finds_no_place_is_told_when_to_come_again() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds", waiting=1), Answers()
        asked = [asking(line, answers, name) for name in ("ab", "cd")]
        await until(lambda: line.inside == 2)
        with pytest.raises(Busy):
            await line.ask(request(99), "ef", Together("", answers))
        answers.let.set()
        await asyncio.gather(*asked)
        line.close()

    asyncio.run(story())


def test_the_end_of_the_server_leaves_nobody_waiting() -> None:
    async def story() -> None:
        line, answers = BatchedLine("finds"), Answers()
        first = asking(line, answers, "ab")
        await until(lambda: bool(answers.asked))
        behind = line._threads.submit(partial(int, 0))  # so that the next batch waits for a thread
        second = asking(line, answers, "cd")
        await until(lambda: line.inside == 2)
        line.close()
        answers.let.set()
        assert await first == b"ba"
        with pytest.raises(ClientDisconnect):
            await second
        assert behind.cancelled()

    asyncio.run(story())
