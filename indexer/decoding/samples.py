"""The samples of a decoded picture: taken out of Pillow in stripes, and hashed. Must never import torch."""

import struct
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

_STRIPE_PIXELS: Final = 1 << 18  # larger pictures leave Pillow in stripes: two copies instead of four


def stripes(image: Image.Image) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (first row, samples) from top to bottom; np.asarray on the whole would hold it twice more for a moment."""
    rows = max(1, _STRIPE_PIXELS // image.width)
    if rows >= image.height:
        yield 0, np.asarray(image)
        return
    for top in range(0, image.height, rows):
        yield top, np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))


def pixels_of(rgb: Image.Image) -> NDArray[np.uint8]:
    """Return the (H, W, 3) uint8 pixels of an RGB image, read-only."""
    if rgb.width * rgb.height <= _STRIPE_PIXELS:
        return np.asarray(rgb)
    pixels = np.empty((rgb.height, rgb.width, 3), np.uint8)
    for top, samples in stripes(rgb):
        pixels[top : top + len(samples)] = samples
    pixels.flags.writeable = False
    return pixels


def pixel_hash(pixels: NDArray[np.uint8], native: Image.Image | None, file: bytes, profile: bytes = b"") -> bytes:
    """Return xxh3_128 over size and pixels, and over what the picture holds beyond them.

    native: the samples behind pixels that had alpha, more than 8 bits or inks: a flattened copy is another picture.
    file: all bytes of a file whose further frames, low bits or video Pillow does not show; only an equal file is surely
    equal. profile: one by which the pixels are shown in other colours than without (colour_profiles.py).
    """
    height, width, _ = pixels.shape
    digest = xxhash.xxh3_128(struct.pack("<II", width, height))
    digest.update(pixels.data)
    if native is not None:
        digest.update(f"samples {native.mode[:4]}".encode())  # I;16 and I;16B differ in byte order only
        for _, samples in stripes(native):
            digest.update(samples.astype(samples.dtype.newbyteorder("<"), copy=False).tobytes())
    if profile:
        digest.update(b"profile")
        digest.update(profile)
    if file:
        digest.update(b"file")
        digest.update(file)
    return digest.digest()
