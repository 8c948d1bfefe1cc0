"""Pictures taken in over HTTP, with the built-in backbone: durable, and found by the next search of any process."""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import QueryRequest
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.storing.kept_answers import KeptAnswers
from search.storing.uploads import Uploads
from tests.conftest import painted

BASE = "/v1/collections/default"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three indexed pictures, and a folder `allowed` of which clients may name files."""
    folder = tmp_path_factory.mktemp("ingest")
    (folder / "photos").mkdir()
    (folder / "allowed").mkdir()
    for number in range(3):
        painted(number, (320, 240)).save(folder / "photos" / f"{number}.png")
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(folder / "photos")])
    return folder


@pytest.fixture(scope="module")
def client(album: Path) -> Iterator[TestClient]:
    with Workspace(album / "store") as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        small = Uploads(workspace.store).small
        parts = Parts(
            workspace, Thumbnails(pool, small), Readiness(workspace), ("testserver",), roots=(album / "allowed",)
        )
        with TestClient(create_app(parts), raise_server_exceptions=False) as made:
            yield made


def drawn(seed: int, size: tuple[int, int] = (320, 240), **options: Any) -> bytes:
    file = BytesIO()
    painted(seed, size).save(file, **({"format": "png"} | options))
    return file.getvalue()


def send(client: TestClient, *pictures: bytes, headers: dict[str, str] | None = None, **fields: Any) -> Response:
    files = [("image", (f"{number}.png", data)) for number, data in enumerate(pictures)]
    return client.post(f"{BASE}/images", files=files, data=fields, headers=headers)


def one(answer: Response) -> dict[str, Any]:
    (item,) = answer.json()["items"]
    return dict(item)


def found(client: TestClient, data: bytes) -> list[str]:
    answer = client.post(f"{BASE}/search", files={"image": data}, data={"k": "3"})
    return [match["id"] for match in answer.json()["matches"] if match["relation"] == "identical"]


def kept_files(album: Path) -> list[str]:
    return sorted(file.name for file in (album / "store" / "uploads").rglob("*.*") if file.name != ".lock")


def test_an_upload_is_durable_and_found_by_the_next_search_here_and_elsewhere(client: TestClient, album: Path) -> None:
    data = drawn(10)
    assert found(client, data) == []
    answer = send(client, data)
    item = one(answer)
    assert (answer.status_code, item["outcome"], item["image"]["key"][:7]) == (201, "added", "sha256:")
    assert found(client, data) == [item["image"]["id"]]
    with Workspace(album / "store") as other:
        matches = other.search_by_picture(other.collection("default"), data, "it", QueryRequest()).matches
        assert (str(matches[0].image.id), matches[0].score > 0.999) == (item["image"]["id"], True)
    assert Path(item["image"]["path"]).read_bytes() == data
    place = f"{BASE}/images/{item['image']['id']}"
    thumbnail = client.get(f"{place}/thumbnail", params={"size": 64})
    assert Image.open(BytesIO(thumbnail.content)).size == (64, 48)
    explained = client.post(f"{place}/explain", files={"image": drawn(10, (240, 180))})
    assert explained.json()["answer"] == "yes"
    assert (client.get(BASE).json()["complete"], client.get(BASE).json()["searchable"]) == (True, 4)
    again = send(client, data)
    assert (again.status_code, one(again)["outcome"], one(again)["image"]) == (200, "exists", item["image"])


def test_several_come_with_their_keys_metadata_and_labels_and_a_bad_one_spoils_none(client: TestClient) -> None:
    answer = send(
        client,
        drawn(20),
        b"no picture",
        drawn(21),
        key=["a/1", "a/2", "ä 3"],
        metadata=['{"n": 1}', "", '{"n": 3}'],
        labels=["", "", '[{"label": "tabby", "probability": 0.5}, {"label": "sofa", "probability": 0.9}]'],
    )
    items = answer.json()["items"]
    assert (answer.status_code, [item["outcome"] for item in items]) == (201, ["added", "rejected", "added"])
    assert (items[1]["image"], items[1]["problem"]["reason"], items[1]["problem"]["status"]) == (
        None,
        "not_an_image",
        422,
    )
    assert "picture 2" in items[1]["problem"]["detail"]
    assert (items[0]["image"]["key"], items[0]["image"]["metadata"]) == ("a/1", {"n": 1})
    assert [label["label"] for label in items[2]["image"]["labels"]] == ["sofa", "tabby"]
    assert client.get(f"{BASE}/images/by-key/%C3%A4%203").json() == items[2]["image"]
    where = client.post(f"{BASE}/search", json={"key": "a/1", "where": "metadata.n >= 1"}).json()["matches"]
    assert {match["key"] for match in where} == {"a/1", "ä 3"}


def test_labels_belong_to_a_file_and_whoever_sends_others_later_is_told(client: TestClient) -> None:
    data, dog, cat = drawn(27), '[{"label": "dog", "probability": 0.9}]', '[{"label": "cat", "probability": 0.8}]'
    first = one(send(client, data, key="l/1", labels=dog))
    again = one(send(client, data, key="l/2", labels=dog))
    assert ("note" in first, "note" in again) == (False, False), "they are as was sent"
    files = {"image": ("a.png", data)}
    for path, outcome in (("l/3", "added"), ("l/1", "exists")):
        other = client.put(f"{BASE}/images/by-key/{path}", files=files, data={"labels": cat}).json()
        assert (other["outcome"], [one["label"] for one in other["image"]["labels"]]) == (outcome, ["dog"])
        assert "written once" in other["note"]
    assert "written once" in one(send(client, data, key="l/2", labels=cat))["note"]
    for path in ("l/1", "l/2", "l/3"):
        image = client.get(f"{BASE}/images/by-key/{path}").json()["id"]
        client.delete(f"{BASE}/images/{image}").raise_for_status()


def test_a_key_leads_to_one_picture_until_a_put_replaces_it(client: TestClient, album: Path) -> None:
    first, second = drawn(30), drawn(31)
    added = client.put(f"{BASE}/images/by-key/shop/30", files={"image": first}, data={"metadata": '{"a": 1}'})
    assert (added.status_code, added.json()["outcome"], added.json()["image"]["key"]) == (201, "added", "shop/30")
    assert one(send(client, first, key="shop/30"))["outcome"] == "exists"
    taken = one(send(client, second, key="shop/30"))
    assert (taken["outcome"], taken["problem"]["type"]) == ("rejected", "urn:lookalike:problem:KeyTaken")
    assert found(client, second) == []
    replaced = client.put(f"{BASE}/images/by-key/shop/30", files={"image": second})
    image = replaced.json()["image"]
    assert (replaced.status_code, replaced.json()["outcome"], image["id"]) == (
        200,
        "replaced",
        added.json()["image"]["id"],
    )
    assert image["metadata"] == {"a": 1}
    assert (found(client, first), found(client, second)) == ([], [image["id"]])
    assert Path(added.json()["image"]["path"]).name not in kept_files(album)
    bad = client.put(f"{BASE}/images/by-key/shop/30", files={"image": b"no picture"})
    assert (bad.status_code, bad.json()["reason"]) == (422, "not_an_image")
    assert client.get(f"{BASE}/images/by-key/shop/30").json() == image


def test_copies_are_taken_linked_or_rejected_as_is_asked(client: TestClient) -> None:
    data, near = drawn(40), drawn(40, format="jpeg", quality=60)
    image = one(send(client, data, key="forty"))["image"]
    rejected = send(client, near, key="near", on_duplicate="reject")
    item = one(rejected)
    assert (rejected.status_code, item["outcome"], item["image"]["id"]) == (200, "rejected", image["id"])
    assert (item["problem"]["type"], item["problem"]["status"]) == ("urn:lookalike:problem:DuplicatePicture", 409)
    assert (item["check"]["status"], item["check"]["match"]["id"]) == ("near", image["id"])
    linked = one(send(client, near, on_duplicate="link"))
    assert (linked["outcome"], linked["image"]["id"]) == ("linked", image["id"])
    keyed = send(client, near, key="another", on_duplicate="link")
    item = one(keyed)
    assert (keyed.status_code, item["outcome"], item["image"]["key"]) == (201, "linked", "another")
    assert item["image"]["uri"] == image["uri"]
    assert found(client, data) == sorted([image["id"], item["image"]["id"]], key=int)
    assert one(send(client, near, key="near"))["outcome"] == "added"
    new = one(send(client, drawn(41), on_duplicate="reject"))
    assert (new["outcome"], new["check"]["status"]) == ("added", "new")


def test_of_copies_that_come_together_one_is_taken(client: TestClient) -> None:
    data = drawn(50)
    with ThreadPoolExecutor(6) as threads:
        keys = [f"fifty {number}" for number in range(6)]
        answers = threads.map(lambda key: one(send(client, data, key=key, on_duplicate="reject"))["outcome"], keys)
        assert sorted(answers) == ["added", *["rejected"] * 5]
    both = send(client, drawn(51), drawn(51), key=["x", "y"], on_duplicate="reject").json()["items"]
    assert [item["outcome"] for item in both] == ["added", "rejected"]
    with ThreadPoolExecutor(6) as threads:
        sent = [*threads.map(lambda seed: one(send(client, drawn(seed))), range(52, 58))]
    assert len({item["image"]["id"] for item in sent}) == 6
    assert all(found(client, drawn(52 + number)) == [item["image"]["id"]] for number, item in enumerate(sent))


def test_of_pictures_put_under_one_new_key_together_one_is_added_and_the_others_replace(
    client: TestClient, album: Path
) -> None:
    before = kept_files(album)

    def put(seed: int) -> tuple[int, str, str]:
        answer = client.put(f"{BASE}/images/by-key/raced", files={"image": ("a.png", drawn(seed))})
        return answer.status_code, answer.json()["outcome"], answer.json()["image"]["id"]

    with ThreadPoolExecutor(6) as threads:
        done = sorted(threads.map(put, range(70, 76)))
    assert [(status, outcome) for status, outcome, _ in done] == [(200, "replaced")] * 5 + [(201, "added")]
    assert len({image for _, _, image in done}) == 1
    assert len(kept_files(album)) == len(before) + 1, "files that were replaced are gone"
    client.delete(f"{BASE}/images/{done[0][2]}").raise_for_status()


def test_what_the_server_keeps_is_asked_for_and_goes_with_the_last_image(client: TestClient, album: Path) -> None:
    before = kept_files(album)
    small = one(send(client, drawn(60), keep="thumbnail"))["image"]
    nothing = one(send(client, drawn(61), keep="none"))["image"]
    assert (small["uri"][:7], "path" in small, len(kept_files(album)) - len(before)) == ("upload:", False, 1)
    shown = client.get(f"{BASE}/images/{small['id']}/thumbnail", params={"size": 100})
    assert Image.open(BytesIO(shown.content)).size == (100, 75)
    assert client.get(f"{BASE}/images/{nothing['id']}/thumbnail").status_code == 404
    first, second = (one(send(client, drawn(62), key=key))["image"] for key in ("p", "q"))
    for image, left in ((first, 2), (second, 1), (small, 0), (nothing, 0)):
        assert client.delete(f"{BASE}/images/{image['id']}").status_code == 204
        assert len(kept_files(album)) - len(before) == left, image


def test_a_request_that_names_itself_is_done_once_and_answered_the_same(client: TestClient) -> None:
    data, name = drawn(70), {"Idempotency-Key": "upload-70"}
    first = send(client, data, key="seventy", headers=name)
    again = send(client, data, key="seventy", headers=name)
    assert (first.status_code, again.status_code, again.json()) == (201, 201, first.json())
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    other = send(client, drawn(71), key="seventy", headers=name)
    assert (other.status_code, other.json()["type"]) == (422, "urn:lookalike:problem:KeyReused")
    put = {"Idempotency-Key": "put-72"}
    bad = client.put(f"{BASE}/images/by-key/72", files={"image": b"x"}, headers=put)
    assert bad.status_code == 422
    good = client.put(f"{BASE}/images/by-key/72", files={"image": b"x"}, headers=put)
    assert "idempotency-replayed" not in good.headers, "what failed is tried again"


def test_the_same_request_sent_meanwhile_is_told_when_to_come_back(client: TestClient) -> None:
    app: Any = client.app
    workspace = app.state.workspace
    digest = hashlib.sha256(b"what the first one asked").digest()
    target = workspace.collection("default")
    path, name = f"{BASE}/images/1", {"Idempotency-Key": "slow-one"}
    with patch("api.http.repeats._digest", AsyncMock(return_value=digest)):
        KeptAnswers(workspace.store.database).begin(target, "slow-one", digest)
        answer = client.patch(path, json={}, headers=name)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:lookalike:problem:StillAtWork")
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        KeptAnswers(workspace.store.database).failed(target, "slow-one")
        assert client.patch(path, json={}, headers=name).status_code == 200


def test_every_write_that_names_itself_is_done_once(client: TestClient) -> None:
    image = one(send(client, drawn(73)))["image"]
    place = f"{BASE}/images/{image['id']}"
    asked: list[tuple[str, str, object, object]] = [
        ("PATCH", place, {"metadata": {"n": 1}}, {"metadata": {"n": 2}}),
        ("POST", f"{BASE}/verdicts", {"first": image["id"], "second": "1", "verdict": "different"}, {"items": []}),
        ("DELETE", f"{BASE}/verdicts/{'0' * 64}/{'1' * 64}", None, {}),
        ("DELETE", place, None, {}),
        ("POST", f"{BASE}/imports", {"sources": ["/a"]}, {"sources": ["/b"]}),
        ("POST", f"{BASE}/dedup", {"threshold": 0.9}, {"threshold": 0.8}),
    ]
    for number, (method, path, body, other) in enumerate(asked):
        name = {"Idempotency-Key": f"write-{number}"}
        first, again, reused = (client.request(method, path, json=one, headers=name) for one in (body, body, other))
        if path.endswith("imports"):
            assert (first.status_code, again.status_code) == (422, 422), "what failed is tried again"
            continue
        assert first.is_success, first.text
        assert (again.status_code, again.content) == (first.status_code, first.content), path
        assert [again.headers.get(name) for name in ("location", "etag")] == [
            first.headers.get(name) for name in ("location", "etag")
        ]
        assert ("idempotency-replayed" in first.headers, again.headers["idempotency-replayed"]) == (False, "true")
        assert reused.json()["type"] == "urn:lookalike:problem:KeyReused", path
    assert client.get(place).status_code == 404


def test_addresses_lead_only_below_the_folders_that_the_owner_named(client: TestClient, album: Path) -> None:
    inside, outside = album / "allowed" / "in side.png", album / "photos" / "0.png"
    inside.write_bytes(drawn(80))
    (album / "allowed" / "way out").symlink_to(album / "photos")
    (album / "allowed" / "link.png").symlink_to(outside)
    answer = client.post(f"{BASE}/images", json={"uri": str(inside), "key": "eighty", "metadata": {"n": 80}})
    item = one(answer)
    assert (answer.status_code, item["outcome"], item["image"]["path"]) == (201, "added", str(inside))
    assert item["image"]["metadata"] == {"n": 80}
    assert one(client.post(f"{BASE}/images", json={"uri": inside.as_uri()}))["outcome"] == "exists"
    places = [
        str(outside),
        outside.as_uri(),
        str(album / "allowed" / "way out" / "0.png"),
        str(album / "allowed" / "link.png"),
        f"{album / 'allowed'}/../photos/0.png",
        str(album / "allowed" / "nothing.png"),
        "/etc/passwd",
        "in side.png",
        "s3://bucket/a.png",
        "http://169.254.169.254/a.png",
    ]
    answer = client.post(f"{BASE}/images", json={"items": [{"uri": uri} for uri in places]})
    items = answer.json()["items"]
    assert (answer.status_code, {item["outcome"] for item in items}) == (200, {"rejected"})
    assert len({item["problem"]["detail"] for item in items[:-1]}) == 1, "no word tells what is there"
    os.mkfifo(album / "allowed" / "pipe.png")
    pipe = one(client.post(f"{BASE}/images", json={"uri": str(album / "allowed" / "pipe.png")}))
    assert pipe["outcome"] == "rejected"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"key": ["a", "b", "c"]}, "2 pictures came with 3 fields `key`"),
        ({"metadata": ["{}", "{"]}, "`metadata` is not valid JSON"),
        ({"metadata": ["[]", "[]"]}, "metadata"),
        ({"metadata": ['{"n": NaN}', "{}"]}, "metadata.n is nan"),
        ({"labels": ['[{"label": "", "probability": 1}]', ""]}, "label ''"),
        ({"labels": ['[{"label": "a", "probability": 2}]', ""]}, "probability"),
        ({"key": ["a\0b", "c"]}, "key"),
        ({"on_duplicate": "maybe"}, "on_duplicate"),
        ({"keep": "all"}, "keep"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_any_picture_is_looked_at(
    client: TestClient, fields: dict[str, Any], says: str
) -> None:
    answer = send(client, b"one", b"two", **fields)
    assert (answer.status_code, says in answer.json()["detail"]) == (422, True), answer.text


def test_requests_without_a_picture_or_with_too_many_are_refused(client: TestClient) -> None:
    assert client.post(f"{BASE}/images", files={"other": b"x"}).status_code == 422
    assert client.post(f"{BASE}/images", files=[("image", b"x")] * 101).status_code == 422
    assert client.post(f"{BASE}/images", json={"items": []}).status_code == 422
    assert client.post(f"{BASE}/images", json={"items": [{"uri": "/a"}] * 101}).status_code == 422
    assert client.post(f"{BASE}/images", content=b"x", headers={"content-type": "image/png"}).status_code == 415
    assert client.post("/v1/collections/nowhere/images", json={"uri": "/a"}).status_code == 404
    for key in ("", "with blank", "x" * 201):
        answer = client.post(f"{BASE}/images", json={"uri": "/a"}, headers={"Idempotency-Key": key})
        assert answer.status_code == 422, key
    document = client.get("/openapi.json").json()
    bodies = [document["paths"][path][how] for path, how in OPERATIONS]
    assert all("$defs" not in json.dumps(body) for body in bodies)


OPERATIONS = (
    ("/v1/collections/{collection}/images", "post"),
    ("/v1/collections/{collection}/images/by-key/{key}", "put"),
)


def test_a_key_that_is_no_utf8_is_refused_and_is_no_other_key(client: TestClient) -> None:
    for address in ("images/by-key/p%ff", "images/by-key/p%fe", "images/by-key/p%ed%a0%80", "images?where=key%ff"):
        answer = client.request("GET" if "?" in address else "PUT", f"{BASE}/{address}", files={"image": drawn(60)})
        assert (answer.status_code, "UTF-8" in answer.json()["detail"]) == (422, True), address
    replaced = client.put(f"{BASE}/images/by-key/p%ef%bf%bd", files={"image": drawn(60)})
    assert (replaced.status_code, replaced.json()["image"]["key"]) == (201, "p\ufffd"), "a letter as any other"


@pytest.mark.parametrize("left_out", [b"--", b"-", b"--x--", b"ginal\r\n--x--"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{BASE}/images"),
        ("PUT", f"{BASE}/images/by-key/cut"),
        ("POST", f"{BASE}/search"),
        ("POST", f"{BASE}/check"),
        ("POST", f"{BASE}/images/1/explain"),
        ("POST", "/v1/classify"),
    ],
)
def test_a_form_that_is_cut_off_is_refused_wherever(
    client: TestClient, method: str, path: str, left_out: bytes
) -> None:
    name = b"\r\n--x\r\nContent-Disposition: form-data; name="
    picture = name + b'"image"; filename="a.png"\r\n\r\n' + drawn(61)
    whole = picture.removeprefix(b"\r\n") + name + b'"keep"\r\n\r\noriginal\r\n--x--'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.request(method, path, content=whole.removesuffix(left_out), headers=headers)
    assert (answer.status_code, "closing boundary" in answer.json()["detail"]) == (422, True)


def test_empty_fields_say_nothing_of_their_pictures(client: TestClient) -> None:
    answer = send(client, drawn(70), drawn(71), key=["", "seventy-one"], metadata=["", "{}"], labels=["", ""])
    assert answer.status_code == 201
    first, second = (item["image"]["key"] for item in answer.json()["items"])
    assert (first.startswith("sha256:"), second) == (True, "seventy-one")


def test_of_pictures_with_one_key_the_first_is_taken(client: TestClient) -> None:
    pictures = [drawn(72, (1600, 1200)), *(drawn(number, (16, 16)) for number in range(73, 79))]
    answer = send(client, *pictures, key=["one key"] * 7).json()["items"]
    assert [item["outcome"] for item in answer] == ["added", *["rejected"] * 6]
    assert (answer[0]["image"]["width"], "KeyTaken" in answer[6]["problem"]["type"]) == (1600, True)
