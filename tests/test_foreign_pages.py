"""What a page of another site can make a browser send changes nothing here."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.foreign_pages import ForeignPages, is_foreign
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.storing.store import Store
from tests.fakes import FakeBackbone

SEARCH = "/v1/collections/default/search"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def client(local_store: Store) -> Iterator[TestClient]:
    """The whole application, which asks for no keys: what stands against foreign pages must not need them."""
    local_store.open_collection("default", FakeBackbone().space)
    with Workspace(local_store.root) as workspace:
        pool = DecoderPool(BUILTIN_PREPARATION, children=1)
        yield TestClient(create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))))


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "Text/Plain; charset=utf-8"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_a_form_or_plain_text_is_taken_nowhere(client: TestClient, method: str, kind: str) -> None:
    path = SEARCH if method == "POST" else "/v1/collections/default/images/1"
    answer = client.request(method, path, content=b'{"id": "1"}', headers={"Content-Type": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:9000"},
        {"Origin": "http://testserver.evil.example"},
        {"Origin": "http://[broken"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://testserver"},
    ],
)
def test_a_page_of_another_site_is_refused_whatever_it_sends(client: TestClient, foreign: dict[str, str]) -> None:
    image = "/v1/collections/default/images/1"
    answers = [
        client.post(SEARCH, files={"image": b"x"}, headers=foreign),
        client.post(SEARCH, content=b'{"id": "1"}', headers=JSON | foreign),
        client.patch(image, content=b"{}", headers=JSON | foreign),
        client.delete(image, headers=foreign),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    assert answers[0].json()["type"] == "urn:lookalike:problem:ForeignPage"


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"Origin": "http://testserver"},
        {"Origin": "https://testserver"},
        {"Origin": "http://testserver:80"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        # Behind a proxy that gives another Host the browser still knows.
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://photos.example"},
    ],
)
def test_our_own_page_and_programs_are_not(client: TestClient, own: dict[str, str]) -> None:
    assert client.post(SEARCH, content=b'{"id": "1"}', headers=JSON | own).status_code == 404
    assert client.delete("/v1/collections/default/images/1", headers=own).status_code == 404


def test_looking_is_not_refused_but_no_page_elsewhere_can_read_the_answer(client: TestClient) -> None:
    answer = client.get("/v1/collections", headers={"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_nobody_is_promised_that_he_may_ask_from_elsewhere(client: TestClient) -> None:
    asking = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    answer = client.options("/v1/collections/default/images/1", headers=asking)
    assert answer.status_code >= 400
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_no_host_is_not_the_host_of_no_origin() -> None:
    assert is_foreign(Headers({"origin": "null"}))
    assert not is_foreign(Headers({}))


def test_what_is_refused_never_reaches_a_handler(tmp_path: Path) -> None:
    reached: list[str] = []

    async def handler(request: Request) -> PlainTextResponse:
        reached.append(request.method)
        return PlainTextResponse("done")

    app = ForeignPages(Starlette(routes=[Route("/", handler, methods=["GET", "POST"])]))
    with TestClient(app) as client:
        client.post("/", headers={"Origin": "http://evil.example"})
        client.post("/", data={"a": "b"})
        assert reached == []
        client.post("/", json={})
        client.get("/", headers={"Origin": "http://evil.example"})
    assert reached == ["POST", "GET"]
