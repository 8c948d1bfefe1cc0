"""Who is told how an indexing job goes."""

from collections.abc import Sequence
from typing import Protocol

from indexer.jobs.outcomes import Counts
from search.storing.image_rows import NewImage


class Progress(Protocol):
    """Who is told how a job goes."""

    def update(self, counts: Counts) -> None:
        """Files were looked at; called often."""
        ...

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        """These images are durable and searchable from now on."""
        ...

    def publishing(self, done: int, total: int) -> None:
        """So many embeddings are in the new search index."""
        ...
