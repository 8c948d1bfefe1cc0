"""The nearest neighbours of every image, as a file: exact, by rank, and never an image of itself."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from api.cli import main
from search.errors import StoreUnavailable, UsageError
from search.faults import EXPORT_POINTS
from search.finding.snapshot import Snapshot, SnapshotReader
from search.index.cpu_pairs import CpuPairs
from search.moving import export_neighbours as module
from search.moving.export_neighbours import Neighbourhood, export_neighbours
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FakeBackbone, new_image
from tests.stored_rows import add

# On a circle: 0 and 10 degrees are 10 apart, 10 and 90 are 80 apart.
DEGREES = (0, 10, 90, 100, 180)


def store_circle(store: Store, degrees: tuple[int, ...] = DEGREES) -> Collection:
    space = FakeBackbone().space
    target = store.open_collection("default", space)
    embeddings = np.zeros((len(degrees), space.dims), np.float32)
    embeddings[:, 0], embeddings[:, 1] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    images = [new_image(f"{number}.jpg") for number in range(len(degrees))]
    Committer(store.database, store.blobs, target).commit(Batch(images, embeddings))
    return store.catalogue.collection("default")


def key(number: int) -> str:
    return new_image(f"{number}.jpg").key


def snapshot_of(store: Store, target: Collection) -> Snapshot:
    return SnapshotReader(store.database, store.blobs, target).current()


def written(store: Store, target: Collection, place: Path, k: int, min_score: float = -1.0) -> list[dict[str, Any]]:
    snapshot = snapshot_of(store, target)
    export_neighbours(snapshot, store.catalogue, place, Neighbourhood(k, min_score), CpuPairs())
    rows: list[dict[str, Any]] = pq.read_table(place).to_pylist()
    return rows


def test_the_neighbours_of_points_on_a_circle_are_those_beside_them(store: Store, tmp_path: Path) -> None:
    target = store_circle(store)
    rows = written(store, target, tmp_path / "n.parquet", 2)
    ids = snapshot_of(store, target).rows()[0].tolist()
    near = [(ids.index(row["id"]), row["rank"], ids.index(row["neighbour_id"])) for row in rows]
    assert near == [
        *[(0, 1, 1), (0, 2, 2)],
        *[(1, 1, 0), (1, 2, 2)],
        *[(2, 1, 3), (2, 2, 1)],
        *[(3, 1, 2), (3, 2, 4)],
        *[(4, 1, 3), (4, 2, 2)],
    ]
    assert rows[0]["score"] == pytest.approx(np.cos(np.radians(10)), abs=1e-3)
    keys = {image.id: image.key for image in store.catalogue.images(target.id, limit=10)}
    assert all(row["key"] == keys[row["id"]] and row["neighbour_key"] == keys[row["neighbour_id"]] for row in rows)


def test_a_least_score_leaves_out_the_far_ones(store: Store, tmp_path: Path) -> None:
    rows = written(store, store_circle(store), tmp_path / "n.parquet", 4, min_score=0.9)
    near = {(row["key"], row["neighbour_key"]) for row in rows}  # 10 degrees apart, from both sides
    assert near == {(key(one), key(other)) for one, other in ((0, 1), (1, 0), (2, 3), (3, 2))}


def test_no_image_is_its_own_neighbour_however_many_copies_there_are(store: Store, tmp_path: Path) -> None:
    rows = written(store, store_circle(store, (30,) * 6), tmp_path / "n.parquet", 3)
    assert len(rows) == 18
    assert all(row["id"] != row["neighbour_id"] for row in rows)


def test_fewer_images_than_asked_for_have_all_others_as_neighbours(store: Store, tmp_path: Path) -> None:
    assert len(written(store, store_circle(store), tmp_path / "n.parquet", 1000)) == 20
    alone = add(store, 0, 1, "alone")
    assert written(store, alone, tmp_path / "alone.parquet", 5) == []


def test_many_pages_say_the_same_as_one(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = add(store, 0, 23)
    whole = written(store, target, tmp_path / "one.parquet", 4)
    monkeypatch.setattr(module, "PAGE_IMAGES", 5)
    assert written(store, target, tmp_path / "many.parquet", 4) == whole


def test_an_image_removed_meanwhile_is_no_neighbour(store: Store, tmp_path: Path) -> None:
    target = store_circle(store)
    snapshot = snapshot_of(store, target)
    gone = snapshot.rows()[0].tolist()[1]
    Committer(store.database, store.blobs, target).remove([gone])
    export_neighbours(snapshot, store.catalogue, tmp_path / "n.parquet", Neighbourhood(2), CpuPairs())
    rows = pq.read_table(tmp_path / "n.parquet").to_pylist()
    assert rows
    assert gone not in {row["id"] for row in rows} | {row["neighbour_id"] for row in rows}


@pytest.mark.parametrize("point", EXPORT_POINTS)
def test_without_room_there_is_no_file(
    store: Store, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = store_circle(store)
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    monkeypatch.setattr("search.faults._hits", {point: 0})
    with pytest.raises(StoreUnavailable, match="free space"):
        written(store, target, tmp_path / "n.parquet", 2)
    assert list(tmp_path.glob("n.parquet*")) == []


def test_a_file_that_is_there_is_never_overwritten(store: Store, tmp_path: Path) -> None:
    (tmp_path / "n.parquet").write_text("mine")
    with pytest.raises(UsageError, match="exists"):
        written(store, store_circle(store), tmp_path / "n.parquet", 2)
    assert (tmp_path / "n.parquet").read_text() == "mine"


def test_the_command_says_what_it_wrote(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_circle(store)
    place = tmp_path / "n.parquet"
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(store.root), "--json", "neighbours", str(place), "-k", "3", "--min-score", "0.5"])
    shape = json.loads(capsys.readouterr().out)
    assert shape == {"place": str(place), "collection": "default", "images": 5, "k": 3, "rows": 4}
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(store.root), "neighbours", str(tmp_path / "m.parquet")])
    assert "default: 20 neighbours of 5 images in" in capsys.readouterr().out
