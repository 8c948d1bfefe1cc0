"""The handler of classification: what pictures show, by the classifier of a collection's backbone."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from api.http.access import CalledBy, needs
from api.http.described_forms import EXAMPLE_FILE, body_of, files, form_of_image
from api.http.forms import form_of
from api.http.problems import unsupported_media
from api.http.request_parts import Work, lines, media_type, parsed_form
from api.queries import MAX_PICTURES
from api.shapes.classification import ClassifyAnswer, ClassifyBody, NamedPicture, UnnamedPicture
from api.shapes.images import Label
from api.workspace import Workspace
from search.errors import BadImage, UsageError
from search.records import Collection

router = APIRouter()
FORM = "multipart/form-data"
_NO_COLLECTION: dict[int | str, dict[str, Any]] = {404: {"description": "there is no such collection"}}
_BODIES = body_of(
    {
        FORM: form_of_image(
            {
                "image": files(MAX_PICTURES, "the pictures"),
                "collection": {"type": "string", "default": "default", "maxLength": 200},
                "k": {"type": "integer", "minimum": 1, "maximum": 5, "default": 5},
            },
            {"image": [EXAMPLE_FILE, "@dunes.jpg"], "k": 1},
        )
    }
)


@router.post("/classify", summary="What pictures show, in words", openapi_extra=_BODIES, responses=_NO_COLLECTION)
@needs("read", across=True)
async def classify(request: Request, workspace: Work, caller: CalledBy) -> ClassifyAnswer:
    """Name what uploaded pictures show, by the classifier that the backbone of a collection comes with."""
    if media_type(request) != FORM:
        raise unsupported_media(media_type(request), FORM)
    async with form_of(request, max_files=MAX_PICTURES, max_fields=2) as form:
        body = parsed_form(ClassifyBody, form)
        if caller.only not in (None, body.collection):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"your key is for {caller.only} only; name it as `collection`")
        files = [file for file in form.getlist("image") if isinstance(file, UploadFile)]
        if not files:
            raise UsageError("the pictures belong in the form field `image`")
        pictures = [(await file.read(), file.filename or f"picture {number}") for number, file in enumerate(files, 1)]
    target = await run_in_threadpool(workspace.collection, body.collection)
    return await lines(request).pictures.run(request, _named, workspace, target, pictures, body.k)


def _named(workspace: Workspace, target: Collection, pictures: list[tuple[bytes, str]], k: int) -> ClassifyAnswer:
    embedder, answer = workspace.embedder(target), ClassifyAnswer(images=[], failed=[])
    for data, name in pictures:
        try:
            found = embedder.labels(embedder.decode(data, name))
        except BadImage as error:
            answer.failed.append(UnnamedPicture(name=name, reason=error.reason, detail=error.detail))
        else:
            labels = [Label.model_validate(one.as_json()) for one in found[:k]]
            answer.images.append(NamedPicture(name=name, labels=labels))
    return answer
