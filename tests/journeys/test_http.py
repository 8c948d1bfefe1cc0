"""The HTTP API, with the built-in backbone, over a small album."""

import os
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.cli import main
from api.http.readiness import Readiness
from api.http.safe_fetch import REFUSED, AddressRefused
from api.shapes.explanations import Explanation
from api.workspace import Workspace
from tests.conftest import painted
from tests.dedup_jobs import look_for_duplicates
from tests.fakes import FakeBackbone
from tests.http_album import BASE, album, client, problem, upload

__all__ = ["album", "client"]


def test_the_process_is_alive_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}


def test_collections_are_listed_with_their_counts(client: TestClient) -> None:
    (item,) = client.get("/v1/collections").json()["items"]
    assert (item["name"], item["backbone"], item["images"], item["searchable"]) == ("default", "builtin", 10, 10)
    assert client.get(BASE).json() == item


def test_images_come_in_pages_that_join_without_gap(client: TestClient) -> None:
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = client.get(f"{BASE}/images", params={"limit": 4} | ({"cursor": cursor} if cursor else {})).json()
        seen += [image["id"] for image in page["items"]]
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 10
    assert seen == sorted(seen, key=int)


def test_an_image_is_found_by_id_and_by_key(client: TestClient) -> None:
    images = client.get(f"{BASE}/images").json()["items"]
    image = next(image for image in images if image["path"].endswith("3.png"))
    assert client.get(f"{BASE}/images/{image['id']}").json() == image
    assert client.get(f"{BASE}/images/by-key/{quote(image['key'], safe='')}").json() == image
    assert set(image) == {"id", "key", "uri", "path", "width", "height", "bytes", "format"}


def test_an_uploaded_picture_finds_itself_first(client: TestClient, album: Path) -> None:
    answer = upload(client, (album / "photos" / "3.png").read_bytes(), k="3")
    shape = answer.json()
    assert answer.status_code == 200, shape
    assert shape["query"] == {"name": "query.png"}
    assert [len(shape["matches"]), shape["matches"][0]["relation"]] == [3, "identical"]
    assert shape["matches"][0]["path"].endswith("3.png")
    assert shape["matches"][0]["score"] == pytest.approx(1.0, abs=1e-3)
    assert shape["matches"][0]["verified"] is None


@pytest.mark.parametrize("by", ["id", "key"])
def test_a_stored_image_is_searched_by_json_and_by_form(client: TestClient, by: str) -> None:
    (image,) = client.get(f"{BASE}/images", params={"limit": 1}).json()["items"]
    body = {by: image[by], "k": 2}
    as_json = client.post(f"{BASE}/search", json=body).json()
    as_form = client.post(f"{BASE}/search", files={by: (None, image[by]), "k": (None, "2")}).json()
    assert as_json["matches"][0]["id"] == image["id"]
    assert as_json["query"] == {"id": image["id"], "key": image["key"]}
    assert as_form["matches"] == as_json["matches"]


def test_min_score_leaves_only_close_matches(client: TestClient, album: Path) -> None:
    matches = upload(client, (album / "photos" / "1.png").read_bytes(), min_score="0.99").json()["matches"]
    assert matches
    assert all(match["score"] >= 0.99 for match in matches)


