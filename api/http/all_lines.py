"""The lines of a server: which kinds of work there are, and how many threads each has."""

from dataclasses import dataclass
from typing import Final

from api.http.batched_line import BatchedLine
from api.http.lines import WAITING, IngestLine, Line
from indexer.devices import usable_cores

INGEST_AT_ONCE: Final = 8  # pictures that are taken in side by side, of all requests


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a server. finds: searches by what is stored, without a condition. pictures: what must be decoded and
    embedded first, and conditions, which may take long.

    looks: what looks at the pixels of many images, and takes seconds. ingest: pictures to be taken in.
    """

    finds: BatchedLine
    pictures: Line
    looks: Line
    ingest: IngestLine

    @classmethod
    def for_cores(cls, cores: int | None = None, waiting: int = WAITING) -> "Lines":
        """Return the lines of a process that has so many cores, None for all it can use."""
        cores = cores or usable_cores()
        return cls(
            # One: it is busy with Python, of which one thread runs at a time, and a second would only keep the loop
            # that reads and answers from its turn. More cores are for more processes.
            BatchedLine("finds", waiting),
            # One for each core, and as many whose picture is being decoded meanwhile.
            Line("pictures", 2 * cores, waiting),
            Line("looks", max(1, cores // 2), waiting),
            # Mostly they wait for a disk, and those that wait together are committed together.
            IngestLine("ingest", INGEST_AT_ONCE, waiting),
        )

    def all(self) -> tuple[Line, ...]:
        """Return all lines."""
        return self.finds, self.pictures, self.looks, self.ingest

    def close(self) -> None:
        """Begin nothing more."""
        for line in self.all():
            line.close()
