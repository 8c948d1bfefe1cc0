"""What becomes of each file on its way through the pipeline."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexer.sources.sources import FoundFile
from search.records import ContentFacts
from search.storing.catalogue import KnownFile


@dataclass(frozen=True, slots=True)
class Prepared:
    """A content, decoded and ready to embed. pixels: (H, W, 3) uint8.

    content_id: the content when it has an embedding already and is here for its labels, regions or local features
    alone. stored: the image that was known by its key or at its place when it was planned. regions: (4, H, W, 3) uint8,
    to embed, too; None where nobody asked, or the content has them. local: the record of its local features, where they
    are wanted. embeds: whether anything but those is wanted.
    """

    file: FoundFile
    facts: ContentFacts
    pixels: NDArray[np.uint8]
    content_id: int | None = None
    stored: KnownFile | None = None
    regions: NDArray[np.uint8] | None = None
    local: NDArray[np.uint8] | None = None
    embeds: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """A file whose content has an embedding already: a copy, a moved file, or a touched one."""

    file: FoundFile
    content_id: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A file for the ledger. fresh: it was tried now; otherwise the ledger has it and it was left alone."""

    uri: str
    reason: str
    detail: str
    size_bytes: int = 0
    mtime_ns: int = 0
    fresh: bool = True


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Files the catalogue knows, with the same size and date as before."""

    files: int


@dataclass(frozen=True, slots=True)
class Ignored:
    """Files met while walking that are no images."""

    files: int


Outcome = Prepared | Known | Failed | Unchanged | Ignored


@dataclass(slots=True)
class Counts:
    """The running totals of one indexing job.

    labelled: files whose picture was labelled, None when nobody asked. regioned, local: files whose picture was
    embedded in its regions, or got local features, None likewise.
    """

    indexed: int = 0
    unchanged: int = 0
    moved: int = 0
    vanished: int = 0
    removed: int = 0
    ignored: int = 0
    labelled: int | None = None
    regioned: int | None = None
    local: int | None = None
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Files in the ledger."""
        return self.failures.total()

    @property
    def seen(self) -> int:
        """Files that are, or claim to be, images."""
        return self.indexed + self.unchanged + self.moved + self.failed

    def add(self, other: "Counts") -> None:
        """Add the totals of another pass."""
        for name in ("indexed", "unchanged", "moved", "vanished", "removed", "ignored"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.labelled is not None:
            self.labelled = (self.labelled or 0) + other.labelled
        if other.regioned is not None:
            self.regioned = (self.regioned or 0) + other.regioned
        if other.local is not None:
            self.local = (self.local or 0) + other.local
        self.failures += other.failures

    def as_json(self) -> dict[str, object]:
        """Return the counts as the `index` command prints them."""
        shape: dict[str, object] = {
            "seen": self.seen,
            "indexed": self.indexed,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "vanished": self.vanished,
            "removed": self.removed,
            "ignored": self.ignored,
            "failed": self.failed,
            "failures_by_reason": dict(sorted(self.failures.items())),
        }
        asked = {"labelled": self.labelled, "with_regions": self.regioned, "local": self.local}
        return shape | {name: number for name, number in asked.items() if number is not None}
