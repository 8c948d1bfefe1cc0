"""Conditions and metadata, from the files of a camera to the answers of the command line and of HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from tests.conftest import painted
from tests.dedup_jobs import look_for_duplicates

BASE = "/v1/collections/default"
MERGE = {"content-type": "application/merge-patch+json"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six images: 1 to 3 were taken on the last days of January 2024, the others at no known time; 5 is 4 again."""
    folder = tmp_path_factory.mktemp("dated")
    for number in range(1, 7):
        exif = Image.Exif()
        exif[0x0112] = 1  # Pillow saves no EXIF data without a tag of the picture itself
        if number <= 3:
            exif.get_ifd(0x8769)[0x9003] = f"2024:01:{28 + number} 12:00:00"
        painted(4 if number == 5 else number, (320, 240)).save(folder / f"{number}.png", exif=exif)
    with pytest.raises(SystemExit) as done:
        main(["--store", str(folder / "store"), "--progress", "none", "index", "--workers", "1", str(folder)])
    assert done.value.code == 0
    return folder / "store"


@pytest.fixture
def client(store: Path) -> Iterator[TestClient]:
    with (
        Workspace(store) as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        TestClient(create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",)))) as made,
    ):
        yield made


def number(image: dict[str, Any]) -> int:
    return int(Path(image["path"]).stem)


def found(client: TestClient, where: str) -> list[int]:
    answer = client.post(f"{BASE}/search", json={"id": "1", "where": where})
    assert answer.status_code == 200, answer.text
    return sorted(number(match) for match in answer.json()["matches"])


def path_of(client: TestClient, wanted: int) -> str:
    images = client.get(f"{BASE}/images").json()["items"]
    return next(f"{BASE}/images/{image['id']}" for image in images if number(image) == wanted)


def patched(client: TestClient, wanted: int, metadata: object, **headers: str) -> Any:
    body = json.dumps({"metadata": metadata})
    return client.patch(path_of(client, wanted), content=body, headers=MERGE | headers)


def test_the_date_of_the_camera_is_shown_and_searched(
    client: TestClient, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = {number(image): image for image in client.get(f"{BASE}/images").json()["items"]}
    assert [images[one].get("taken_at") for one in range(1, 5)] == [
        *(f"2024-01-{day}T12:00:00" for day in (29, 30, 31)),
        None,
    ]
    assert "taken_at" not in images[4]
    assert found(client, "taken_at >= 2024-01-30 and taken_at < 2024-02") == [2, 3]
    assert found(client, "taken_at is null") == [4, 5, 6]
    with pytest.raises(SystemExit):
        main(["--store", str(store), "--json", "search", "--id", "1", "--where", "taken_at = 2024-01-29"])
    assert json.loads(capsys.readouterr().out)["matches"][0]["taken_at"] == "2024-01-29T12:00:00"


def test_a_terminal_shows_a_caret_under_the_place(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["--store", str(store), "--json", "search", "--id", "1", "--where", "height > 3 and widht > 3"])
    assert refused.value.code == 2
    shown = capsys.readouterr()
    first, condition, caret = shown.err.splitlines()
    assert first.startswith("lookalike: where, at character 16: widht is no field; did you mean width? ")
    assert condition == "    height > 3 and widht > 3"
    assert caret.index("^") == condition.index("widht")
    error = json.loads(shown.out)["error"]
    assert (error["kind"], error["position"]) == ("BadCondition", 16)
    assert error["message"] == first.removeprefix("lookalike: ")


def test_http_says_the_place_of_a_wrong_condition_to_people_and_to_programs(client: TestClient) -> None:
    answer = client.post(f"{BASE}/search", json={"id": "1", "where": 'label = "x" or takenat = 2024'})
    problem = answer.json()
    assert (answer.status_code, problem["position"]) == (422, 16)
    assert problem["type"] == "urn:lookalike:problem:BadCondition"
    message, condition, caret = problem["detail"].split("\n")
    assert "did you mean taken_at?" in message
    assert condition[caret.index("^") :].startswith("takenat")


def test_metadata_is_changed_shown_and_searched(client: TestClient) -> None:
    answer = patched(client, 1, {"camera": "X100", "place": {"city": "Köln", "street": "x"}, "draft": True})
    assert answer.status_code == 200
    answer = patched(client, 1, {"place": {"street": None}, "draft": None, "rating": 4})
    assert answer.json()["metadata"] == {"camera": "X100", "place": {"city": "Köln"}, "rating": 4}
    assert client.get(path_of(client, 1)).json() == answer.json()
    assert found(client, 'metadata.place.city = "Köln" and metadata.rating >= 3') == [1]
    assert found(client, "metadata.camera is null") == [2, 3, 4, 5, 6]
    assert client.patch(path_of(client, 1), json={}).json() == answer.json()
    assert "metadata" not in patched(client, 1, None).json()
    assert found(client, "metadata.camera is null") == [1, 2, 3, 4, 5, 6]


def test_a_change_can_be_bound_to_what_was_seen(client: TestClient) -> None:
    tag = client.get(path_of(client, 2)).headers["etag"]
    answer = patched(client, 2, {"a": 1}, **{"if-match": f'"other", {tag}'})
    assert answer.status_code == 200
    assert answer.headers["etag"] == client.get(path_of(client, 2)).headers["etag"] != tag
    for stale in (tag, f"W/{answer.headers['etag']}", '""'):
        refused = patched(client, 2, {"a": 2}, **{"if-match": stale})
        assert (refused.status_code, refused.json()["type"]) == (412, "urn:lookalike:problem:ImageChanged")
    assert patched(client, 2, {"a": 3}, **{"if-match": "*"}).json()["metadata"] == {"a": 3}


def test_duplicate_groups_show_the_metadata_of_now(client: TestClient, store: Path) -> None:
    look_for_duplicates(store)

    def shown() -> list[Any]:
        (group,) = client.get(f"{BASE}/groups").json()["items"]
        both = (group["keeper"], *group["members"])
        return [image.get("metadata") for image in sorted(both, key=number)]

    assert shown() == [None, None]
    patched(client, 4, {"a": 1})
    patched(client, 5, {"b": 2})
    assert shown() == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b'{"metadata": {"n": NaN}}', 422, "metadata.n is nan"),
        (b'{"metadata": {"n": 1e999}}', 422, "metadata.n is inf"),
        (b'{"metadata": {"n": 9223372036854775808}}', 422, "metadata.n is too large"),
        (b'{"metadata": {"n": "\\u0000"}}', 422, "metadata.n holds a NUL"),
        (b'{"metadata": {"n": "\\ud800"}}', 422, "metadata.n holds a NUL or half of a character"),
        (b'{"metadata": {"\\ud800": 1}}', 422, ""),
        (b'{"\\ud800": 1}', 422, ""),
        (b'{"metadata": {"": 1}}', 422, "the key ''"),
        (b'{"metadata": [1]}', 422, "metadata"),
        (b'{"metadata": ' + b'{"a":' * 300 + b"1" + b"}" * 301, 422, "nested more than 8 levels deep"),
        (b'{"metadata": ' + b"[" * 200_000, 422, "not valid JSON"),
        (b'{"metadata": {"k": "' + b"x" * 70_000 + b'"}}', 422, "the limit is 65,536"),
        (b'{"width": 3}', 422, "width"),
        (b"[]", 422, ""),
        (b"{", 422, "not valid JSON"),
        (b"", 422, "not valid JSON"),
    ],
)
def test_a_bad_change_is_a_problem_and_changes_nothing(client: TestClient, body: bytes, status: int, says: str) -> None:
    before = client.get(path_of(client, 6)).json()
    answer = client.patch(path_of(client, 6), content=body, headers=MERGE)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert client.get(path_of(client, 6)).json() == before


def test_a_change_of_no_image_or_of_another_type_is_refused(client: TestClient) -> None:
    assert client.patch(f"{BASE}/images/999999", json={"metadata": {}}).status_code == 404
    assert client.patch(f"{BASE}/images/abc", json={"metadata": {}}).status_code == 422
    assert client.patch("/v1/collections/nowhere/images/1", json={}).status_code == 404
    # A form is what a page elsewhere could send without asking.
    form = client.patch(path_of(client, 6), data={"metadata": "{}"})
    assert (form.status_code, "not application/x-www-form-urlencoded" in form.json()["detail"]) == (415, True)
