"""What HTTP refuses, and in what words: requests, forms and pictures that cannot be used."""

import json
import re
from io import BytesIO

import pytest
from starlette.testclient import TestClient

from api.http.app import MAX_BODY_BYTES
from api.request_errors import PATTERNS
from tests.conftest import painted
from tests.http_album import BASE, album, client, problem, upload

__all__ = ["album", "client"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/v1/collections/nowhere", None, 404),
        ("GET", f"{BASE}/images/999999", None, 404),
        ("GET", f"{BASE}/images/abc", None, 422),
        ("GET", f"{BASE}/images/by-key/nothing", None, 404),
        ("GET", f"{BASE}/images?limit=0", None, 422),
        ("GET", f"{BASE}/images?cursor=x", None, 422),
        ("GET", f"{BASE}/images/1/thumbnail?size=100000", None, 422),
        ("GET", f"{BASE}/groups?threshold=2", None, 422),
        ("GET", "/v1/nothing", None, 404),
        ("DELETE", BASE, None, 405),
        ("POST", f"{BASE}/search", {"id": "999999"}, 404),
        ("POST", f"{BASE}/search", {"id": "1", "key": "a"}, 422),
        ("POST", f"{BASE}/search", {}, 422),
        ("POST", f"{BASE}/search", {"id": "1", "k": 0}, 422),
        ("POST", f"{BASE}/search", {"id": "1", "k": 1001}, 422),
        ("POST", f"{BASE}/search", {"id": "1", "colour": "red"}, 422),
        ("POST", f"{BASE}/search", {"id": "-1"}, 422),
        ("POST", f"{BASE}/search", [1, 2], 422),
    ],
)
def test_a_bad_request_is_a_problem_document(
    client: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = client.request(method, path, json=body) if body is not None else client.request(method, path)
    assert answer.status_code == status
    assert problem(answer)["detail"]


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("images?limit=0", None, 'limit is "0"; give 1 or more'),
        ("images?limit=1001", None, 'limit is "1001"; give 1000 or less'),
        ("images?limit=many", None, 'limit is "many"; give a whole number'),
        ("images?cursor=x", None, 'cursor is "x"; give 1 to 16 digits'),
        ("images/abc", None, 'image_id is "abc"; give a whole number'),
        (f"images/{2**53}", None, f'image_id is "{2**53}"; give less than {2**53}'),
        ("groups?threshold=nan", None, "threshold is nan; give a finite number"),
        ("groups?threshold=high", None, 'threshold is "high"; give a number'),
        ("search", b'{"id": "1", "k": 0}', "k is 0; give 1 or more"),
        ("search", b'{"id": "1", "k": 1.5}', "k is 1.5; give a whole number"),
        ("search", b'{"id": "1", "k": {}}', "k is an object; give a whole number"),
        ("search", b'{"id": 1}', "id is 1; give a text"),
        ("search", b'{"id": "1", "min_score": NaN}', "min_score is nan; give a finite number"),
        ("search", b'{"id": "1", "min_score": 2}', "min_score is 2; give 1 or less"),
        ("search", b'{"key": "\\ud800"}', "key holds half of a character; give whole ones"),
        ("search", b'{"id": "\\ud800"}', "id holds half of a character; give whole ones"),
        ("search", b'{"\\ud800": 1}', "the body holds half of a character; give whole ones"),
        ("search", b'{"id": "' + b"x" * 90 + b'"}', f'id is "{"x" * 39}…; give 1 to 16 digits'),
        ("search", b'{"id": "1", "colour": 1}', "there is no field colour; leave it out, /openapi.json lists those"),
        ("search", b'{"id": "1", "k": true}', "k is true; give a whole number"),
        ("search", b'{"id": "1", "k": "5"}', 'k is "5"; give a whole number'),
        ("search", b'{"id": "1", "min_score": "0.5"}', 'min_score is "0.5"; give a number'),
        ("search", b'{"id": "1", "unique": "yes"}', 'unique is "yes"; give true or false'),
        ("check", b'{"id": "1", "accurate": 1}', "accurate is 1; give true or false"),
        ("search", b'{"embedding": []}', "embedding is an empty array; give 1 or more of them"),
        ("search", b'{"like": "1"}', 'like is "1"; give an array'),
        ("dedup", b'{"precision": 0}', "precision is 0; give more than 0"),
        ("imports", b"{}", "the body cannot be used: name pictures in `sources`, in `manifest`, or in both"),
        ("imports", b'{"manifest": [{"uri": "a", "key": ""}]}', 'manifest.0.key is ""; give a text that is not empty'),
        (
            "images",
            b'{"uri": "a", "key": "\\u0000"}',
            'key is "\\u0000"; give a text that is not empty and holds no NUL',
        ),
        ("images", b'{"uri": "a", "on_duplicate": "zz"}', "on_duplicate is \"zz\"; give 'allow', 'link' or 'reject'"),
        ("images", b'{"uri": "a", "labels": {"dog": 0.9}}', "labels is an object; give an array"),
        ("plans/nosuch", None, 'plan_id is "nosuch"; give the id of a plan, such as 20261123-0a1b2c3d'),
        ("verdicts", b'{"first": "1", "second": "2", "verdict": "zz"}', "verdict is \"zz\"; give 'duplicate'"),
        ("verdicts", b'{"items": [{"first": "1", "second": "2"}]}', "items.0.verdict is missing; give it"),
        ("verdicts", b"[]", "the body is an empty array; give an object"),
        ("search", b"[1]", "the body is an array; give an object"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_with_the_field_its_value_and_what_to_send(
    client: TestClient, path: str, body: bytes | None, says: str
) -> None:
    json_type = {"content-type": "application/json"}
    answer = client.request("GET" if body is None else "POST", f"{BASE}/{path}", content=body, headers=json_type)
    assert answer.status_code == 422
    assert problem(answer)["detail"].startswith(says)


def test_every_pattern_that_a_text_must_fit_is_said_in_words(client: TestClient) -> None:
    document = client.get("/openapi.json").text
    assert set(re.findall(r'"pattern":("(?:[^"\\\\]|\\\\.)*")', document)) <= {json.dumps(one) for one in PATTERNS}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("images?wheer=width%20>%201", "there is no query parameter 'wheer' here; there are cursor, limit, where"),
        ("images?limit=1&limit=2", "the query parameter `limit` is there twice"),
        ("images/1?x=1", "there is no query parameter 'x' here; there are none"),
        ("images/1/thumbnail?w=20", "there is no query parameter 'w' here; there are size"),
    ],
)
def test_a_parameter_that_nobody_knows_is_refused(client: TestClient, path: str, says: str) -> None:
    assert problem(client.get(f"{BASE}/{path}"))["detail"].startswith(says)
    assert client.get("/v1/jobs?state=done&state=failed").status_code == 200, "a list is given so"


