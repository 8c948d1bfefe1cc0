"""The embeddings of regions: those of the frames that a decoder made of them (indexer/decoding/region_frames.py)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from indexer.backbones.backbone import Pixels
from indexer.backbones.fixed_projection import projected
from indexer.decoding.preparation import contrast_of
from search.embeddings import unit_rows, usable_rows
from search.finding.plain_pictures import MIN_CONTRAST
from search.records import Embeddings


class Embeds(Protocol):
    """As much of a backbone as is needed here."""

    def embed(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels."""
        ...


def embedded_regions(
    backbone: Embeds, wholes: Embeddings, frames: Sequence[Pixels | None], batch_size: int
) -> list[Embeddings | None]:
    """Return the embeddings of the four regions of each picture, (4, D) float32 of unit length; None without frames.

    wholes: (N, D) of unit length, those of the whole pictures. frames: N of (4, H, W, 3) uint8, or None. batch_size:
    frames per call of the backbone.

    A region that shows next to nothing, or of which the backbone says nothing usable, gets the embedding of the whole
    picture: it then finds what the whole finds, and never another picture's empty corner.
    """
    regions = [
        None if parts is None else np.repeat(wholes[[at]], len(parts), axis=0) for at, parts in enumerate(frames)
    ]
    shown = [
        (part, whole, number)
        for parts, whole in zip(frames, regions, strict=True)
        if parts is not None and whole is not None
        for number, part in enumerate(parts)
        if contrast_of(part) >= MIN_CONTRAST
    ]
    for start in range(0, len(shown), batch_size):
        batch = shown[start : start + batch_size]
        raw = backbone.embed(np.stack([part for part, _, _ in batch]))
        usable = usable_rows(raw)
        for (_, into, number), row, good in zip(batch, unit_rows(projected(raw, wholes.shape[1])), usable, strict=True):
            if good:
                into[number] = row
    return regions
