"""The handlers under /v1: parse, call the workspace, shape the answer."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile

from api import check_routes, review_routes, schemas
from api.access import CalledBy, bearer, needs
from api.duplicate_reports import DuplicateReports
from api.label_counts import LabelCounts
from api.problems import Problem, unsupported_media
from api.queries import Found
from api.request_parts import ONE_OF, Target, Work, json_body, media_type, parsed, stored_image, text_fields, uploaded
from api.safe_fetch import Fetch
from api.thumbnails import Thumbnails
from api.workspace import Workspace
from search.errors import BadImage, ImageNotFound, UsageError
from search.records import Collection, ImageRecord
from search.storing.metadata_changes import change_metadata, version
from search.storing.removals import remove_image
from search.upkeep.status import collection_status

Limit = Annotated[int, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,16}$", description="next_cursor of the page before")]
# Ids are below 2^53, so that every JSON reader keeps them.
ImageId = Annotated[int, PathParameter(ge=0, lt=2**53)]
MAX_THUMBNAIL = 2048
PATCH_TYPES = ("application/merge-patch+json", "application/json")

problems: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 401, 403, 404, 413, 415, 422, 503)
}
router = APIRouter(prefix="/v1", responses=problems, dependencies=[bearer])
router.post("/collections/{collection}/check", response_model_exclude_unset=True, openapi_extra=check_routes.BODIES)(
    check_routes.check
)
router.delete("/collections/{collection}/verdicts/{first}/{second}", status_code=HTTPStatus.NO_CONTENT)(
    review_routes.take_back
)


@router.get("/collections", summary="All collections")
@needs("read", across=True)
def collections(workspace: Work, caller: CalledBy) -> schemas.Page[schemas.Collection]:
    """List every collection that the key is for with its counts."""
    items = [schemas.Collection.model_validate(one.as_json()) for one in workspace.status(caller.only)]
    return schemas.Page(items=items, next_cursor=None)


@router.get("/collections/{collection}", summary="One collection")
@needs("read")
def collection_counts(workspace: Work, target: Target) -> schemas.Collection:
    """Tell what a collection holds and whether all of it can be found."""
    return schemas.Collection.model_validate(collection_status(workspace.store, target).as_json())


@router.get("/collections/{collection}/images", response_model_exclude_unset=True, summary="Images, a page at a time")
@needs("read")
def images(workspace: Work, target: Target, limit: Limit = 100, cursor: Cursor = None) -> schemas.Page[schemas.Image]:
    """List images in the order they were indexed."""
    page = workspace.store.catalogue.images(target.id, after=int(cursor or 0), limit=limit)
    more = str(page[-1].id) if len(page) == limit else None
    items = [schemas.Image.model_validate(image.as_json()) for image in page]
    return schemas.Page(items=items, next_cursor=more)


@router.get("/collections/{collection}/images/by-key/{key:path}", response_model_exclude_unset=True)
@needs("read")
def image_by_key(workspace: Work, target: Target, key: str) -> schemas.Image:
    """Return the image with this key."""
    return schemas.Image.model_validate(workspace.store.catalogue.image_by_key(target.id, key).as_json())


@router.get("/collections/{collection}/images/{image_id}", response_model_exclude_unset=True)
@needs("read")
def image_by_id(response: Response, workspace: Work, target: Target, image_id: ImageId) -> schemas.Image:
    """Return the image with this id; its ETag can be sent with a change."""
    return _tagged(response, workspace.store.catalogue.image_by_id(target.id, image_id))


_patch_bodies = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": schemas.ImagePatch.model_json_schema()} for kind in PATCH_TYPES},
    }
}


@router.patch(
    "/collections/{collection}/images/{image_id}",
    response_model_exclude_unset=True,
    openapi_extra=_patch_bodies,
    responses={412: {"model": Problem, "description": "the image is not what If-Match names"}},
)
@needs("write")
async def change_image(
    request: Request, response: Response, workspace: Work, target: Target, image_id: ImageId
) -> schemas.Image:
    """Merge a patch into the metadata of an image (RFC 7396); return the image as it is now, durably."""
    kind = media_type(request)
    if kind not in PATCH_TYPES:
        raise unsupported_media(kind, " or ".join(PATCH_TYPES))
    body = parsed(schemas.ImagePatch, await json_body(request))
    # Without the key nothing changes; with null all metadata goes.
    patch = body.metadata if "metadata" in body.model_fields_set else {}
    versions = _versions(request.headers.get("if-match"))
    changed = await run_in_threadpool(
        change_metadata, workspace.store.database, target.id, image_id, patch, versions=versions
    )
    return _tagged(response, changed)


@router.delete("/collections/{collection}/images/{image_id}", status_code=HTTPStatus.NO_CONTENT)
@needs("write")
def delete_image(workspace: Work, target: Target, image_id: ImageId) -> None:
    """Remove an image from the collection; its file stays. From the answer on no search names it."""
    remove_image(workspace.store.database, target, image_id)


@router.get("/collections/{collection}/labels", summary="Labels, most frequent first")
@needs("read")
def labels(
    request: Request, target: Target, limit: Limit = 100, cursor: Cursor = None
) -> schemas.Page[schemas.LabelCount]:
    """List the labels of a collection with how many of its images have each, for facets."""
    counts: LabelCounts = request.app.state.label_counts
    found = counts.get(target)
    start = int(cursor or 0)
    items = [schemas.LabelCount.model_validate(one.as_json()) for one in found[start : start + limit]]
    return schemas.Page(items=items, next_cursor=str(start + limit) if start + limit < len(found) else None)


@router.head("/collections/{collection}/images/{image_id}/thumbnail", include_in_schema=False)
@router.get(
    "/collections/{collection}/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, 304: {"description": "unchanged"}},
)
@needs("read")
def thumbnail(
    request: Request,
    workspace: Work,
    target: Target,
    image_id: ImageId,
    size: Annotated[int, Query(ge=16, le=MAX_THUMBNAIL, description="long side in pixels")] = 320,
) -> Response:
    """Return a JPEG of an image, without its metadata."""
    image = workspace.store.catalogue.image_by_id(target.id, image_id)
    tag = f'"{image.sha256.hex()[:32]}-{size}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=300", "Vary": "Authorization"}
    if _names(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    thumbnails: Thumbnails = request.app.state.thumbnails
    try:
        data = thumbnails.get(image, size)
    except BadImage as error:
        # The picture was good when it was indexed; now its file is gone or replaced.
        raise ImageNotFound(f"the file of image {image_id} cannot be shown: {error}") from error
    return Response(data, media_type="image/jpeg", headers=headers)


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
            "application/json": {"schema": schemas.SearchBody.model_json_schema()},
        },
    }
}


@router.post("/collections/{collection}/search", response_model_exclude_unset=True, openapi_extra=_search_bodies)
@needs("read")
async def search(request: Request, workspace: Work, target: Target) -> schemas.SearchAnswer:
    """Return the images closest to an uploaded picture, to a stored image by id or key, or to a picture by its url."""
    kind = media_type(request)
    if kind == "application/json":
        body = parsed(schemas.SearchBody, await json_body(request))
        return await _without_upload(request, workspace, target, body)
    if kind != "multipart/form-data":
        raise unsupported_media(kind, "application/json or multipart/form-data")
    async with request.form(max_files=1, max_fields=8) as form:
        body = parsed(schemas.SearchBody, text_fields(form))
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


@router.get("/collections/{collection}/groups", response_model_exclude_unset=True)
@needs("read")
def groups(
    request: Request,
    target: Target,
    threshold: Annotated[float | None, Query(ge=-1, le=1, description="least cosine of a near copy")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> schemas.Groups:
    """List duplicate groups, largest first. Computed once per state of the collection and threshold."""
    reports: DuplicateReports = request.app.state.reports
    chosen = request.app.state.workspace.dedup_threshold(target, threshold)
    report = reports.get(target, chosen)
    start = int(cursor or 0)
    page = reports.shown(target, report.groups[start : start + limit])
    more = start + limit < len(report.groups)
    return schemas.Groups(
        items=[schemas.Group.model_validate(group.as_json()) for group in page],
        next_cursor=str(start + limit) if more else None,
        threshold=report.threshold,
        threshold_source=chosen.source,
        images=report.images,
        groups_total=len(report.groups),
        copies_total=sum(len(group.members) for group in report.groups),
        bytes_reclaimable=report.bytes_reclaimable,
    )


def _names(condition: str, tag: str) -> bool:
    """Tell whether an If-None-Match header names this tag (RFC 9110: a list, weak tags and * count)."""
    return any(given.strip().removeprefix("W/") in (tag, "*") for given in condition.split(","))


async def _without_upload(
    request: Request, workspace: Workspace, target: Collection, body: schemas.SearchBody
) -> schemas.SearchAnswer:
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


def _by_stored(workspace: Workspace, target: Collection, body: schemas.SearchBody) -> schemas.SearchAnswer:
    image = stored_image(workspace, target, body)
    found = workspace.search_by_image(target, image, body.request())
    return _answer({"id": str(image.id), "key": image.key}, found)


def _answer(query: dict[str, str], found: Found) -> schemas.SearchAnswer:
    return schemas.SearchAnswer.model_validate(found.as_json(query))


def _tagged(response: Response, image: ImageRecord) -> schemas.Image:
    response.headers["ETag"] = f'"{version(image)}"'
    return schemas.Image.model_validate(image.as_json())


def _versions(condition: str | None) -> frozenset[str] | None:
    """Return the versions an If-Match header names, None for any (RFC 9110: weak tags never match)."""
    if condition is None or condition.strip() == "*":
        return None
    return frozenset(given.strip().strip('"') for given in condition.split(",") if given.strip().startswith('"'))
