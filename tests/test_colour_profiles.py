"""The same samples under another colour profile are another picture; a profile that says sRGB is as good as none."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from indexer.decoding.decode import DecodeLimits, decode, thumbnail
from indexer.procedural.pictures import procedural_images

LIMITS = DecodeLimits()
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped(profile: bytes) -> bytes:
    """Return a profile whose red is green, and whose green is red: what its tags lie at changes places."""
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    data = bytearray(profile)
    for one, other in ((red, green), (green, red)):
        data[one + 4 : one + 12] = profile[other + 4 : other + 12]
    return bytes(data)


def saved(kind: str, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    Image.fromarray(next(iter(procedural_images(1, 3)))).save(file, kind, icc_profile=profile)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_other_colours_are_another_picture_and_srgb_is_what_pictures_have_without_a_profile(kind: str) -> None:
    plain, same, other = (decode(saved(kind, one), LIMITS) for one in (None, SRGB, swapped(SRGB)))
    assert np.array_equal(plain.pixels, other.pixels)
    assert plain.pixel_hash == same.pixel_hash != other.pixel_hash


def test_a_profile_that_cannot_be_read_may_mean_anything() -> None:
    assert decode(saved("PNG", b"no profile" * 20), LIMITS).pixel_hash != decode(saved("PNG", None), LIMITS).pixel_hash


def test_thumbnails_show_the_colours_that_a_profile_means() -> None:
    shown = [Image.open(io.BytesIO(thumbnail(saved("PNG", one), 64, LIMITS))) for one in (SRGB, swapped(SRGB))]
    plain, other = (np.asarray(one, np.int16) for one in shown)
    assert "icc_profile" not in shown[1].info
    assert np.abs(plain[..., [1, 0, 2]] - other).mean() < np.abs(plain - other).mean() / 3
