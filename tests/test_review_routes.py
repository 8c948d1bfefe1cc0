"""Taking back what was said of two contents."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from search.records import SAID
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.fakes import FakeBackbone, InProcessDecoder

ONE, OTHER, THIRD = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def client(local_store: Store) -> Iterator[TestClient]:
    local_store.open_collection("default", FakeBackbone().space)
    with Workspace(local_store.root) as workspace:
        parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",))  # type: ignore[arg-type]
        yield TestClient(create_app(parts))


def test_a_verdict_is_forgotten_whichever_content_is_named_first(store: Store) -> None:
    verdicts = Verdicts(store.database)
    verdicts.say([verdict_on(ONE, OTHER, SAID[0]), verdict_on(ONE, THIRD, SAID[0])])
    verdicts.forget(bytes.fromhex(OTHER), bytes.fromhex(ONE))
    assert [(one.first.hex(), one.second.hex()) for one in verdicts.all()] == [(ONE, THIRD)]
    verdicts.forget(bytes.fromhex(OTHER), bytes.fromhex(ONE))
    assert len(verdicts.all()) == 1


def test_taking_back_over_http_says_nothing_and_is_done(client: TestClient, local_store: Store) -> None:
    verdicts = Verdicts(local_store.database)
    verdicts.say([verdict_on(ONE, OTHER, SAID[0])])
    for _ in range(2):
        assert client.delete(f"/v1/collections/default/verdicts/{OTHER}/{ONE}").status_code == 204
        assert verdicts.all() == []


@pytest.mark.parametrize(("collection", "first", "status"), [("default", "abc", 422), ("nowhere", ONE, 404)])
def test_what_names_nothing_is_refused(client: TestClient, collection: str, first: str, status: int) -> None:
    answer = client.delete(f"/v1/collections/{collection}/verdicts/{first}/{OTHER}")
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
