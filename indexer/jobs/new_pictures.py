"""From the bytes of one picture to what a commit takes: the steps of indexing, for pictures that come one by one."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.backbones.backbone import Pixels
from indexer.backbones.fixed_projection import projected
from indexer.backbones.labelling import Label, Labeller
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.decoding import Decoder
from indexer.jobs.region_embedding import embedded_regions
from search.embeddings import unit_rows, usable_rows
from search.errors import BadImage
from search.geometry.local_features import record_of
from search.records import ContentFacts, Embeddings, SpaceSpec

REGION_BATCH = 4


class RawEmbedder(Protocol):
    """A backbone that several threads may ask."""

    space: SpaceSpec

    def raw(self, frames: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels."""
        ...


@dataclass(frozen=True, slots=True)
class NewPicture:
    """A picture ready to be committed. embedding: (D,) float32 of unit length. labels, regions, local: as of NewImage
    and Regions, None where they are not wanted.
    """

    facts: ContentFacts
    embedding: Embeddings
    labels: tuple[Label, ...] | None
    regions: Embeddings | None
    local: NDArray[np.uint8] | None


class NewPictures:
    """Makes what a collection keeps of pictures. Thread-safe."""

    def __init__(self, embedder: RawEmbedder, pool: Decoder, labeller: Labeller | None, *, local: bool) -> None:
        """pool: makes the frames of regions, and keypoints, where the
        collection has them. local: keep local features.
        """
        self._shared = _Shared(embedder)
        self._embedder = embedder
        self._pool = pool
        self._labeller = labeller
        self._local = local

    def make(self, data: bytes, sha256: bytes, name: str) -> NewPicture:
        """Return what is kept of a picture. name: for messages.

        Raises:
            BadImage: it cannot be decoded, or the backbone has no usable answer.
        """
        try:
            image = self._pool.decode(data, name)
        except BadImage as error:
            raise BadImage(error.reason, f"{name}: {error.detail}") from error
        raw = self._embedder.raw(np.stack([image.pixels]))
        if not usable_rows(raw).all():
            detail = f"{name}: {self._embedder.space.backbone} answered with NaN, infinity or zero"
            raise BadImage("invalid_embedding", detail)
        row = unit_rows(projected(raw, self._embedder.space.dims))
        labels = None if self._labeller is None else self._labeller.labels(raw)[0]
        (regions,) = embedded_regions(self._shared, row, [image.regions], REGION_BATCH)
        local = record_of(image.keypoints) if self._local and image.keypoints is not None else None
        return NewPicture(facts_of(image, sha256, len(data)), row[0], labels, regions, local)


def facts_of(image: PreparedImage, sha256: bytes, size_bytes: int) -> ContentFacts:
    """Return what is known of a content that was decoded."""
    return ContentFacts(
        sha256=sha256,
        size_bytes=size_bytes,
        format=image.format,
        width=image.width,
        height=image.height,
        pixel_hash=image.pixel_hash,
        perceptual_hash=image.perceptual_hash,
        contrast=image.contrast,
        taken_at=image.taken_at,
    )


class _Shared:
    """A backbone that is asked through its embedder, together with others."""

    def __init__(self, embedder: RawEmbedder) -> None:
        self._embedder = embedder

    def embed(self, pixels: Pixels) -> Embeddings:
        return self._embedder.raw(pixels)