def test_a_form_is_refused_in_the_same_words(client: TestClient) -> None:
    assert problem(upload(client, b"x", k="many"))["detail"] == 'k is "many"; give a whole number'
    assert problem(upload(client, b"x", min_score="nan"))["detail"] == "min_score is nan; give a finite number"


def test_a_field_of_a_form_counts_once_and_texts_are_understood(client: TestClient) -> None:
    picture = {"image": painted(1, (320, 240)).tobytes()}
    for path in ("search", "check", "images/1/explain"):
        name = "threshold" if path == "check" else "box"
        answer = client.post(f"{BASE}/{path}", files=picture, data={name: ["0.5", "0.6"]})
        assert f"the form field '{name}' is there twice" in problem(answer)["detail"]
    file = BytesIO()
    painted(1, (320, 240)).save(file, "png")
    assert len(upload(client, file.getvalue(), k="2", unique="yes", min_score="-1").json()["matches"]) == 2


def test_a_picture_that_came_as_a_text_is_said_to_be_one(client: TestClient) -> None:
    answer = client.post(f"{BASE}/search", files={"image": (None, b"abc")})
    assert problem(answer)["detail"].startswith("the form field `image` is a text; send a file there")


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"words, not pixels", "not_an_image")])
def test_an_upload_that_is_no_picture_names_the_reason(client: TestClient, data: bytes, reason: str) -> None:
    answer = upload(client, data)
    assert (answer.status_code, problem(answer)["reason"]) == (422, reason)


def test_an_upload_in_another_field_is_refused_with_the_right_name(client: TestClient) -> None:
    answer = client.post(f"{BASE}/search", files={"file": ("a.png", b"x")})
    assert "field `image`" in problem(answer)["detail"]


def test_broken_json_and_other_media_types_are_refused(client: TestClient) -> None:
    json_type = {"content-type": "application/json"}
    assert client.post(f"{BASE}/search", content=b"{", headers=json_type).status_code == 422
    assert client.post(f"{BASE}/search", content=b"x", headers={"content-type": "text/plain"}).status_code == 415


def test_an_upload_that_is_too_large_is_refused(client: TestClient) -> None:
    answer = upload(client, bytes(MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert problem(answer)["detail"]


def test_a_foreign_host_name_is_refused(client: TestClient) -> None:
    answer = client.get("/healthz", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "--allow-host" in problem(answer)["detail"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"{BASE}/images/99999999999999999999999", None),
        ("POST", f"{BASE}/search", b'{"key": "\\ud800"}'),
        ("POST", f"{BASE}/search", b"[" * 200_000),
    ],
)
def test_hostile_numbers_letters_and_nesting_are_problem_documents(
    client: TestClient, method: str, path: str, body: bytes | None
) -> None:
    answer = client.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert problem(answer)["detail"]


def test_an_error_nobody_expected_tells_nothing_of_our_insides(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr("search.storing.catalogue.Catalogue.images", broken)
    answer = client.get(f"{BASE}/images")
    assert answer.status_code == 500
    assert "secret" not in problem(answer)["detail"]
