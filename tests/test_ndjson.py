"""Many searches in one request, lists line by line, fields with their values, and pictures named in words."""

import asyncio
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.batch_lines import MAX_LINE_BYTES, MAX_LINES
from api.http.ndjson import MEDIA_TYPE
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.query_embedder import QueryEmbedder
from search.records import SpaceSpec
from search.storing.api_keys import ApiKeys
from search.storing.commits import Batch, Committer
from search.storing.metadata_changes import change_metadata
from search.storing.store import Store
from tests.fakes import FakeBackbone, InProcessDecoder, facts, new_image, unit

HOME = "/v1/collections/default"
BATCH = f"{HOME}/batch-search"
IMAGES = 12


@pytest.fixture
def workspace(local_store: Store) -> Iterator[Workspace]:
    target = local_store.open_collection("default", SpaceSpec("axes", "0" * 64, "{}", 2))
    images = [new_image(f"{n}.jpg", facts(f"{n}")) for n in range(IMAGES)]
    rows = np.concatenate([unit(1, n) for n in range(IMAGES)])
    Committer(local_store.database, local_store.blobs, target).commit(Batch(images, rows))
    with Workspace(local_store.root) as opened:
        yield opened


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",))  # type: ignore[arg-type]
    return TestClient(create_app(parts), raise_server_exceptions=False)


def batch(client: TestClient, *lines: object) -> list[dict[str, Any]]:
    """Return the answers to a batch of lines, JSON or bytes."""
    body = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    answer = client.post(BATCH, content=body, headers={"content-type": MEDIA_TYPE})
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    return [json.loads(line) for line in answer.text.splitlines()]


def test_each_line_of_a_batch_is_answered_as_a_search_of_its_own(client: TestClient) -> None:
    asked = [{"id": "3", "k": 2}, {"embedding": [1, 0], "k": 1, "where": "width >= 1"}, {"like": ["1", "2"]}]
    found = batch(client, *asked)
    assert [one["line"] for one in found] == [1, 2, 3]
    for one, body in zip(found, asked, strict=True):
        single = client.post(f"{HOME}/search", json=body).json()
        assert {**one["answer"], "took_ms": None} == {**single, "took_ms": None}


def test_a_bad_line_has_its_problem_and_stops_no_other(client: TestClient) -> None:
    long = b'{"key": "' + b"a" * MAX_LINE_BYTES + b'"}'
    bad = [
        b"{no json",
        {"id": "3", "k": 1001},
        {"id": "999"},
        {"colour": "red"},
        {"id": "1", "where": "width >"},
        {"url": "https://a.example/b.jpg"},
        {},
        b"[1]",
        b"\xff",
        b"[" * 100_000,
        b'{"embedding": [NaN, 1]}',
        long,
    ]
    found = batch(client, *bad, b"", b"  ", {"id": "1", "k": 1})
    assert [one["problem"]["status"] for one in found[:-1]] == [422, 422, 404, *[422] * 9]
    assert all(one["problem"]["detail"] for one in found[:-1])
    assert found[4]["problem"]["position"] == 8
    assert (found[-1]["line"], found[-1]["answer"]["matches"][0]["id"]) == (len(bad) + 3, "1")


def test_a_batch_of_too_many_lines_or_of_another_type_is_refused_at_once(client: TestClient) -> None:
    headers = {"content-type": MEDIA_TYPE}
    assert client.post(BATCH, content=b"\n" * (MAX_LINES + 1), headers=headers).status_code == 422
    assert client.post(BATCH, json={"id": "1"}).status_code == 415
    assert client.post("/v1/collections/none/batch-search", content=b"{}", headers=headers).status_code == 404
    assert client.post(BATCH, content=b"", headers=headers).text == ""


