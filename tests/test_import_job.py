"""What an import tells of itself, run as its process runs it, with the built-in backbone."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from api.cli import main
from api.jobs.import_job import run_import
from api.jobs.progress import Meter
from api.jobs.task import Task
from search.database.tables import collection
from search.storing.store import Store
from tests.conftest import painted

DOG, CAT = ({"label": name, "probability": 0.9} for name in ("dog", "cat"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two pictures, one of them in `photos` and indexed into the store beside it."""
    (tmp_path / "photos").mkdir()
    painted(0, (160, 120)).save(tmp_path / "photos" / "0.png")
    painted(1, (160, 120)).save(tmp_path / "1.png")
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(tmp_path / "store"), "--progress", "none", "index", str(tmp_path / "photos")])
    return tmp_path


def imported(folder: Path, **body: Any) -> dict[str, Any]:
    meter = Meter(lambda progress: None)
    task = Task(folder / "store", 1, "default", body, "cpu", None, meter, roots=(folder,))
    return dict(run_import(task))


def test_an_import_notes_that_the_backbone_can_name_nothing_where_the_collection_keeps_labels(folder: Path) -> None:
    assert imported(folder, sources=[str(folder / "photos")])["notes"] == []
    with Store(folder / "store") as store, store.database.writing() as connection:
        connection.execute(update(collection).values(labels=True))
    (note,) = imported(folder, sources=[str(folder / "photos")])["notes"]
    assert note.startswith("builtin names nothing: new images get no labels")


def test_an_import_notes_labels_that_do_not_count_because_the_file_has_others(folder: Path) -> None:
    picture = str(folder / "1.png")
    first = imported(folder, manifest=[{"uri": picture, "key": "a", "labels": [DOG]}])
    assert (first["outcomes"], first["notes"]) == ({"added": 1}, [])
    rows = [{"uri": picture, "key": key, "labels": [CAT]} for key in ("b", "c")]
    again = imported(folder, manifest=rows)
    (note,) = again["notes"]
    assert note.partition(": ")[0] in ("b and 1 more", "c and 1 more")
    assert "the labels that were sent do not count" in note
