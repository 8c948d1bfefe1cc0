"""Open segments by id, so that embeddings can be read by place."""

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.blobs.segments import Segment, place_of
from search.embeddings import lengthened
from search.errors import CorruptFile
from search.records import Embeddings
from search.storing.catalogue import Catalogue

FEW_ROWS = 256  # up to here one look per row is cheaper than sorting them by segment
OPEN_SEGMENTS = 128  # memory maps held at once; below the file limit of 256 that some systems start with


class SegmentCache:
    """The most recently used segments of one space, memory-mapped. dims: of their embeddings. Thread-safe."""

    def __init__(self, catalogue: Catalogue, blobs: Blobs, dims: int) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self.dims = dims
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, segments: NDArray[np.int64], rows: NDArray[np.int64]) -> Embeddings:
        """Return the embeddings at these places, (N, D) float32 of unit length, in the order asked.

        Raises:
            CorruptFile: a segment is missing or damaged.
        """
        if len(segments) <= FEW_ROWS:
            return lengthened(self._read_few(segments.tolist(), rows.tolist()))
        out = np.empty((len(segments), self.dims), np.float32)
        for segment_id in np.unique(segments):
            here = np.flatnonzero(segments == segment_id)
            out[here] = self._segment(int(segment_id)).read(rows[here])
        return out

    def stored(self, segments: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return what is stored at these places, (N, D) float16, bit by bit, in the order asked.

        Raises:
            CorruptFile: a segment is missing or damaged.
        """
        return self._read_few(segments.tolist(), rows.tolist())

    def _read_few(self, segments: list[int], rows: list[int]) -> NDArray[np.float16]:
        """Return rows as they are stored: the inner loop of every search, one pass, one system call for each."""
        if rows and min(rows) < 0:
            raise CorruptFile(f"row {min(rows)} of a segment was asked for")
        stored = np.empty((len(segments), self.dims), "<f2")
        width, first = 2 * self.dims, place_of(0, self.dims)
        whole = memoryview(stored.view(np.uint8).reshape(-1))  # type: ignore[arg-type]
        places: dict[int, list[tuple[int, memoryview]]] = {segment_id: [] for segment_id in segments}
        at = 0
        for segment_id, row in zip(segments, rows, strict=True):
            places[segment_id].append((first + row * width, whole[at : at + width]))
            at += width
        for segment_id, wanted in places.items():
            self._segment(segment_id).read_into(wanted)
        return stored

    def _segment(self, segment_id: int) -> Segment:
        with self._lock:
            found = self._open.pop(segment_id, None)
            if found is None:
                found = Segment(self._blobs, self._catalogue.segment(segment_id), self.dims)
                while len(self._open) >= OPEN_SEGMENTS:
                    self._open.popitem(last=False)
            self._open[segment_id] = found
            return found
