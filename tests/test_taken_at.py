"""When a picture was taken: read wherever a camera says so, and never at the cost of the picture."""

import struct
from typing import Any

import pytest
from PIL import Image

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.gpu_decoding import GpuDecoder, plain_header
from indexer.decoding.preparation import Preparation
from tests.corpus import encode, jpeg_with, plain, smooth
from tests.gpu_stand_ins import LIMITS, Device, Others, jpeg

ORIENTATION, SAVED, DIRECTORY, ORIGINAL, DIGITIZED = 0x0112, 0x0132, 0x8769, 0x9003, 0x9004
MOMENT = "2024:01:31 23:59:59"


def dated(original: object = None, digitized: object = None, *, saved: str | None = None, turn: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    if saved is not None:
        exif[SAVED] = saved
    inside = exif.get_ifd(DIRECTORY)
    for tag, value in ((ORIGINAL, original), (DIGITIZED, digitized)):
        if value is not None:
            inside[tag] = value
    return exif.tobytes()


def seen(exif: bytes, kind: str = "JPEG", **options: Any) -> str | None:
    plain("HEIF")  # registers the encoder
    return decode(encode(Image.fromarray(smooth()), kind, exif=exif, **options), DecodeLimits()).taken_at


@pytest.mark.parametrize("turn", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF", "AVIF", "MPO"])
def test_every_format_with_exif_data_says_when_it_was_taken(kind: str, turn: int) -> None:
    assert seen(dated(MOMENT, turn=turn), kind) == "2024-01-31T23:59:59"


def test_a_picture_of_several_frames_is_dated_too() -> None:
    more = [Image.fromarray(smooth()).rotate(90)]
    for kind in ("PNG", "TIFF", "WEBP"):
        assert seen(dated(MOMENT), kind, save_all=True, append_images=more) == "2024-01-31T23:59:59"


@pytest.mark.parametrize(
    ("original", "digitized", "expected"),
    [
        (MOMENT, "1999:12:31 00:00:00", "2024-01-31T23:59:59"),
        (None, "1999:12:31 00:00:00", "1999-12-31T00:00:00"),
        ("0000:00:00 00:00:00", "1999:12:31 00:00:00", "1999-12-31T00:00:00"),
        ("    :  :     :  :  ", None, None),
        ("2023:02:29 10:00:00", None, None),
        ("2024:02:29 10:00:00", None, "2024-02-29T10:00:00"),
        ("2024:01:31 24:00:00", None, None),
        ("2024:01:31 23:59:60", None, None),
        ("1825:12:31 23:59:59", None, None),
        ("2100:01:01 00:00:00", None, None),
        ("2024-01-31 23:59:59", None, "2024-01-31T23:59:59"),
        ("2024:01:31T23:59:59.25+02:00", None, "2024-01-31T23:59:59"),
        (" 2024:01:31 23:59:59\0\0", None, "2024-01-31T23:59:59"),
        ("٢٠٢٤:01:31 23:59:59".encode().decode("latin-1"), None, None),
        ("yesterday", None, None),
        ("2024:01:31", None, None),
        (20240131, None, None),
    ],
)
def test_only_a_date_of_the_calendar_counts(original: object, digitized: object, expected: str | None) -> None:
    assert seen(dated(original, digitized)) == expected


def test_the_date_of_the_last_saving_is_no_date_of_the_picture() -> None:
    assert seen(dated(saved=MOMENT)) is None
    assert seen(b"") is None
    assert decode(plain("JPEG"), DecodeLimits()).taken_at is None


def test_damaged_exif_data_costs_no_picture() -> None:
    good = dated(MOMENT)
    pixels = decode(plain("JPEG"), DecodeLimits()).pixels
    loop = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, DIRECTORY, 4, 1, 8) + struct.pack("<I", 8)
    damaged = [good[:at] for at in range(6, len(good), 3)]
    damaged += [good[:at] + b"\xff" + good[at + 1 :] for at in range(6, len(good))]
    for exif in [loop, *damaged]:
        found = decode(jpeg_with(b"\xff\xe1", exif), DecodeLimits())
        assert found.pixels.shape in (pixels.shape, pixels.transpose(1, 0, 2).shape)
        assert found.taken_at is None or len(found.taken_at) == 19


def test_a_decoding_child_says_it_too() -> None:
    data = encode(Image.fromarray(smooth()), "JPEG", exif=dated(MOMENT))
    with DecoderPool(Preparation("full", 8, 8), children=1) as pool:
        assert pool.decode(data, "a.jpg").taken_at == "2024-01-31T23:59:59"
        assert pool.decode(plain("PNG"), "b.png").taken_at is None


def test_so_does_the_decoder_on_the_gpu() -> None:
    data = jpeg(exif=dated(MOMENT))
    header = plain_header(data, LIMITS)
    assert header is not None
    assert header.taken_at == "2024-01-31T23:59:59"
    device = Device()
    with GpuDecoder(Others(), device.frames) as decoder:
        assert decoder.decode(data, "a.jpg").taken_at == "2024-01-31T23:59:59"
    assert device.batches == [1]
