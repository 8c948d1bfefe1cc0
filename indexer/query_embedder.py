"""From one picture's bytes to a query: the same decoding, preparation and backbone as indexing."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from indexer.backbones.backbone import Backbone, Pixels
from indexer.backbones.fixed_projection import projected
from indexer.backbones.labelling import Label, Labeller
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.decoding import Decoder
from indexer.decoding.preparation import contrast_of, prepare
from indexer.query_batches import QueryBatches
from indexer.query_box import Box
from indexer.query_variants import variants
from search.embeddings import unit_rows, usable_rows
from search.errors import BadImage
from search.finding.find_similar import QueryContent
from search.finding.plain_pictures import why_plain
from search.records import Embeddings

VIEWED_PIXELS: Final = 1_024  # longest side of a query whose parts are looked at
PART_PIXELS: Final = 4_096  # and of one of which only a part counts


class QueryDecoder(Decoder, Protocol):
    """What can also give the pixels of a picture."""

    def pixels(self, data: bytes, size: int, name: str) -> Pixels:
        """Return (H, W, 3) uint8 RGB, upright, the long side at most `size` pixels (decoder_pool.py)."""
        ...


@dataclass(frozen=True, slots=True)
class ViewedPicture:
    """A query picture. views: (V, D) float32 of unit length, the whole picture first. Times in milliseconds.

    pixels: (H, W, 3) uint8, the picture or the part that was asked for, reduced or not; None where only the whole
    picture was embedded. size: width and height of what they show, in pixels of the file. content: None of a part.
    plain: in what way the picture, or the part of it, shows next to nothing: it has no views then. None: it does not.
    """

    views: Embeddings
    pixels: Pixels | None
    size: tuple[int, int]
    format: str
    content: QueryContent | None
    decode_ms: float
    embed_ms: float
    plain: str | None = None


class QueryEmbedder:
    """Embeds single pictures. Thread-safe: pictures are decoded side by side and embedded together."""

    def __init__(self, backbone: Backbone, pool: QueryDecoder, linger_s: float = 0.0) -> None:
        """linger_s: how long a picture may wait for others that are being decoded (indexer/query_batches.py)."""
        self.space = backbone.space
        self._backbone = backbone
        self._pool = pool
        self.batches = QueryBatches(backbone, linger_s)
        self._labeller: Labeller | None = None
        self._making_labeller = threading.Lock()

    def view(self, data: bytes, name: str, box: Box | None = None, *, every: bool = True) -> ViewedPicture:
        """Return the embeddings of a picture, or of a part of it, and its pixels.

        every: as it is, turned, mirrored and in parts (indexer/query_variants.py); else only as it is.

        Raises:
            BadImage: it cannot be decoded, or the backbone has no usable answer.
            UsageError: the box lies outside the picture.
        """
        began = time.perf_counter()
        preparation, content, pixels, plain = self._backbone.preparation, None, None, None
        with _naming(name), self.batches.announced():
            image = self._pool.decode(data, name)
            whole = image.pixels
            if every or box is not None:
                pixels = self._pool.pixels(data, VIEWED_PIXELS if box is None else PART_PIXELS, name)
        size = (image.width, image.height)
        if box is None:
            content = QueryContent(hashlib.sha256(data).digest(), image.pixel_hash)
            plain = why_plain(image.contrast, *size)
        elif pixels is not None:
            pixels = box.cut(pixels, size)
            size = box.within(size)
            plain = why_plain(contrast_of(pixels), *size, what="this part of the picture")
            whole = prepare(pixels, preparation)
        if plain is not None:
            nothing = np.empty((0, self.space.dims), np.float32)
            took = 1000 * (time.perf_counter() - began)
            return ViewedPicture(nothing, pixels, size, image.format, content, took, 0.0, plain)
        frames = variants(whole, pixels, preparation) if every and pixels is not None else np.stack([whole])
        decoded = time.perf_counter()
        views = unit_rows(self._embedded(frames))
        embed_ms = 1000 * (time.perf_counter() - decoded)
        return ViewedPicture(views, pixels, size, image.format, content, 1000 * (decoded - began), embed_ms)

    def decode(self, data: bytes, name: str) -> PreparedImage:
        """Return a whole picture as the backbone is shown it, with what else is known of it.

        Raises:
            BadImage: it cannot be decoded.
        """
        with _naming(name):
            return self._pool.decode(data, name)

    def embedding(self, image: PreparedImage) -> Embeddings:
        """Return the embedding of a decoded picture, (1, D) float32 of unit length.

        Raises:
            BadImage: the backbone has no usable answer.
        """
        return unit_rows(self._embedded(np.stack([image.pixels])))

    def labels(self, image: PreparedImage) -> tuple[Label, ...]:
        """Return what a decoded picture shows, as the backbone's own classifier says: most probable first.

        Raises:
            UsageError: the backbone has no classifier, or none that works on its embedding.
            BadImage: the backbone has no usable answer.
        """
        with self._making_labeller:
            if self._labeller is None:
                self._labeller = self._backbone.labeller()
        raw = self.batches.embed(np.stack([image.pixels]))
        found = self._labeller.labels(raw)[0] if usable_rows(raw)[0] else ()
        if not found:
            raise BadImage("invalid_embedding", f"{self.space.backbone} answered with NaN, infinity or zero")
        return found

    def raw(self, frames: Pixels) -> Embeddings:
        """Return what the backbone answers to (N, H, W, 3) uint8 prepared pixels, (N, D) float32, as it is."""
        return self.batches.embed(frames)

    @property
    def backbone(self) -> Backbone:
        """Return the backbone, for what it says of itself; `raw` asks it."""
        return self._backbone

    @property
    def pool(self) -> QueryDecoder:
        """Return what decodes and prepares pictures."""
        return self._pool

    def whole(self, files: Sequence[bytes], name: str) -> list[Embeddings | None]:
        """Return the embedding of each picture as it is, (1, D), all of them in one go; None where there is none.

        name: of what they are made of, for messages.
        """
        frames = dict[int, Pixels]()
        for number, data in enumerate(files):
            with suppress(BadImage):
                frames[number] = self._pool.decode(data, name).pixels
        if not frames:
            return [None] * len(files)
        raw = self.batches.embed(np.stack(list(frames.values())))
        usable, raw = usable_rows(raw).tolist(), projected(raw, self.space.dims)
        rows = {number: raw[row : row + 1] for row, number in enumerate(frames) if usable[row]}
        return [unit_rows(rows[number]) if number in rows else None for number in range(len(files))]

    def _embedded(self, frames: Pixels) -> Embeddings:
        raw = self.batches.embed(frames)
        if not usable_rows(raw).all():
            raise BadImage("invalid_embedding", f"{self.space.backbone} answered with NaN, infinity or zero")
        return projected(raw, self.space.dims)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except BadImage as error:
        raise BadImage(error.reason, f"{name}: {error.detail}") from error
