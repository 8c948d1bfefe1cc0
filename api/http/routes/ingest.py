"""The handlers that take pictures in."""

import asyncio
from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from api.http.access import needs
from api.http.described_forms import EXAMPLE_FILE, FILE, body_of, form_of_image
from api.http.ingest_requests import Wanted, fetched, wanted_images, wanted_put
from api.http.once import IdempotencyKey, once
from api.http.problems import document_of
from api.http.request_parts import Target, inlined, lines, parsed
from api.ingesting import OTHER_LABELS, Ingest, Sent
from api.ingesting import Ingested as Done
from api.shapes.base import Shape
from api.shapes.checks import CheckAnswer
from api.shapes.images import Image
from api.shapes.ingest import Described, IngestAnswer, Ingested, PutUri, UriBody, UrisBody
from search.errors import BadImage, LookalikeError, UsageError
from search.records import Collection

router = APIRouter()
NOTHING_NEW: Final = frozenset({"exists", "rejected"})


def _json(*shapes: type[Shape]) -> dict[str, Any]:
    schemas = [inlined(shape) for shape in shapes]
    return {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}


def _many(about: Mapping[str, object]) -> dict[str, Any]:
    return {"type": "array", "items": about, "maxItems": 100}


_text = {"type": "string", "description": "JSON"}
_keep = {"type": "string", "enum": ["original", "thumbnail", "none"], "default": "original"}
_copies = {"type": "string", "enum": ["allow", "link", "reject"], "default": "allow"}
_labels = '[{"label": "shoe", "probability": 0.9}]'
_add_form = form_of_image(
    {
        "image": _many(FILE),
        "key": _many({"type": "string"}),
        "metadata": _many(_text),
        "labels": _many(_text),
        "on_duplicate": _copies,
        "keep": _keep,
    },
    {"image": [EXAMPLE_FILE], "key": ["shop/17"], "metadata": ['{"price": 30}'], "labels": [_labels]},
    {"image": [EXAMPLE_FILE, "@dunes.jpg"], "on_duplicate": "reject"},
)
_put_form = form_of_image(
    {"image": FILE, "metadata": _text, "labels": _text, "keep": _keep},
    {"image": EXAMPLE_FILE, "metadata": '{"price": 30}', "keep": "thumbnail"},
)
_added: dict[int | str, dict[str, Any]] = {
    200: {"model": IngestAnswer, "description": "nothing was stored; the outcomes say why"},
    201: {"model": IngestAnswer, "description": "durable, and found by the next search"},
    409: {"description": "the same request is still at work"},
}
_put: dict[int | str, dict[str, Any]] = {
    200: {"model": Ingested, "description": "the key leads to this picture now; it led to another one, or to this one"},
    201: {"model": Ingested, "description": "the key is new"},
    409: {"description": "the same request is still at work"},
}


@router.post(
    "/collections/{collection}/images",
    status_code=HTTPStatus.CREATED,
    summary="Take pictures in",
    response_class=JSONResponse,
    responses=_added,
    openapi_extra=body_of({"multipart/form-data": _add_form, "application/json": _json(UriBody, UrisBody)}),
)
@needs("write")
async def add_images(request: Request, target: Target, idempotency_key: IdempotencyKey = None) -> Response:
    """Add one picture or several, sent or by address. The answer comes when they are durable and found by searches."""
    wanted = await wanted_images(request)

    async def do() -> Response:
        done = await _all(request, target, wanted)
        new = any(one.outcome not in NOTHING_NEW for one in done)
        answer = IngestAnswer(items=[_told(*one) for one in zip(done, wanted.items, strict=True)])
        status = HTTPStatus.CREATED if new else HTTPStatus.OK
        return JSONResponse(answer.model_dump(mode="json", exclude_unset=True), status)

    with lines(request).ingest.place(request):
        return await once(request, target, idempotency_key, wanted.digest, do)


@router.put(
    "/collections/{collection}/images/by-key/{key:path}",
    summary="Make a picture the image of a key",
    response_class=JSONResponse,
    responses=_put,
    openapi_extra=body_of({"multipart/form-data": _put_form, "application/json": _json(PutUri)}),
)
@needs("write")
async def put_image(request: Request, target: Target, key: str, idempotency_key: IdempotencyKey = None) -> Response:
    """Add the picture of a key, or put it in the place of the one that the key led to, which keeps its id."""
    wanted = await wanted_put(request)
    parsed(Described, {"key": key})

    async def do() -> Response:
        ingest: Ingest = request.app.state.ingest

        def put(sent: Sent) -> Done:
            return ingest.put(target, key, sent, wanted.keep)

        fetch = partial(fetched, wanted.items[0], request.app.state.sources)
        done = await lines(request).ingest.take(fetch, put)
        status = HTTPStatus.CREATED if done.outcome == "added" else HTTPStatus.OK
        return JSONResponse(_told(done, wanted.items[0]).model_dump(mode="json", exclude_unset=True), status)

    with lines(request).ingest.place(request):
        return await once(request, target, idempotency_key, wanted.of_key(key), do)


async def _all(request: Request, target: Collection, wanted: Wanted) -> list[Done]:
    """Take pictures in, a few side by side; in their order where each is compared with those before it, and those of
    one key.
    """
    turns: dict[object, list[int]] = {}
    for number, sent in enumerate(wanted.items):
        turn = (sent.key or sent.uri or number) if wanted.on_duplicate == "allow" else None
        turns.setdefault(turn, []).append(number)

    async def in_turn(numbers: list[int]) -> list[tuple[int, Done]]:
        return [(number, await _one(request, target, wanted, wanted.items[number])) for number in numbers]

    done = await asyncio.gather(*(in_turn(numbers) for numbers in turns.values()))
    return [one for _, one in sorted(chain.from_iterable(done), key=itemgetter(0))]


async def _one(request: Request, target: Collection, wanted: Wanted, sent: Sent) -> Done:
    ingest: Ingest = request.app.state.ingest

    async def fetch() -> Sent | LookalikeError:
        try:
            return await fetched(sent, request.app.state.sources)
        except (BadImage, UsageError) as error:
            return error

    def add(got: Sent | LookalikeError) -> Done:
        if isinstance(got, LookalikeError):
            return Done("rejected", None, got)
        return ingest.add(target, got, wanted.keep, wanted.on_duplicate)

    return await lines(request).ingest.take(fetch, add)


def _told(done: Done, sent: Sent) -> Ingested:
    image = None if done.image is None else Image.model_validate(done.image.as_json())
    told = Ingested(outcome=done.outcome, image=image)
    if done.error is not None:
        told.problem = document_of(done.error)
    if done.check is not None:
        told.check = CheckAnswer.model_validate(done.check.as_json())
    if done.has_other_labels(sent):
        told.note = OTHER_LABELS
    return told