def test_a_thumbnail_is_a_small_jpeg_with_an_etag(client: TestClient) -> None:
    (image,) = client.get(f"{BASE}/images", params={"limit": 1}).json()["items"]
    path = f"{BASE}/images/{image['id']}/thumbnail"
    answer = client.get(path, params={"size": 100})
    assert Image.open(BytesIO(answer.content)).size == (100, 75)
    assert answer.headers["content-type"] == "image/jpeg"
    again = client.get(path, params={"size": 100}, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_thumbnail_of_a_file_that_is_gone_is_not_found(client: TestClient, album: Path) -> None:
    images = client.get(f"{BASE}/images").json()["items"]
    image = next(image for image in images if image["path"].endswith("7.png"))
    path = album / "photos" / "7.png"
    data = path.read_bytes()
    path.unlink()
    answer = client.get(f"{BASE}/images/{image['id']}/thumbnail", params={"size": 99})
    path.write_bytes(data)
    assert answer.status_code == 404
    assert "cannot be shown" in problem(answer)["detail"]


def test_groups_hold_the_copy_and_the_near_copy(client: TestClient, album: Path) -> None:
    nothing = problem(client.get(f"{BASE}/groups"))
    assert (nothing["status"], "POST {} to /v1/collections/default/dedup" in nothing["detail"]) == (404, True)
    look_for_duplicates(album / "store")
    shape = client.get(f"{BASE}/groups").json()
    assert (shape["groups_total"], shape["images"], shape["threshold_source"]) == (2, 10, "none")
    relations = {group["keeper"]["path"].rsplit("/")[-1]: group["members"][0]["relation"] for group in shape["items"]}
    assert relations == {"0.png": "identical", "1.png": "same_picture"}
    first = client.get(f"{BASE}/groups", params={"limit": 1}).json()
    second = client.get(f"{BASE}/groups", params={"limit": 1, "cursor": first["next_cursor"]}).json()
    assert [*first["items"], *second["items"]] == shape["items"]
    assert second["next_cursor"] is None
    assert shape["kinds"] == {"same_bytes": 1, "re_encoded": 1}
    near = min(group["weakest"] for group in shape["items"])
    assert (sum(shape["scores"]["counts"]), shape["scores"]["lowest"]) == (1, near)


def test_groups_of_one_kind_are_a_list_of_their_own(client: TestClient, album: Path) -> None:
    look_for_duplicates(album / "store")
    both = client.get(f"{BASE}/groups").json()
    of_kind = {group["members"][0]["kind"]: group for group in both["items"]}
    assert set(of_kind) == {"same_bytes", "re_encoded"}
    for kind, group in of_kind.items():
        shape = client.get(f"{BASE}/groups", params={"kind": kind, "limit": 1}).json()
        assert (shape["items"], shape["next_cursor"]) == ([group], None)
        assert shape["kinds"] == both["kinds"]
    assert client.get(f"{BASE}/groups?kind=cropped&kind=turned").json()["items"] == []
    wrong = problem(client.get(f"{BASE}/groups?kind=smaller"))
    assert (wrong["status"], "smaller" in wrong["detail"]) == (422, True)


def test_what_differs_between_a_copy_and_its_keeper_is_a_picture(client: TestClient, album: Path) -> None:
    images = {image["path"].rsplit("/")[-1]: image["id"] for image in client.get(f"{BASE}/images").json()["items"]}
    path, keeper = f"{BASE}/images/{images['1 small.jpg']}/difference", {"keeper": images["1.png"]}
    answer = client.get(path, params=keeper)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(BytesIO(answer.content)).size == (280, 210)
    tag = {"If-None-Match": answer.headers["etag"]}
    assert client.get(path, params=keeper, headers=tag).status_code == 304
    other = client.get(path, params={"keeper": images["2.png"]}, headers=tag)
    assert (other.status_code, other.content != answer.content) == (200, True)
    assert client.get(path).status_code == 422
    assert client.get(path, params={"keeper": 999_999}).status_code == 404
    file = album / "photos" / "1.png"
    data = file.read_bytes()
    file.unlink()
    gone = problem(client.get(path, params=keeper))
    file.write_bytes(data)
    assert (gone["status"], f"the file of image {images['1.png']} cannot be looked at" in gone["detail"]) == (404, True)


def test_the_page_may_load_nothing_foreign(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert " style=" not in answer.text


def test_openapi_describes_both_ways_to_search(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    bodies = paths["/v1/collections/{collection}/search"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    assert "/v1/collections/{collection}/groups" in paths


def test_new_images_are_searchable_without_a_restart(client: TestClient, album: Path) -> None:
    path = album / "more" / "late.png"
    path.parent.mkdir()
    painted(77, (320, 240)).save(path)
    with pytest.raises(SystemExit):
        main(["--store", str(album / "store"), "--progress", "none", "index", str(path)])
    shape = upload(client, path.read_bytes(), k="1").json()
    assert shape["matches"][0]["path"].endswith("late.png")


def test_a_file_that_holds_another_picture_now_is_not_shown_as_the_old_one(client: TestClient, album: Path) -> None:
    images = client.get(f"{BASE}/images").json()["items"]
    image = next(image for image in images if image["path"].endswith("6.png"))
    path = album / "photos" / "6.png"
    good = path.read_bytes()
    path.write_bytes((album / "photos" / "5.png").read_bytes())
    answer = client.get(f"{BASE}/images/{image['id']}/thumbnail", params={"size": 98})
    path.write_bytes(good)
    assert answer.status_code == 404
    assert "has changed since it was indexed" in problem(answer)["detail"]


def test_a_pipe_under_the_name_of_a_picture_holds_up_nothing(client: TestClient, album: Path) -> None:
    images = client.get(f"{BASE}/images").json()["items"]
    image = next(image for image in images if image["path"].endswith("6.png"))
    path = album / "photos" / "6.png"
    good = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    answer = client.get(f"{BASE}/images/{image['id']}/thumbnail", params={"size": 97})
    path.unlink()
    path.write_bytes(good)
    assert answer.status_code == 404


@pytest.mark.parametrize("condition", ["{}", "W/{}", '"other", {}', "*"])
def test_every_way_to_name_a_tag_is_understood(client: TestClient, condition: str) -> None:
    path = f"{BASE}/images/1/thumbnail"
    tag = client.head(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": condition.format(tag)}).status_code == 304
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


def test_probes_answer_head(client: TestClient) -> None:
    assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200


def test_a_collection_that_cannot_be_loaded_holds_up_no_other(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Workspace(album / "store") as workspace:
        lost = FakeBackbone("no_such_backbone").space
        workspace.store.open_collection("another", lost)
        readiness = Readiness(workspace)
        assert readiness._load_all() is False
        assert readiness.reason() is None
        monkeypatch.setattr(Workspace, "embedder", lambda *_: 1 / 0)
        assert readiness._load_all() is False
        assert "division by zero" in str(readiness.reason())


def test_a_deleted_image_is_named_by_no_answer_from_then_on(client: TestClient, album: Path) -> None:
    painted(770, (320, 240)).save(album / "photos" / "unwanted.png")
    with pytest.raises(SystemExit):
        main(["--store", str(album / "store"), "--progress", "none", "index", str(album / "photos")])
    picture = (album / "photos" / "unwanted.png").read_bytes()
    best = upload(client, picture, k="1").json()["matches"][0]
    assert best["path"].endswith("unwanted.png")
    place = f"{BASE}/images/{best['id']}"
    assert (client.delete(place).status_code, client.delete(place).status_code) == (204, 404)
    assert problem(client.get(place))["status"] == 404
    assert best["id"] not in [match["id"] for match in upload(client, picture, k="50").json()["matches"]]
    assert client.post(f"{BASE}/search", json={"id": best["id"]}).status_code == 404
    assert (album / "photos" / "unwanted.png").exists()


def test_why_two_pictures_are_the_same_is_told_as_facts_and_as_a_picture(client: TestClient, album: Path) -> None:
    path = next(path for path in sorted(album.rglob("*.png")))
    image = upload(client, path.read_bytes(), k="1").json()["matches"][0]
    url = f"/v1/collections/default/images/{image['id']}/explain"
    facts = client.post(url, files={"image": path.read_bytes()})
    assert (facts.status_code, Explanation.model_validate(facts.json()).answer in ("yes", "cannot")) == (200, True)
    shown = client.post(url, files={"image": path.read_bytes()}, headers={"Accept": "image/png"})
    assert (shown.headers["content-type"], shown.content[:4]) == ("image/png", b"\x89PNG")
    assert client.post(url, files={"image": b"no picture"}).status_code == 422
    assert client.post(url, json={"id": "1"}).status_code == 415
    assert client.post(url, data={"box": "1,2,3,4"}, files={"other": b""}).status_code in (400, 422)
    gone = url.replace(image["id"], "999999")
    assert client.post(gone, files={"image": path.read_bytes()}).status_code == 404


def test_an_accurate_search_by_form_and_by_json_says_what_was_verified(client: TestClient, album: Path) -> None:
    path = next(path for path in sorted(album.rglob("*.png")))
    answer = upload(client, path.read_bytes(), accurate="true", k="1").json()
    assert (answer["matches"][0]["verified"], answer["took_ms"]["verify"] > 0) == ("yes", True)
    by_id = client.post("/v1/collections/default/search", json={"id": answer["matches"][0]["id"], "accurate": True})
    assert by_id.json()["matches"][0]["verified"] == "yes"
    assert upload(client, path.read_bytes(), box="nonsense").status_code in (400, 422)


class Pages:
    """Stands in for the internet: the addresses there are, and what lies at them."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        self._pages = pages

    async def get(self, address: str) -> bytes:
        if address not in self._pages:
            raise AddressRefused(REFUSED)
        return self._pages[address]


def test_a_picture_is_searched_by_its_address_where_that_is_allowed(client: TestClient, album: Path) -> None:
    url = "https://pictures.example/3.png"
    refused = client.post(f"{BASE}/search", json={"url": url})
    assert (refused.status_code, "--allow-url" in problem(refused)["detail"]) == (422, True)
    assert client.get("/v1/key").json()["urls"] is False
    state = client.app.state  # type: ignore[attr-defined]
    before, state.fetch = state.fetch, Pages({url: (album / "photos" / "3.png").read_bytes(), "x": b"<html>"})
    try:
        assert client.get("/v1/key").json()["urls"] is True
        as_json = client.post(f"{BASE}/search", json={"url": url, "k": 2, "where": "width > 1"}).json()
        as_form = client.post(f"{BASE}/search", files={"url": (None, url), "k": (None, "2")}).json()
        assert as_json["query"] == as_form["query"] == {"url": url}
        assert as_json["matches"] == as_form["matches"]
        assert (as_json["matches"][0]["relation"], as_json["matches"][0]["path"][-5:]) == ("identical", "3.png")
        checked = client.post(f"{BASE}/check", json={"url": url}).json()
        assert (checked["status"], checked["match"]["path"][-5:]) == ("exact", "3.png")
        assert "exactly one of" in problem(client.post(f"{BASE}/check", json={"url": url, "id": "1"}))["detail"]
        gone = client.post(f"{BASE}/search", json={"url": "https://pictures.example/4.png"})
        assert (gone.status_code, problem(gone)["type"]) == (422, "urn:lookalike:problem:AddressRefused")
        page = client.post(f"{BASE}/search", json={"url": "x"})
        assert (page.status_code, problem(page)["reason"]) == (422, "not_an_image")
        for more in ({"id": "1"}, {"key": "a"}):
            assert "exactly one of" in problem(client.post(f"{BASE}/search", json={"url": url} | more))["detail"]
        both = client.post(f"{BASE}/search", files={"image": b"x"}, data={"url": url})
        assert "exactly one of" in problem(both)["detail"]
        assert client.post(f"{BASE}/search", json={"url": "https://" + "a" * 2048}).status_code == 422
    finally:
        state.fetch = before
