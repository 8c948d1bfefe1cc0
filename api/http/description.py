"""The OpenAPI document: what the framework says of the routes, with the problems that each can answer, spelled for
programs that generate clients and tests of it.
"""

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from types import ModuleType
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api.http.ndjson import MEDIA_TYPE as LINES
from api.http.problems import MEDIA_TYPE
from api.shapes.problems import Problem
from api.shapes.webhooks import JobEvent

Schema = dict[str, Any]
REFERENCE: Final = "#/components/schemas/{model}"
PROBLEM: Final = {"$ref": REFERENCE.format(model="Problem")}
# What can happen to any request, to one for which a key is needed, to one that names something, and to one with a body.
ANY: Final[Mapping[int, str]] = {
    400: "the host name is not served here",
    429: "too many requests at once, or too many wrong keys: Retry-After says when to try again",
    503: "not available right now: Retry-After says when to try again, where that is known",
}
KEYED: Final[Mapping[int, str]] = {
    401: "a key is needed, or the one that was sent opens nothing",
    403: "the key's role or collection is not enough, or a page of another site sent this",
}
NAMED: Final[Mapping[int, str]] = {404: "there is no such collection, image or the like"}
FILLED: Final[Mapping[int, str]] = {422: "a parameter or the body is not what it should be; `detail` says what to give"}
SENT: Final[Mapping[int, str]] = {
    408: "the body did not come in time",
    413: "the body is too large",
    415: "the body is of a type that is not taken here",
}
# What a receiver of webhooks may answer.
HEARD: Final[Mapping[str, Mapping[str, str]]] = {
    "2XX": {"description": "heard"},
    "410": {"description": "nobody wants to hear: it is not sent again"},
    "default": {"description": "not heard: it is sent again, later and later"},
}
# By what a list names its items.
NAMES: Final = ("id", "name")
# Taken out: the framework's own shape of a refusal, which nobody is answered with.
UNUSED: Final = ("HTTPValidationError", "ValidationError")


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation, by which generated clients call it: that of its handler."""
    return route.name


def tag_of(module: ModuleType) -> str:
    """Return the tag of a module's operations: its own name."""
    return module.__name__.rpartition(".")[2].replace("_", " ")


def describe(app: FastAPI) -> None:
    """Make an application answer with this document."""

    def document() -> Schema:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
                webhooks=app.webhooks.routes,
            )
            app.openapi_schema = _finished(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def add_webhook(app: FastAPI) -> None:
    """Say in the document what receivers are sent when a job has ended."""

    @app.webhooks.post("job", summary="A job has ended", operation_id="job_ended")
    def job_ended(_event: JobEvent) -> None:
        """Is sent to the address that the job was started with, signed as the Standard Webhooks specification says."""


def _finished(document: Schema) -> Schema:
    schemas: Schema = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for path, operation in _operations(document):
        taken = operation.get("requestBody", {}).get("content", {})
        given = operation["responses"].get("200", {}).get("content", {})
        for content in (*taken.values(), *given.values()):
            _name_schema(content, schemas)
        for content in taken.values():
            _show_examples(content, schemas)
        if (item := _item_of(given, schemas)) is not None:
            given[LINES] = {"schema": item}
            operation["responses"]["200"]["description"] = "a page of the list, or all of it line by line"
        _say_problems(path, operation)
    _link_lists(document)
    for sent in document.get("webhooks", {}).values():
        sent["post"]["responses"] = dict(HEARD)
    for name in UNUSED:
        schemas.pop(name, None)
    return document


def _operations(document: Schema) -> Iterator[tuple[str, Schema]]:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            yield path, operation


def _name_schema(content: Schema, schemas: Schema) -> None:
    """Put the schema of a body, which a handler reads by itself, where others can refer to it, or each of several."""
    schema = content.get("schema", {})
    if "anyOf" in schema:
        several = [{"schema": one} for one in schema["anyOf"]]
        for one in several:
            _name_schema(one, schemas)
        schema["anyOf"] = [one["schema"] for one in several]
    if schema.get("type") == "object" and "title" in schema:
        schemas.update(schema.pop("$defs", {}))
        schemas[schema["title"]] = schema
        content["schema"] = {"$ref": REFERENCE.format(model=schema["title"])}


def _show_examples(content: Schema, schemas: Schema) -> None:
    """Show the examples of a body that can be of several shapes, which readers do not look for in each of them."""
    several = content["schema"].get("anyOf", [])
    shown = [example for one in several for example in _resolved(one, schemas).get("examples", [])]
    if shown:
        content["examples"] = {str(number): {"value": example} for number, example in enumerate(shown, start=1)}


def _item_of(given: Schema, schemas: Schema) -> Schema | None:
    """Return the schema of a list's items, None where an answer is no list."""
    page = _resolved(given.get("application/json", {}).get("schema", {}), schemas).get("properties", {})
    return page["items"]["items"] if {"items", "next_cursor"} <= set(page) else None


def _resolved(schema: Schema, schemas: Schema) -> Schema:
    found: Schema = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _link_lists(document: Schema) -> None:
    """Tell which operations take what a list names, so that programs can follow: `links` of OpenAPI."""
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {})
        item = _item_of(answer.get("content", {}), schemas)
        fields = {} if item is None else _resolved(item, schemas).get("properties", {})
        name = next((one for one in NAMES if one in fields), None)
        if name is None:
            continue
        below = re.compile(re.escape(path) + r"/\{(\w+)\}")
        links = {}
        for other, operation in _operations(document):
            if (found := below.match(other)) is not None:
                given = {one: f"$request.path.{one}" for one in re.findall(r"\{(\w+)\}", path)}
                given[found[1]] = f"$response.body#/items/0/{name}"
                links[operation["operationId"]] = {"operationId": operation["operationId"], "parameters": given}
        if links:
            answer["links"] = links


def _say_problems(path: str, operation: Schema) -> None:
    """Document every problem that an operation can answer, in the one shape that problems have."""
    said: Schema = operation["responses"]
    wanted = dict(ANY)
    if "security" in operation:
        wanted |= KEYED
    if "{" in path:
        wanted |= NAMED
    if operation.get("parameters") or "requestBody" in operation:
        wanted |= FILLED
    if "requestBody" in operation:
        wanted |= SENT
    # A handler's own words count; those of the framework for 422 say nothing.
    own = {int(status): one["description"] for status, one in said.items() if int(status) >= HTTPStatus.BAD_REQUEST}
    own.pop(HTTPStatus.UNPROCESSABLE_ENTITY, None)
    for status, words in sorted((wanted | own).items()):
        said[str(status)] = {"description": words, "content": {MEDIA_TYPE: {"schema": PROBLEM}}}
