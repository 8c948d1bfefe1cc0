"""What a backbone sees of a picture, equal to timm's own transform; and the small luma that is hashed."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from indexer.decoding.preparation import Interpolation, Preparation, perceptual_hash, prepare, resize_area, small_luma
from search.errors import UsageError

CreateTransform = Callable[..., Any]
OPERATORS: list[torch.library.Library] = []  # a library's operators vanish with it


@pytest.fixture(scope="module")
def create_transform() -> CreateTransform:
    """timm's, also beside a CPU build of torch, where torchvision lacks two operators it registers fakes for."""
    try:
        import timm.data
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        OPERATORS.append(torch.library.Library("torchvision", "DEF"))  # type: ignore[no-untyped-call]
        for name in ("nms", "qnms"):
            OPERATORS[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
        import timm.data
    return timm.data.create_transform  # type: ignore[no-any-return]


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8)


def full(height: int, width: int, interpolation: Interpolation = "bicubic") -> Preparation:
    return Preparation("full", height, width, interpolation)


def card(height: int, width: int, crop_pct: float = 0.875, interpolation: Interpolation = "bicubic") -> Preparation:
    return Preparation("card", height, width, interpolation, crop_pct)


SHAPES = [(375, 500), (500, 375), (333, 500), (257, 257), (224, 224), (223, 225), (31, 47), (1, 1), (2, 399), (90, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "preparation",
    [
        card(224, 224),
        card(224, 224, 1.0, "bilinear"),
        card(225, 225, 0.9, "lanczos"),
        card(64, 64, 0.95, "nearest"),
        card(33, 33, 0.965, "box"),
        card(96, 64, 0.875),
        card(63, 128, 0.9, "bilinear"),
    ],
    ids=lambda p: f"{p.height}x{p.width} {p.crop_pct} {p.interpolation}",
)
def test_card_equals_the_transform_of_timm_on_every_pixel(
    create_transform: CreateTransform, shape: tuple[int, int], preparation: Preparation
) -> None:
    transform = create_transform(
        (3, preparation.height, preparation.width),
        interpolation=preparation.interpolation,
        crop_pct=preparation.crop_pct,
        normalize=False,
    )
    expected = transform(Image.fromarray(picture(*shape))).permute(1, 2, 0).numpy()
    found = prepare(picture(*shape), preparation)
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, expected)


def test_card_keeps_the_middle_and_full_keeps_the_edges() -> None:
    stripes = np.zeros((10, 30, 3), np.uint8)
    stripes[:, :10] = 255
    assert prepare(stripes, card(10, 10, 1.0)).max() == 0
    assert prepare(stripes, full(10, 30))[0, :, 0].tolist() == [255] * 10 + [0] * 20


def test_card_pads_with_black_what_timm_pads_with_black() -> None:
    white = np.full((1, 9, 3), 255, np.uint8)
    found = prepare(white, card(6, 3, 1.0, "nearest"))  # 3 wide, so 1/3 high: one row of six
    assert found.shape == (6, 3, 3)
    assert set(found[..., 0].max(axis=1).tolist()) <= {0, 255}


@pytest.mark.parametrize("shape", [(1, 65_535), (65_535, 1)])
def test_the_longest_pictures_need_little_memory(shape: tuple[int, int]) -> None:
    assert prepare(np.full((*shape, 3), 9, np.uint8), card(32, 32)).tolist() == [[[9, 9, 9]] * 32] * 32


def test_full_of_the_right_size_is_the_picture_itself() -> None:
    assert np.array_equal(prepare(picture(20, 30), full(20, 30)), picture(20, 30))


@pytest.mark.parametrize("shape", [(900, 1200), (1200, 900), (40, 30), (64, 90)])
def test_full_interpolates_along_the_rows_first(shape: tuple[int, int]) -> None:
    image = Image.fromarray(picture(*shape))
    rows_first = image.resize((64, shape[0]), Image.Resampling.BICUBIC).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.array_equal(prepare(picture(*shape), full(64, 64)), np.asarray(rows_first))


