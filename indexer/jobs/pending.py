"""What was embedded or noted since the last commit."""

import time

import numpy as np

from indexer.jobs.outcomes import Counts, Failed
from search.records import ContentFacts, Embeddings
from search.storing.commits import Batch, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.ledger import FailedFile
from search.storing.region_rows import Regions


class Pending:
    """A batch in the making: images with and without embeddings of their own, and failures."""

    def __init__(self, dims: int) -> None:
        self._dims = dims
        self._images: list[NewImage] = []
        self._embeddings: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
        self._regions: list[Embeddings] = []
        self._regioned: list[ContentFacts | int] = []
        self._failed: list[FailedFile] = []
        self._since: float | None = None

    def add_new(self, image: NewImage, embedding: Embeddings) -> None:
        """Add an image of a fresh content. embedding: (D,) float32 of unit length."""
        self._touch()
        self._images.append(image)
        self._embeddings.append(embedding)

    def add_known(self, image: NewImage) -> None:
        """Add an image of a content that has its embedding."""
        self._touch()
        self._images.append(image)

    def add_regions(self, content: ContentFacts | int, embeddings: Embeddings) -> None:
        """Add the regions of the content of an image that was added. embeddings: (4, D) float32 of unit length."""
        self._touch()
        self._regioned.append(content)
        self._regions.append(embeddings)

    def add_failed(self, failed: Failed) -> None:
        """Add a file for the ledger."""
        self._touch()
        self._failed.append(FailedFile(failed.uri, failed.reason, failed.detail, failed.size_bytes, failed.mtime_ns))

    @property
    def rows(self) -> int:
        """How large the batch is: images or embeddings, whatever is more."""
        return max(len(self._images), len(self._failed), len(self._embeddings) + sum(map(len, self._regions)))

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return self._since is None

    @property
    def age_s(self) -> float:
        """Seconds since the first of it was added."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def take(self, counts: Counts) -> Batch:
        """Return the batch, and start another. counts: the progress to commit with it."""
        embeddings = np.stack(self._embeddings) if self._embeddings else no_embeddings(self._dims)
        regions = Regions(self._regioned, np.concatenate(self._regions)) if self._regions else None
        batch = Batch(self._images, embeddings, self._failed, counts.as_json(), regions)
        self._images, self._embeddings, self._failed, self._since = [], [], [], None
        self._regions, self._regioned = [], []
        return batch

    def _touch(self) -> None:
        if self._since is None:
            self._since = time.monotonic()
