"""What the indexing job needs of a classifier: labels from the embeddings it has computed anyway. Knows no torch."""

from typing import Protocol

from search.records import Embeddings, Label

__all__ = ["Label", "Labeller"]


class Labeller(Protocol):
    """Raw embeddings to labels: the classifier a backbone was trained with, or a fake one in tests."""

    def labels(self, raw: Embeddings) -> list[tuple[Label, ...]]:
        """Return the five most probable labels of each row, highest first.

        raw: (N, D) float32 pooled embeddings as the backbone gives them, all of them finite.
        """
        ...
