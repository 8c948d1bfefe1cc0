"""What becomes of a file's bytes: pixels for every good file, a reason for every bad one."""

import io
import resource
import struct
import time
import zlib
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from indexer.decoding.decode import DecodedImage, DecodeLimits, decode, load_plugins
from search.errors import BadImage, LookalikeError, UsageError
from tests.corpus import HEIGHT, KINDS, WIDTH, encode, exif, frames, idat, ink_profile, noise, plain, png, smooth, tiff

LIMITS = DecodeLimits()


def decoded(data: bytes) -> DecodedImage:
    return decode(data, LIMITS)


def pixels(data: bytes) -> Any:
    """The decoded picture as nested lists: rows of [red, green, blue]."""
    return decoded(data).pixels.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_named_and_shows_its_picture(kind: str) -> None:
    image = decoded(encode(Image.fromarray(smooth()), kind))
    assert image.format == {"HEIF": "heic"}.get(kind, kind.lower())
    assert (image.width, image.height) == (64, 64)
    assert np.abs(image.pixels.astype(int) - smooth()).mean() < 3  # GIF has 256 colours, the others nearly all


@pytest.mark.parametrize(("kind", "options"), [("AVIF", {"quality": 100}), ("HEIF", {"quality": -1, "chroma": 444})])
def test_avif_and_heic_come_back_as_they_were_saved(kind: str, options: dict[str, Any]) -> None:
    plain("HEIF")  # registers the encoder
    found = decoded(encode(Image.fromarray(smooth()), kind, **options)).pixels.astype(int)
    assert np.abs(found - smooth()).max() <= 4


def test_a_multi_picture_jpeg_is_its_first_picture() -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    image = decoded(encode(first, "MPO", save_all=True, append_images=[second]))
    assert image.format == "jpeg"
    assert image.pixels[8, 8].tolist() == [254, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG", "AVIF"])
def test_of_several_frames_the_first_one_counts(kind: str) -> None:
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("white", "black"))
    assert decoded(encode(first, kind, save_all=True, append_images=[second])).pixels.min() > 250


TURNED = [  # orientation tag, and how the picture lies in the file
    (1, None),
    (2, Image.Transpose.FLIP_LEFT_RIGHT),
    (3, Image.Transpose.ROTATE_180),
    (4, Image.Transpose.FLIP_TOP_BOTTOM),
    (5, Image.Transpose.TRANSPOSE),
    (6, Image.Transpose.ROTATE_90),
    (7, Image.Transpose.TRANSVERSE),
    (8, Image.Transpose.ROTATE_270),
]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "HEIF"])
@pytest.mark.parametrize(("orientation", "turn"), TURNED)
def test_all_eight_orientations_show_the_upright_picture(kind: str, orientation: int, turn: Any) -> None:
    upright = Image.fromarray(smooth()[:40])
    lies = upright if turn is None else upright.transpose(turn)
    options: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    image = decoded(encode(lies, kind, exif=exif(orientation), **options))
    assert (image.width, image.height) == (64, 40)
    exact = kind in ("PNG", "TIFF", "WEBP")
    assert np.abs(image.pixels.astype(int) - smooth()[:40]).max() <= (0 if exact else 12)


def test_a_picture_with_nonsense_for_an_orientation_is_taken_as_it_lies() -> None:
    image = Image.fromarray(noise())
    for damaged in (exif(99), exif(0), exif(6)[:20], b"Exif\0\0nonsense"):
        assert (decoded(encode(image, "PNG", exif=damaged)).pixels == noise()).all()


# Grey deeper than 8 bits.


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_16_bit_gradient_keeps_its_high_bytes_instead_of_saturating(kind: str) -> None:
    gradient = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    found = decoded(encode(Image.fromarray(gradient), kind)).pixels
    assert (found[..., 0] == gradient >> 8).all()
    assert (found[..., 0] == found[..., 2]).all()


