"""The file of a generation: named sections behind a header.

8 bytes magic `LKGEN002`, or `LKGEN003` where embeddings are transformed, uint32 header length, a JSON header with the
place of each section and a few numbers, then the sections, whose numbers begin at multiples of 64 bytes. Both kinds of
index have `index` (FAISS's own serialisation), `ids` (image id of each row, int64 ascending), `segments` and `rows`
(where each row's embedding lies, int32); the approximate one also `mean` and `axes` (float32,
search/index/projection.py); those with a transform (search/index/post_transform.py) also `transform_kind` (UTF-8),
`transform_mean` and, where they whiten, `transform_matrix` and, if approximate, `transform_lengths` (float32). Only a
file whose checksums the catalogue holds is ever read, so FAISS never sees foreign bytes. The other magic makes releases
that know no transform refuse the file: they would compare queries as they are.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptFile

MAGIC: Final = b"LKGEN002"
TRANSFORMED: Final = b"LKGEN003"
HEAD: Final = struct.Struct("<8sI")
ALIGNMENT: Final = 64


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the file: its length, and its bytes in pieces. lead: what lies before the first byte to be aligned."""

    size_bytes: int
    pieces: Iterable[bytes | memoryview]
    lead: int = 0


def array_section(array: NDArray[Any]) -> Section:
    """Return an array, little-endian, as a section."""
    plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return Section(plain.nbytes, [plain.reshape(-1).view(np.uint8).data])


def packed(
    sections: Mapping[str, Section], numbers: Mapping[str, float], magic: bytes = MAGIC
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a file in order. numbers: what the header holds beside the places."""
    # Offsets count from the end of the header, so that the header's own length does not matter.
    places, offset = {}, 0
    for name, section in sections.items():
        offset = _aligned(offset + section.lead) - section.lead
        places[name] = (offset, section.size_bytes)
        offset += section.size_bytes
    header = json.dumps({"places": places, "numbers": dict(numbers)}).encode()
    yield (HEAD.pack(magic, len(header)) + header).ljust(_aligned(HEAD.size + len(header)), b"\0")
    written = 0
    for name, section in sections.items():
        yield bytes(places[name][0] - written)
        yield from section.pieces
        written = places[name][0] + section.size_bytes


def unpacked(name: str, data: NDArray[np.uint8]) -> tuple[dict[str, NDArray[np.uint8]], dict[str, float]]:
    """Return the sections of a file as views, and the numbers of its header.

    Raises:
        CorruptFile: it is no generation of this release.
    """
    if len(data) < HEAD.size:
        raise CorruptFile(f"{name} is not a generation: it has {len(data)} bytes")
    magic, length = HEAD.unpack(data[: HEAD.size].tobytes())
    if magic not in (MAGIC, TRANSFORMED):
        raise CorruptFile(f"{name} is not a generation of this release: it begins with {magic!r}")
    header = json.loads(data[HEAD.size : HEAD.size + length].tobytes())
    start = _aligned(HEAD.size + length)
    places = header["places"].items()
    return {key: data[start + offset : start + offset + size] for key, (offset, size) in places}, header["numbers"]


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
