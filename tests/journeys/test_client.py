"""The client asks a real server process, which wants a key."""

import ast
import asyncio
import inspect
import io
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.client import AccessRefused, AsyncClient, Client, Conflict, NotFound, Refused
from tests.conftest import painted
from tests.served import KEY, Served, served_album

PAGE = Path(__file__).parent.parent.parent / "docs" / "client.md"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that wants a key, and has a folder `inbox` of which clients may name files."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "inbox").mkdir()
    with served_album(folder, "--allow-root", str(folder / "inbox"), with_key=True) as album:
        yield album


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with Client(served.url, key=KEY) as opened:
        yield opened


def test_without_the_key_nothing_is_told(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_API_KEY", "lk_wrong")
    with Client(served.url) as stranger, pytest.raises(AccessRefused, match="key"):
        stranger.status()
    monkeypatch.setenv("LOOKALIKE_API_KEY", KEY)
    with Client(served.url) as friend:
        assert friend.status().images == 6


def test_a_picture_is_found_however_it_is_given(client: Client, served: Served) -> None:
    file = served.photos / "3.png"
    opened = Image.open(file)
    stored = next(image for image in client.images() if image.uri.endswith("/3.png"))
    for given in (file, str(file), file.read_bytes(), opened, np.asarray(opened)):
        answer = client.search(given, k=2)
        assert [match.relation for match in answer.matches] == ["identical", "similar"]
        assert answer.matches[0].id == stored.id
    assert client.search(id=stored.id, k=1).matches[0].key == stored.key
    assert client.search(key=stored.key, k=1, accurate=True).matches[0].id == stored.id
    (part,) = client.search(file, k=1, box="0,0,100,150", where="width >= 200", min_score=-1.0).matches
    assert part.width == 200


def test_lists_go_on_to_their_end_and_keys_arrive_as_they_are(client: Client) -> None:
    images = list(client.images(page_size=4))
    assert (len(images), [one.name for one in client.collections()]) == (6, ["default"])
    for image in images:
        again = client.image_by_key(image.key)
        assert (again, again.etag) == (client.image(image.id), client.image(image.id).etag)
    with pytest.raises(NotFound, match=r"no image with key '\.\.'"):
        client.image_by_key("..")


def test_a_check_tells_copies_from_new_pictures(client: Client, served: Served) -> None:
    assert client.check(served.photos / "copy.png").status == "exact"
    noise = np.random.default_rng(9).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    assert client.check(noise).status == "new"
    stored = client.search(served.photos / "1.png", k=1).matches[0]
    assert client.check(id=stored.id).status == "new", "no other image is a copy of it"


def test_a_thumbnail_and_an_explanation_are_pictures(client: Client, served: Served) -> None:
    stored = client.search(served.photos / "1.png", k=1).matches[0]
    small = Image.open(io.BytesIO(client.thumbnail(stored.id, size=64)))
    assert (small.format, max(small.size)) == ("JPEG", 64)
    assert client.explain(served.photos / "1.png", stored.id).answer == "cannot", "smooth colours have no corners"
    assert Image.open(io.BytesIO(client.explanation(served.photos / "1.png", stored.id))).format == "PNG"


def test_metadata_is_changed_only_as_long_as_it_is_what_was_seen(client: Client) -> None:
    seen = client.image(next(client.images()).id)
    changed = client.change_metadata(seen.id, {"rating": 5, "place": {"city": "Köln"}}, if_match=seen.etag)
    assert changed.metadata == {"rating": 5, "place": {"city": "Köln"}}
    with pytest.raises(Conflict) as refused:
        client.change_metadata(seen.id, {"rating": 1}, if_match=seen.etag)
    assert (refused.value.status, refused.value.kind) == (412, "ImageChanged")
    assert client.change_metadata(seen.id, {"rating": None}, if_match=changed.etag).metadata == {
        "place": {"city": "Köln"}
    }
    assert client.change_metadata(seen.id, None).metadata in (None, {})


def test_what_is_said_of_a_pair_is_listed_and_can_be_taken_back(client: Client, served: Served) -> None:
    one, other = (client.search(served.photos / name, k=1).matches[0] for name in ("1.png", "4.png"))
    (said,) = client.say(one.key, other.id, "different").items
    assert [verdict.first for verdict in client.verdicts()] == [said.first]
    client.forget(said.second, said.first)
    assert list(client.verdicts()) == []


def test_several_pictures_liked_ones_and_embeddings_are_queries_too(client: Client, served: Served) -> None:
    one, other, third = (client.search(served.photos / name, k=1).matches[0] for name in ("1.png", "4.png", "3.png"))
    both = client.search([served.photos / "1.png", Image.open(served.photos / "4.png")], k=2)
    assert {match.id for match in both.matches} == {one.id, other.id}
    liked = client.search(like=[one.id, int(other.id)], unlike=[third.id], k=6).matches
    assert not {match.id for match in liked} & {one.id, other.id}, "examples are no matches"
    beside = client.search(served.photos / "1.png", like=[other.id], unlike=[third.id], k=3)
    assert beside.query.like == [other.id]
    with pytest.raises(Refused, match="dims"):
        client.search(embedding=np.ones(3, np.float32))
    assert client.check(id=one.id).evidence.nearest is not None


def test_the_views_of_a_collection_are_answers_with_types(client: Client) -> None:
    assert (client.facets().images, client.status().complete, client.timeline().undated) == (6, True, 6)
    narrow = client.facets().sizes[0]
    assert len(list(client.images(where=narrow.where, page_size=2))) == narrow.images
    assert list(client.failures()) == []


def test_a_dedup_job_is_waited_for_and_its_groups_come_with_the_totals_of_the_report(client: Client) -> None:
    with pytest.raises(NotFound, match="POST"):
        client.groups_page()
    states: list[str] = []
    job = client.dedup(threshold=0.9999)
    done = job.wait(lambda now: states.append(now.state), timeout_s=120)
    assert (states[-1], done.result and done.result["groups"]) == ("done", 1)
    assert (client.job(job.id).state, [one.id for one in client.jobs(state="done")]) == ("done", [job.id])
    (group,) = client.groups(threshold=0.9999)
    assert (group.members[0].kind, client.groups_page(threshold=0.9999).copies_total) == ("same_bytes", 1)
    assert [report.plan for report in client.reports()] == [done.result and done.result["plan"]]
    assert client.search(id=group.keeper.id, k=1, unique=True).matches[0].copies == 1
    with pytest.raises(Refused, match="below which no image"):
        client.dedup(within="/nowhere")


def test_pictures_are_taken_in_and_found_at_once(client: Client) -> None:
    fresh = painted(51, (160, 120))
    added = client.add(fresh, key="shop/1", metadata={"rating": 4})
    assert (added.outcome, added.image and added.image.metadata) == ("added", {"rating": 4})
    (match,) = client.search(fresh, k=1).matches
    assert match.key == "shop/1"
    assert match.score == pytest.approx(1, abs=1e-3)
    assert client.add(fresh, key="shop/2", on_duplicate="reject").outcome == "rejected"
    two = client.add_all(
        [painted(52), painted(53)], keys=["shop/3", "shop/4"], metadata=[{"n": 3}, {"n": 4}], keep="none"
    )
    assert [(one.outcome, one.image and one.image.metadata) for one in two.items] == [
        ("added", {"n": 3}),
        ("added", {"n": 4}),
    ]
    assert client.put("shop/1", fresh).outcome == "exists"
    assert client.put("shop/1", painted(54), metadata={"rating": 5}, keep="thumbnail").outcome == "replaced"
    assert client.image_by_key("shop/1").metadata == {"rating": 5}
    bad = client.add(b"no picture")
    assert (bad.outcome, bad.problem and bad.problem.reason) == ("rejected", "not_an_image")
    for key in ("shop/1", "shop/3", "shop/4"):
        client.remove(client.image_by_key(key).id)


def test_lists_and_searches_by_the_thousand_come_line_by_line(client: Client) -> None:
    images = list(client.images(page_size=None))
    assert images == list(client.images(page_size=4))
    queries = [{"id": image.id, "k": 1} for image in images]
    lines = list(client.batch_search([*queries, {"id": 99_999}, {"key": images[0].key, "k": 1, "where": "width > 1"}]))
    assert [one.line for one in lines] == [*range(1, len(images) + 3)]
    *found, gone, by_key = lines
    assert all(one.answer and one.answer.matches[0].score > 0.999 for one in [*found, by_key])
    assert (gone.problem and gone.problem.status) == 404


def test_the_server_tells_how_it_is_and_what_conditions_can_be_about(client: Client) -> None:
    assert (client.health().status, client.ready().status) == ("ok", "ok")
    assert "lookalike_requests_done_total" in client.metrics()
    assert {"width", "key", "format"} <= {one.field for one in client.fields()}
    with pytest.raises(Refused, match="builtin"):
        client.classify([painted(1)])


def test_a_map_has_a_place_for_each_image(client: Client) -> None:
    shown = client.map()
    assert (shown.images, sorted(shown.ids.tolist())) == (6, sorted(int(image.id) for image in client.images()))
    assert shown.points.shape == (6, 2)
    assert 0 <= shown.points.min() <= shown.points.max() <= 1


def test_an_import_takes_in_what_the_server_has(client: Client, served: Served) -> None:
    inbox = served.photos.parent / "inbox"
    painted(61, (160, 120)).save(inbox / "a.png")
    rows: list[dict[str, object]] = [{"uri": str(inbox / "a.png"), "key": "shop/61"}, {"uri": str(inbox / "gone.png")}]
    done = client.start_import(manifest=rows).wait(timeout_s=120)
    assert done.result is not None
    assert (done.result["outcomes"], len(list(done.result["rejected"]))) == ({"added": 1, "rejected": 1}, 1)  # type: ignore[call-overload]
    again = client.put("shop/61", uri=str(inbox / "a.png"), metadata={"n": 2}, labels={"tabby": 0.75})
    assert again.image is not None
    assert (again.outcome, again.image.metadata) == ("exists", {"n": 2})
    client.remove(client.image_by_key("shop/61").id)
    with pytest.raises(Refused, match="allow-root"):
        client.start_import([str(served.store)])


def test_what_the_server_refuses_says_what_to_do(client: Client, served: Served) -> None:
    with pytest.raises(Refused, match="colour is no field") as wrong:
        client.search(served.photos / "1.png", where="colour = 3")
    assert (wrong.value.status, wrong.value.kind, wrong.value.position) == (422, "BadCondition", 1)
    with pytest.raises(Refused) as no_picture:
        client.search(b"no picture")
    assert no_picture.value.reason == "not_an_image"
    with pytest.raises(Refused, match="send a smaller picture") as large:
        client.search(bytes(33 << 20))
    assert large.value.status == 413
    with pytest.raises(NotFound, match="no collection"):
        client.in_collection("nowhere").status()


def test_threads_share_a_client(client: Client, served: Served) -> None:
    files = sorted(served.photos.iterdir()) * 2
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda file: client.search(file, k=1), files))
    assert [answer.matches[0].relation for answer in answers] == ["identical"] * 12


