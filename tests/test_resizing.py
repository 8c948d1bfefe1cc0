"""The fast path of JPEGs, simplejpeg and torch, gives the pixels that Pillow and timm give."""

import io
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.jpeg import dct_factor
from indexer.decoding.preparation import Preparation, prepare
from indexer.decoding.resizing import prepare_with_torch, resizer, threads_afterwards
from indexer.decoding.shared_pixels import SharedPixels
from search.errors import BadImage, UsageError
from tests.conftest import painted

LIMITS = DecodeLimits()
SIZES = [(333, 500), (500, 333), (640, 480), (97, 64), (40, 30), (224, 224), (1200, 900), (1000, 40)]


def jpeg(size: tuple[int, int], **options: object) -> bytes:
    file = io.BytesIO()
    textured(size).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def textured(size: tuple[int, int]) -> Image.Image:
    """A painted picture with noise: flat areas would agree under any filter."""
    smooth = np.asarray(painted(3, size).convert("RGB")).astype(int)
    noise = np.random.default_rng(1).integers(-40, 41, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def mean_difference(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    assert one.shape == two.shape
    return float(np.abs(one.astype(int) - two).mean())


@pytest.mark.parametrize(
    "preparation",
    [
        Preparation("card", 224, 224, "bicubic", 0.9),
        Preparation("card", 288, 288, "bicubic", 1.0),
        Preparation("card", 224, 224, "bilinear", 0.875),
        Preparation("card", 160, 224, "bilinear", 0.95),
        Preparation("full", 224, 224, "bicubic"),
        Preparation("full", 96, 96, "bilinear"),
    ],
    ids=lambda p: f"{p.mode} {p.height}x{p.width} {p.interpolation}",
)
def test_torch_resizes_as_pillow_does_to_a_hundredth_of_a_level(preparation: Preparation) -> None:
    differences = []
    for size in SIZES:
        pixels = np.asarray(textured(size))
        found, expected = prepare_with_torch(pixels.copy(), preparation), prepare(pixels, preparation)
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        assert np.abs(found.astype(int) - expected).max() <= 2
        differences.append(mean_difference(found, expected))
    assert np.mean(differences) <= 0.01
    assert max(differences) <= 0.03


def test_the_answer_of_torch_never_shares_memory_with_the_picture() -> None:
    pixels = np.asarray(textured((64, 64))).copy()
    for preparation in (Preparation("full", 64, 64), Preparation("card", 32, 32, crop_pct=0.5)):
        assert not np.shares_memory(prepare_with_torch(pixels, preparation), pixels)


PATIENT = """
import sys
import numpy as np
from indexer.decoding import resizing
from indexer.decoding.preparation import Preparation, prepare

resizing.LOADING_PIXELS = 25_000
preparation = Preparation("full", 9, 9, "bilinear")
resize = resizing.resizer(preparation, patience=40_000)
pixels = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
for _ in range(2):
    assert np.array_equal(resize(pixels), prepare(pixels, preparation))
assert "torch" not in sys.modules, "two pictures are not worth a second"
resize(pixels)
assert resize._loading is not None, "it begins to load behind the third"
resize(pixels)
assert "torch" in sys.modules, "the fourth waits for it"
assert np.array_equal(resize(pixels), resizing.prepare_with_torch(pixels, preparation))
"""


def test_torch_is_loaded_only_once_the_pictures_are_worth_it() -> None:
    subprocess.run([sys.executable, "-c", PATIENT], check=True)


def test_whoever_resizes_alone_leaves_the_threads_of_later_work_as_they_were() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        preparation = Preparation("full", 8, 8)
        with threads_afterwards(), ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda _: prepare_with_torch(np.zeros((20, 20, 3), np.uint8), preparation), range(4)))
            assert threads.submit(torch.get_num_threads).result() == 1
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("interpolation", ["nearest", "box", "hamming", "lanczos", "area"])
def test_filters_that_torch_has_not_are_left_to_pillow(interpolation: str) -> None:
    assert resizer(Preparation("full", 8, 8, interpolation)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 30}, {"optimize": True}],
    ids=str,
)
@pytest.mark.parametrize("size", [(333, 500), (17, 3), (1, 1)], ids=str)
def test_jpegs_decode_to_exactly_the_pixels_of_pillow(options: dict[str, object], size: tuple[int, int]) -> None:
    data = jpeg(size, **options)
    assert np.array_equal(decode(data, LIMITS).pixels, np.asarray(Image.open(io.BytesIO(data))))


