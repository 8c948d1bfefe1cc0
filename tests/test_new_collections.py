"""Collections that are begun over HTTP, in a store that has none."""

from collections.abc import Iterator
from io import BytesIO

import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION, load_backbone
from indexer.decoding.decoder_pool import DecoderPool
from search.storing.store import Store
from tests.conftest import painted
from tests.fakes import FakeBackbone

_file = BytesIO()
painted(7, (320, 240)).save(_file, "png")
PICTURE = _file.getvalue()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("begun") / "store"
    with Store.create(root) as store:
        store.open_collection("of another backbone", FakeBackbone().space)
    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))
        with TestClient(create_app(parts), raise_server_exceptions=False) as made:
            yield made


def test_a_collection_that_is_begun_takes_pictures_and_is_begun_once(client: TestClient) -> None:
    base = "/v1/collections/shop 17"
    assert client.post(f"{base}/images", files={"image": PICTURE}).status_code == 404
    first = client.put(base)
    assert (first.status_code, first.json()["name"], first.json()["images"]) == (201, "shop 17", 0)
    fingerprint = load_backbone("builtin").space.fingerprint
    assert first.json()["space"] == f"builtin-{fingerprint[:8]}", "as `index` would have made it"
    sent = client.post(f"{base}/images", files={"image": PICTURE}, data={"key": "a"})
    assert sent.json()["items"][0]["outcome"] == "added"
    again = client.put(base, json={"backbone": "builtin"})
    assert (again.status_code, again.json()["images"]) == (200, 1)
    assert client.post(f"{base}/search", json={"key": "a"}).json()["matches"][0]["relation"] == "identical"


def test_one_of_another_backbone_stays_and_is_refused_where_the_built_in_one_is_named(client: TestClient) -> None:
    base = "/v1/collections/of another backbone"
    assert (client.put(base).status_code, client.put(base, json={}).json()["backbone"]) == (200, "fake")
    refused = client.put(base, json={"backbone": "builtin"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:lookalike:problem:SpaceMismatch")


@pytest.mark.parametrize(
    ("name", "body"), [("a", {"backbone": "resnet50"}), ("a", {"weights": "/etc"}), ("n" * 201, {}), ("a%00b", {})]
)
def test_what_cannot_be_begun_is_refused_and_leaves_nothing(client: TestClient, name: str, body: object) -> None:
    before = client.get("/v1/collections").json()
    assert client.put(f"/v1/collections/{name}", json=body).status_code == 422
    assert client.get("/v1/collections").json() == before