def test_answers_of_a_batch_are_sent_while_later_lines_wait(client: TestClient) -> None:
    """Nothing of the second answer is made before the first has gone to the client."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": BATCH,
        "raw_path": BATCH.encode(),
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", MEDIA_TYPE.encode())],
    }
    sent: list[bytes] = []
    bodies = iter([{"type": "http.request", "body": b'{"id": "1"}\n{"id": "2"}\n', "more_body": False}])

    class GoneError(Exception):
        pass

    async def receive() -> dict[str, Any]:
        for message in bodies:
            return message
        await asyncio.sleep(3600)  # the client says nothing more
        raise AssertionError

    async def send(message: Any) -> None:
        if message.get("body"):
            sent.append(message["body"])
            raise GoneError

    with pytest.raises(BaseException):  # noqa: B017, PT011 -- a group of the above
        asyncio.run(client.app(scope, receive, send))  # type: ignore[arg-type]
    assert [json.loads(line)["line"] for line in sent] == [1]


LISTS = ("images", "labels", "fields", "verdicts", "failures")


@pytest.mark.parametrize("name", LISTS)
def test_a_list_comes_line_by_line_to_its_end_for_those_who_accept_only_lines(client: TestClient, name: str) -> None:
    items = client.get(f"{HOME}/{name}").json()["items"]
    answer = client.get(
        f"{HOME}/{name}", params={} if name == "fields" else {"limit": 5}, headers={"accept": MEDIA_TYPE}
    )
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert [json.loads(line) for line in answer.text.splitlines()] == items
    both = client.get(f"{HOME}/{name}", headers={"accept": f"application/json, {MEDIA_TYPE}"})
    assert both.json()["items"] == items


def test_lines_go_on_from_a_cursor_and_keep_the_other_parameters(client: TestClient) -> None:
    cursor = client.get(f"{HOME}/images", params={"limit": 3}).json()["next_cursor"]
    query = {"cursor": cursor, "limit": 2, "where": "id_is_no_field"}
    lines = {"accept": MEDIA_TYPE}
    assert client.get(f"{HOME}/images", params=query, headers=lines).status_code == 422
    query["where"] = 'uri != "file:///photos/5.jpg"'
    found = client.get(f"{HOME}/images", params=query, headers=lines).text.splitlines()
    assert [json.loads(one)["id"] for one in found] == ["4", "5", *map(str, range(7, IMAGES + 1))]


def test_what_is_no_list_and_what_is_refused_is_answered_as_ever(client: TestClient) -> None:
    lines = {"accept": MEDIA_TYPE}
    for path, status in ((f"{HOME}/images/1", 200), (f"{HOME}/images?limit=0", 422), ("/v1/collections/none", 404)):
        answer = client.get(path, headers=lines)
        assert (answer.status_code, answer.json()) == (status, client.get(path).json())


def test_fields_are_those_of_conditions_with_their_frequent_values(client: TestClient, workspace: Workspace) -> None:
    target, database = workspace.collection("default"), workspace.store.database
    for image, metadata in (
        (1, {"rating": 5, "place": {"city": "Köln"}, "shot by": "Ö", "sold": True}),
        (2, {"rating": 5, "tags": ["a"], "sold": 1}),
        (3, {"rating": 3, "story": "x" * 500}),
    ):
        change_metadata(database, target.id, image, metadata)
    found = {one["field"]: one for one in client.get(f"{HOME}/fields").json()["items"]}
    assert [found["format"]["values"], found["width"]["type"], found["taken_at"]["type"]] == [
        ["jpeg"],
        "number",
        "date",
    ]
    assert (found["metadata.rating"]["type"], found["metadata.rating"]["values"]) == ("number", [5, 3])
    assert found["metadata.place.city"]["values"] == ["Köln"]
    assert (found["metadata.sold"]["type"], len(found["metadata.sold"]["values"])) == ("mixed", 2)
    assert (found["metadata.tags"]["type"], found["metadata.story"]["values"]) == ("other", [])
    for name in found:
        answer = client.get(f"{HOME}/images", params={"where": f"{name} is null"})
        assert answer.status_code == 200, name


@pytest.fixture
def naming(local_store: Store) -> Iterator[TestClient]:
    """An application with the collections `named`, whose backbone has a classifier, and `plain`, whose has none."""
    with Workspace(local_store.root) as workspace:
        for name, backbone in (("named", FakeBackbone()), ("plain", FakeBackbone("plain"))):
            target = workspace.store.open_collection(name, backbone.space)
            if name == "plain":
                backbone.labeller = PreparedBackbone.labeller.__get__(  # type: ignore[method-assign]
                    PreparedBackbone(backbone.space, backbone.preparation, None)  # type: ignore[arg-type]
                )
            workspace._embedders[target.space_id] = QueryEmbedder(backbone, InProcessDecoder())
        parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",))  # type: ignore[arg-type]
        yield TestClient(create_app(parts), raise_server_exceptions=False)


def picture(red: int, green: int, blue: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (red, green, blue)).save(file, "PNG")
    return file.getvalue()


def test_pictures_are_named_in_the_order_they_were_sent_and_bad_ones_by_their_reason(naming: TestClient) -> None:
    files = [
        ("image", ("red.png", picture(250, 20, 10))),
        ("image", ("notes.txt", b"no picture")),
        ("image", ("blue.png", picture(0, 50, 200))),
    ]
    answer = naming.post("/v1/classify", files=files, data={"collection": "named", "k": "2"}).json()
    named = {one["name"]: [label["label"] for label in one["labels"]] for one in answer["images"]}
    assert named == {"red.png": ["red, crimson", "green"], "blue.png": ["blue, Azure", "green"]}
    assert [(one["name"], one["reason"]) for one in answer["failed"]] == [("notes.txt", "not_an_image")]


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        ({"collection": "plain"}, 422, "has no classifier"),
        ({"collection": "nowhere"}, 404, "nowhere"),
        ({"collection": "named", "k": "6"}, 422, "k is"),
        ({"collection": "named", "colour": "x"}, 422, "there is no field colour"),
        ({}, 404, "default"),
    ],
)
def test_what_cannot_be_named_says_why(naming: TestClient, data: dict[str, str], status: int, said: str) -> None:
    answer = naming.post("/v1/classify", files={"image": picture(9, 9, 9)}, data=data)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True)
    assert naming.post("/v1/classify", json={}).status_code == 415
    assert "`image`" in naming.post("/v1/classify", files={"k": (None, "1")}).json()["detail"]


def test_a_key_for_one_collection_asks_no_backbone_of_another(local_store: Store) -> None:
    from api.http.key_gate import KeyGate

    target = local_store.open_collection("own", FakeBackbone().space)
    with Workspace(local_store.root) as workspace:
        keys = ApiKeys(local_store.database)
        _, secret = keys.create("read", only=target)
        gate = KeyGate(keys, None, always=True)
        parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",), gate=gate)  # type: ignore[arg-type]
        client = TestClient(create_app(parts))
        answer = client.post(
            "/v1/classify",
            files={"image": picture(1, 2, 3)},
            data={"collection": "default"},
            headers={"authorization": f"Bearer {secret}"},
        )
        assert answer.status_code == 403
