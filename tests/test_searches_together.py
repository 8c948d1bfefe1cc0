"""Searches by stored images that come at the same time are answered together, each as if it had come alone."""

import asyncio
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from api.http import named_queries
from api.http.app import Parts, create_app
from api.http.named_queries import NamedQuery, answers_by_id
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import QueryRequest
from api.searches_together import search_by_images
from api.shapes.searches import SearchBody
from api.workspace import Workspace
from search.embeddings import unit_rows
from search.errors import ImageNotFound
from search.finding.generations import Generations
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_image
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, InProcessDecoder, facts, new_image
from tests.test_lines import until

ROWS, NEW = 300, 12
BLANK, REMOVED = 7, 11
COPIES = range(40, 60)  # more than a search names
SEARCH = "/v1/collections/default/search"


@pytest.fixture(scope="module", params=["compares all", "approximate"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an index and images newer than it: twenty copies, a blank one, one that was removed."""
    folder = tmp_path_factory.mktemp("together")
    rows = unit_rows(np.random.default_rng(0).normal(size=(ROWS + NEW, FAKE_DIMS)))
    rows[COPIES.start : COPIES.stop] = rows[COPIES.start]
    images = [new_image(str(number)) for number in range(ROWS + NEW)]
    images[BLANK - 1] = new_image("blank", facts("blank", contrast=0.0))
    for number in COPIES:
        images[number] = replace(images[number], content=facts(str(number), pixels="the same"))
    with Store.create(folder / "store") as store, pytest.MonkeyPatch.context() as patched:
        if request.param == "approximate":
            patched.setattr("search.finding.generations.EXACT_ROWS", 100)
        target = store.open_collection("default", FakeBackbone().space)
        committer = Committer(store.database, store.blobs, target)
        sequence = committer.commit(Batch(images[:ROWS], rows[:ROWS]))
        Generations(store.database, store.blobs, target).publish(sequence)
        committer.commit(Batch(images[ROWS:], rows[ROWS:]))
        remove_image(store.database, target, REMOVED)
    return folder


@pytest.fixture
def workspace(folder: Path) -> Iterator[Workspace]:
    with Workspace(folder / "store", lasting=True) as opened:
        yield opened


def asked(image_id: int, **wanted: object) -> NamedQuery:
    body = SearchBody.model_validate({"id": str(image_id), **wanted})
    return NamedQuery(body, body.request(), {})


def told(answer: bytes | Exception) -> Any:
    """Return what an answer says, but for the time it took; or the kind of its error and its message."""
    if isinstance(answer, Exception):
        return type(answer).__name__, str(answer)
    return {name: value for name, value in json.loads(answer).items() if name != "took_ms"}


def alone(workspace: Workspace, query: NamedQuery) -> Any:
    [answer] = answers_by_id(workspace, "default", [query])
    return told(answer)


@pytest.mark.parametrize("wanted", [{}, {"k": 1}, {"k": 100}, {"k": 30, "min_score": 0.2}], ids=str)
def test_each_is_answered_as_if_it_had_come_alone(workspace: Workspace, wanted: dict[str, object]) -> None:
    ids = [1, 250, BLANK, REMOVED, COPIES.start + 3, ROWS + NEW, 1, 9_999, COPIES.stop]
    queries = [asked(image_id, **wanted) for image_id in ids]
    together = [told(answer) for answer in answers_by_id(workspace, "default", queries)]
    assert together == [alone(workspace, query) for query in queries]
    assert together[0]["query"]["id"] == "1"
    assert together[0]["matches"][0]["id"] == "1"
    assert "note" in together[2]  # the blank one, with which nothing is compared but hashes
    assert together[3][0] == together[7][0] == "ImageNotFound"


def test_the_nearest_of_each_are_those_of_brute_force(workspace: Workspace) -> None:
    snapshot = workspace.snapshot(workspace.collection("default"))
    ids, embeddings = snapshot.rows()
    places = [0, 100, len(ids) - 1]
    answers = answers_by_id(workspace, "default", [asked(int(ids[place]), k=5) for place in places])
    for place, answer in zip(places, answers, strict=True):
        best = np.argsort(-(embeddings @ embeddings[place]), kind="stable")[:5]
        assert [int(match["id"]) for match in told(answer)["matches"]] == ids[best].tolist()


def test_what_takes_more_than_embeddings_is_refused(workspace: Workspace) -> None:
    target = workspace.collection("default")
    image = workspace.store.catalogue.image_by_id(target.id, 1)
    for more in ({"where": "width >= 1"}, {"accurate": True}, {"unique": True}, {"box": "0,0,5,5"}):
        with pytest.raises(ValueError, match="more than embeddings"):
            search_by_images(workspace, target, [image], QueryRequest(**more))


def test_one_that_was_removed_since_leaves_all_to_be_asked_alone(workspace: Workspace) -> None:
    target = workspace.collection("default")
    there = workspace.store.catalogue.image_by_id(target.id, 1)
    gone = replace(there, id=REMOVED)
    assert search_by_images(workspace, target, [there, gone], QueryRequest()) == [None, None]
    with pytest.raises(ImageNotFound):
        workspace.search_by_image(target, gone, QueryRequest())


def test_a_server_answers_those_together_that_come_while_it_is_busy(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    let, sizes = threading.Event(), list[int]()
    together = named_queries.answers_by_id

    def counted(*given: Any) -> list[bytes | Exception]:
        sizes.append(len(given[2]))
        assert let.wait(20)
        return together(*given)

    monkeypatch.setattr("api.http.routes.searches.answers_by_id", counted)
    parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",))  # type: ignore[arg-type]
    app = create_app(parts)
    # The last wants another number of images: nobody is asked together with it, whenever it came.
    bodies = [*({"id": str(image_id), "k": 10} for image_id in (9, 1, 2, 3, 4, 5, 6)), {"id": "1", "k": 3}]

    async def story() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://testserver") as client:
            asking = [asyncio.ensure_future(client.post(SEARCH, json=body)) for body in bodies]
            await until(lambda: app.state.lines.finds.inside == len(bodies))
            let.set()
            return await asyncio.gather(*asking)

    answers = asyncio.run(story())
    app.state.lines.close()
    assert sizes == [1, 6, 1]
    for answer, body in zip(answers, bodies, strict=True):
        assert answer.status_code == 200
        assert told(answer.content) == alone(workspace, asked(int(str(body["id"])), k=body["k"]))
