"""The handler of batches: many searches in one request, a line each."""

import asyncio
from collections.abc import AsyncIterator

import orjson
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse

from api.http.access import needs
from api.http.batch_lines import kept_body, lines_of, parsed_line
from api.http.description import REFERENCE
from api.http.named_queries import NamedQuery, require_one_source
from api.http.ndjson import MEDIA_TYPE, lines_answer
from api.http.places import client_of
from api.http.problems import document_of, invalid_request, unsupported_media
from api.http.request_parts import Target, Work, line_for, lines, media_type, parsed
from api.shapes.problems import Problem
from api.shapes.searches import BatchLine, SearchBody
from api.workspace import Workspace
from search.errors import LookalikeError, UsageError
from search.records import Collection

router = APIRouter()
_LINES = {"schema": SearchBody.model_json_schema(), "example": '{"id": "17"}\n{"like": ["17", "23"], "k": 5}\n'}


@router.post(
    "/collections/{collection}/batch-search",
    summary="Many searches, a line each",
    response_class=StreamingResponse,
    openapi_extra={"requestBody": {"required": True, "content": {MEDIA_TYPE: _LINES}}},
    responses={
        200: {
            "content": {MEDIA_TYPE: {"schema": BatchLine.model_json_schema(ref_template=REFERENCE)}},
            "description": "a line each",
        }
    },
)
@needs("read")
async def batch_search(request: Request, workspace: Work, target: Target) -> StreamingResponse:
    """Answer each line, a search by JSON, by a line in the same order; one that is wrong by its problem."""
    if media_type(request) != MEDIA_TYPE:
        raise unsupported_media(media_type(request), MEDIA_TYPE)
    body = await kept_body(request)

    async def answers() -> AsyncIterator[bytes]:
        async for number, text in lines_of(body):
            asked = await run_in_threadpool(_asked, text)
            if isinstance(asked, Problem):
                yield _line(number, {"problem": asked.model_dump(exclude_none=True)})
            else:
                # One line of the batch at a time stands in the line of searches; there it waits like all others.
                wanted = asked.wanted
                line = line_for(lines(request), accurate=wanted.accurate, pictures=False, where=wanted.where)
                while (refused := line.refusal(client_of(request.scope))) is not None:
                    await asyncio.sleep(refused.retry_after_s)
                yield await line.run(request, _answered, workspace, target, number, asked)

    return lines_answer(answers())


def _asked(text: bytes) -> NamedQuery | Problem:
    """Return the search of a line, or what is wrong with it."""
    try:
        body = parsed(SearchBody, parsed_line(text))
        require_one_source(body, pictures=False)
        if body.url is not None:
            raise UsageError("a batch takes no url; search by one in a request of its own")
        return NamedQuery(body, body.request(), {})
    except RequestValidationError as error:
        return invalid_request(error)
    except LookalikeError as error:
        return document_of(error)


def _answered(workspace: Workspace, target: Collection, number: int, asked: NamedQuery) -> bytes:
    try:
        return _line(number, {"answer": asked.found(workspace, target)})
    except LookalikeError as error:
        return _line(number, {"problem": document_of(error).model_dump(exclude_none=True)})


def _line(number: int, told: dict[str, object]) -> bytes:
    return orjson.dumps({"line": number} | told, option=orjson.OPT_APPEND_NEWLINE)
