"""What an indexing job did, as the command line prints it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from indexer.jobs.outcomes import Counts
from search.records import Collection


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What an indexing job did. bound_by: the stage that was busiest.

    refused: why nothing was removed although that was asked for. offline: uris of sources that could not be reached.
    apart: of archives, by uri, how many samples keep their metadata apart from their picture; it was passed over.
    """

    collection: Collection
    counts: Counts
    seconds: float
    bound_by: str
    refused: str | None = None
    offline: tuple[str, ...] = ()
    apart: Mapping[str, int] = field(default_factory=dict)

    @property
    def images_per_second(self) -> float:
        """Images made searchable per second."""
        return (self.counts.indexed + self.counts.moved) / self.seconds if self.seconds else 0.0

    def as_json(self) -> dict[str, object]:
        """Return the object the `index` command prints."""
        head = {
            "collection": self.collection.name,
            "space": self.collection.space.name,
            "backbone": self.collection.space.backbone,
        }
        tail = {
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.images_per_second, 2),
            "bound_by": self.bound_by,
        }
        if self.offline:
            tail["offline"] = list(self.offline)
        if self.apart:
            tail["metadata_apart"] = dict(self.apart)
        return head | self.counts.as_json() | tail | ({"refused": self.refused} if self.refused else {})
