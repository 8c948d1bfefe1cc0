"""What a file claims to be, and what it turns out to be: signatures, suffixes, cut files, the malformed corpus."""

import contextlib
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.formats import (
    FORMATS,
    IMAGE_SUFFIXES,
    RAW_SUFFIXES,
    SNIFF_BYTES,
    UNSUPPORTED_SUFFIXES,
    ends_early,
    is_supported,
    sniff,
)
from search.errors import BadImage
from tests.corpus import CASES, KINDS, frames, plain

NAMES = {kind: "heic" if kind == "HEIF" else kind.lower() for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_told_from_its_first_bytes(kind: str) -> None:
    assert sniff(plain(kind)[:SNIFF_BYTES]) == NAMES[kind]


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\xff\xd8\xff\xe1", "jpeg"),
        (b"\xff\xd8", "jpeg"),  # the rest is missing
        (b"\xff\xd8\x00", None),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"GIF87a", "gif"),
        (b"GIF89a", "gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "bmp"),
        (b"BMW drivers in a text file", None),
        (b"II*\0", "tiff"),
        (b"MM\0*", "tiff"),
        (b"II+\0\x08\0\0\0", "tiff"),  # BigTIFF
        (b"\0\0\0\x20ftypavif", "avif"),
        (b"\0\0\0\x20ftypheic", "heic"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1avif", "avif"),
        (b"\0\0\0\x20ftypmif1\0\0\0\0mif1heic", "heic"),
        (b"\0\0\0\x20ftypisom", None),  # a video
        (b"\0\0\0\x20ftypcrx ", "unsupported:cr3"),
        (b"II*\0\x10\0\0\0CR\2\0", "unsupported:cr2"),
        (b"\xff\x0a", "unsupported:jxl"),
        (b"P5 12 12 255 ", "unsupported:ppm"),
        (b"P5.js is a library", None),
        (b"<svg xmlns=", "unsupported:svg"),
        (b"\xef\xbb\xbf<?xml version='1.0'?> <svg>", "unsupported:svg"),
        (b"<?xml version='1.0'?><html>", None),
        (b"gimp xcf v011", "unsupported:xcf"),
        (b"", None),
        (b"text", None),
    ],
)
def test_the_first_bytes_name_the_format(head: bytes, name: str | None) -> None:
    assert sniff(head) == name
    assert is_supported(name) == (name in FORMATS)


def test_suffixes_are_lower_case_and_of_one_kind() -> None:
    for suffix in IMAGE_SUFFIXES | UNSUPPORTED_SUFFIXES:
        assert suffix == suffix.lower()
        assert suffix.startswith(".")
    assert {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif"} < IMAGE_SUFFIXES
    assert {".tiff", ".avif", ".heic", ".heif", ".hif"} < IMAGE_SUFFIXES
    assert {".nef", ".cr2", ".cr3", ".arw", ".dng"} < RAW_SUFFIXES < UNSUPPORTED_SUFFIXES
    assert not IMAGE_SUFFIXES & UNSUPPORTED_SUFFIXES


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_does_not_end_early_and_its_beginning_does(kind: str) -> None:
    data = plain(kind)
    assert not ends_early(NAMES[kind], data)
    for length in (len(data) // 2, 40, 9):
        assert ends_early(NAMES[kind], data[:length])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_a_file_with_several_frames_is_whole_as_well(kind: str) -> None:
    assert not ends_early(NAMES[kind], frames(kind, 3))


def test_what_follows_the_end_of_a_picture_does_not_matter() -> None:
    for kind in ("JPEG", "PNG", "GIF", "TIFF"):
        assert not ends_early(NAMES[kind], plain(kind) + b"PK\5\6")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(name=st.sampled_from(sorted(FORMATS)), start=st.integers(0, 64), noise=st.binary(max_size=200))
def test_no_bytes_whatsoever_upset_the_walks(name: str, start: int, noise: bytes) -> None:
    kind = next(kind for kind, its_name in NAMES.items() if its_name == name)
    assert ends_early(name, plain(kind)[:start] + noise) in (True, False)
    assert sniff(noise) is None or isinstance(sniff(noise), str)


def test_the_folder_walker_loads_neither_pillow_nor_numpy() -> None:
    code = "import sys, indexer.decoding.formats; sys.exit(bool({'PIL', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("expected", "make"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_file_of_the_corpus_is_accepted_or_refused_as_the_table_says(
    expected: str, make: Callable[[], bytes]
) -> None:
    try:
        image = decode(make(), DecodeLimits())
    except BadImage as bad:
        assert bad.reason == expected, bad.detail
        assert 0 < len(bad.detail) <= 250
        assert " at 0x" not in bad.detail  # an address would make equal failures look different
    else:
        assert expected == "accept"
        assert image.pixels.shape == (image.height, image.width, 3)
        assert image.pixels.dtype == np.uint8
        assert image.pixels.flags.c_contiguous
        assert not image.pixels.flags.writeable
        assert image.format in FORMATS
        assert (len(image.pixel_hash), len(image.perceptual_hash)) == (16, 32)
        assert 0 <= image.contrast <= 127.5


@settings(max_examples=6_000, deadline=None, derandomize=True, database=None)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1), changes=st.integers(0, 12), keep=st.floats(0.1, 2))
def test_damaged_files_raise_bad_image_and_nothing_else(kind: str, seed: int, changes: int, keep: float) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(plain(kind))
    for at in random.integers(0, len(data), changes):
        data[at] = random.integers(0, 256)
    for at in random.integers(0, 200, changes):  # most of what a decoder believes stands near the start
        data[at] ^= 1 << random.integers(0, 8)
    del data[int(len(data) * keep) :]
    with contextlib.suppress(BadImage):
        assert decode(bytes(data), DecodeLimits(max_pixels=1_000_000)).pixels.size
