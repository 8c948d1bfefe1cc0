"""The index journey with labels, and every face that shows and filters by them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import lookalike
from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.jobs.index_images import IndexOptions
from indexer.jobs.summary import IndexSummary
from search.conditions.where import parse
from search.errors import UsageError
from search.finding.snapshot import SnapshotReader
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import Draw
from tests.fakes import ColourLabeller, FakeBackbone
from tests.jobs import index

LABELS = IndexOptions(batch_size=8, labeller=ColourLabeller())
RED, GREEN, BLUE = ColourLabeller.NAMES


def paint(path: Path, colour: tuple[int, int, int]) -> Path:
    Image.new("RGB", (64, 48), colour).save(path)
    return path


@pytest.fixture
def three(photos: Path) -> Path:
    """A red, a green and a blue picture."""
    for name, colour in (("red", (200, 90, 40)), ("green", (90, 200, 40)), ("blue", (40, 90, 200))):
        paint(photos / f"{name}.png", colour)
    return photos


def labels(store: Store) -> dict[str, tuple[str, ...]]:
    target = store.catalogue.collection("default")
    return {
        image.uri.rsplit("/")[-1]: tuple(label.label for label in image.labels)
        for image in store.catalogue.images(target.id)
    }


def labelled(summary: IndexSummary) -> tuple[int, int, int | None]:
    return summary.counts.indexed, summary.counts.unchanged, summary.counts.labelled


def test_new_images_are_committed_with_their_labels(store: Store, three: Path) -> None:
    assert labelled(index(store, three, options=LABELS)) == (3, 0, 3)
    assert labels(store) == {
        "red.png": (RED, GREEN, BLUE),
        "green.png": (GREEN, RED, BLUE),
        "blue.png": (BLUE, GREEN, RED),
    }
    target = store.catalogue.collection("default")
    assert store.catalogue.matching(target, parse('label = "crimson" and path like "%/red.png"')).size == 1
    assert verify(store, deep=True) == []


def test_images_without_labels_get_them_later_and_nothing_else_changes(store: Store, three: Path) -> None:
    first = index(store, three)
    assert labelled(first) == (3, 0, None)
    before = SnapshotReader(store.database, store.blobs, first.collection).current()
    paint(three / "grey.png", (128, 128, 128))
    segments = len(store.blobs.names("segments"))
    backbone = FakeBackbone()
    assert labelled(index(store, three, backbone=backbone, options=LABELS)) == (1, 3, 4)
    assert backbone.embedded == 4
    assert all(labels(store).values())
    after = SnapshotReader(store.database, store.blobs, first.collection).current()
    assert before.rows()[0].tolist() == [1, 2, 3]
    assert after.rows()[0].tolist() == [1, 2, 3, 4]
    assert (after.rows()[1][:3] == before.rows()[1]).all()
    assert len(store.blobs.names("segments")) == segments + 1
    assert verify(store, deep=True) == []


def test_a_third_run_opens_no_file(local_store: Store, three: Path) -> None:
    index(local_store, three)
    index(local_store, three, options=LABELS)
    backbone = FakeBackbone()
    assert labelled(index(local_store, three, backbone=backbone, options=LABELS)) == (0, 3, 0)
    assert backbone.embedded == 0


def test_copies_and_moved_files_keep_the_labels_of_their_content(local_store: Store, three: Path) -> None:
    index(local_store, three, options=LABELS)
    (three / "copy.png").write_bytes((three / "red.png").read_bytes())
    (three / "green.png").rename(three / "moved.png")
    backbone = FakeBackbone()
    summary = index(local_store, three, backbone=backbone, options=LABELS)
    assert (summary.counts.indexed, summary.counts.moved, summary.counts.labelled) == (1, 1, 0)
    assert backbone.embedded == 0
    assert labels(local_store)["copy.png"][0] == RED
    assert labels(local_store)["moved.png"][0] == GREEN


def test_an_unlabelled_file_that_moved_is_a_move_and_gets_its_labels(local_store: Store, three: Path) -> None:
    index(local_store, three)
    (three / "green.png").rename(three / "moved.png")
    summary = index(local_store, three, options=LABELS)
    assert (summary.counts.indexed, summary.counts.moved, summary.counts.labelled) == (0, 1, 3)
    assert labels(local_store)["moved.png"][0] == GREEN


def test_a_changed_file_gets_the_labels_of_what_it_shows_now(local_store: Store, three: Path) -> None:
    index(local_store, three, options=LABELS)
    paint(three / "red.png", (10, 20, 240))
    assert labelled(index(local_store, three, options=LABELS)) == (1, 2, 1)
    assert labels(local_store)["red.png"][0] == BLUE


def test_only_good_embeddings_are_labelled(local_store: Store, three: Path) -> None:
    class Strict(ColourLabeller):
        def labels(self, raw: Any) -> Any:
            assert raw.any(axis=1).all()
            return super().labels(raw)

    class Broken(FakeBackbone):
        def embed(self, pixels: Any) -> Any:
            raw = super().embed(pixels)
            raw[pixels[:, 0, 0, 1] == 200] = 0
            return raw

    summary = index(local_store, three, backbone=Broken(), options=IndexOptions(batch_size=8, labeller=Strict()))
    assert dict(summary.counts.failures) == {"invalid_embedding": 1}
    assert labels(local_store) == {"red.png": (RED, GREEN, BLUE), "blue.png": (BLUE, GREEN, RED)}


# --- the faces, with the built-in backbone and the fake classifier ---------------------------------
Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.backbones.prepared_backbone.PreparedBackbone.labeller", lambda _self: ColourLabeller())


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, Any]:
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(tmp_path / "store"), "--progress", "none", "--json", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def album(photos: Path, draw: Draw) -> Path:
    for number in range(6):
        draw(f"{number}.png", number, size=(320 + number, 240))
    return photos


def found(shape: Any) -> list[str]:
    return [Path(match["path"]).name for match in shape["matches"]]


def test_a_backbone_without_classifier_refuses_labels_and_writes_nothing(run: Run, album: Path, tmp_path: Path) -> None:
    code, shape = run("index", "--workers", 1, album, "--labels")
    assert (code, shape["error"]["kind"]) == (2, "UsageError")
    assert "no classifier" in shape["error"]["message"]
    assert not (tmp_path / "store").exists()


@pytest.mark.usefixtures("classifier")
def test_the_collection_remembers_labels_until_told_otherwise(run: Run, album: Path, draw: Draw) -> None:
    assert "labelled" not in run("index", "--workers", 1, album)[1]
    assert run("status")[1]["collections"][0]["labels"] is False
    assert run("index", "--workers", 1, album, "--labels")[1]["labelled"] == 6
    assert run("status")[1]["collections"][0]["labels"] is True
    draw("later.png", 7, size=(320, 240))
    shape = run("index", "--workers", 1, album)[1]
    assert (shape["indexed"], shape["unchanged"], shape["labelled"]) == (1, 6, 1)
    draw("last.png", 8, size=(320, 240))
    shape = run("index", "--workers", 1, album, "--no-labels")[1]
    assert (shape["indexed"], "labelled" in shape) == (1, False)
    assert "labelled" not in run("index", "--workers", 1, album)[1]


@pytest.mark.usefixtures("classifier")
def test_where_filters_a_search_by_picture_by_id_and_by_key(run: Run, album: Path) -> None:
    run("index", "--workers", 1, album, "--labels")
    everything = run("search", "--id", 1)[1]["matches"]
    assert all(len(match["labels"]) == 3 for match in everything)
    image = everything[0]
    first = image["labels"][0]["label"]
    assert run("search", "--id", 1, "--where", f'label = "{first}"')[1]["matches"] == everything
    for query in ([album / "0.png"], ["--id", image["id"]], ["--key", image["key"]]):
        code, shape = run("search", *query, "-k", 2, "--where", "width >= 323 and not path like '%5.png'")
        assert code == 0
        assert len(found(shape)) == 2
        assert set(found(shape)) <= {"3.png", "4.png"}
    assert run("search", *query, "--where", "width > 1000")[1]["matches"] == []


def test_a_wrong_condition_is_told_before_a_backbone_is_loaded(run: Run, album: Path) -> None:
    run("index", "--workers", 1, album)
    code, shape = run("search", "/no/such.jpg", "--where", "colour = 3")
    assert code == 2
    assert shape["error"]["message"].startswith("where, at character 1: colour is no field; the fields are")


@pytest.mark.usefixtures("classifier")
def test_people_see_the_first_label(album: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (
        ["index", "--labels", str(album)],
        ["search", "--id", "1"],
        ["search", "--id", "1", "--where", "width=1"],
    ):
        with pytest.raises(SystemExit):
            main(["--store", str(tmp_path / "store"), "--progress", "none", *command])
    shown = capsys.readouterr().out
    assert "6 indexed, 6 labelled" in shown
    assert any(name.split(",")[0] in shown for name in ColourLabeller.NAMES)
    assert "widen --where" in shown


@pytest.mark.usefixtures("classifier")
def test_a_script_labels_and_filters(album: Path, tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as made:
        assert made.index(album, labels=True, progress=False).counts.labelled == 6
        best = made.search(album / "0.png", k=3, where="width > 322")
        assert [match.image.width > 322 for match in best] == [True] * 3
        assert best[0].image.labels[0].probability == 0.6
        with pytest.raises(UsageError, match="character 7"):
            made.search(album / "0.png", where="width !! 3")


@pytest.fixture
def client(classifier: None, album: Path, tmp_path: Path) -> Iterator[TestClient]:  # noqa: ARG001
    with pytest.raises(SystemExit):
        main(["--store", str(tmp_path / "store"), "--progress", "none", "index", "--labels", str(album)])
    with (
        Workspace(tmp_path / "store") as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        TestClient(create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",)))) as made,
    ):
        yield made


def test_http_shows_counts_and_filters_by_labels(client: TestClient, album: Path) -> None:
    base = "/v1/collections/default"
    assert client.get(base).json()["labels"] is True
    images = client.get(f"{base}/images").json()["items"]
    assert [len(image["labels"]) for image in images] == [3] * 6
    assert client.get(f"{base}/images/{images[0]['id']}").json() == images[0]
    first = client.get(f"{base}/labels", params={"limit": 2}).json()
    rest = client.get(f"{base}/labels", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    counts = [*first["items"], *rest["items"]]
    assert {item["label"]: item["images"] for item in counts} == dict.fromkeys(ColourLabeller.NAMES, 6)
    assert rest["next_cursor"] is None

    where = 'label = "crimson" and width <= 322'
    image = next(image for image in images if image["path"].endswith("/0.png"))
    as_json = client.post(f"{base}/search", json={"id": image["id"], "where": where}).json()
    with (album / "0.png").open("rb") as file:
        as_form = client.post(f"{base}/search", files={"image": file}, data={"where": where}).json()
    for answer in (as_json, as_form):
        assert sorted(Path(match["path"]).name for match in answer["matches"]) == ["0.png", "1.png", "2.png"]
        assert answer["matches"][0]["labels"] == image["labels"]

    refused = client.post(f"{base}/search", json={"id": images[0]["id"], "where": "width >"})
    assert refused.status_code == 422
    assert "it ends too early" in refused.json()["detail"]
