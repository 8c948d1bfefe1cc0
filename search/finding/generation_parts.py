"""What the file of a generation is made of, and how its transform is read from it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import Blobs
from search.blobs.generation_files import TRANSFORMED, Section, array_section, packed
from search.errors import CorruptFile
from search.finding.segment_cache import SegmentCache
from search.index.exact import ExactIndex
from search.index.post_transform import NONE, PostTransform
from search.index.training import Built
from search.records import TRANSFORMS, Embeddings
from search.storing.catalogue import Catalogue, Located

STREAMED_ROWS: Final = 4_096  # embeddings in memory while a generation is written


class Places(NamedTuple):
    """What is known of each index row, ids ascending: (N,) each. ids: of the image; segments, rows: of the embedding.

    lengths: of whitened rows that only segments hold (`PostTransform.with_lengths`), None of others.
    """

    ids: NDArray[np.int64]
    segments: NDArray[np.int32]
    rows: NDArray[np.int32]
    lengths: NDArray[np.float32] | None = None


class StoredRows:
    """The embeddings of located images by number, transformed, a few thousand at a time.

    dims: after the transform. lengths: (N,), those that whitened rows had (`PostTransform.with_lengths`), of rows that
    were read; None where nothing is whitened.
    """

    def __init__(
        self, catalogue: Catalogue, blobs: Blobs, dims: int, located: Located, transform: PostTransform = NONE
    ) -> None:
        """dims: of embeddings as segments keep them."""
        self.dims = transform.dims_of(dims)
        self.transform = transform
        self.lengths = None if transform.matrix is None else np.zeros(len(located.ids), np.float32)
        self._stored_dims = dims
        self._catalogue = catalogue
        self._blobs = blobs
        self.located = located

    def __len__(self) -> int:
        return len(self.located.ids)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        """Return (len(numbers), d) float32 of unit length."""
        # A cache for each part: what it mapped is let go with it.
        segments = SegmentCache(self._catalogue, self._blobs, self._stored_dims)
        stored = segments.read(self.located.segments[numbers], self.located.rows[numbers])
        if self.lengths is None:
            return self.transform.apply(stored)
        rows, self.lengths[numbers] = self.transform.with_lengths(stored)
        return rows

    def parts(self) -> Iterator[Embeddings]:
        """Yield all of them, in order."""
        for start in range(0, len(self), STREAMED_ROWS):
            yield self.read(np.arange(start, min(start + STREAMED_ROWS, len(self))))


def exact_file(stored: StoredRows) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an exact generation, without ever holding more than a few thousand embeddings."""
    rows, dims = len(stored), stored.dims
    size = sum(len(part) for part in ExactIndex.streamed([], rows, dims)) + 4 * rows * dims
    index = Section(size, ExactIndex.streamed(stored.parts(), rows, dims), lead=size - 4 * rows * dims)
    return _file({"index": index}, {}, stored)


def inverted_file(built: Built, stored: StoredRows) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an approximate generation. stored: every row was read while the index was built."""
    projection = built.projection
    arrays: dict[str, NDArray[Any]] = {"index": built.index.dump(), "mean": projection.mean, "axes": projection.axes}
    if stored.lengths is not None:
        arrays["transform_lengths"] = stored.lengths
    sections = {name: array_section(array) for name, array in arrays.items()}
    numbers = {"low": projection.low, "scale": projection.scale, "slack": built.measured.slack}
    numbers["filtered_slack"] = built.measured.filtered_slack
    return _file(sections, numbers, stored)


def places_in(sections: Mapping[str, NDArray[np.uint8]]) -> Places:
    """Return what is known of each row of a generation."""
    lengths = sections["transform_lengths"].view("<f4") if "transform_lengths" in sections else None
    numbers = (sections["ids"].view("<i8"), sections["segments"].view("<i4"), sections["rows"].view("<i4"))
    return Places(*numbers, lengths)


def transform_in(sections: Mapping[str, NDArray[np.uint8]], numbers: Mapping[str, float], dims: int) -> PostTransform:
    """Return the transform of a generation; those of older releases have none.

    Raises:
        CorruptFile: this release knows no such transform.
    """
    if "transform_kind" not in sections:
        return NONE
    kind = sections["transform_kind"].tobytes().decode()
    if kind not in TRANSFORMS:
        raise CorruptFile(f"this release knows no transform {kind!r}")
    matrix = sections["transform_matrix"].view("<f4").reshape(dims, -1) if "transform_matrix" in sections else None
    mean = sections["transform_mean"].view("<f4")
    return PostTransform(kind, mean, matrix, int(numbers["transform_rows"]))


def _file(
    sections: Mapping[str, Section], numbers: Mapping[str, float], stored: StoredRows
) -> Iterator[bytes | memoryview]:
    """Yield the bytes of a generation: its index, where the embeddings lie, and what was done to them."""
    located, transform = stored.located, stored.transform
    places = {
        "ids": array_section(located.ids),
        "segments": array_section(located.segments.astype(np.int32)),
        "rows": array_section(located.rows.astype(np.int32)),
    }
    if transform.is_none:
        return packed({**sections, **places}, numbers)
    kind = transform.kind.encode()
    about = {"transform_kind": Section(len(kind), [kind]), "transform_mean": array_section(transform.mean)}
    if transform.matrix is not None:
        about["transform_matrix"] = array_section(transform.matrix)
    return packed({**sections, **places, **about}, {**numbers, "transform_rows": transform.rows}, TRANSFORMED)
