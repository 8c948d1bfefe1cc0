"""The handlers of searches: by a picture and otherwise, and why a match is one."""

from functools import partial
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from api.http.access import needs
from api.http.batched_line import Together
from api.http.brief_route import BriefRoute
from api.http.described_forms import BOX, EXAMPLE_FILE, FILE, body_of, files, form_of_image
from api.http.forms import form_of
from api.http.named_queries import NamedQuery, answers_by_id, require_one_source
from api.http.problems import unsupported_media
from api.http.request_parts import (
    ImageId,
    Target,
    Work,
    fetcher,
    json_body,
    line_for,
    lines,
    media_type,
    parsed,
    parsed_form,
    uploaded,
)
from api.queries import MAX_EXAMPLES, MAX_PICTURES
from api.shapes.explanations import Explanation
from api.shapes.searches import ExplainFields, SearchAnswer, SearchBody
from api.workspace import Workspace
from search.errors import UsageError

router = APIRouter()
MAX_FIELDS: Final = 2 * MAX_EXAMPLES + 16  # of a form: examples come one a field


_explain_body = body_of(
    {"multipart/form-data": form_of_image({"image": FILE, "box": BOX}, {"image": EXAMPLE_FILE, "box": "0,0,640,480"})}
)
_search_form = form_of_image(
    {
        "image": files(MAX_PICTURES, "the picture, or several: matches are like all of them"),
        "k": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 10},
        "min_score": {"type": "number", "minimum": -1, "maximum": 1},
        "where": {"type": "string"},
        "accurate": {"type": "boolean", "default": False},
        "box": BOX,
        "unique": {"type": "boolean", "default": False},
        "like": {"type": "array", "items": {"type": "string"}},
        "unlike": {"type": "array", "items": {"type": "string"}},
    },
    {"image": [EXAMPLE_FILE], "k": 20, "where": "width >= 1000"},
    {"image": [EXAMPLE_FILE], "box": "120,80,640,480", "accurate": True},
    {"image": [EXAMPLE_FILE, "@dunes.jpg"], "unlike": ["5"]},
)
_search_bodies = body_of(
    {"multipart/form-data": _search_form, "application/json": {"schema": SearchBody.model_json_schema()}}
)


@needs("read")
async def search(request: Request, workspace: Work, collection: str) -> Response:
    """Return the images closest to a picture: uploaded, stored, at an address; to an embedding; or to several."""
    kind = media_type(request)
    if kind == "application/json":
        body = parsed(SearchBody, await json_body(request))
        return await _answered(request, workspace, collection, body, [])
    if kind != "multipart/form-data":
        raise unsupported_media(kind, "application/json or multipart/form-data")
    async with form_of(request, max_files=MAX_PICTURES, max_fields=MAX_FIELDS) as form:
        body = parsed_form(SearchBody, form, lists=("like", "unlike"))
        uploads = [(await upload.read(), upload.filename or "upload") for upload in uploaded(form, body)]
    return await _answered(request, workspace, collection, body, uploads)


router.add_api_route(
    "/collections/{collection}/search",
    search,
    methods=["POST"],
    response_model=SearchAnswer,
    openapi_extra=_search_bodies,
    route_class_override=BriefRoute,
)


@router.post(
    "/collections/{collection}/images/{image_id}/explain",
    summary="Why an image matches",
    openapi_extra=_explain_body,
    response_model=Explanation,
    responses={200: {"content": {"image/png": {}}, "description": "why"}},
)
@needs("read")
async def explain(request: Request, workspace: Work, target: Target, image_id: ImageId) -> Response:
    """Tell why an upload and an image are the same picture or not: JSON, or a PNG if the client accepts that."""
    if media_type(request) != "multipart/form-data":
        raise unsupported_media(media_type(request), "multipart/form-data")
    image = await run_in_threadpool(workspace.store.catalogue.image_by_id, target.id, image_id)
    async with form_of(request, max_files=1, max_fields=2) as form:
        body = parsed_form(ExplainFields, form)
        uploads = uploaded(form, body)
        if not uploads:
            raise UsageError("the picture belongs in the form field `image`")
        data = await uploads[0].read()
    look = lines(request).looks
    explained = await look.run(request, workspace.explain, target, data, "the upload", image, body.box)
    if "image/png" in request.headers.get("accept", ""):
        return Response(explained.picture, media_type="image/png", headers={"Cache-Control": "no-store"})
    return JSONResponse(Explanation.model_validate(explained.facts).model_dump(mode="json"))


async def _answered(
    request: Request, workspace: Workspace, collection: str, body: SearchBody, uploads: list[tuple[bytes, str]]
) -> Response:
    """Search by what a body names and the pictures that came with it, with their names.

    Raises:
        UsageError: they name nothing, or too much, or the address is refused.
    """
    wanted = body.request()  # before anything is fetched
    require_one_source(body, pictures=bool(uploads))
    pictures = [(data, "the upload" if len(uploads) == 1 else f"picture {n}") for n, (data, _) in enumerate(uploads, 1)]
    if body.url is not None:
        pictures = [(await fetcher(request).get(body.url), "the picture at this address")]
    names = [name for _, name in uploads]
    said: dict[str, object] = {"name": names[0]} if len(names) == 1 else {"names": names} if names else {}
    if body.url is not None:
        said = {"url": body.url}
    query = NamedQuery(body, wanted, said, tuple(pictures))
    if query.is_by_id:
        together = Together((collection, wanted), partial(answers_by_id, workspace, collection))
        return Response(await lines(request).finds.ask(request, query, together), media_type="application/json")
    line = line_for(lines(request), accurate=wanted.accurate, pictures=bool(pictures), where=wanted.where)
    return Response(await line.run(request, query.answer, workspace, collection), media_type="application/json")
