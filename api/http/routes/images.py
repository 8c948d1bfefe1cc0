"""The handlers of images: lists, one by one, their metadata, their thumbnails."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.http.access import needs
from api.http.exact_numbers import Whole
from api.http.problems import unsupported_media
from api.http.repeats import SAME_REQUEST, OnceRoute, names_itself
from api.http.request_parts import (
    Cursor,
    ImageId,
    Limit,
    Target,
    Work,
    json_body,
    media_type,
    parsed,
)
from api.http.thumbnails import Thumbnails
from api.ingesting import Ingest
from api.shapes.base import Page
from api.shapes.images import Image, ImagePatch
from api.shapes.problems import Problem
from search.conditions.where import MAX_LETTERS, parse
from search.errors import BadImage, ImageNotFound
from search.records import ImageRecord
from search.storing.metadata_changes import change_metadata, version
from search.storing.removals import remove_image

router = APIRouter(route_class=OnceRoute)
MAX_THUMBNAIL = 2048
PATCH_TYPES = ("application/merge-patch+json", "application/json")


@router.get("/collections/{collection}/images", response_model_exclude_unset=True, summary="Images, a page at a time")
@needs("read")
def images(
    workspace: Work,
    target: Target,
    where: Annotated[str | None, Query(description="only images that fulfil it", max_length=MAX_LETTERS)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Image]:
    """List images in the order they were indexed."""
    catalogue, after = workspace.store.catalogue, int(cursor or 0)
    if where is None:
        page = catalogue.images(target.id, after=after, limit=limit)
    else:
        page = catalogue.images_that(target, parse(where), after=after, limit=limit)
    more = str(page[-1].id) if len(page) == limit else None
    items = [Image.model_validate(image.as_json()) for image in page]
    return Page(items=items, next_cursor=more)


@router.get(
    "/collections/{collection}/images/by-key/{key:path}",
    response_model_exclude_unset=True,
    summary="The image of a key",
)
@needs("read")
def image_by_key(response: Response, workspace: Work, target: Target, key: str) -> Image:
    """Return the image with this key; its ETag can be sent with a change."""
    return _tagged(response, workspace.store.catalogue.image_by_key(target.id, key))


@router.get("/collections/{collection}/images/{image_id}", response_model_exclude_unset=True, summary="One image")
@needs("read")
def image_by_id(response: Response, workspace: Work, target: Target, image_id: ImageId) -> Image:
    """Return the image with this id; its ETag can be sent with a change."""
    return _tagged(response, workspace.store.catalogue.image_by_id(target.id, image_id))


_patch_bodies = {
    "requestBody": {
        "required": True,
        "content": {kind: {"schema": ImagePatch.model_json_schema()} for kind in PATCH_TYPES},
    }
}


@router.patch(
    "/collections/{collection}/images/{image_id}",
    summary="Change the metadata of an image",
    response_model_exclude_unset=True,
    openapi_extra=_patch_bodies,
    dependencies=[names_itself],
    responses=SAME_REQUEST | {412: {"model": Problem, "description": "the image is not what If-Match names"}},
)
@needs("write")
async def change_image(
    request: Request, response: Response, workspace: Work, target: Target, image_id: ImageId
) -> Image:
    """Merge a patch into the metadata of an image (RFC 7396); return the image as it is now, durably."""
    kind = media_type(request)
    if kind not in PATCH_TYPES:
        raise unsupported_media(kind, " or ".join(PATCH_TYPES))
    body = parsed(ImagePatch, await json_body(request))
    # Without the key nothing changes; with null all metadata goes.
    patch = body.metadata if "metadata" in body.model_fields_set else {}
    versions = _versions(request.headers.get("if-match"))
    changed = await run_in_threadpool(
        change_metadata, workspace.store.database, target.id, image_id, patch, versions=versions
    )
    return _tagged(response, changed)


@router.delete(
    "/collections/{collection}/images/{image_id}",
    summary="Remove an image",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("write")
def delete_image(request: Request, workspace: Work, target: Target, image_id: ImageId) -> None:
    """Remove an image from the collection. Its file stays, unless it was sent here and no other image needs it."""
    image = workspace.store.catalogue.image_by_id(target.id, image_id)
    remove_image(workspace.store.database, target, image_id)
    ingest: Ingest = request.app.state.ingest
    ingest.uploads.drop_unused(image.uri, image.sha256)


@router.head("/collections/{collection}/images/{image_id}/thumbnail", include_in_schema=False)
@router.get(
    "/collections/{collection}/images/{image_id}/thumbnail",
    summary="A small picture of an image",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "unchanged"},
    },
)
@needs("read")
def thumbnail(
    request: Request,
    workspace: Work,
    target: Target,
    image_id: ImageId,
    size: Annotated[Whole, Query(ge=16, le=MAX_THUMBNAIL, description="long side in pixels")] = 320,
) -> Response:
    """Return a JPEG of an image, without its metadata."""
    image = workspace.store.catalogue.image_by_id(target.id, image_id)
    tag = f'"{image.sha256.hex()[:32]}-{size}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=300", "Vary": "Authorization"}
    if names_tag(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    thumbnails: Thumbnails = request.app.state.thumbnails
    try:
        data = thumbnails.get(image, size)
    except BadImage as error:
        # The picture was good when it was indexed; now its file is gone or replaced.
        raise ImageNotFound(f"the file of image {image_id} cannot be shown: {error}") from error
    return Response(data, media_type="image/jpeg", headers=headers)


def names_tag(condition: str, tag: str) -> bool:
    """Tell whether an If-None-Match header names this tag (RFC 9110: a list, weak tags and * count)."""
    return any(given.strip().removeprefix("W/") in (tag, "*") for given in condition.split(","))


def _tagged(response: Response, image: ImageRecord) -> Image:
    response.headers["ETag"] = f'"{version(image)}"'
    return Image.model_validate(image.as_json())


def _versions(condition: str | None) -> frozenset[str] | None:
    """Return the versions an If-Match header names, None for any (RFC 9110: weak tags never match)."""
    if condition is None or condition.strip() == "*":
        return None
    return frozenset(given.strip().strip('"') for given in condition.split(",") if given.strip().startswith('"'))
