"""The views of a collection over HTTP: facets, timeline, map, failures, status, and lists narrowed by a condition."""

import gzip
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.mapping.collection_map import FOLDER
from tests.conftest import painted

BASE = "/v1/collections/default"
BINARY = {"Accept": "application/octet-stream"}
IMAGES = 9


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of pictures in two folders, one of them with the camera's date, and of two files that are none."""
    photos = tmp_path_factory.mktemp("views") / "photos"
    for number in range(IMAGES):
        folder = photos / ("summer" if number < 3 else "winter")
        folder.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        if number == 0:
            exif.get_ifd(0x8769)[0x9003] = "2024:03:05 06:07:08"
        painted(number, (640, 480) if number < 4 else (320, 240)).save(folder / f"{number}.jpg", exif=exif)
    (photos / "torn.jpg").write_bytes((photos / "summer" / "0.jpg").read_bytes()[:300])
    (photos / "empty.png").write_bytes(b"")
    store = photos.parent / "store"
    with pytest.raises(SystemExit):
        main(["--store", str(store), "--progress", "none", "index", str(photos)])
    return store


def serving(root: Path) -> Iterator[TestClient]:
    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))
        yield TestClient(create_app(parts), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[TestClient]:
    yield from serving(root)


def made_map(client: TestClient, headers: dict[str, str] | None = None) -> Response:
    while (answer := client.get(f"{BASE}/map", headers=headers)).status_code == 202:
        assert answer.json()["state"] == "making"
        assert answer.headers["retry-after"] == "1"
        time.sleep(0.05)
    return answer


def test_facets_narrow_lists_one_after_the_other(client: TestClient) -> None:
    facets = client.get(f"{BASE}/facets").json()
    assert facets["images"] == IMAGES
    assert {one["value"]: one["images"] for one in facets["folders"]} == {"winter": 6, "summer": 3}
    assert [one["images"] for one in facets["sizes"]] == [5, 4]
    assert facets["undated"] == IMAGES - 1
    chosen = facets["folders"][0]["where"]
    narrowed = client.get(f"{BASE}/facets", params={"where": chosen}).json()
    assert narrowed["images"] == 6
    both = f"{chosen} and {narrowed['sizes'][1]['where']}"
    items = client.get(f"{BASE}/images", params={"where": both}).json()["items"]
    assert [Path(one["path"]).name for one in items] == ["3.jpg"]


def test_the_timeline_names_every_month(client: TestClient) -> None:
    month = {"month": "2024-03", "images": 1, "where": "taken_at = 2024-03"}
    assert client.get(f"{BASE}/timeline").json() == {"items": [month], "next_cursor": None, "undated": IMAGES - 1}
    assert client.get(f"{BASE}/timeline", params={"where": "width = 320"}).json()["items"] == []


@pytest.mark.parametrize("view", ["facets", "timeline", "images"])
def test_a_condition_that_means_nothing_is_answered_with_its_place(client: TestClient, view: str) -> None:
    answer = client.get(f"{BASE}/{view}", params={"where": "wide > 3"})
    assert (answer.status_code, answer.json()["position"]) == (422, 1)


def test_a_list_of_images_that_fulfil_a_condition_has_pages(client: TestClient) -> None:
    first = client.get(f"{BASE}/images", params={"where": "width = 320", "limit": 3}).json()
    rest = client.get(f"{BASE}/images", params={"where": "width = 320", "cursor": first["next_cursor"]}).json()
    assert [len(first["items"]), len(rest["items"]), rest["next_cursor"]] == [3, 2, None]


def test_the_map_has_a_place_for_every_image_and_is_the_same_as_json_and_as_bytes(client: TestClient) -> None:
    told = made_map(client).json()
    assert told["images"] == IMAGES
    ids = [one["id"] for one in client.get(f"{BASE}/images").json()["items"]]
    assert [one["id"] for one in told["points"]] == ids
    data = made_map(client, BINARY).content
    count = (len(data) - 8) // 16
    numbers = np.frombuffer(data, "<f8", count + 1)
    points = np.frombuffer(data, "<f4", offset=8 * (count + 1)).reshape(-1, 2)
    assert numbers.tolist() == [IMAGES, *map(int, ids)]
    assert points.tolist() == [[one["x"], one["y"]] for one in told["points"]]


def test_images_that_come_later_are_counted_and_soon_on_the_map(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = shutil.copytree(root, tmp_path / "store")
    (tmp_path / "later").mkdir()
    for number in range(2):
        painted(number + 50, (320, 240)).save(tmp_path / "later" / f"{number}.jpg")
    for client in serving(store):
        assert len(made_map(client).json()["points"]) == IMAGES
        monkeypatch.setattr("api.http.maps.Maps._make", lambda *_: None)
        with pytest.raises(SystemExit):
            main(["--store", str(store), "--progress", "none", "index", str(tmp_path / "later")])
        told = made_map(client).json()
        assert (told["images"], len(told["points"])) == (IMAGES + 2, IMAGES), "the one before, while the next is made"
        monkeypatch.undo()
    for client in serving(store):
        assert len(made_map(client).json()["points"]) == IMAGES + 2


def test_the_map_is_packed_for_those_who_take_it_and_known_by_its_tag(client: TestClient) -> None:
    plain = made_map(client, BINARY | {"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with client.stream("GET", f"{BASE}/map", headers=BINARY | {"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(answer.iter_raw())) == plain.content
    again = client.get(
        f"{BASE}/map", headers=BINARY | {"Accept-Encoding": "identity", "If-None-Match": plain.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_the_map_is_kept_for_the_next_process(root: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    before = made_map(client).json()
    assert [file.suffix for file in (root / FOLDER).iterdir()] == [".map"]
    monkeypatch.setattr("api.http.maps.make_map", lambda *_: pytest.fail("it was made again"))
    for other in serving(root):
        assert made_map(other).json() == before


def test_a_map_that_cannot_be_made_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("api.http.maps.kept_map", lambda *_: None)
    monkeypatch.setattr("api.http.maps.make_map", lambda *_: 1 / 0)
    for other in serving(root):
        answer = made_map(other)
        assert answer.status_code == 500
        assert "could not be made" in answer.json()["detail"]
        assert "ZeroDivisionError" in caplog.text


def test_failures_are_listed_with_how_many_there_are_of_each_reason(client: TestClient) -> None:
    found = client.get(f"{BASE}/failures").json()
    assert found["reasons"] == {"empty": 1, "truncated": 1}
    assert sorted(Path(one["uri"]).name for one in found["items"]) == ["empty.png", "torn.jpg"]
    page = client.get(f"{BASE}/failures", params={"limit": 1}).json()
    rest = client.get(f"{BASE}/failures", params={"limit": 5, "cursor": page["next_cursor"]}).json()
    assert [*page["items"], *rest["items"]] == found["items"]
    empty = client.get(f"{BASE}/failures", params={"reason": "empty"}).json()
    assert [one["reason"] for one in empty["items"]] == ["empty"]


def test_the_status_is_the_collection_with_what_live_searches_found(client: TestClient) -> None:
    status = client.get(f"{BASE}/status").json()
    assert status.pop("live") is None  # every search compares everything
    assert status == client.get(BASE).json()
