"""What the pipeline needs of a backbone. Knows no torch, so that tests and light processes can do without it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer.backbones.labelling import Labeller
from indexer.decoding.preparation import Preparation
from search.records import Embeddings, SpaceSpec

Pixels = NDArray[np.uint8]


class Backbone(Protocol):
    """Pixels to embeddings: a real network, or a fake one in tests."""

    @property
    def space(self) -> SpaceSpec:
        """The space its embeddings belong to."""
        ...

    @property
    def preparation(self) -> Preparation:
        """What happens to decoded pixels before `embed`."""
        ...

    def embed(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels."""
        ...

    def labeller(self) -> Labeller:
        """Return what names the classes of raw pooled embeddings.

        Raises:
            UsageError: the backbone has no classifier.
        """
        ...
