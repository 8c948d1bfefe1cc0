"""A backbone ready to embed: a space, and the engine that makes its embeddings. Knows no torch."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.backbones.backbone import Pixels
from indexer.backbones.engine import Engine
from indexer.decoding.preparation import Preparation
from search.errors import UsageError
from search.records import Embeddings, SpaceSpec

if TYPE_CHECKING:
    from indexer.backbones.labelling import Labeller


class PreparedBackbone:
    """An engine behind the Backbone protocol. Not thread-safe: one caller at a time."""

    def __init__(
        self,
        space: SpaceSpec,
        preparation: Preparation,
        engine: Engine,
        make_labeller: "Callable[[], Labeller] | None" = None,
    ) -> None:
        self.space = space
        self.preparation = preparation
        self.engine = engine
        self._make_labeller = make_labeller

    @property
    def batch_size(self) -> int:
        """Pictures at once that the engine likes best."""
        return self.engine.batch_size

    def embed(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels.

        D may be more than the dims of the space: `projected` brings them down.

        Raises:
            OutOfMemory: not even one picture fits.
        """
        return self.engine.run(pixels)

    def labeller(self) -> "Labeller":
        """Return what names the classes of raw pooled embeddings.

        Raises:
            UsageError: the backbone has no classifier.
        """
        if self._make_labeller is None:
            raise UsageError(f"the backbone {self.space.backbone!r} has no classifier, so it cannot label images")
        return self._make_labeller()

    def labeller_if_any(self) -> "Labeller | None":
        """Return what names the classes of raw pooled embeddings, None when the backbone has no classifier."""
        try:
            return self.labeller()
        except UsageError:
            return None
