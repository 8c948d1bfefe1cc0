"""The handlers that search, and that explain a match."""

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from api.http.access import needs
from api.http.problems import unsupported_media
from api.http.request_parts import (
    ONE_OF,
    ImageId,
    Target,
    Work,
    json_body,
    media_type,
    parsed,
    stored_image,
    text_fields,
    uploaded,
)
from api.http.safe_fetch import Fetch
from api.queries import Found
from api.shapes.searches import SearchAnswer, SearchBody
from api.workspace import Workspace
from search.errors import UsageError
from search.records import Collection

router = APIRouter()


_explain_body = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "box": {"type": "string", "description": "x,y,width,height in pixels"},
                    },
                }
            }
        },
    }
}

_search_bodies = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {
                        "image": {"type": "string", "format": "binary"},
                        "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
                        "min_score": {"type": "number", "minimum": -1, "maximum": 1},
                        "where": {"type": "string"},
                        "accurate": {"type": "boolean", "default": False},
                        "box": {"type": "string", "description": "x,y,width,height in pixels"},
                    },
                }
            },
            "application/json": {"schema": SearchBody.model_json_schema()},
        },
    }
}


@router.post("/collections/{collection}/search", response_model_exclude_unset=True, openapi_extra=_search_bodies)
@needs("read")
async def search(request: Request, workspace: Work, target: Target) -> SearchAnswer:
    """Return the images closest to an uploaded picture, to a stored image by id or key, or to a picture by its url."""
    kind = media_type(request)
    if kind == "application/json":
        body = parsed(SearchBody, await json_body(request))
        return await _without_upload(request, workspace, target, body)
    if kind != "multipart/form-data":
        raise unsupported_media(kind, "application/json or multipart/form-data")
    async with request.form(max_files=1, max_fields=8) as form:
        body = parsed(SearchBody, text_fields(form))
        upload = uploaded(form, body)
        if upload is None:
            return await _without_upload(request, workspace, target, body)
        data, name = await upload.read(), upload.filename or "upload"
    found = await run_in_threadpool(workspace.search_by_picture, target, data, "the upload", body.request())
    return _answer({"name": name}, found)


@router.post(
    "/collections/{collection}/images/{image_id}/explain",
    openapi_extra=_explain_body,
    responses={200: {"content": {"image/png": {}, "application/json": {}}, "description": "why"}},
)
@needs("read")
async def explain(request: Request, workspace: Work, target: Target, image_id: ImageId) -> Response:
    """Tell why an upload and an image are the same picture or not: JSON, or a PNG if the client accepts that."""
    if media_type(request) != "multipart/form-data":
        raise unsupported_media(media_type(request), "multipart/form-data")
    image = await run_in_threadpool(workspace.store.catalogue.image_by_id, target.id, image_id)
    async with request.form(max_files=1, max_fields=2) as form:
        upload, box = form.get("image"), form.get("box")
        if not isinstance(upload, UploadFile):
            raise UsageError("the picture belongs in the form field `image`")
        data = await upload.read()
    part = box if isinstance(box, str) else None
    explained = await run_in_threadpool(workspace.explain, target, data, "the upload", image, part)
    if "image/png" in request.headers.get("accept", ""):
        return Response(explained.picture, media_type="image/png", headers={"Cache-Control": "no-store"})
    return JSONResponse(explained.facts)


async def _without_upload(request: Request, workspace: Workspace, target: Collection, body: SearchBody) -> SearchAnswer:
    """Search by an address, an id or a key.

    Raises:
        UsageError: none of them is given, or several, or the address is refused.
    """
    if body.url is None:
        return await run_in_threadpool(_by_stored, workspace, target, body)
    if (body.id, body.key) != (None, None):
        raise UsageError(f"{ONE_OF}, `url`")
    fetch: Fetch = request.app.state.fetch
    wanted = body.request()
    data = await fetch.get(body.url)
    found = await run_in_threadpool(workspace.search_by_picture, target, data, "the picture at this address", wanted)
    return _answer({"url": body.url}, found)


def _by_stored(workspace: Workspace, target: Collection, body: SearchBody) -> SearchAnswer:
    image = stored_image(workspace, target, body)
    found = workspace.search_by_image(target, image, body.request())
    return _answer({"id": str(image.id), "key": image.key}, found)


def _answer(query: dict[str, str], found: Found) -> SearchAnswer:
    return SearchAnswer.model_validate(found.as_json(query))