def test_area_averages_where_it_shrinks() -> None:
    checks = np.array([[0, 100, 10, 30], [0, 100, 10, 30]], np.uint8)
    found = prepare(np.stack([checks] * 3, axis=-1), full(1, 2, "area"))
    assert found[..., 0].tolist() == [[50, 20]]


def test_area_interpolates_only_the_axis_that_grows() -> None:
    tall_and_thin = Image.fromarray(np.array([[0], [100], [20], [40]], np.uint8))
    assert np.asarray(resize_area(tall_and_thin, (3, 2))).tolist() == [[50] * 3, [30] * 3]
    two_pixels = Image.fromarray(np.array([[0, 100]], np.uint8))
    assert np.asarray(resize_area(two_pixels, (4, 1))).tolist() == [[0, 25, 75, 100]]


def test_a_preparation_survives_json() -> None:
    preparation = Preparation("card", 288, 256, "bilinear", 0.95, (0.5, 0.25, 0.125), (1, 2, 3))
    assert Preparation.from_dict(preparation.as_dict()) == preparation
    assert Preparation.from_json(preparation.as_json()) == preparation
    assert preparation.as_json() == Preparation.from_json(preparation.as_json()).as_json()


def test_full_crops_nothing_so_that_one_preparation_has_one_identity() -> None:
    assert Preparation("full", 8, 8, crop_pct=0.875) == Preparation("full", 8, 8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "squash"},
        {"interpolation": "cubic"},
        {"height": 0},
        {"width": -1},
        {"crop_pct": 0.0},
        {"crop_pct": 1.5},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (0.5, 0.5)},
        {"mean": ("a", "b", "c")},
        {"mean": None},
        {"colour": "grey"},
        {"height": 8.5},
    ],
    ids=str,
)
def test_a_preparation_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Preparation.from_dict({**card(8, 8).as_dict(), **wrong})


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"mode": "full"}'])
def test_text_that_describes_no_preparation_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Preparation.from_json(text)


# The small luma, and what is computed from it.


def bits_apart(one: bytes, other: bytes) -> int:
    return (int.from_bytes(one) ^ int.from_bytes(other)).bit_count()


def hash_of(image: Image.Image) -> bytes:
    return perceptual_hash(small_luma(image))


def test_the_perceptual_hash_is_the_sign_of_dct_coefficients_against_their_median() -> None:
    luma = np.random.default_rng(3).integers(0, 256, (64, 64), np.uint8)
    at = (2 * np.arange(64) + 1) * np.pi / 128
    strengths = [
        float((luma * np.outer(np.cos(v * at), np.cos(u * at))).sum()) for v in range(1, 17) for u in range(1, 17)
    ]
    expected = "".join("1" if strength > np.median(strengths) else "0" for strength in strengths)
    assert f"{int.from_bytes(perceptual_hash(luma)):0256b}" == expected
    assert expected.count("1") == 128


@pytest.mark.parametrize("colours", [("white", "white"), ("black", "white")])
@pytest.mark.parametrize("direction", ["across", "down"])
def test_a_picture_without_two_directions_has_a_perceptual_hash_of_zeros(
    colours: tuple[str, str], direction: Literal["across", "down"]
) -> None:
    image = Image.new("RGB", (100, 100), colours[0])
    image.paste(colours[1], (0, 0, 50, 100) if direction == "across" else (0, 0, 100, 50))
    assert hash_of(image) == bytes(32)


def test_near_copies_share_most_of_their_perceptual_hash_and_strangers_half() -> None:
    scene = Image.fromarray(np.random.default_rng(5).integers(0, 256, (12, 16, 3), np.uint8)).resize((640, 480))
    for copy in (scene.resize((201, 151)), scene.point(lambda level: level * 0.8 + 20), scene.reduce(3)):
        assert bits_apart(hash_of(copy), hash_of(scene)) < 30
    assert 90 < bits_apart(hash_of(scene.transpose(Image.Transpose.ROTATE_180)), hash_of(scene)) < 166


def test_the_small_luma_weighs_the_colours_as_itu_r_601_does() -> None:
    assert small_luma(Image.new("RGB", (8, 4), (100, 50, 200))).tolist() == [[82] * 64] * 64  # .299 .587 .114