def test_grey_jpegs_decode_to_exactly_the_pixels_of_pillow() -> None:
    file = io.BytesIO()
    textured((90, 50)).convert("L").save(file, "JPEG")
    expected = np.asarray(Image.open(file).convert("RGB"))
    assert np.array_equal(decode(file.getvalue(), LIMITS).pixels, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shared", [False, True], ids=["own memory", "shared memory"])
def test_every_exif_orientation_is_turned_upright_as_pillow_turns_it(orientation: int, shared: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg((30, 20), exif=exif)
    memory = np.zeros(100 * 100 * 3, np.uint8) if shared else None
    image = decode(data, LIMITS, None, memory)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(image.pixels, expected)
    assert (image.height, image.width) == expected.shape[:2]
    assert np.shares_memory(image.pixels, memory) == shared if memory is not None else True


def test_a_truncated_jpeg_is_named_by_pillow_and_never_half_decoded() -> None:
    with pytest.raises(BadImage) as refusal:
        decode(jpeg((200, 200))[:-2000], LIMITS)
    assert refusal.value.reason == "truncated"


def test_a_picture_too_large_for_the_shared_memory_has_its_own() -> None:
    memory = np.zeros(10, np.uint8)
    assert not np.shares_memory(decode(jpeg((30, 20)), LIMITS, None, memory).pixels, memory)
    assert memory.max() == 0


@pytest.mark.parametrize("preparation", [Preparation("full", 64, 64), Preparation("card", 64, 64, crop_pct=0.9)])
def test_the_pool_answers_the_same_through_shared_memory_and_through_pillow(preparation: Preparation) -> None:
    files = [jpeg(size) for size in SIZES]
    png = io.BytesIO()
    textured((50, 70)).save(png, "PNG")
    resize = resizer(preparation, patience=0)
    with (
        DecoderPool(preparation, children=1, resize=resize) as fast,
        DecoderPool(preparation, children=1) as plain,
    ):
        for data in [*files, png.getvalue()]:
            one, other = fast.decode(data, "a picture"), plain.decode(data, "a picture")
            assert mean_difference(one.pixels, other.pixels) <= 0.03
            facts = ("format", "width", "height", "pixel_hash", "perceptual_hash", "contrast")
            assert [getattr(one, name) for name in facts] == [getattr(other, name) for name in facts]
        kept = fast.decode(files[0], "the first").pixels.copy()
        first = fast.decode(files[0], "the first").pixels
        fast.decode(files[1], "the second")
        assert np.array_equal(first, kept), "the second picture overwrote the first"


SCALING = Preparation("full", 100, 200, dct_scaling=True)


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((398, 198), 1),
        ((400, 200), 1),
        ((798, 398), 1),
        ((800, 400), 2),
        ((1600, 800), 4),
        ((3200, 1600), 8),
        ((99_992, 400), 2),
        ((64_000, 32_000), 8),
        ((4001, 3001), 1),
        ((4002, 3002), 2),
        ((4004, 3002), 2),
    ],
)
def test_a_scaled_picture_has_whole_sides_and_keeps_twice_the_pixels_that_it_is_resized_to(
    size: tuple[int, int], factor: int
) -> None:
    assert dct_factor(size, SCALING) == factor
    assert dct_factor(size, Preparation("full", 100, 200)) == 1


def test_card_scales_by_the_size_before_the_crop() -> None:
    scaling = Preparation("card", 90, 90, crop_pct=0.9, dct_scaling=True)  # short side to 100
    assert dct_factor((800, 400), scaling) == 2
    assert dct_factor((800, 398), scaling) == 1


@pytest.mark.parametrize("orientation", [1, 6])
def test_dct_scaling_decodes_large_jpegs_small_and_keeps_their_true_size(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg((1600, 1200), exif=exif)
    scaling = Preparation("full", 100, 100, dct_scaling=True)
    image = decode(data, LIMITS, scaling)
    upright = (1200, 1600) if orientation == 1 else (1600, 1200)
    assert (image.height, image.width) == upright
    assert image.pixels.shape == (upright[0] // 4, upright[1] // 4, 3)
    plain = prepare(decode(data, LIMITS).pixels, scaling)
    assert mean_difference(prepare(image.pixels, scaling), plain) <= 0.6


def test_two_jpegs_that_only_look_alike_when_scaled_are_not_pixel_identical() -> None:
    scaling = Preparation("full", 100, 100, dct_scaling=True)
    one, other = jpeg((1600, 1200), quality=95), jpeg((1600, 1200), quality=96)
    assert decode(one, LIMITS, scaling).pixel_hash != decode(other, LIMITS, scaling).pixel_hash
    assert decode(one, LIMITS, scaling).pixel_hash == decode(one, LIMITS, scaling).pixel_hash


def test_dct_scaling_is_part_of_the_space_and_off_leaves_no_trace() -> None:
    off, on = Preparation("full", 8, 8), Preparation("full", 8, 8, dct_scaling=True)
    assert "dct_scaling" not in off.as_json()
    assert Preparation.from_json(on.as_json()) == on
    assert on.as_json() != off.as_json()


def test_shared_memory_refuses_shapes_it_cannot_hold() -> None:
    memory = SharedPixels(300)
    assert memory.picture(10, 10).shape == (10, 10, 3)
    for height, width in [(10, 11), (0, 5), (-1, -1), (1 << 40, 1 << 40)]:
        with pytest.raises(ValueError, match="no .* picture fits 300 bytes"):
            memory.picture(height, width)
    memory.close()


def test_the_pages_of_a_large_picture_are_given_back() -> None:
    memory = SharedPixels(90 << 20)
    memory.flat[:] = 7
    memory.release(memory.size)
    assert memory.flat[0] == 7, "the kept part was lost"
    assert memory.flat[-1] == 0, "the rest is still there"
    memory.close()


def test_no_child_can_shrink_the_memory_its_parent_reads() -> None:
    memory = SharedPixels(1 << 20)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)
    memory.close()


def test_a_preparation_with_a_nonsensical_field_is_refused() -> None:
    with pytest.raises(UsageError, match="does not describe a preparation"):
        Preparation.from_dict({**Preparation("full", 8, 8).as_dict(), "dct_scalign": True})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare_with_torch(np.asarray(textured((20, 20))).copy(), Preparation("full", 8, 8))