def test_the_async_client_does_the_same(served: Served) -> None:
    async def ask() -> tuple[list[str], list[str], str]:
        async with AsyncClient(served.url, key=KEY) as client:
            keys = [image.key async for image in client.images(page_size=4)]
            files = sorted(served.photos.iterdir())
            answers = await asyncio.gather(*(client.search(file, k=1) for file in files))
            try:
                await client.in_collection("nowhere").status()
            except NotFound as error:
                return keys, [answer.matches[0].relation for answer in answers], error.kind
            return keys, [], ""

    keys, relations, kind = asyncio.run(ask())
    assert (len(keys), relations, kind) == (6, ["identical"] * 6, "CollectionNotFound")


def test_every_example_of_the_docs_runs_as_it_stands_there(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    painted(0, (200, 150)).save("query.jpg", quality=95)
    painted(71, (200, 150)).save("upload.jpg")
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    for block in blocks:
        code = compile(
            block.replace("http://127.0.0.1:8080", served.url),
            str(PAGE),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        done = eval(code, names)  # noqa: S307 -- the documentation's own words
        if inspect.iscoroutine(done):
            asyncio.run(done)
    pictures = names["pictures"]
    assert isinstance(pictures, Client)
    pictures.close()
    said = capsys.readouterr().out
    assert len(blocks) == 4
    assert "1 groups, plan" in said
    assert "1 copies would go into quarantine" in said
