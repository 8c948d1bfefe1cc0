"""From one picture's bytes to a query: the same decoding, preparation and backbone as indexing."""

import hashlib
import threading
import time
from dataclasses import dataclass

import numpy as np

from indexer.backbones.backbone import Backbone
from indexer.decoding.decoding import Decoder
from search.embeddings import unit_rows, usable_rows
from search.errors import BadImage
from search.finding.find_similar import QueryContent
from search.records import Embeddings


@dataclass(frozen=True, slots=True)
class EmbeddedPicture:
    """A query picture. raw: (1, D) float32 as pooled; unit: the same with length 1. Times in milliseconds."""

    raw: Embeddings
    unit: Embeddings
    content: QueryContent
    decode_ms: float
    embed_ms: float


class QueryEmbedder:
    """Embeds single pictures. Thread-safe: pictures are decoded side by side and embedded one after the other."""

    def __init__(self, backbone: Backbone, pool: Decoder) -> None:
        self.space = backbone.space
        self._backbone = backbone
        self._pool = pool
        self._lock = threading.Lock()

    def embed(self, data: bytes, name: str) -> EmbeddedPicture:
        """Return the embedding of a picture; name is for messages.

        Raises:
            BadImage: it cannot be decoded, or the backbone has no usable answer.
        """
        began = time.perf_counter()
        try:
            image = self._pool.decode(data, name)
        except BadImage as error:
            raise BadImage(error.reason, f"{name}: {error.detail}") from error
        decoded = time.perf_counter()
        with self._lock:
            raw = self._backbone.embed(np.stack([image.pixels]))
        if not usable_rows(raw).all():
            raise BadImage("invalid_embedding", f"{self.space.backbone} answered with NaN, infinity or zero")
        content = QueryContent(hashlib.sha256(data).digest(), image.pixel_hash)
        embed_ms = 1000 * (time.perf_counter() - decoded)
        return EmbeddedPicture(raw, unit_rows(raw), content, 1000 * (decoded - began), embed_ms)
