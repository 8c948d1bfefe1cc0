"""What the tests of decoding on the GPU share: all kinds of JPEG, a stand-in for the GPU, the decoder behind it."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from indexer.decoding.decode import DecodedImage, DecodeLimits, decode
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.device_frames import DeviceFrames
from indexer.decoding.preparation import Preparation, prepare
from tests.conftest import painted

LIMITS = DecodeLimits()
PREPARATION = Preparation("full", 32, 24)
ORIENTATION = 0x0112
Files = list[torch.Tensor]
Decode = Callable[[Files], Files]


def jpeg(number: int = 0, size: tuple[int, int] = (160, 120), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    smooth = np.asarray(painted(number, size)).astype(int)
    noise = np.random.default_rng(number).integers(-20, 21, (size[1], size[0], 1))
    picture = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    picture.convert(mode).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def turned(orientation: int, size: tuple[int, int] = (160, 120)) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return jpeg(5, size, exif=exif.tobytes())


def without_jfif(data: bytes, *, ids: bytes = b"\1\2\3") -> bytes:
    """Return the JPEG without its JFIF marker, its three components renamed."""
    length = int.from_bytes(data[4:6], "big")
    bare = bytearray(data[:2] + data[4 + length :])
    frame, scan = bare.find(b"\xff\xc0") + 10, bare.find(b"\xff\xda") + 5
    for number, name in enumerate(ids):
        bare[frame + 3 * number] = bare[scan + 2 * number] = name
    return bytes(bare)


def stand_in(files: Files) -> Files:
    """Decode as nvJPEG would: all of them or none."""
    decoded = [simplejpeg.decode_jpeg(file.numpy().tobytes(), "RGB") for file in files]
    return [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in decoded]


class Device:
    """A stand-in that remembers its batches; what it does may be changed once the probes have passed."""

    def __init__(self, preparation: Preparation = PREPARATION) -> None:
        self.batches: list[int] = []
        self.decode: Decode = stand_in
        self.frames = DeviceFrames(self._decode, preparation, "cpu")
        self.batches.clear()

    def _decode(self, files: Files) -> Files:
        self.batches.append(len(files))
        return self.decode(files)


class Others:
    """The decoder behind the GPU: decodes in the calling thread and remembers the names."""

    def __init__(self, preparation: Preparation = PREPARATION) -> None:
        self.names: list[str] = []
        self._preparation = preparation

    def decode(self, data: bytes, name: str) -> PreparedImage:
        self.names.append(name)
        return on_cpu(data, self._preparation)


def on_cpu(data: bytes, preparation: Preparation = PREPARATION) -> PreparedImage:
    image = decode(data, LIMITS)
    kept = {name: getattr(image, name) for name in DecodedImage.__dataclass_fields__ if name != "pixels"}
    return PreparedImage(pixels=prepare(image.pixels, preparation), **kept)


def bits_apart(one: bytes, two: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()


def agree(found: PreparedImage, expected: PreparedImage, *, bits: int = 16) -> None:
    """Check all facts but the pixel hash.

    bits: of 256, by which the perceptual hashes may differ; a level in the luma turns that many in smooth pictures.
    """
    apart = np.abs(found.pixels.astype(int) - expected.pixels)
    assert found.pixels.shape == expected.pixels.shape
    assert apart.max() <= 2
    assert apart.mean() <= 0.05
    assert (found.format, found.width, found.height) == (expected.format, expected.width, expected.height)
    assert bits_apart(found.perceptual_hash, expected.perceptual_hash) <= bits
    assert found.contrast == pytest.approx(expected.contrast, abs=0.5)
