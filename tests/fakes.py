"""Stand-ins that make every journey run in milliseconds: no torch, no decoding children."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from indexer.backbones.backbone import Pixels
from indexer.decoding.decode import DecodeLimits, decode, small_pixels
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.preparation import Preparation, prepare
from indexer.decoding.region_frames import region_frames
from indexer.jobs.outcomes import Counts
from search.geometry.keypoints import Keypoints
from search.records import ContentFacts, Embeddings, Label, SpaceSpec
from search.storing.image_rows import NewImage

FAKE_PREPARATION = Preparation(mode="full", height=8, width=8, interpolation="area")
FAKE_DIMS = 8 * 8 * 3


class FakeBackbone:
    """Its embedding of a picture is the picture: 8 x 8 pixels, centred, so that alike pictures score high."""

    def __init__(self, name: str = "fake") -> None:
        self.preparation = FAKE_PREPARATION
        self.space = SpaceSpec(name, "0" * 64, FAKE_PREPARATION.as_json(), FAKE_DIMS)
        self.embedded = 0

    def embed(self, pixels: Pixels) -> Embeddings:
        self.embedded += len(pixels)
        return pixels.reshape(len(pixels), -1).astype(np.float32) - 127.5

    def labeller(self) -> "ColourLabeller":
        return ColourLabeller()


class ColourLabeller:
    """Names every third number of an embedding, the largest sum first: three labels, of 60, 30 and 10 per cent.

    For the embeddings of FakeBackbone these are the channels of the picture, the brightest first.
    """

    NAMES = ("red, crimson", "green", "blue, Azure")

    def labels(self, raw: Embeddings) -> list[tuple[Label, ...]]:
        thirds = raw.shape[1] // 3 * 3
        brightness = raw[:, :thirds].reshape(len(raw), -1, 3).sum(axis=1)
        order = np.argsort(-brightness, axis=1, kind="stable").tolist()
        return [
            tuple(Label(self.NAMES[channel], share) for channel, share in zip(row, (0.6, 0.3, 0.1), strict=True))
            for row in order
        ]


class InProcessDecoder:
    """Decodes in the calling thread.

    regions: makes the frames of regions, too. keypoints: finds those of local features in a picture's pixels.
    """

    def __init__(self, *, regions: bool = False, keypoints: Callable[[Pixels], Keypoints] | None = None) -> None:
        self._regions = regions
        self._keypoints = keypoints

    def decode(self, data: bytes, name: str) -> PreparedImage:
        image = decode(data, DecodeLimits())
        return PreparedImage(
            pixels=prepare(image.pixels, FAKE_PREPARATION),
            format=image.format,
            width=image.width,
            height=image.height,
            pixel_hash=image.pixel_hash,
            perceptual_hash=image.perceptual_hash,
            contrast=image.contrast,
            taken_at=image.taken_at,
            regions=region_frames(
                image.pixels, (image.width, image.height), lambda part: prepare(part, FAKE_PREPARATION)
            )
            if self._regions
            else None,
            keypoints=None if self._keypoints is None else self._keypoints(image.pixels),
        )

    def pixels(self, data: bytes, size: int, name: str) -> Pixels:
        return small_pixels(data, size, DecodeLimits())


class Remembering:
    """A progress that remembers what was acknowledged."""

    def __init__(self) -> None:
        self.uris: list[str] = []
        self.batches: list[int] = []

    def update(self, counts: Counts) -> None:
        pass

    def publishing(self, done: int, total: int) -> None:
        pass

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        self.uris += [image.uri for image in images]
        self.batches.append(len(images))


def facts(name: str, *, pixels: str | None = None, width: int = 100, contrast: float = 50.0) -> ContentFacts:
    """Return the facts of an invented content; equal `pixels` mean equal decoded pictures."""
    shown = pixels if pixels is not None else name
    return ContentFacts(
        sha256=hashlib.sha256(name.encode()).digest(),
        size_bytes=1000,
        format="jpeg",
        width=width,
        height=100,
        pixel_hash=hashlib.md5(shown.encode(), usedforsecurity=False).digest(),
        perceptual_hash=bytes(32),
        contrast=contrast,
    )


def new_image(name: str, content: ContentFacts | int | None = None) -> NewImage:
    """Return an image at file:///photos/NAME."""
    uri = f"file:///photos/{name}"
    return NewImage(uri, uri, 1000, 1, facts(name) if content is None else content)


def unit(*numbers: float) -> Embeddings:
    """Return one embedding of length 1 as a (1, D) matrix."""
    row = np.array([numbers], np.float32)
    return row / np.float32(np.linalg.norm(row))