@pytest.mark.parametrize(
    ("data", "levels"),
    [
        pytest.param(
            tiff(struct.pack(">HH", 0x1234, 0xFF00), width=2, bits=16, order=">"), [0x12, 0xFF], id="big-endian"
        ),
        pytest.param(tiff(b"\x12\x3f\xff", width=2, bits=12), [0x12, 0xFF], id="12 bits: 0x123 and 0xfff"),
        pytest.param(tiff(struct.pack("<HH", 0, 0xFFFF), width=2, bits=16, photometric=0), [255, 0], id="0 is white"),
    ],
)
def test_a_tiff_says_how_its_grey_is_to_be_read(data: bytes, levels: list[int]) -> None:
    assert decoded(data).pixels[0, :, 0].tolist() == levels


@pytest.mark.parametrize(
    ("samples", "levels"),
    [
        pytest.param(np.array([[0, 100, 255]], np.int32), [0, 100, 255], id="integers of 8 bits stay"),
        pytest.param(np.array([[0, 256, 65535]], np.int32), [0, 1, 255], id="integers of 16 bits keep the high byte"),
        pytest.param(np.array([[-100, 0, 100]], np.int32), [0, 128, 255], id="other integers are stretched"),
        pytest.param(np.array([[0, 1, 2]], np.float32), [0, 128, 255], id="floats are stretched"),
        pytest.param(np.array([[np.nan, np.inf, 3, -np.inf, 5]], np.float32), [0, 255, 0, 0, 255], id="not finite"),
        pytest.param(np.array([[7, 7]], np.float32), [0, 0], id="constant floats are black"),
    ],
)
def test_grey_without_an_agreed_white_is_stretched(samples: NDArray[Any], levels: list[int]) -> None:
    assert decoded(encode(Image.fromarray(samples), "TIFF")).pixels[0, :, 0].tolist() == levels


def test_large_deep_grey_is_scaled_alike_in_all_its_stripes() -> None:
    gradient = np.arange(600 * 700, dtype=np.float32).reshape(600, 700)
    found = decoded(encode(Image.fromarray(gradient), "TIFF")).pixels[..., 0]
    assert found[0, 0] == 0
    assert found[-1, -1] == 255
    assert (np.diff(found.reshape(-1).astype(int)) >= 0).all()


# Transparency is laid on white.

HALF_RED = [255, 127, 127]
WHITE = [255, 255, 255]


def with_transparency(mode: str, colours: list[Any], transparency: Any) -> bytes:
    image = Image.new(mode, (len(colours), 1))
    image.putdata(colours)
    return encode(image, "PNG", transparency=transparency)


