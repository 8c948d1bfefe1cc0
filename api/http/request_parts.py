"""What handlers take from a request: the workspace, the collection, and bodies of JSON or of forms."""

from collections.abc import Collection as Some
from typing import Annotated, Any, Protocol, TypeVar, get_args

from fastapi import Depends, Query, Request
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import PydanticKnownError
from starlette.datastructures import FormData, UploadFile

from api.http.all_lines import Lines
from api.http.exact_json import exact_json
from api.http.exact_numbers import REQUIRED, Whole
from api.http.lines import Line
from api.http.safe_fetch import Fetch
from api.shapes.base import Shape
from api.workspace import Workspace
from search.errors import UsageError
from search.records import Collection, ImageRecord

Body = TypeVar("Body", bound=Shape)
ONE_OF = "give exactly one of: the picture in the form field `image`, `id`, `key`, `url`"


class Naming(Protocol):
    """A body that may name a stored image."""

    id: str | None
    key: str | None


# async: of functions that are not, each costs every request a thread.
async def _workspace(request: Request) -> Workspace:
    workspace: Workspace = request.app.state.workspace
    return workspace


Work = Annotated[Workspace, Depends(_workspace)]


def _target(collection: str, workspace: Work) -> Collection:
    return workspace.collection(collection)


Target = Annotated[Collection, Depends(_target)]
Limit = Annotated[Whole, Query(ge=1, le=1000)]
Cursor = Annotated[str | None, Query(pattern=r"^[0-9]{1,16}$", description="next_cursor of the page before")]
# Ids are below 2^53, so that every JSON reader keeps them.
ImageId = Annotated[Whole, PathParameter(ge=0, lt=2**53)]


def fetcher(request: Request) -> Fetch:
    """Return what fetches pictures from addresses."""
    fetch: Fetch = request.app.state.fetch
    return fetch


def lines(request: Request) -> Lines:
    """Return what stands between requests and the threads that do their work."""
    found: Lines = request.app.state.lines
    return found


def line_for(among: Lines, *, accurate: bool, pictures: bool, where: object = None) -> Line:
    """Return the line of a search. accurate: it looks at the pixels of many images. pictures: it brings its own."""
    if accurate:
        return among.looks
    return among.pictures if pictures or where is not None else among.finds


def media_type(request: Request) -> str:
    """Return the type of a request's body, without parameters, in lower case."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def json_body(request: Request) -> object:
    """Return the body of a JSON request.

    Raises:
        UsageError: it is no JSON, or an object in it has a key twice.
    """
    return exact_json(await request.body(), "the body")


def parsed(shape: type[Body], values: object) -> Body:
    """Return what came as JSON as what it should be; its types are taken as they are.

    Raises:
        RequestValidationError: they are something else.
    """
    return _valid(shape, values, strict=True)


def parsed_form(shape: type[Body], form: FormData, lists: Some[str] = ()) -> Body:
    """Return the fields of a form that are no files, of which each is a text. lists: those that may come several times.

    Raises:
        RequestValidationError: they are something else.
        UsageError: a field is there twice, or a picture came as a text.
    """
    texts = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    fields: dict[str, str | list[str]] = {}
    for name, value in texts:
        if name == "image":
            raise UsageError("the form field `image` is a text; send a file there, such as -F image=@FILE of curl")
        if name in fields and name not in lists:
            raise UsageError(f"the form field {name[:40]!r} is there twice; give it once")
        _require_plain(shape, name, value)
        fields[name] = [one for other, one in texts if other == name] if name in lists else value
    return _valid(shape, fields, strict=False)


def _require_plain(shape: type[Shape], name: str, text: str) -> None:
    """Refuse a text of a field that is a number where JSON would not have it so.

    Raises:
        RequestValidationError: it is one.
    """
    field = shape.model_fields.get(name)
    kinds = () if field is None else _kinds(field.annotation)
    for kind, require in REQUIRED.items():
        if kind in kinds:
            try:
                require(text)
            except PydanticKnownError as error:
                raise RequestValidationError([{"type": error.type, "loc": (name,), "input": text}]) from error


def _kinds(annotation: Any) -> tuple[object, ...]:
    """Return a type with all that it is made of."""
    return (annotation, *(kind for one in get_args(annotation) for kind in _kinds(one)))


def _valid(shape: type[Body], values: object, *, strict: bool) -> Body:
    try:
        return shape.model_validate(values, strict=strict)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def uploaded(form: FormData, body: Shape) -> list[UploadFile]:
    """Return the uploaded pictures; none when the form names something else.

    Raises:
        UsageError: a picture comes together with an id, a key or a url, or another field holds a file.
    """
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    strange = sorted({name for name, _ in files} - {"image"})
    if strange:
        raise UsageError(f"the picture belongs in the form field `image`, not {strange[0]!r}")
    if files and any(getattr(body, name, None) is not None for name in ("id", "key", "url", "embedding")):
        raise UsageError(ONE_OF)
    return [file for _, file in files]


def stored_image(workspace: Workspace, target: Collection, body: Naming) -> ImageRecord:
    """Return the image that a body names.

    Raises:
        UsageError: it names none, or in two ways.
        ImageNotFound: there is no such image.
    """
    if (body.id is None) == (body.key is None):
        raise UsageError(ONE_OF)
    catalogue = workspace.store.catalogue
    if body.id is not None:
        return catalogue.image_by_id(target.id, int(body.id))
    return catalogue.image_by_key(target.id, body.key or "")


def inlined(shape: type[Shape]) -> dict[str, Any]:
    """Return the JSON schema of a shape by itself: OpenAPI finds nothing that is referred to inside of one."""
    schema = shape.model_json_schema()
    known = schema.pop("$defs", {})

    def resolved(value: Any) -> Any:
        if isinstance(value, list):
            return [resolved(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return resolved(known[value["$ref"].removeprefix("#/$defs/")])
        return {name: resolved(one) for name, one in value.items()}

    made: dict[str, Any] = resolved(schema)
    return made
