"""Queries made of examples: liked ones, disliked ones, embeddings, several pictures; and each copy named once."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import MAX_DIMS, Found, QueryRequest
from api.query_examples import UNLIKE_WEIGHT, Examples, combined, read_embedding, search_by_examples
from api.workspace import Workspace
from search.errors import ImageNotFound, UsageError
from search.plans.planning import PlanOptions, write_plan
from search.records import SpaceSpec
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_image
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.fakes import InProcessDecoder, facts, new_image, unit

# By name: the direction of each image's embedding. Their ids are 1, 2, ... in this order.
ROWS = {
    "x": (1, 0, 0),
    "y": (0, 1, 0),
    "z": (0, 0, 1),
    "xy": (1, 1, 0),
    "xz": (1, 0, 1),
    "x again": (1, 0, 0),
    "nearly x": (30, 1, 0),
    "blank": (0, -1, -1),
}
IDS = {name: number for number, name in enumerate(ROWS, start=1)}


@pytest.fixture
def workspace(local_store: Store) -> Iterator[Workspace]:
    target = local_store.open_collection("default", SpaceSpec("axes", "0" * 64, "{}", 3))
    contents = [
        facts(name, pixels=name.removesuffix(" again"), contrast=0.0 if name == "blank" else 50.0) for name in ROWS
    ]
    images = [new_image(name, content) for name, content in zip(ROWS, contents, strict=True)]
    Committer(local_store.database, local_store.blobs, target).commit(
        Batch(images, np.concatenate([unit(*row) for row in ROWS.values()]))
    )
    with Workspace(local_store.root) as opened:
        yield opened


@pytest.fixture
def client(workspace: Workspace) -> TestClient:
    parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), ("testserver",))  # type: ignore[arg-type]
    return TestClient(create_app(parts), raise_server_exceptions=False)


def ask(workspace: Workspace, examples: Examples, **wanted: object) -> Found:
    target = workspace.collection("default")
    return search_by_examples(workspace, target, examples, QueryRequest(**wanted))  # type: ignore[arg-type]


def names(found: Found) -> list[str]:
    return [match.image.uri.rsplit("/", 1)[1] for match in found.matches]


def ids(*given: str) -> tuple[int, ...]:
    return tuple(IDS[name] for name in given)


def test_what_is_like_two_images_is_nearest_to_their_mean_and_neither_is_in_the_answer(workspace: Workspace) -> None:
    found = ask(workspace, Examples(like=ids("x", "y")), k=1)
    assert names(found) == ["xy"]
    assert found.matches[0].score == pytest.approx(1.0, abs=1e-3)
    everything = names(ask(workspace, Examples(like=ids("x", "y"))))
    assert set(everything) == set(ROWS) - {"x", "y"}


def test_a_disliked_image_counts_half_and_moves_the_query_away(workspace: Workspace) -> None:
    (best, *_) = ask(workspace, Examples(like=ids("xy"), unlike=ids("y"))).matches
    expected = np.array([1 / math.sqrt(2), 1 / math.sqrt(2) - UNLIKE_WEIGHT, 0])
    assert best.image.id == IDS["nearly x"]
    assert best.score == pytest.approx(expected @ unit(30, 1, 0)[0] / np.linalg.norm(expected), abs=1e-3)


def test_scores_of_examples_are_no_scores_of_a_picture_so_nothing_is_probable(workspace: Workspace) -> None:
    assert {match.relation for match in ask(workspace, Examples(like=ids("x"))).matches} == {"similar"}
    alone = ask(workspace, Examples(embedding=(1.0, 0.0, 0.0))).matches
    assert alone[0].relation == "probable"


@pytest.mark.parametrize("scale", [1.0, 1e-300, 1e300])
def test_an_embedding_of_any_length_finds_what_its_direction_does(workspace: Workspace, scale: float) -> None:
    found = ask(workspace, Examples(embedding=(0.0, 3 * scale, 4 * scale)), k=2)
    assert names(found) == ["z", "y"]
    assert [match.score for match in found.matches] == pytest.approx([0.8, 0.6], abs=1e-3)


@pytest.mark.parametrize(
    ("examples", "why"),
    [
        ({"unlike": (1,)}, "nothing to be like"),
        ({}, "nothing to be like"),
        ({"like": (1,), "unlike": (1,)}, "image 1 is in `like` and in `unlike`"),
        ({"like": tuple(range(1, 102))}, "like has 101 entries; give 100 or fewer"),
        ({"embedding": (1.0, 2.0)}, "the embedding has 2 dims; give 3, as axes has them"),
        ({"embedding": (0.0, 0.0, 0.0)}, "the embedding is zero"),
        ({"embedding": (math.nan, 0.0, 0.0)}, "not finite"),
        ({"like": (8,)}, "image 8: the picture shows next to nothing"),
        ({"embedding": (0.5, 0.0, 0.0), "unlike": (1, 6)}, None),
    ],
)
def test_examples_that_say_nothing_are_refused(
    workspace: Workspace, examples: dict[str, object], why: str | None
) -> None:
    if why is None:
        ask(workspace, Examples(**examples))  # type: ignore[arg-type]
        return
    with pytest.raises(UsageError, match=why):
        ask(workspace, Examples(**examples))  # type: ignore[arg-type]


def test_examples_that_cancel_out_are_refused() -> None:
    with pytest.raises(UsageError, match="cancel out"):
        combined(np.concatenate([unit(1, 0), unit(0, 1)]), np.concatenate([unit(1, 1)] * 2) * np.sqrt(2))


def test_an_example_that_is_not_there_and_one_picture_alone_are_said_so(workspace: Workspace) -> None:
    with pytest.raises(ImageNotFound, match="no image with id 99"):
        ask(workspace, Examples(like=(1, 99)))
    for wanted, name in (({"accurate": True}, "accurate"), ({"box": "0,0,9,9"}, "box")):
        with pytest.raises(UsageError, match=f"{name} needs one picture"):
            ask(workspace, Examples(like=(1,)), **wanted)


def test_images_with_the_same_pixels_are_named_once_and_counted(workspace: Workspace) -> None:
    found = ask(workspace, Examples(embedding=(1.0, 0.0, 0.0)), k=3, unique=True)
    assert [(match.image.id, match.copies) for match in found.matches] == [
        (IDS["x"], 1),
        (IDS["nearly x"], 0),
        (IDS["xy"], 0),
    ]
    remove_image(workspace.store.database, workspace.collection("default"), IDS["x again"])
    found = ask(workspace, Examples(embedding=(1.0, 0.0, 0.0)), k=1, unique=True)
    assert [match.copies for match in found.matches] == [0]


def planned(workspace: Workspace) -> None:
    """Write a plan with one group: nearly x is a copy of x, as are all pictures of x."""
    target = workspace.collection("default")
    report = workspace.duplicates.find(target, 0.99)
    assert write_plan(workspace.store, target, report, "user", PlanOptions()) is not None


def unique(workspace: Workspace, k: int = 9) -> list[tuple[int, int | None]]:
    found = ask(workspace, Examples(embedding=(1.0, 0.0, 0.0)), k=k, unique=True)
    return [(match.image.id, match.copies) for match in found.matches]


def test_groups_of_the_last_plan_are_named_once_without_comparing_anything(workspace: Workspace) -> None:
    assert (IDS["nearly x"], 0) in unique(workspace)
    planned(workspace)
    assert unique(workspace)[0] == (IDS["x"], 2)
    assert {image for image, _ in unique(workspace)} == set(IDS.values()) - {IDS["x again"], IDS["nearly x"]}


def test_what_people_said_since_the_plan_counts(workspace: Workspace) -> None:
    planned(workspace)
    images = workspace.store.catalogue.images_by_id(workspace.collection("default").id, IDS.values())
    sha256 = {name: images[number].sha256.hex() for name, number in IDS.items()}
    verdicts = Verdicts(workspace.store.database)
    verdicts.say([verdict_on(sha256["nearly x"], sha256[name], "not_duplicate") for name in ("x", "x again")])
    assert unique(workspace)[:2] == [(IDS["x"], 1), (IDS["nearly x"], 0)]
    verdicts.say([verdict_on(sha256["nearly x"], sha256["xy"], "duplicate")])
    assert unique(workspace)[:2] == [(IDS["x"], 1), (IDS["nearly x"], 1)]


def test_more_is_looked_at_where_the_nearest_are_copies_of_each_other(workspace: Workspace) -> None:
    store, target = workspace.store, workspace.collection("default")
    copies = [new_image(f"copy {n}", facts(f"copy {n}", pixels="x")) for n in range(40)]
    Committer(store.database, store.blobs, target).commit(Batch(copies, np.concatenate([unit(1, 0, 0)] * 40)))
    assert unique(workspace, k=2) == [(IDS["x"], 41), (IDS["nearly x"], 0)]


def test_a_search_by_a_stored_image_names_copies_once_too(workspace: Workspace) -> None:
    target = workspace.collection("default")
    for name, wanted in (("x", [IDS["x"], IDS["nearly x"]]), ("blank", [IDS["blank"]])):
        image = workspace.store.catalogue.image_by_id(target.id, IDS[name])
        found = workspace.search_by_image(target, image, QueryRequest(k=2, unique=True)).matches
        assert [match.image.id for match in found] == wanted


SEARCH = "/v1/collections/default/search"


def test_examples_come_as_json_and_as_a_form_and_the_answer_says_them(client: TestClient) -> None:
    as_json = client.post(SEARCH, json={"like": ["1", "2"], "unlike": ["3"], "k": 2}).json()
    form = [("like", (None, "1")), ("like", (None, "2")), ("unlike", (None, "3")), ("k", (None, "2"))]
    as_form = client.post(SEARCH, files=form).json()
    assert as_json["query"] == as_form["query"] == {"like": ["1", "2"], "unlike": ["3"]}
    assert as_json["matches"] == as_form["matches"]
    assert as_json["matches"][0]["id"] == str(IDS["xy"])


def test_a_stored_image_with_examples_is_one_of_them(client: TestClient) -> None:
    found = client.post(SEARCH, json={"id": "1", "like": ["2"]}).json()
    assert found["query"]["like"] == ["2", "1"]
    assert found["matches"] == client.post(SEARCH, json={"like": ["1", "2"]}).json()["matches"]


def test_an_embedding_is_searched_by_and_copies_are_counted(client: TestClient) -> None:
    found = client.post(SEARCH, json={"embedding": [2, 0, 0], "k": 1, "unique": True}).json()
    assert (found["query"], found["matches"][0]["copies"]) == ({"dims": 3}, 1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"id": "1", "embedding": [1, 0, 0]}, "exactly one of"),
        ({"unlike": ["1"]}, "exactly one of"),
        ({"embedding": [1, 0]}, "give 3"),
        ({"embedding": []}, "embedding"),
        ({"embedding": [0] * (MAX_DIMS + 1)}, "embedding"),
        ({"embedding": ["a", 0, 0]}, "give a number"),
        ({"like": ["1"] * 101}, "like"),
        ({"like": ["-1"]}, "give 1 to 16 digits"),
        ({"like": ["9999999999999999"]}, "no image with id"),
        ({"like": ["1"], "accurate": True}, "accurate needs one picture"),
    ],
)
def test_what_is_no_query_is_refused_in_words(client: TestClient, body: dict[str, object], said: str) -> None:
    answer = client.post(SEARCH, json=body)
    assert answer.status_code in (404, 422)
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(client: TestClient, number: str) -> None:
    body = f'{{"embedding": [1, {number}, 0]}}'
    answer = client.post(SEARCH, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "give a finite number" in answer.json()["detail"]) == (422, True)


def test_an_embedding_is_read_from_a_file_and_nothing_else_is(tmp_path: Path) -> None:
    file = tmp_path / "e.npy"
    np.save(file, unit(3, 4))
    assert read_embedding(file) == pytest.approx((0.6, 0.8))
    for array in (np.ones((2, 3)), np.ones(0), np.ones((1, 3), np.int64), np.ones((1, 1, 3)), np.ones((3, 1))):
        np.save(file, array)
        with pytest.raises(UsageError, match=r"e.npy holds"):
            read_embedding(file)
    file.write_bytes(b"no array")
    with pytest.raises(UsageError, match="cannot read an embedding"):
        read_embedding(file)
