"""The data set for FiftyOne: as its importer reads it, which is not installed here (release 1.22 was tried by hand)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.cli import main
from search.database.tables import image
from search.errors import StoreUnavailable, UsageError
from search.faults import EXPORT_POINTS
from search.finding.snapshot import SnapshotReader
from search.index.cpu_pairs import CpuPairs
from search.moving.export_fiftyone import FiftyOneReport, export_fiftyone
from search.moving.export_neighbours import Neighbourhood
from search.records import Collection
from search.storing.store import Store
from tests.album_rows import ROWS

# What `deserialize_value` of FiftyOne makes documents of, by `_cls`, and their fields.
DOCUMENTS: dict[str, dict[str, type]] = {
    "ImageMetadata": {"size_bytes": int, "mime_type": str, "width": int, "height": int},
    "Classifications": {"classifications": list},
    "Classification": {"label": str, "confidence": float},
}
RESERVED = {"id", "created_at", "last_modified_at", "media_type", "frames", "in_dataset"}


def written(store: Store, target: Collection, place: Path, k: int = 2, min_score: float = -1.0) -> FiftyOneReport:
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    return export_fiftyone(snapshot, store.catalogue, place, Neighbourhood(k, min_score), CpuPairs())


def samples(place: Path) -> list[dict[str, Any]]:
    """Return the samples as FiftyOne's importer for data sets without a version takes them."""
    assert "version" not in json.loads((place / "metadata.json").read_text())
    found: list[dict[str, Any]] = json.loads((place / "samples.json").read_text("utf-8"))["samples"]
    for sample in found:
        assert os.path.isabs(sample["filepath"])  # noqa: PTH117 -- as the importer asks
        assert not [name for name in sample if name in RESERVED or name.startswith("_")]
        for value in sample.values():
            read(value)
    return found


def read(value: Any) -> None:
    """Raise where FiftyOne or its database would: at unknown documents, their fields, and names of keys."""
    if isinstance(value, list):
        for one in value:
            read(one)
    elif isinstance(value, dict) and "_cls" in value:
        fields = DOCUMENTS[value["_cls"]]
        for name, inner in value.items():
            assert name == "_cls" or isinstance(inner, fields[name]), name
            read(inner)
    elif isinstance(value, dict):
        for name, inner in value.items():
            assert name
            assert not name.startswith(("$", "_")), name
            assert "." not in name
            read(inner)


def test_every_image_of_this_machine_is_a_sample_with_its_neighbours(
    album_store: Store, album_rows: Collection, tmp_path: Path
) -> None:
    report = written(album_store, album_rows, tmp_path / "set")
    assert (report.images, report.left_out, report.k) == (5, 1, 2)
    found = {one["key"]: one for one in samples(tmp_path / "set")}
    assert {one.key: one.path for one in ROWS if one.path} == {key: one["filepath"] for key, one in found.items()}
    first = found["a"]
    assert first["metadata"] == {
        "_cls": "ImageMetadata",
        "size_bytes": 1000,
        "mime_type": "image/jpeg",
        "width": 100,
        "height": 50,
    }
    assert [one["label"] for one in first["labels"]["classifications"]] == [
        "tabby, tabby cat",
        "tiger, Panthera tigris",
    ]
    assert (first["neighbour_ids"][0], first["nearest_score"]) == (found["f"]["lookalike_id"], pytest.approx(1))
    assert first["neighbour_scores"] == sorted(first["neighbour_scores"], reverse=True)
    assert (first["taken_at"], "labels" in found["e"], "taken_at" in found["f"]) == ("2024-01-31T23:59:59", False, True)
    assert first["user_metadata"]["place"] == {"city": "Köln", "geo": {"lat": 50.9375, "lon": 6.9603}}


def test_neighbours_below_the_least_score_are_left_out(
    album_store: Store, album_rows: Collection, tmp_path: Path
) -> None:
    written(album_store, album_rows, tmp_path / "set", 3, 0.99)
    found = {one["key"]: one for one in samples(tmp_path / "set")}
    assert (len(found["a"]["neighbour_ids"]), found["b"]["neighbour_ids"], found["b"]["nearest_score"]) == (1, [], None)


def test_names_that_its_database_or_fiftyone_would_take_for_something_else_are_changed(
    album_store: Store, album_rows: Collection, tmp_path: Path
) -> None:
    odd = {"a.b": 1, "a_b": 2, "$oid": "3", "_cls": "Classification", "": [{"$binary": None, "x.y": {"_id": 5}}]}
    with album_store.database.writing() as connection:
        before = connection.execute(update(image).where(image.c.id == 1).values(metadata=odd)).rowcount
    assert before == 1
    try:
        written(album_store, album_rows, tmp_path / "set")
    finally:
        with album_store.database.writing() as connection:
            connection.execute(update(image).where(image.c.id == 1).values(metadata=dict(ROWS[0].metadata)))
    (first,) = (one for one in samples(tmp_path / "set") if one["key"] == "a")
    assert first["user_metadata"] == {
        "a_b": 1,
        "a_b_": 2,
        "meta$oid": "3",
        "meta_cls": "Classification",
        "meta": [{"meta$binary": None, "x_y": {"meta_id": 5}}],
    }


@pytest.mark.parametrize("point", EXPORT_POINTS)
def test_without_room_there_is_no_folder(
    album_store: Store, album_rows: Collection, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    monkeypatch.setattr("search.faults._hits", {point: 0})
    with pytest.raises(StoreUnavailable, match="free space"):
        written(album_store, album_rows, tmp_path / "set")
    assert list(tmp_path.glob("set*")) == []


def test_a_folder_that_is_there_is_never_overwritten(
    album_store: Store, album_rows: Collection, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(UsageError, match="exists"):
        written(album_store, album_rows, tmp_path / "set")


def test_the_command_says_what_it_wrote_and_knows_its_formats(
    album_store: Store, album_rows: Collection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        with pytest.raises(SystemExit):
            main(["--store", str(album_store.root), *words])
        captured = capsys.readouterr()
        return captured.out + captured.err

    place = tmp_path / "set"
    shape = json.loads(run("--json", "--progress", "none", "neighbours", str(place), "--format", "fiftyone"))
    assert shape == {"place": str(place), "collection": "default", "images": 5, "left_out": 1, "k": 10}
    told = run("neighbours", str(tmp_path / "other"), "--format", "fiftyone")
    assert "5 images with their neighbours in" in told
    assert "1 left out, whose files are not on this machine" in told
    assert "not one of parquet, fiftyone" in run("neighbours", str(tmp_path / "x"), "--format", "csv")
