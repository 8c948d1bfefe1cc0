"""What a member of an archive holds: bytes that travel in memory, or a place in the archive."""

import os
from dataclasses import dataclass

from indexer.sources.local_files import reason_of, require_size
from indexer.sources.remote_files import RemotePart
from search.errors import BadImage


@dataclass(frozen=True, slots=True)
class CarriedContent:
    """A picture that travels in memory, since its archive cannot be read twice."""

    data: bytes

    def read(self, max_bytes: int) -> bytes:
        """Return its bytes.

        Raises:
            BadImage: they are more than max_bytes.
        """
        require_size(len(self.data), max_bytes)
        return self.data


@dataclass(frozen=True, slots=True)
class MemberContent:
    """A picture inside a plain local archive."""

    archive: str
    offset: int
    size_bytes: int

    def read(self, max_bytes: int) -> bytes:
        """Return its bytes.

        Raises:
            BadImage: the archive is gone or cut, or they are more than max_bytes.
        """
        require_size(self.size_bytes, max_bytes)
        try:
            with open(self.archive, "rb") as file:  # noqa: PTH123
                data = os.pread(file.fileno(), self.size_bytes, self.offset)
        except OSError as error:
            raise BadImage(reason_of(error), error.strerror or str(error)) from error
        if len(data) < self.size_bytes:
            raise BadImage("truncated", "its archive ends within it")
        return data


MemberOfArchive = CarriedContent | MemberContent | RemotePart
