"""Open segments by id, so that embeddings can be read by place."""

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from search.blobs import Blobs
from search.catalogue import Catalogue
from search.records import Embeddings
from search.segments import Segment

OPEN_SEGMENTS = 128  # memory maps held at once; below the file limit of 256 that some systems start with


class SegmentCache:
    """The most recently used segments of one space, memory-mapped. Thread-safe."""

    def __init__(self, catalogue: Catalogue, blobs: Blobs, dims: int) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._dims = dims
        self._open: OrderedDict[int, Segment] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, segments: NDArray[np.int64], rows: NDArray[np.int64]) -> Embeddings:
        """Return the embeddings at these places, (N, D) float32 of unit length, in the order asked.

        Raises:
            CorruptFile: a segment is missing or damaged.
        """
        out = np.empty((len(segments), self._dims), np.float32)
        for segment_id in np.unique(segments):
            here = np.flatnonzero(segments == segment_id)
            out[here] = self._segment(int(segment_id)).read(rows[here])
        return out

    def _segment(self, segment_id: int) -> Segment:
        with self._lock:
            found = self._open.pop(segment_id, None)
            if found is None:
                found = Segment(self._blobs, self._catalogue.segment(segment_id), self._dims)
                while len(self._open) >= OPEN_SEGMENTS:
                    self._open.popitem(last=False)
            self._open[segment_id] = found
            return found
