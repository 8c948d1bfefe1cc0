"""Camera RAW by its embedded preview: a DNG made here, and a stand-in for LibRaw where a file cannot be made."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.decoding import raw_previews
from indexer.decoding.decode import DecodeLimits, decode, thumbnail
from indexer.decoding.decoder_pool import DecoderPool
from search.errors import BadImage
from search.storing.store import Store
from tests.conftest import painted
from tests.fakes import FAKE_PREPARATION
from tests.jobs import index, ledger

rawpy = pytest.importorskip("rawpy")


def jpeg(size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    file = io.BytesIO()
    painted(7, size).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def dng(  # noqa: C901 -- the layout of a file
    preview: bytes, orientation: int = 1, size: tuple[int, int] = (64, 48)
) -> bytes:
    """Return a DNG: IFD0 is a JPEG preview, its SubIFD a Bayer mosaic of 16 bits."""
    width, height = size
    mosaic = np.random.default_rng(1).integers(0, 4096, (height, width), np.uint16).tobytes()

    def entry(tag: int, kind: int, values: bytes, count: int) -> tuple[int, int, int, bytes]:
        return tag, kind, count, values

    def shorts(tag: int, *numbers: int) -> tuple[int, int, int, bytes]:
        return entry(tag, 3, struct.pack(f"<{len(numbers)}H", *numbers), len(numbers))

    def longs(tag: int, *numbers: int) -> tuple[int, int, int, bytes]:
        return entry(tag, 4, struct.pack(f"<{len(numbers)}I", *numbers), len(numbers))

    def text(tag: int, words: str) -> tuple[int, int, int, bytes]:
        return entry(tag, 2, words.encode() + b"\0", len(words) + 1)

    def matrix(tag: int) -> tuple[int, int, int, bytes]:
        rows = [1, 0, 0, 0, 1, 0, 0, 0, 1]
        return entry(tag, 10, b"".join(struct.pack("<ii", one, 1) for one in rows), 9)

    def laid(entries: list[tuple[int, int, int, bytes]], at: int) -> bytes:
        """Return a directory that lies at an offset, its long values behind it."""
        head, tail = struct.pack("<H", len(entries)), b""
        behind = at + 2 + 12 * len(entries) + 4
        for tag, kind, count, values in sorted(entries):
            if len(values) <= 4:
                head += struct.pack("<HHI", tag, kind, count) + values.ljust(4, b"\0")
            else:
                head += struct.pack("<HHII", tag, kind, count, behind + len(tail))
                tail += values + b"\0" * (len(values) % 2)
        return head + struct.pack("<I", 0) + tail

    preview_at = 8
    mosaic_at = preview_at + len(preview) + len(preview) % 2
    sub_at = mosaic_at + len(mosaic)
    sub = laid(
        [
            longs(254, 0),
            longs(256, width),
            longs(257, height),
            shorts(258, 16),
            shorts(259, 1),
            shorts(262, 32803),
            longs(273, mosaic_at),
            shorts(277, 1),
            longs(278, height),
            longs(279, len(mosaic)),
            shorts(33421, 2, 2),
            entry(33422, 1, bytes([0, 1, 1, 2]), 4),
        ],
        sub_at,
    )
    main_at = sub_at + len(sub) + len(sub) % 2
    main = laid(
        [
            longs(254, 1),
            longs(256, width),
            longs(257, height),
            shorts(258, 8, 8, 8),
            shorts(259, 7),
            shorts(262, 6),
            text(271, "Maker"),
            text(272, "Model"),
            longs(273, preview_at),
            shorts(274, orientation),
            shorts(277, 3),
            longs(278, height),
            longs(279, len(preview)),
            longs(330, sub_at),
            entry(50706, 1, bytes([1, 4, 0, 0]), 4),
            text(50708, "Maker Model"),
            matrix(50721),
        ],
        main_at,
    )
    body = preview.ljust(mosaic_at - 8, b"\0") + mosaic + sub.ljust(main_at - sub_at, b"\0") + main
    return b"II*\0" + struct.pack("<I", main_at) + body


def test_the_preview_of_a_dng_is_its_picture() -> None:
    preview = jpeg()
    shown = decode(dng(preview), DecodeLimits())
    direct = decode(preview, DecodeLimits())
    assert (shown.format, shown.width, shown.height) == ("raw", 64, 48)
    assert np.array_equal(shown.pixels, direct.pixels)
    assert shown.perceptual_hash == direct.perceptual_hash
    # The RAW file holds more than its preview: the two are no exact copies of each other.
    assert shown.pixel_hash != direct.pixel_hash


@pytest.mark.parametrize(("orientation", "turned"), [(3, False), (6, True), (8, True)])
def test_a_preview_without_orientation_is_turned_as_the_camera_was(orientation: int, turned: bool) -> None:
    shown = decode(dng(jpeg(), orientation), DecodeLimits())
    assert (shown.width, shown.height) == ((48, 64) if turned else (64, 48))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode(jpeg(exif=exif), DecodeLimits())
    assert np.array_equal(shown.pixels, expected.pixels)


def test_a_preview_whose_metadata_lacks_the_orientation_is_turned_too() -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"  # LibRaw adds an orientation only where there is no EXIF data at all
    shown = decode(dng(jpeg(exif=exif), 6), DecodeLimits())
    assert (shown.width, shown.height) == (48, 64)


def test_the_preview_s_own_orientation_is_not_applied_twice() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(dng(jpeg(exif=exif), 6), DecodeLimits()).width == 48


def test_a_thumbnail_of_a_raw_file_is_that_of_its_preview() -> None:
    with Image.open(io.BytesIO(thumbnail(dng(jpeg()), 32, DecodeLimits()))) as small:
        assert small.size == (32, 24)


def test_a_decoding_child_reads_previews_within_its_limits() -> None:
    with DecoderPool(FAKE_PREPARATION, children=1) as pool:
        assert pool.decode(dng(jpeg()), "a.dng").format == "raw"


def test_a_damaged_raw_file_is_bad_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dng(jpeg())
    rng = np.random.default_rng(5)
    for _ in range(200):
        broken = bytearray(data)
        for at in rng.integers(0, len(data), 20):
            broken[at] = rng.integers(0, 256)
        try:
            decode(bytes(broken[: rng.integers(1, len(data))]), DecodeLimits())
        except BadImage:
            continue


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("LibRawNoThumbnailError", "unsupported_format"),
        ("LibRawUnsupportedThumbnailError", "unsupported_format"),
        ("LibRawFileUnsupportedError", "unsupported_format"),
        ("LibRawDataError", "corrupt"),
        ("LibRawIOError", "corrupt"),
    ],
)
def test_each_refusal_of_libraw_has_its_reason(monkeypatch: pytest.MonkeyPatch, error: str, reason: str) -> None:
    def refuse(_: object) -> None:
        raise getattr(rawpy, error)(b"said so")

    monkeypatch.setattr(rawpy, "imread", refuse)
    with pytest.raises(BadImage) as caught:
        raw_previews.preview(b"raw")
    assert caught.value.reason == reason


def test_raw_files_are_indexed_with_the_extra_and_ignored_or_explained_without(
    local_store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photos / "a.dng"
    path.write_bytes(dng(jpeg()))
    monkeypatch.setattr(raw_previews, "installed", lambda: False)
    assert index(local_store, photos).counts.ignored == 1
    assert index(local_store, path).counts.failures == {"unsupported_format": 1}
    (entry,) = local_store.catalogue.failures(local_store.catalogue.collection("default").id)
    assert "extra `raw`" in entry.detail
    monkeypatch.setattr(raw_previews, "installed", lambda: True)
    assert index(local_store, photos).counts.indexed == 1
    assert ledger(local_store) == {}
