"""A line whose thread answers many requests at once: all that came while it was busy with those before them.

    asked, asked, asked -> the thread is free -> those that want the same, at most MOST -> their answers

Nobody waits for others to come: who finds the thread free is answered alone. The more come, the more are answered
together, and the less each costs.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from starlette.requests import ClientDisconnect, Request

from api.http.lines import WAITING, WEIGHT, Line

Asked = TypeVar("Asked")

MOST: Final = 16  # at once: the first of them waits for the last
GONE: Final = "lookalike.gone"  # of a request's scope: tells whether its client has hung up


@dataclass(frozen=True, slots=True)
class Together(Generic[Asked]):
    """What answers several at once. same: of those that may be asked together. answer: gives one each, or what is
    raised for it.
    """

    same: Hashable
    answer: Callable[[Sequence[Asked]], Sequence[bytes | Exception]]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    client: str
    asked: Any
    together: Together[Any]
    is_gone: Callable[[], bool]
    answer: "asyncio.Future[bytes]"


class BatchedLine(Line):
    """A line with one thread. Other work is done in turn with what is answered together."""

    def __init__(self, name: str, waiting: int = WAITING) -> None:
        super().__init__(name, 1, waiting, brief=True)
        self._asked = deque[_Waiting]()
        self._answering = 0
        self._is_closed = False

    @property
    def at_work(self) -> int:
        """How many requests are being answered: those of a batch all at once."""
        return max(self.threads, self._answering)

    async def ask(self, request: Request, asked: Asked, together: Together[Asked]) -> bytes:
        """Return the answer to what is asked, perhaps together with what others ask.

        Raises:
            Busy: the line is full, or full of this client's requests.
            ClientDisconnect: the client hung up before its turn.
        """
        client, loop = self._let_in(request), asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._asked.append(_Waiting(client, asked, together, request.scope.get(GONE, bool), answer))
        if not self._answering:
            self._answer_next()
        return await answer

    def _answer_next(self) -> None:
        """Let the thread answer those who are first; called when it is free, and when somebody asks."""
        batch = self._taken()
        self._answering = len(batch)
        if batch:
            running = asyncio.wrap_future(self._threads.submit(self._answers, batch))
            running.add_done_callback(partial(self._answered, batch))

    def _taken(self) -> list[_Waiting]:
        """Take those out who are first and want the same; who has hung up is dropped, others stay as they stand."""
        batch, others = list[_Waiting](), list[_Waiting]()
        while self._asked and len(batch) < MOST:
            one = self._asked.popleft()
            if self._is_closed or one.is_gone():
                self.abandoned += 1
                self._give(one, ClientDisconnect())
            elif batch and one.together.same != batch[0].together.same:
                others.append(one)
            else:
                batch.append(one)
        self._asked.extendleft(reversed(others))
        return batch

    def _answers(self, batch: Sequence[_Waiting]) -> Sequence[bytes | Exception]:
        began = time.perf_counter()
        answers = batch[0].together.answer([one.asked for one in batch])
        self._mean_s += WEIGHT * ((time.perf_counter() - began) / len(batch) - self._mean_s)
        return answers

    def _answered(self, batch: Sequence[_Waiting], running: "asyncio.Future[Sequence[bytes | Exception]]") -> None:
        if running.cancelled():  # the server ends
            answers: Sequence[bytes | Exception] = [ClientDisconnect()] * len(batch)
        else:
            error = running.exception()
            answers = running.result() if error is None else [_as_exception(error)] * len(batch)
        for one, answer in zip(batch, answers, strict=True):
            self._give(one, answer)
        self._answer_next()

    def _give(self, one: _Waiting, answer: bytes | Exception) -> None:
        self.leave(one.client)
        self.done += 1
        if one.answer.done():  # its task was cancelled
            return
        if isinstance(answer, bytes):
            one.answer.set_result(answer)
        else:
            one.answer.set_exception(answer)

    def close(self) -> None:
        """Begin nothing more; who waits is told nothing, since nobody will be there to tell it."""
        super().close()
        self._is_closed = True
        self._taken()


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
