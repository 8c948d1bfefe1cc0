"""The handler of the ingest gate."""

from fastapi import APIRouter, Request

from api.checks import check_image, check_picture
from api.http.access import needs
from api.http.described_forms import EXAMPLE_FILE, FILE, body_of, form_of_image
from api.http.forms import form_of
from api.http.problems import unsupported_media
from api.http.request_parts import (
    ONE_OF,
    Target,
    Work,
    fetcher,
    json_body,
    line_for,
    lines,
    media_type,
    parsed,
    parsed_form,
    stored_image,
    uploaded,
)
from api.shapes.checks import CheckAnswer, CheckBody
from api.workspace import Workspace
from search.errors import UsageError
from search.records import Collection

router = APIRouter()
_FORM = form_of_image(
    {
        "image": FILE,
        "threshold": {"type": "number", "minimum": -1, "maximum": 1},
        "accurate": {"type": "boolean", "default": False},
    },
    {"image": EXAMPLE_FILE},
    {"image": EXAMPLE_FILE, "threshold": 0.9, "accurate": True},
)
_BODIES = body_of({"multipart/form-data": _FORM, "application/json": {"schema": CheckBody.model_json_schema()}})


@router.post(
    "/collections/{collection}/check",
    summary="Is a picture here already?",
    response_model_exclude_unset=True,
    openapi_extra=_BODIES,
)
@needs("read")
async def check(request: Request, workspace: Work, target: Target) -> CheckAnswer:
    """Tell whether an uploaded picture is new to a collection, or a copy of an image there; nothing is stored."""
    kind = media_type(request)
    if kind == "application/json":
        return await _without_upload(request, workspace, target, parsed(CheckBody, await json_body(request)))
    if kind != "multipart/form-data":
        raise unsupported_media(kind, "application/json or multipart/form-data")
    async with form_of(request, max_files=1, max_fields=4) as form:
        body = parsed_form(CheckBody, form)
        uploads = uploaded(form, body)
        if not uploads:
            return await _without_upload(request, workspace, target, body)
        data = await uploads[0].read()
    line = line_for(lines(request), accurate=body.accurate, pictures=True)
    found = await line.run(request, check_picture, workspace, target, data, "the upload", body.request())
    return CheckAnswer.model_validate(found.as_json())


async def _without_upload(request: Request, workspace: Workspace, target: Collection, body: CheckBody) -> CheckAnswer:
    if body.url is None:
        line = line_for(lines(request), accurate=body.accurate, pictures=False)
        return await line.run(request, _by_stored, workspace, target, body)
    if (body.id, body.key) != (None, None):
        raise UsageError(ONE_OF)
    wanted, fetch = body.request(), fetcher(request)
    data = await fetch.get(body.url)
    line = line_for(lines(request), accurate=body.accurate, pictures=True)
    found = await line.run(request, check_picture, workspace, target, data, "the picture at this address", wanted)
    return CheckAnswer.model_validate(found.as_json())


def _by_stored(workspace: Workspace, target: Collection, body: CheckBody) -> CheckAnswer:
    image = stored_image(workspace, target, body)
    return CheckAnswer.model_validate(check_image(workspace, target, image, body.request()).as_json())
