"""The index of local features: FAISS's inverted multi-index over codes that were made once, when pictures were indexed.

Its quantisers are those of search/geometry/local_features.py, so nothing is trained here: building is sorting. Each
entry is 16 bytes of code and a number of 8 that says whose feature it is, its direction and its size.
"""

from dataclasses import dataclass
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray

from search.geometry.local_features import CENTRES, DIMS, HALVES, PARTS, quantiser
from search.index.mapped import open_index

CELLS: Final = CENTRES**HALVES
LOCAL: Final = "local"  # the kind of a generation
PROBED: Final = 16  # cells of 65,536 that each feature of a query looks into
NEAREST: Final = 16  # entries that each feature of a query may vote for
_BITS = 8


@dataclass(frozen=True, slots=True, eq=False)
class NearFeatures:
    """Entries near to features of a query, (Q, NEAREST) each, nearest first; distances infinite where there is none.

    distances: squared, in units of RootSIFT descriptors. owners, directions, sizes: as they were added.
    """

    distances: NDArray[np.float32]
    owners: NDArray[np.int64]
    directions: NDArray[np.uint8]
    sizes: NDArray[np.uint8]


class LocalIndex:
    """Local features of many pictures. Searched by many threads at once, but not while something is added."""

    def __init__(self, index: Any, owner: object = None) -> None:
        """index: FAISS's IndexIVFPQ. owner: of the memory it looks at."""
        self._index = index
        self._owner = owner

    @classmethod
    def empty(cls) -> "LocalIndex":
        """Return an index without features.

        Raises:
            CorruptFile: the centres that came with this release are damaged.
        """
        centres = quantiser()
        cells = faiss.MultiIndexQuantizer(DIMS, HALVES, _BITS)
        faiss.copy_array_to_vector(centres.coarse.astype(np.float32).ravel(), cells.pq.centroids)
        cells.ntotal, cells.is_trained = CELLS, True
        index = faiss.IndexIVFPQ(cells, DIMS, CELLS, PARTS, _BITS)
        faiss.copy_array_to_vector(centres.fine.astype(np.float32).ravel(), index.pq.centroids)
        index.by_residual, index.is_trained = True, True
        index.precompute_table()
        return cls(index, cells)

    @classmethod
    def load(cls, data: NDArray[np.uint8], features: int) -> "LocalIndex":
        """Return the index that `dump` wrote. Only call it on bytes whose checksum is known.

        data: stays mapped as long as the index lives.

        Raises:
            CorruptFile: the bytes are no such index of so many features.
        """
        return cls(*open_index(data, faiss.IndexIVFPQ, features, DIMS))

    def dump(self) -> NDArray[np.uint8]:
        """Return the index as bytes."""
        data: NDArray[np.uint8] = faiss.serialize_index(self._index)
        return data

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, features: NDArray[np.uint8], owners: NDArray[np.int64]) -> None:
        """Add (M, 20) features (search/geometry/local_features.py). owners: (M,), a number below 2^47 for each."""
        cells = features[:, 0].astype(np.int64) + CENTRES * features[:, 1].astype(np.int64)
        numbers = (owners << 16) | (features[:, 18].astype(np.int64) << 8) | features[:, 19]
        order = np.argsort(cells, kind="stable")
        codes = np.ascontiguousarray(features[order, HALVES : HALVES + PARTS])
        numbers = np.ascontiguousarray(numbers[order])
        filled, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
        lists = self._index.invlists
        for cell, start, count in zip(filled.tolist(), starts.tolist(), counts.tolist(), strict=True):
            part = slice(start, start + count)
            lists.add_entries(cell, count, faiss.swig_ptr(numbers[part]), faiss.swig_ptr(codes[part]))
        self._index.ntotal += len(features)

    def nearest(self, descriptors: NDArray[np.uint8]) -> NearFeatures:
        """Return the entries nearest to (Q, 128) RootSIFT descriptors of a query, among those in near cells."""
        parameters: Any = faiss.SearchParametersIVF(nprobe=PROBED)  # type: ignore[call-arg]
        distances, numbers = self._index.search(descriptors.astype(np.float32), NEAREST, params=parameters)
        there = numbers >= 0
        numbers = np.where(there, numbers, 0)
        return NearFeatures(
            np.where(there, distances, np.inf).astype(np.float32),
            numbers >> 16,
            ((numbers >> 8) & 255).astype(np.uint8),
            (numbers & 255).astype(np.uint8),
        )
