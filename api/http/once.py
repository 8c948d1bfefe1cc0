"""Requests that name themselves: whoever sends one again gets the answer of the first, and nothing is done twice."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Final

from fastapi import Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from search.errors import LookalikeError
from search.records import Collection
from search.storing.kept_answers import KeptAnswer, KeptAnswers

NAME: Final = r"^[\x21-\x7e]{1,200}$"
IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=NAME,
        description="names the request: sent again, it is answered the same, and nothing is done twice",
    ),
]
JSON: Final = "application/json"
_KEPT_HEADERS: Final = ("location", "etag")
_END: Final = "\n\n"  # of the headers; JSON has no such lines here


async def once(
    request: Request, target: Collection, name: str | None, digest: bytes, do: Callable[[], Awaitable[Response]]
) -> Response:
    """Return the answer to a request, that of the first one of its name. digest: sha256 of what is asked.

    What failed is forgotten, so that it can be sent again.

    Raises:
        KeyReused: something else was asked by this name.
        StillAtWork: the first request of this name has no answer yet.
    """
    if name is None:
        return await do()
    answers = KeptAnswers(request.app.state.workspace.store.database)
    kept = await run_in_threadpool(answers.begin, target, name, digest)
    if kept is not None:
        return _again(kept)
    try:
        answer = await do()
        await run_in_threadpool(answers.answered, target, name, _kept(answer))
    except BaseException:
        with suppress(LookalikeError):
            await run_in_threadpool(answers.failed, target, name)
        raise
    return answer


def _kept(answer: Response) -> KeptAnswer:
    """Return an answer as it is kept: the headers that mean something, and the body."""
    head = "\n".join(f"{name}: {answer.headers[name]}" for name in _KEPT_HEADERS if name in answer.headers)
    body = bytes(answer.body).decode()
    return KeptAnswer(answer.status_code, f"{head}{_END}{body}" if head else body)


def _again(kept: KeptAnswer) -> Response:
    head, _, body = kept.body.rpartition(_END)
    headers = dict(line.split(": ", 1) for line in head.splitlines())
    return Response(body, kept.status, headers | {"Idempotency-Replayed": "true"}, JSON if body else None)
