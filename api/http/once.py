"""Requests that name themselves: whoever sends one again gets the answer of the first, and nothing is done twice."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Final

from fastapi import Header, Request, Response
from fastapi.concurrency import run_in_threadpool

from search.errors import LookalikeError
from search.records import Collection
from search.storing.kept_answers import KeptAnswer, KeptAnswers

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="names the request: sent again, it is answered the same, and nothing is done twice",
    ),
]
JSON: Final = "application/json"


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
        return Response(kept.body, kept.status, {"Idempotency-Replayed": "true"}, JSON)
    try:
        answer = await do()
        text = bytes(answer.body).decode()
        await run_in_threadpool(answers.answered, target, name, KeptAnswer(answer.status_code, text))
    except BaseException:
        with suppress(LookalikeError):
            await run_in_threadpool(answers.failed, target, name)
        raise
    return answer
