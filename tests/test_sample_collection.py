"""The sample collection: what `make demo` and the journeys work on."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.sample_collection import EDITED, EDITS, SampleCollection, build


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> SampleCollection:
    return build(tmp_path_factory.mktemp("sample"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(path).convert("RGB"))


def test_it_holds_originals_edited_copies_and_one_file_that_is_no_picture(collection: SampleCollection) -> None:
    files = contents(collection.photos)
    assert collection.originals >= 20
    assert collection.copies >= collection.originals // 2
    assert len(files) == collection.originals + collection.copies + 1
    assert "notes.txt" in files
    assert {"astronaut.jpg", "edited/astronaut (cropped).jpg", "edited/china (as webp).webp"} <= files.keys()


def test_every_kind_of_edit_appears() -> None:
    assert {edit for edits in EDITED.values() for edit in edits} == EDITS.keys()


def test_every_picture_opens(collection: SampleCollection) -> None:
    pictures = [path for path in collection.photos.rglob("*") if path.suffix in (".jpg", ".png", ".webp")]
    assert len(pictures) == collection.originals + collection.copies
    for path in pictures:
        Image.open(path).load()


def test_the_query_lies_outside_the_indexed_folder_and_is_a_copy_of_none_of_its_files(
    collection: SampleCollection,
) -> None:
    assert collection.query.is_file()
    assert collection.photos not in collection.query.parents
    assert collection.query.read_bytes() not in contents(collection.photos).values()


def test_the_exact_copy_has_the_pixels_of_its_original_in_another_file(collection: SampleCollection) -> None:
    original, copy = collection.photos / "coffee.jpg", collection.photos / "edited" / "coffee (same pixels).png"
    assert original.read_bytes() != copy.read_bytes()
    assert np.array_equal(pixels(original), pixels(copy))


def test_a_mirrored_copy_shows_its_original_the_other_way_round(collection: SampleCollection) -> None:
    original = pixels(collection.photos / "chelsea.jpg").astype(float)
    copy = pixels(collection.photos / "edited" / "chelsea (mirrored).jpg").astype(float)
    assert np.abs(original[:, ::-1] - copy).mean() < 3
    assert np.abs(original - copy).mean() > 20


def test_building_twice_gives_the_same_bytes(collection: SampleCollection, tmp_path: Path) -> None:
    again = build(tmp_path)
    assert contents(again.photos) == contents(collection.photos)
    assert again.query.read_bytes() == collection.query.read_bytes()


def test_the_command_says_in_one_line_what_it_made_and_adds_the_broken_file_when_asked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.sample_collection", str(tmp_path), "--with-broken"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.count("\n") == 1
    assert str(tmp_path / "query" / "astronaut-edited.jpg") in run.stdout
    broken = (tmp_path / "photos" / "coffee (broken).jpg").read_bytes()
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(broken)).load()