def indexed(transparency: Any) -> bytes:
    """Two pixels: the first has palette entry 0, red; the second entry 1, blue."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putdata([0, 1])
    return encode(image, "PNG", transparency=transparency)


@pytest.mark.parametrize(
    ("data", "row"),
    [
        (encode(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG"), [HALF_RED]),
        (encode(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG"), [WHITE]),
        (encode(Image.new("RGBA", (1, 1), (255, 0, 0, 128)), "WEBP", lossless=True), [HALF_RED]),
        (encode(Image.new("LA", (1, 1), (0, 128)), "PNG"), [[127, 127, 127]]),
        (indexed(b"\x80\xff"), [HALF_RED, [0, 0, 255]]),
        (indexed(1), [[255, 0, 0], WHITE]),
        (with_transparency("RGB", [(1, 2, 3), (4, 5, 6)], (4, 5, 6)), [[1, 2, 3], WHITE]),
        (with_transparency("L", [10, 20], 20), [[10, 10, 10], WHITE]),
        (
            png((b"tRNS", b"\x12\x34"), (b"IDAT", zlib.compress(b"\0\x12\x34\x12\x35")), header=(2, 1, 16, 0)),
            [WHITE, [0x12] * 3],
        ),
        (
            png(
                (b"tRNS", b"\1\2\3\4\5\6"),
                (b"IDAT", zlib.compress(b"\0\1\2\3\4\5\6\7\7\7\7\7\7")),
                header=(2, 1, 16, 2),
            ),
            [WHITE, [7] * 3],
        ),
        (tiff(b"\x40\x80", width=1, bits=8, extra=1), [[191, 191, 191]]),
        (tiff(b"\x80\x80", width=1, bits=8, extra=2), [[191, 191, 191]]),
    ],
    ids=["RGBA", "clear", "WebP", "LA", "P, bytes", "P, index", "RGB", "L", "I;16", "RGB, 16 bits", "La", "LA in TIFF"],
)
def test_whatever_is_transparent_is_laid_on_white(data: bytes, row: list[Any]) -> None:
    assert pixels(data) == [row]


# Colour.


def test_a_cmyk_jpeg_is_close_to_its_rgb_source() -> None:
    found = decoded(encode(Image.fromarray(smooth()).convert("CMYK"), "JPEG", quality=95)).pixels.astype(int)
    assert np.abs(found - smooth()).mean() < 2


def test_cmyk_is_converted_by_its_own_profile_when_it_has_one() -> None:
    green_paper = ink_profile(paper=(200, 60, 180), ink=(0, 128, 128))  # Lab: light green, black
    paper = Image.new("CMYK", (8, 8), (0, 0, 0, 0))
    red, green, blue = decoded(encode(paper, "JPEG", icc_profile=green_paper)).pixels[4, 4].tolist()
    assert (green > 200, max(red, blue) < 100) == (True, True)
    assert pixels(encode(paper, "JPEG"))[4][4] == WHITE


@pytest.mark.parametrize("profile", [b"nonsense", ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()])
def test_cmyk_with_a_useless_profile_is_converted_plainly(profile: bytes) -> None:
    image = Image.fromarray(smooth()).convert("CMYK")
    assert pixels(encode(image, "JPEG", icc_profile=profile)) == pixels(encode(image, "JPEG"))


def test_rgb_profiles_are_ignored_as_the_backbones_were_trained() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    assert (decoded(encode(Image.fromarray(noise()), "PNG", icc_profile=profile)).pixels == noise()).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LAB", "YCbCr", "CMYK"])
def test_white_is_white_and_black_is_black_in_every_mode(mode: str) -> None:
    image = Image.new("RGB", (4, 2), "white")
    image.paste("black", (0, 0, 4, 1))
    found = decoded(encode(image.convert(mode), "TIFF")).pixels
    assert found[0].max() <= 1
    assert found[1].min() >= 254


# Pixel hash.


def pixel_hash(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    return decoded(encode(image, kind, **options)).pixel_hash


def test_equal_pixels_have_equal_hashes_in_every_lossless_format() -> None:
    image = Image.fromarray(noise())
    hashes = {pixel_hash(image, kind) for kind in ("PNG", "BMP", "TIFF")} | {pixel_hash(image, "WEBP", lossless=True)}
    assert len(hashes) == 1
    grey = Image.fromarray(noise()[..., 0])
    assert pixel_hash(grey) == pixel_hash(grey.convert("RGB")) == pixel_hash(grey, "BMP") != hashes.pop()


def test_the_shape_of_a_picture_is_part_of_its_hash() -> None:
    assert pixel_hash(Image.new("RGB", (8, 2))) != pixel_hash(Image.new("RGB", (4, 4)))


def test_a_flattened_copy_is_not_identical_to_a_transparent_picture() -> None:
    clear_red, clear_blue = (Image.new("RGBA", (4, 4), (*colour, 0)) for colour in ((255, 0, 0), (0, 0, 255)))
    white = Image.new("RGB", (4, 4), "white")
    assert len({pixel_hash(clear_red), pixel_hash(clear_blue), pixel_hash(white)}) == 3
    assert pixel_hash(white.convert("RGBA")) == pixel_hash(white)  # an opaque alpha channel takes nothing away
    assert pixel_hash(clear_red) == pixel_hash(clear_red, "WEBP", lossless=True, exact=True)


def test_an_8_bit_copy_is_not_identical_to_a_deeper_picture() -> None:
    deep = Image.fromarray(noise()[..., 0].astype(np.uint16) * 256)
    finer = Image.fromarray(noise()[..., 0].astype(np.uint16) * 256 + 1)
    shallow = Image.fromarray(noise()[..., 0])
    assert len({pixel_hash(deep), pixel_hash(finer), pixel_hash(shallow)}) == 3
    assert pixel_hash(deep) == pixel_hash(deep, "TIFF")


def test_16_bit_colour_is_identical_to_its_own_bytes_only() -> None:
    deep = png((b"IDAT", zlib.compress(b"\0" + bytes(range(12)))), header=(2, 1, 16, 2))
    finer = png((b"IDAT", zlib.compress(b"\0" + bytes([0, 0, *range(2, 12)]))), header=(2, 1, 16, 2))
    shallow = png((b"IDAT", zlib.compress(b"\0" + bytes(range(0, 12, 2)))), header=(2, 1, 8, 2))
    images = [decoded(data) for data in (deep, finer, shallow)]
    assert images[0].pixels.tolist() == images[1].pixels.tolist() == images[2].pixels.tolist()
    assert len({image.pixel_hash for image in images}) == 3


@pytest.mark.parametrize("kind", ["HEIF", "AVIF"])
def test_10_bit_pictures_are_identical_to_their_own_bytes_only(kind: str) -> None:
    plain("HEIF")  # registers the encoder
    import pillow_heif

    deep = pillow_heif.from_bytes("RGB;16", (64, 64), (smooth().astype(np.uint16) * 256).tobytes())
    file = io.BytesIO()
    deep.save(file, quality=-1, chroma=444)
    image = decoded(file.getvalue())
    copy = decoded(encode(Image.fromarray(image.pixels), "PNG"))
    assert (image.pixels == copy.pixels).all()
    assert image.pixel_hash != copy.pixel_hash


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_a_still_is_not_identical_to_a_moving_picture(kind: str) -> None:
    moving = decoded(frames(kind, 3))
    still = decoded(encode(Image.fromarray(moving.pixels), "PNG"))
    assert (moving.pixels == still.pixels).all()
    assert moving.pixel_hash != still.pixel_hash


def test_a_motion_photo_is_not_identical_to_its_still() -> None:
    still = encode(Image.fromarray(noise()), "JPEG")
    moving = still + b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(300)
    assert decoded(moving).pixels.tolist() == decoded(still).pixels.tolist()
    assert decoded(moving).pixel_hash != decoded(still).pixel_hash
    assert decoded(still + b"ftyp is a word").pixel_hash == decoded(still).pixel_hash


def test_an_rgb_copy_is_not_identical_to_a_cmyk_picture() -> None:
    inks = Image.fromarray(noise()).convert("CMYK")
    copy = Image.fromarray(decoded(encode(inks, "TIFF")).pixels)
    assert pixel_hash(inks, "TIFF") != pixel_hash(copy)


# Limits.


def test_a_header_that_asks_for_too_much_is_refused_before_memory_is_taken() -> None:
    bomb = png(idat(1, 1), header=(13_000, 13_000, 8, 2))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(BadImage, match="13000 x 13000"):
        decoded(bomb)
    assert time.perf_counter() - start < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (DecodeLimits(max_pixels=WIDTH * HEIGHT - 1), "too_many_pixels"),
        (DecodeLimits(max_side=WIDTH - 1), "too_many_pixels"),
        (DecodeLimits(max_bytes=len(plain("PNG")) - 1), "file_too_large"),
        (DecodeLimits(max_pixels=WIDTH * HEIGHT, max_side=WIDTH, max_bytes=len(plain("PNG"))), None),
    ],
)
def test_a_limit_is_the_last_value_allowed(limits: DecodeLimits, reason: str | None) -> None:
    if reason is None:
        assert decode(plain("PNG"), limits).width == WIDTH
        return
    with pytest.raises(BadImage) as refusal:
        decode(plain("PNG"), limits)
    assert refusal.value.reason == reason


@pytest.mark.parametrize("wrong", [{"max_pixels": 0}, {"max_side": -1}, {"max_bytes": 0}, {"max_pixels": 10**9}])
def test_impossible_limits_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        DecodeLimits(**wrong)


@pytest.mark.parametrize("error", [MemoryError(), OSError("out of memory when reading image file")])
def test_a_decoder_without_memory_is_no_corrupt_file(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(_: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(BadImage) as refusal:
        decoded(plain("PNG"))
    assert refusal.value.reason == "out_of_memory"


def test_an_old_pillow_is_not_fed_untrusted_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    load_plugins.cache_clear()
    with pytest.raises(LookalikeError, match="Pillow 12.3.0"):
        decoded(plain("PNG"))
