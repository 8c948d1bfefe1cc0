"""JSON in which an object has a key twice is refused, wherever JSON is sent."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.exact_json import exact_json
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from search.errors import UsageError
from search.storing.store import Store
from tests.fakes import InProcessDecoder
from tests.stored_rows import add

TWICE = b'{"webhook": 1, "k": 1, "in": {"a": 1}, "k": 5}'
SAID = "has the key 'k' twice in one object; give it once"
PARTS = {"collection": "default", "image_id": "1", "plan_id": "20260101-00000000", "key": "a"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root: Path = tmp_path_factory.mktemp("store") / "store"
    with Store.create(root) as store:
        add(store, 1, 2)
    with Workspace(root) as workspace:
        parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace))  # type: ignore[arg-type]
        yield TestClient(create_app(parts), raise_server_exceptions=False)


def test_every_request_that_takes_json_refuses_a_key_twice(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    asked = [
        (method, path, kind)
        for path, methods in paths.items()
        for method, operation in methods.items()
        for kind in operation.get("requestBody", {}).get("content", {})
        if kind in ("application/json", "application/merge-patch+json")
    ]
    assert {path.rpartition("/")[2] for _, path, _ in asked} >= {"search", "dedup", "imports", "verdicts", "apply"}
    for method, path, kind in asked:
        answer = client.request(method, path.format(**PARTS), content=TWICE, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["detail"]) == (422, f"the body {SAID}"), (method, path, kind)


def test_a_line_of_a_batch_and_a_field_of_a_form_are_read_so_too(client: TestClient) -> None:
    lines = {"content-type": "application/x-ndjson"}
    batch = client.post("/v1/collections/default/batch-search", content=TWICE + b"\n", headers=lines)
    assert batch.json()["problem"]["detail"] == f"the line {SAID}"
    form = {"files": {"image": b"x"}, "data": {"metadata": '{"k": 1, "k": 2}'}}
    image = client.post("/v1/collections/default/images", **form)  # type: ignore[arg-type]
    assert (image.status_code, image.json()["detail"]) == (422, f"the form field `metadata` {SAID}")


def test_the_framework_says_of_json_that_is_none_what_everybody_says(client: TestClient) -> None:
    json_type = {"content-type": "application/json"}
    for path in ("dedup", "search"):
        for body in (b"{", b"[" * 200_000, b"\xff", b'{"a": 1}}'):
            answer = client.post(f"/v1/collections/default/{path}", content=body, headers=json_type)
            assert (answer.status_code, answer.json()["detail"][:26]) == (422, "the body is not valid JSON"), body


def test_json_that_is_packed_or_in_other_letters_is_refused(client: TestClient) -> None:
    body = b'{"id": "1"}'
    for path in ("search", "dedup", "images", "verdicts", "batch-search"):
        kind = "application/x-ndjson" if path == "batch-search" else "application/json"
        for headers, complaint in (
            ({"content-type": f"{kind}; charset=utf-16"}, "the body is JSON in utf-16; send UTF-8"),
            ({"content-type": kind, "content-encoding": "gzip"}, "the body is packed (gzip); send it as it is"),
        ):
            answer = client.post(f"/v1/collections/default/{path}", content=body, headers=headers)
            assert (answer.status_code, complaint in answer.json()["detail"]) == (415, True), (path, answer.text)
    for kind in ("application/json; charset=UTF-8", 'application/json; charset="utf-8"', "application/json"):
        headers = {"content-type": kind, "content-encoding": "identity"}
        assert client.post("/v1/collections/default/search", content=body, headers=headers).status_code == 200


def test_json_that_is_nested_too_deeply_is_named_so(client: TestClient) -> None:
    headers = {"content-type": "application/json"}
    answer = client.post("/v1/collections/default/search", content=b"[" * 200_000, headers=headers)
    assert answer.json()["detail"] == "the body is not valid JSON: it is nested too deeply; send fewer levels"


def test_a_box_of_another_form_is_told_the_form(client: TestClient) -> None:
    answer = client.post("/v1/collections/default/search", json={"id": "1", "box": [0, 0, 10, 10]})
    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        'box is an array; give a text, x,y,width,height in pixels, such as "120,80,640,480"'
    )


@pytest.mark.parametrize(
    ("path", "method", "complaint"),
    [
        ("/v1/nothing", "GET", "there is nothing at '/v1/nothing'; /openapi.json lists what there is"),
        ("/v1/collections", "PUT", "PUT is nothing that '/v1/collections' takes; the header Allow names what it takes"),
    ],
)
def test_what_is_not_there_is_named(client: TestClient, path: str, method: str, complaint: str) -> None:
    answer = client.request(method, path)
    assert answer.json()["detail"] == complaint
    assert answer.status_code == 404 or answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        *(("k", text, "give a whole number") for text in ("1_0", " 1", "1.0", "1e1", "+1", "")),
        *(("min_score", text, "give a number") for text in ("0_1", " 0.5", ".5", "")),
        ("min_score", "nan", "give a finite number"),
    ],
)
def test_a_number_of_a_form_is_spelled_as_json_spells_it(client: TestClient, name: str, text: str, remedy: str) -> None:
    files = {"image": b"x"}
    answer = client.post("/v1/collections/default/search", files=files, data={name: text})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{name} is ") and answer.json()["detail"].endswith(remedy)


def test_every_number_of_an_address_is_spelled_as_json_spells_it(client: TestClient) -> None:
    spellings = {"integer": ("1_0", " 10", "+10", "10.0", "1e1", "010", "١٠"), "number": ("0_1", " 0.5", "+.5", ".5")}
    paths = client.get("/openapi.json").json()["paths"]
    seen: set[str] = set()
    for path, methods in paths.items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                schema = parameter["schema"]
                kinds = {one.get("type") for one in (schema, *schema.get("anyOf", ()))}
                for text in (one for kind in kinds & spellings.keys() for one in spellings[kind]):
                    given, query = {"job_id": "1", **PARTS}, dict[str, str]()
                    (given if parameter["in"] == "path" else query)[parameter["name"]] = text
                    answer = client.request(method, path.format(**given), params=query)
                    said = answer.json()["detail"]
                    assert answer.status_code == 422, (method, path, parameter["name"], text, said)
                    assert f'{parameter["name"]} is "{text}"; give a' in said, said
                    seen.add(parameter["name"])
    assert seen >= {"limit", "size", "image_id", "job_id", "threshold", "max_fraction", "keeper"}


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 1}', '[{"b": {"a": 1, "\\u0061": 2}}]', '{"\\ud800": 1, "\\ud800": 2}']
)
def test_a_key_twice_is_seen_at_every_depth_and_however_it_is_spelled(text: str) -> None:
    with pytest.raises(UsageError, match="twice in one object") as refused:
        exact_json(text, "it")
    str(refused.value).encode()


def test_the_same_key_in_several_objects_is_none_twice() -> None:
    assert exact_json('[{"a": 1}, {"a": {"a": 2}}]', "it") == [{"a": 1}, {"a": {"a": 2}}]
