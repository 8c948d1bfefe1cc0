"""What a file says beside its picture, against Pillow, which wrote it."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from indexer.file_facts import file_facts
from tests.conftest import painted

MAKER, MOMENT, EXIF = 0x010F, 0x9003, 0x8769


def saved(format: str, picture: Image.Image | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    (picture or painted(1)).save(file, format, **options)
    return file.getvalue()


@pytest.mark.parametrize("quality", [10, 35, 50, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_what_it_was_saved_with_give_or_take_one(quality: int) -> None:
    assert file_facts(saved("JPEG", quality=quality)).quality == pytest.approx(quality, abs=1)


@pytest.mark.parametrize(
    ("data", "lossless", "quality"),
    [
        (saved("PNG"), True, 100),
        (saved("PNG", painted(1).quantize(64)), False, None),
        (saved("WEBP", lossless=True), True, 100),
        (saved("WEBP", quality=80), False, None),
        (saved("TIFF"), True, 100),
        (saved("BMP"), True, 100),
        (saved("GIF"), False, None),
    ],
)
def test_what_loses_nothing_is_known_by_its_structure(data: bytes, quality: int | None, *, lossless: bool) -> None:
    assert (file_facts(data).lossless, file_facts(data).quality) == (lossless, quality)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_entries_of_exif_are_counted_with_those_of_its_directories(format: str) -> None:
    tags = Image.Exif()
    tags[MAKER] = "a camera"
    tags.get_ifd(EXIF)[MOMENT] = "2024:05:01 10:00:00"
    assert file_facts(saved(format)).tags == 0
    assert file_facts(saved(format, exif=tags)).tags == 2  # the maker and the moment


@pytest.mark.parametrize(
    "data",
    [saved("TIFF"), saved("TIFF", compression="tiff_lzw", dpi=(300, 300), software="x"), saved("PNG", dpi=(72, 72))],
)
def test_how_a_file_is_made_tells_nothing_of_the_picture(data: bytes) -> None:
    assert file_facts(data).tags == 0


def test_what_a_tiff_says_of_the_picture_counts_as_it_does_in_a_jpeg() -> None:
    tags = Image.Exif()
    tags[MAKER] = "a camera"
    assert file_facts(saved("TIFF", exif=tags)).tags == file_facts(saved("JPEG", exif=tags)).tags == 1


def test_structure_of_exif_counts_as_little_as_that_of_files() -> None:
    tags = Image.Exif()
    tags[0x011A], tags[0x0112] = 72.0, 1  # resolution, orientation
    tags.get_ifd(EXIF)[0xA002] = 640  # width
    assert file_facts(saved("JPEG", exif=tags)).tags == 0


@pytest.mark.parametrize(("keyword", "tags"), [("Software", 0), ("date:create", 0), ("Description", 1)])
def test_text_of_a_png_counts_where_it_is_about_the_picture(keyword: str, tags: int) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text(keyword, "something")
    assert file_facts(saved("PNG", pnginfo=text)).tags == tags


def test_text_of_a_png_counts() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    assert file_facts(saved("PNG", pnginfo=text)).tags == 1


def test_no_damage_makes_it_fail() -> None:
    tags = Image.Exif()
    tags[MAKER] = "a camera"
    rng = np.random.default_rng(0)
    for format in ("JPEG", "PNG", "WEBP", "TIFF"):
        whole = bytearray(saved(format, exif=tags))
        for _ in range(60):
            cut = bytearray(whole[: int(rng.integers(0, len(whole)))])
            for place in rng.integers(0, max(1, len(cut)), 8).tolist():
                if place < len(cut):
                    cut[place] = int(rng.integers(256))
            assert file_facts(bytes(cut)).tags >= 0
