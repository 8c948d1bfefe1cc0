"""The client can ask for everything that the server offers, with all that it takes."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import MockTransport, Request, Response
from jsonschema_rs import Draft202012Validator

from api.client import AsyncClient, Client
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from tests.fakes import InProcessDecoder
from tests.test_client_jobs import shape

IN = "/v1/collections/{collection}"
PLAN = "20261123-0a1b2c3d"
SHA = "0" * 64
PICTURE = b"a picture"
LABELS = {"tabby": 0.9}
FOUND = {"k": 3, "min_score": 0.5, "where": "width > 1", "accurate": True, "box": "0,0,9,9", "unique": True}
KEPT: dict[str, Any] = {"on_duplicate": "link", "keep": "none"}
NAMED: dict[str, Any] = {"idempotency_key": "mine"}
TOLD: dict[str, Any] = {"webhook": "https://a.test/told"} | NAMED
SAID: dict[str, Any] = {"metadata": {"n": 1}, "labels": LABELS}
Ask = Callable[[Any], Any]  # of a Client or an AsyncClient

# Which methods ask for an operation, with every argument that it knows; together they send all that it takes.
ASKED: dict[str, list[Ask]] = {
    "GET /healthz": [lambda to: to.health()],
    "GET /readyz": [lambda to: to.ready()],
    "GET /metrics": [lambda to: to.metrics()],
    "GET /v1/key": [lambda to: to.key()],
    "GET /v1/collections": [lambda to: to.collections()],
    f"GET {IN}/status": [lambda to: to.status()],
    f"PUT {IN}": [lambda to: to.create_collection(), lambda to: to.create_collection(backbone="builtin")],
    f"GET {IN}/facets": [lambda to: to.facets(where="width > 1")],
    f"GET {IN}/timeline": [lambda to: to.timeline(where="width > 1")],
    f"GET {IN}/fields": [lambda to: to.fields()],
    f"GET {IN}/map": [lambda to: to.map()],
    f"GET {IN}/failures": [lambda to: to.failures(reason="truncated"), lambda to: to.failures(page_size=None)],
    f"GET {IN}/images": [lambda to: to.images(where="width > 1"), lambda to: to.images(page_size=None)],
    f"GET {IN}/images/{{image_id}}": [lambda to: to.image(7)],
    f"GET {IN}/images/by-key/{{key}}": [lambda to: to.image_by_key("shop/17")],
    f"GET {IN}/images/{{image_id}}/thumbnail": [lambda to: to.thumbnail(7, size=64)],
    f"GET {IN}/images/{{image_id}}/difference": [lambda to: to.difference(7, 8)],
    f"GET {IN}/labels": [lambda to: to.labels(), lambda to: to.labels(page_size=None)],
    f"PATCH {IN}/images/{{image_id}}": [lambda to: to.change_metadata(7, {"n": None}, if_match='"a"', **NAMED)],
    f"DELETE {IN}/images/{{image_id}}": [lambda to: to.remove(7, **NAMED)],
    f"POST {IN}/images": [
        lambda to: to.add(PICTURE, key="k", **SAID, **KEPT, **NAMED),
        lambda to: to.add(uri="/photos/a.jpg", key="k", **SAID, **KEPT),
        lambda to: to.add_all([PICTURE, PICTURE], keys=["a", "b"], metadata=[{}, {}], labels=[LABELS, {}], **KEPT),
        lambda to: to.add_all(uris=["/a.jpg"], keys=["a"], metadata=[{}], labels=[LABELS], **KEPT),
    ],
    f"PUT {IN}/images/by-key/{{key}}": [
        lambda to: to.put("shop/17", PICTURE, **SAID, keep="none", **NAMED),
        lambda to: to.put("shop/17", uri="/a.jpg", **SAID, keep="none"),
    ],
    f"POST {IN}/imports": [
        lambda to: to.start_import(["/photos"], manifest=[{"uri": "/a.jpg", "key": "k"}], **KEPT, **TOLD)
    ],
    f"POST {IN}/search": [
        lambda to: to.search([PICTURE, PICTURE], like=[1], unlike=[2], **FOUND),
        lambda to: to.search(id=7, key="k", url="https://a.test/b.jpg", embedding=[1.0], like=[1], unlike=[2], **FOUND),
    ],
    f"POST {IN}/batch-search": [lambda to: to.batch_search([{"id": 7, "k": 3}, {"like": [1, 2]}])],
    f"POST {IN}/check": [
        lambda to: to.check(PICTURE, threshold=0.9, accurate=True),
        lambda to: to.check(id=7, key="k", url="https://a.test/b.jpg", threshold=0.9, accurate=True),
    ],
    "POST /v1/classify": [lambda to: to.classify([PICTURE], k=3)],
    f"POST {IN}/images/{{image_id}}/explain": [
        lambda to: to.explain(PICTURE, 7, box="0,0,9,9"),
        lambda to: to.explanation(PICTURE, 7, box="0,0,9,9"),
    ],
    f"GET {IN}/verdicts": [lambda to: to.verdicts(), lambda to: to.verdicts(page_size=None)],
    f"POST {IN}/verdicts": [
        lambda to: to.say("a", "b", "duplicate"),
        lambda to: to.say_all([("a", "b", "duplicate")]),
    ],
    f"DELETE {IN}/verdicts/{{first}}/{{second}}": [lambda to: to.forget(SHA, SHA)],
    f"POST {IN}/dedup": [
        lambda to: to.dedup(
            precision=0.9,
            threshold=0.9,
            calibrate=False,
            within="/a",
            between="b",
            protect=["/c"],
            prefer=["/d"],
            keep=["resolution"],
            expires="3d",
            **TOLD,
        )
    ],
    f"GET {IN}/dedup": [lambda to: to.reports()],
    f"GET {IN}/groups": [
        lambda to: to.groups(threshold=0.9, kind="resized"),
        lambda to: to.groups(kind=["resized", "near"], page_size=None),
        lambda to: to.groups_page(cursor="9"),
    ],
    f"GET {IN}/plans": [lambda to: to.plans(), lambda to: to.plans(page_size=None)],
    f"GET {IN}/plans/{{plan_id}}": [lambda to: to.plan(PLAN, cursor="9"), lambda to: to.plan_groups(PLAN)],
    f"GET {IN}/plans/{{plan_id}}/preview": [
        lambda to: to.plan_preview(PLAN, action="hardlink", near=True, max_fraction=0.5)
    ],
    f"POST {IN}/plans/{{plan_id}}/apply": [
        lambda to: to.apply(PLAN, action="hardlink", near=True, max_fraction=0.5, dry_run=True, **TOLD)
    ],
    f"POST {IN}/plans/{{plan_id}}/undo": [lambda to: to.undo(PLAN, dry_run=True, **TOLD)],
    f"POST {IN}/plans/{{plan_id}}/purge": [lambda to: to.purge(PLAN, older_than="3d", dry_run=True, **TOLD)],
    "GET /v1/jobs": [lambda to: to.jobs(state=["done", "failed"], collection="shop"), lambda to: to.jobs(state="done")],
    "GET /v1/jobs/{job_id}": [lambda to: to.job(7)],
}
# What a job that was asked for asks by itself.
BY_JOBS: dict[str, Callable[[Client], Any]] = {
    "GET /v1/jobs/{job_id}/events": lambda client: client.job(7).wait(),
    "POST /v1/jobs/{job_id}/cancel": lambda client: client.job(7).cancel(),
    "POST /v1/jobs/{job_id}/webhook": lambda client: client.job(7).send_webhook(),
}
NOT_ASKED = {f"GET {IN}": "`status` tells the same, and what live searches found of the nearest images"}
# Takes a name as every write does, and is the same when it is done twice.
TWICE = {f"POST {IN}/verdicts", f"DELETE {IN}/verdicts/{{first}}/{{second}}"}
# Lists go on by themselves.
BY_ITSELF = {"cursor"}


class Asked(Exception):
    """A request was sent, and that is all that a test wants to see."""

    def __init__(self, request: Request) -> None:
        self.request = request


def refuse(request: Request) -> Response:
    raise Asked(request)


def asked(client: Client, ask: Ask) -> Request:
    """Return the request that a call sends first."""
    with pytest.raises(Asked) as sent:
        answer = ask(client)
        next(iter(answer))
    return sent.value.request


async def asked_by_async(ask: Ask) -> Request:
    """Return the request that the same call of the async client sends."""
    async with AsyncClient("http://server.test", key="", transport=MockTransport(refuse)) as client:
        with pytest.raises(Asked) as sent:
            answer = ask(client)
            await (anext(aiter(answer)) if hasattr(answer, "__aiter__") else answer)
        await sent.value.request.aread()
        return sent.value.request


@pytest.fixture
def client() -> Client:
    return Client("http://server.test", key="", transport=MockTransport(refuse))


@pytest.fixture(scope="module")
def document(empty_store: Path) -> Iterator[dict[str, Any]]:
    """What the server says of itself."""
    with Workspace(empty_store) as workspace:
        app: FastAPI = create_app(Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace)))  # type: ignore[arg-type]
        yield app.openapi()


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    paths = document["paths"].items()
    return {f"{method.upper()} {path}": one for path, methods in paths for method, one in methods.items()}


def test_every_operation_of_the_api_has_a_method(document: dict[str, Any]) -> None:
    known = [*ASKED, *BY_JOBS, *NOT_ASKED]
    assert sorted(known) == sorted(operations(document)), (
        "a new operation gets a method of both clients, and a row here"
    )


@pytest.mark.parametrize("name", ASKED)
def test_a_method_asks_for_its_operation_with_all_that_it_takes(
    name: str, client: Client, document: dict[str, Any]
) -> None:
    operation = operations(document)[name]
    wanted = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"} - BY_ITSELF
    sent: dict[str, set[str]] = {}
    queries: set[str] = set()
    named = False
    for ask in ASKED[name]:
        request = asked(client, ask)
        assert leads_to(request, name)
        queries |= set(request.url.params)
        named |= request.headers.get("idempotency-key") == "mine"
        kind = request.headers.get("content-type", "").partition(";")[0]
        sent[kind] = sent.get(kind, set()) | fields_of(request, kind, operation, document)
        again = asyncio.run(asked_by_async(ask))
        assert (again.method, again.url) == (request.method, request.url), "the async client asks alike"
        assert len(again.content) == len(request.content)
    assert queries - BY_ITSELF == wanted
    takes_name = any(one["name"] == "idempotency-key" for one in operation.get("parameters", []))
    assert named == (takes_name and name not in TWICE), "with the caller's own name for it"
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        if kind in sent:  # of several kinds that mean the same, one is enough
            assert sent[kind] >= properties(content["schema"], document) - BY_ITSELF, kind
    assert set(sent) - {""} <= set(operation.get("requestBody", {}).get("content", {}))


def leads_to(request: Request, name: str) -> bool:
    method, _, path = name.partition(" ")
    steps = re.sub(r"\{\w+\}", "[^/]+", path.replace("{collection}", "default"))
    return request.method == method and re.fullmatch(steps, request.url.raw_path.decode().partition("?")[0]) is not None


def fields_of(request: Request, kind: str, operation: dict[str, Any], document: dict[str, Any]) -> set[str]:
    """Return the fields that were sent, which are what the server says that it takes."""
    if kind == "multipart/form-data":
        return set(re.findall(r'name="(\w+)"', request.content.decode()))
    if not kind:
        return set()
    schema = operation["requestBody"]["content"][kind]["schema"] | {"components": document["components"]}
    bodies = [json.loads(line) for line in request.content.splitlines()]
    for body in bodies:
        Draft202012Validator(schema).validate(body)
    # A batch takes lines that are searches, of which the operation `search` tells all.
    return properties(schema, document) if kind.endswith("ndjson") else {name for body in bodies for name in body}


def properties(schema: dict[str, Any], document: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        return properties(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    of_each = [properties(one, document) for one in schema.get("anyOf", [])]
    return set(schema.get("properties", {})).union(*of_each)


@pytest.mark.parametrize("name", BY_JOBS)
def test_a_job_asks_for_the_rest(name: str) -> None:
    requests: list[Request] = []

    def answer(request: Request) -> Response:
        requests.append(request)
        return Response(200, json=shape("done" if len(requests) > 2 else "running"))

    BY_JOBS[name](Client("http://server.test", key="", retries=0, transport=MockTransport(answer)))
    assert leads_to(requests[1], name)


def test_every_public_method_says_what_it_does_and_what_goes_wrong() -> None:
    for kind in (Client, AsyncClient):
        for name, method in vars(kind).items():
            if not name.startswith("_") and name not in ("close", "in_collection"):
                assert "Raises:" in (method.__doc__ or ""), f"{kind.__name__}.{name}"
