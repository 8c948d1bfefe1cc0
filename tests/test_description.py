"""What /openapi.json says, for people, generators of clients, and the page of docs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from jsonschema_rs import Draft202012Validator
from pydantic import ValidationError

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.request_errors import PATTERNS
from api.shapes.imports import ImportBody
from api.workspace import Workspace
from search.storing.store import Store
from tests.fakes import InProcessDecoder


@pytest.fixture
def app(local_store: Store) -> Iterator[FastAPI]:
    with Workspace(local_store.root) as workspace:
        yield create_app(Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace)))  # type: ignore[arg-type]


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    paths = document["paths"].items()
    return [(f"{method} {path}", one) for path, methods in paths for method, one in methods.items()]


def problems_of(said: dict[str, Any]) -> dict[str, Any]:
    return {status: one for status, one in said["responses"].items() if int(status) >= 400}


def test_every_operation_has_a_name_of_its_own_that_generators_can_use_and_a_tag(app: FastAPI) -> None:
    document = app.openapi()
    names = [one["operationId"] for _, one in operations(document)]
    assert len(set(names)) == len(names)
    assert [name for name in names if not name.isidentifier() or "__" in name] == []
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    assert all(tags.values())
    for name, one in operations(document):
        assert not name.partition(" ")[2].startswith("/v1") or one["tags"][0] in tags, name


def test_every_problem_that_is_documented_is_a_problem_document(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    assert set(schemas["Problem"]["required"]) == {"type", "title", "status", "detail"}
    assert "HTTPValidationError" not in schemas
    for name, one in operations(document):
        for status, said in problems_of(one).items():
            assert said["content"] == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
            assert said["description"], (name, status)


def test_statuses_are_documented_where_they_can_happen(app: FastAPI) -> None:
    said = dict(operations(app.openapi()))
    search = set(problems_of(said["post /v1/collections/{collection}/search"]))
    assert {"400", "401", "403", "404", "408", "413", "415", "422", "429", "503"} <= search
    assert set(problems_of(said["get /healthz"])) == {"400", "429", "503"}
    assert "412" in problems_of(said["patch /v1/collections/{collection}/images/{image_id}"])
    assert not {"413", "415"} & set(problems_of(said["get /v1/collections"]))


def test_every_reference_leads_somewhere(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]

    def references(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for value in part.values():
                yield from references(value)
        elif isinstance(part, list):
            for value in part:
                yield from references(value)

    named = set(references(document))
    assert {one.rpartition("/")[2] for one in named} <= set(schemas)
    assert all(one.startswith("#/components/schemas/") for one in named)


def test_every_body_has_examples_that_are_what_it_takes(app: FastAPI) -> None:
    document = app.openapi()
    schemas = document["components"]["schemas"]
    for name, one in operations(document):
        for kind, content in one.get("requestBody", {}).get("content", {}).items():
            whole = content["schema"] | {"components": document["components"]}
            shape = schemas[content["schema"]["$ref"].rpartition("/")[2]] if "$ref" in content["schema"] else {}
            shapes = [shape] + [schemas[ref["$ref"].rpartition("/")[2]] for ref in content["schema"].get("anyOf", [])]
            shapes += [content["schema"]]  # a form has no name
            examples = [example for shape in shapes for example in shape.get("examples", [])]
            assert examples, f"{name} {kind}"
            for example in examples:
                Draft202012Validator(whole).validate(example)


def test_bodies_of_several_shapes_show_examples_where_readers_look_for_them(app: FastAPI) -> None:
    said = dict(operations(app.openapi()))
    for name in ("images", "verdicts"):
        content = said[f"post /v1/collections/{{collection}}/{name}"]["requestBody"]["content"]["application/json"]
        values = [one["value"] for one in content["examples"].values()]
        assert ["items" in value for value in values] == [False, True]


def test_every_good_answer_in_json_has_a_shape(app: FastAPI) -> None:
    for name, one in operations(app.openapi()):
        for status, told in one["responses"].items():
            for kind, content in told.get("content", {}).items():
                assert content.get("schema") or not kind.endswith("json"), f"{name} {status} {kind}"


def test_every_pattern_has_words(app: FastAPI) -> None:
    def patterns(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            if isinstance(part.get("pattern"), str):
                yield part["pattern"]
            for value in part.values():
                yield from patterns(value)
        elif isinstance(part, list):
            for value in part:
                yield from patterns(value)

    assert set(patterns(app.openapi())) <= set(PATTERNS)


def test_the_document_demands_of_an_import_what_the_server_demands(app: FastAPI) -> None:
    shape = app.openapi()["components"]["schemas"]["ImportBody"]
    validator = Draft202012Validator(shape | {"components": app.openapi()["components"]})
    nothings: list[dict[str, Any]] = [{}, {"sources": []}, {"manifest": [], "keep": "none"}]
    for nothing in nothings:
        assert not validator.is_valid(nothing)
        with pytest.raises(ValidationError, match="name pictures"):
            ImportBody.model_validate(nothing)
    for something in ({"sources": ["/a"]}, {"sources": [], "manifest": [{"uri": "/a"}]}):
        assert validator.is_valid(something)
        ImportBody.model_validate(something)


def test_what_explains_a_pair_is_described(app: FastAPI) -> None:
    said = dict(operations(app.openapi()))["post /v1/collections/{collection}/images/{image_id}/explain"]
    assert said["responses"]["200"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/Explanation"}},
        "image/png": {},
    }


# What generators of clients make functions of; others, such as lines and pictures, they take for one of these when
# they are told to (docs/client.md).
JSON = ("application/json", "application/merge-patch+json")
KNOWN = {*JSON, "multipart/form-data", "application/octet-stream", "text/plain", "text/event-stream"}
OTHERS = {"application/x-ndjson", "image/jpeg", "image/png"}


def test_generators_can_make_a_function_of_every_operation(app: FastAPI) -> None:
    page = (Path(__file__).parent.parent / "docs" / "client.md").read_text()
    told = set(re.findall(r"^  ([\w./+-]+): application/octet-stream$", page, re.M))
    document = app.openapi()
    for name, one in operations(document):
        bodies = one.get("requestBody", {}).get("content", {})
        answers = {status: said for status, said in one["responses"].items() if status < "3" and status != "204"}
        assert answers or "204" in one["responses"], name
        for said in answers.values():
            assert set(said["content"]) & (KNOWN | told), f"{name} says of what type its answer is"
        assert not bodies or set(bodies) & (KNOWN | told), f"{name} takes a body that generators know"
        for kind, content in bodies.items():
            assert kind in KNOWN | OTHERS, kind
            if kind in JSON:
                assert "$ref" in content["schema"] or all("$ref" in each for each in content["schema"]["anyOf"]), name


def test_bodies_are_schemas_with_names(app: FastAPI) -> None:
    content = dict(operations(app.openapi()))["post /v1/collections/{collection}/search"]["requestBody"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/SearchBody"}


def test_every_request_that_starts_a_job_takes_a_webhook_and_what_that_is_sent_is_described(app: FastAPI) -> None:
    described = app.openapi()
    shapes, starters = described["components"]["schemas"], []
    for path, operations in described["paths"].items():
        post = operations.get("post", {})
        if "202" in post.get("responses", {}) and post["operationId"] not in ("cancel", "send_webhook"):
            body = post["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert shapes[body]["properties"]["webhook"]["description"], path
            starters.append(path)
    assert len(starters) == 5
    sent = described["webhooks"]["job"]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert {"type", "result", "timestamp"} <= set(shapes[sent.rpartition("/")[2]]["properties"])
