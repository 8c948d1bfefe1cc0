"""What lies beside an image and belongs to it is told from names, and never given to two images."""

from pathlib import Path

import pytest

from indexer.decoding import formats
from search.duplicates.sidecars import RAW_SUFFIXES, Beside, are_raw_and_developed, sidecars_of
from search.records import ImageRecord, uri_of_path


def laid(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes(b"x")


def beside(folder: Path, name: str) -> list[str]:
    return [path.name for path in sidecars_of(folder / name)]


@pytest.mark.parametrize(
    ("image", "sidecars"),
    [
        ("a.jpg", ["a.jpg.xmp"]),
        ("a.JPG", ["a.XMP"]),
        ("IMG_1.HEIC", ["IMG_1.AAE", "IMG_1.MOV", "IMG_O1.AAE"]),
        ("a.CR2", ["a.CR2.pp3", "a.xmp"]),
        ("a.b.jpg", ["a.b.jpg.json", "a.b.xmp"]),
        (".hidden.jpg", [".hidden.xmp"]),
    ],
)
def test_an_image_has_its_sidecars_in_whatever_case(tmp_path: Path, image: str, sidecars: list[str]) -> None:
    laid(tmp_path, image, *sidecars, "other.xmp", "ab.xmp", "a.txt")
    assert beside(tmp_path, image) == sidecars


def test_what_is_named_by_a_stem_belongs_to_the_raw_among_several(tmp_path: Path) -> None:
    laid(tmp_path, "a.jpg", "a.nef", "a.xmp")
    assert beside(tmp_path, "a.nef") == ["a.xmp"]
    assert beside(tmp_path, "a.jpg") == []


def test_what_two_pictures_could_claim_belongs_to_neither(tmp_path: Path) -> None:
    laid(tmp_path, "a.jpg", "a.png", "a.xmp", "a.png.xmp")
    assert beside(tmp_path, "a.jpg") == []
    assert beside(tmp_path, "a.png") == ["a.png.xmp"]


def test_a_video_beside_a_png_is_no_live_photo(tmp_path: Path) -> None:
    laid(tmp_path, "a.png", "a.mov")
    assert beside(tmp_path, "a.png") == []


def test_a_link_is_no_sidecar(tmp_path: Path) -> None:
    laid(tmp_path, "a.jpg", "elsewhere")
    (tmp_path / "a.xmp").symlink_to(tmp_path / "elsewhere")
    assert beside(tmp_path, "a.jpg") == []


def test_a_folder_that_is_gone_holds_no_sidecars(tmp_path: Path) -> None:
    assert beside(tmp_path / "gone", "a.jpg") == []


def test_the_other_half_of_a_raw_and_a_jpeg_lies_beside_it(tmp_path: Path) -> None:
    laid(tmp_path, "a.jpg", "a.DNG", "b.jpg", "c.png", "c.dng")
    look = Beside()
    assert look.other_half_of(tmp_path / "a.jpg") == tmp_path / "a.DNG"
    assert look.other_half_of(tmp_path / "a.DNG") == tmp_path / "a.jpg"
    assert look.other_half_of(tmp_path / "b.jpg") is None
    assert look.other_half_of(tmp_path / "c.png") is None  # no camera writes those
    assert look.other_half_of(tmp_path / "c.dng") is None


def image_at(path: str) -> ImageRecord:
    uri = uri_of_path(path)
    return ImageRecord(1, uri, uri, 10, 10, 1, "jpeg", bytes(32), bytes(16), 50.0, 1)


@pytest.mark.parametrize(
    ("one", "other", "pair"),
    [
        ("/p/a.jpg", "/p/A.NEF", True),
        ("/p/a.nef", "/p/a.jpg", True),
        ("/p/raw/a.nef", "/p/a.jpg", True),
        ("/p/raw/a.nef", "/p/JPG/a.jpg", True),
        ("/p/a.jpg", "/q/a.nef", False),
        ("/p/a.jpg", "/p/b.nef", False),
        ("/p/a.png", "/p/a.nef", False),
        ("/p/a.dng", "/p/a.nef", False),
    ],
)
def test_raw_and_jpeg_of_one_exposure_are_known_by_their_places(one: str, other: str, *, pair: bool) -> None:
    assert are_raw_and_developed(image_at(one), image_at(other)) is pair


def test_the_raw_suffixes_are_those_of_the_decoder() -> None:
    assert RAW_SUFFIXES == formats.RAW_SUFFIXES


def test_a_folder_is_listed_once_for_all_its_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    laid(tmp_path, *(f"{number}.jpg" for number in range(100)))
    listed, real = [], os.scandir

    def counted(folder: Path) -> object:
        listed.append(folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", counted)
    look = Beside()
    for number in range(100):
        look.sidecars_of(tmp_path / f"{number}.jpg")
    assert len(listed) == 1
