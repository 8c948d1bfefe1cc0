"""The OpenAPI document: what the framework says of the routes, with the problems that each can answer, spelled for
programs that generate clients and tests of it.
"""

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
            )
            app.openapi_schema = _finished(made)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _finished(document: Schema) -> Schema:
    schemas: Schema = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema()
    for path, operation in _operations(document):
        taken = operation.get("requestBody", {}).get("content", {})
        given = operation["responses"].get("200", {}).get("content", {})
        for content in (*taken.values(), *given.values()):
            _name_schema(content, schemas)
        _say_lines(operation, given, schemas)
        _say_problems(path, operation)
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


def _say_lines(operation: Schema, given: Schema, schemas: Schema) -> None:
    """Document that a list comes as lines, too (api/http/ndjson.py)."""
    page = schemas.get(given.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2], {})
    fields = page.get("properties", {})
    if {"items", "next_cursor"} <= set(fields):
        given[LINES] = {"schema": fields["items"]["items"]}
        operation["responses"]["200"]["description"] = "a page of the list, or all of it line by line"


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
