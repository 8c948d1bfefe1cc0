"""Labelled folders: what counts as a class, how they are split, and what is told before any training."""

import shutil
from pathlib import Path

import pytest

from indexer.finetuning.labelled_folders import LabelledPictures, find_labelled, read_labelled
from search.errors import UsageError
from tests.drawn_classes import draw_classes
from tests.fakes import InProcessDecoder


def read(folder: Path, val_fraction: float = 0.25, seed: int = 0) -> LabelledPictures:
    return read_labelled(find_labelled(folder), InProcessDecoder(), val_fraction=val_fraction, seed=seed, threads=2)


def names(pictures: object) -> set[str]:
    return {"/".join(Path(one.path).parts[-2:]) for one in pictures}  # type: ignore[attr-defined]


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    return draw_classes(tmp_path / "drawn", 8)


def test_folders_are_classes_in_name_order_and_every_class_is_split_alike(drawn: Path) -> None:
    found = read(drawn)
    assert found.classes == ("dots", "gradients", "stripes")
    for label, name in enumerate(found.classes):
        assert sum(one.label == label for one in found.val) == 2
        assert all(f"/{name}/" in one.path for one in found.train if one.label == label)
    assert not names(found.train) & names(found.val)
    assert len(found.train) == 18


def test_the_split_depends_on_the_seed_and_not_on_the_names_of_files(drawn: Path) -> None:
    before = read(drawn)
    assert read(drawn).digest() == before.digest()
    assert read(drawn, seed=1).digest() != before.digest()
    for file in sorted(drawn.rglob("*.png")):
        file.rename(file.with_name(f"renamed {99 - int(file.stem)}.png"))
    assert read(drawn).digest() == before.digest()


def test_train_and_val_folders_are_the_split(tmp_path: Path) -> None:
    draw_classes(tmp_path / "train", 3)
    draw_classes(tmp_path / "val", 2, seed=1)
    found = read(tmp_path)
    assert (len(found.train), len(found.val)) == (9, 6)
    assert all("/val/" in one.path for one in found.val)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    found = read(draw_classes(tmp_path / "toys", 4, ("dots", "stripes")).rename(tmp_path / "renamed"))
    assert found.classes == ("dots", "stripes")
    for old, new in (("dots", "train"), ("stripes", "val")):
        (tmp_path / "renamed" / old).rename(tmp_path / "renamed" / new)
    assert read(tmp_path / "renamed").classes == ("train", "val")


def test_bad_pictures_are_named_and_left_out(drawn: Path) -> None:
    (drawn / "dots" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (drawn / "dots" / "empty.png").write_bytes(b"")
    (drawn / "dots" / "notes.txt").write_text("no picture")
    found = read(drawn)
    assert {Path(one.path).name for one in found.skipped} == {"cut.jpg", "empty.png"}
    assert {one.reason for one in found.skipped} >= {"empty"}
    assert len(found.train) + len(found.val) == 24


def test_a_copy_counts_once_and_cannot_be_learnt_from_and_checked_with(tmp_path: Path) -> None:
    draw_classes(tmp_path / "train", 3)
    draw_classes(tmp_path / "val", 2, seed=1)
    shutil.copy(tmp_path / "train" / "dots" / "00.png", tmp_path / "val" / "dots" / "leak.png")
    found = read(tmp_path)
    (skipped,) = found.skipped
    assert (Path(skipped.path).name, skipped.reason) == ("leak.png", "copy")
    assert skipped.detail.endswith("train/dots/00.png")


def test_a_picture_in_two_classes_teaches_nothing(drawn: Path) -> None:
    shutil.copy(drawn / "dots" / "00.png", drawn / "stripes" / "same.png")
    found = read(drawn)
    assert {Path(one.path).name for one in found.skipped} == {"00.png", "same.png"}
    assert {one.reason for one in found.skipped} == {"two_classes"}


def empty_class(folder: Path) -> None:
    (folder / "nothing").mkdir()


def one_picture(folder: Path) -> None:
    draw_classes(folder / "more", 1, ("lonely",))
    (folder / "more" / "lonely").rename(folder / "lonely")
    (folder / "more").rmdir()


def all_bad(folder: Path) -> None:
    (folder / "broken").mkdir()
    for number in range(3):
        (folder / "broken" / f"{number}.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")


def one_class(folder: Path) -> None:
    for kind in ("dots", "stripes"):
        shutil.rmtree(folder / kind)


def no_classes(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def other_classes_in_val(folder: Path) -> None:
    draw_classes(folder / "train", 2)
    draw_classes(folder / "val", 2, ("dots", "spirals"), seed=1)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (empty_class, r"no pictures in 'nothing' of .*remove what is no class"),
        (one_picture, r"too few pictures in 'lonely': .*two different usable pictures"),
        (all_bad, r"none of the pictures in 'broken' can be used"),
        (one_class, r"only the class 'gradients'; at least two are needed: FOLDER/<class>/<pictures>"),
        (no_classes, r"no class folders; at least two"),
        (other_classes_in_val, r"different classes \('gradients', 'spirals', 'stripes' in one only\)"),
    ],
)
def test_a_folder_that_cannot_teach_is_refused_by_name(drawn: Path, damage: object, says: str) -> None:
    damage(drawn)  # type: ignore[operator]
    with pytest.raises(UsageError, match=says):
        read(drawn)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_one_half_empty_is_refused(drawn: Path, fraction: float) -> None:
    with pytest.raises(UsageError, match="--val-fraction"):
        read(drawn, fraction)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        read(tmp_path / "nowhere")
