"""Building the file of a generation and writing it, before anything names it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any, Final, NamedTuple

import numpy as np

from search.blobs.blobs import Blobs
from search.blobs.checksums import StreamedChecksums
from search.finding.generation_parts import StoredRows, exact_file, inverted_file
from search.index.exact import EXACT
from search.index.post_transform import MOST_AXES, PostTransform
from search.index.projection import AXES
from search.index.training import Built, build
from search.regions import Part

FOLDER: Final = "generations"
SUFFIX: Final = ".lkg"

Progress = Callable[[int, int], None]


class Written(NamedTuple):
    """A generation that is durable, but that nothing names yet. values: of its row. segments: ids of those it reads."""

    values: dict[str, Any]
    segments: list[int]


def write_generation(blobs: Blobs, part: Part, rows: StoredRows, recall: float | None, progress: Progress) -> Written:
    """Build the index of transformed rows, and write it. recall: of an approximate one; None for an exact one.

    Raises:
        CorruptFile: a segment it needs is damaged.
        StoreUnavailable: the disk is full.
    """
    most_axes = AXES if rows.transform.matrix is None else MOST_AXES
    built = None if recall is None else build(rows, recall, progress, most_axes=most_axes)
    parts = exact_file(rows) if built is None else inverted_file(built, rows)
    sums = StreamedChecksums()
    name = blobs.write(FOLDER, SUFFIX, summed(parts, sums), point="generation")
    values = {
        "part": part,
        "kind": EXACT if built is None else built.index.kind,
        "rows": len(rows),
        "name": name,
        "size_bytes": sums.size,
        "sha256": sums.sha256.digest(),
        "checksums": sums.blocks(),
        "facts": _facts(built, rows.transform),
    }
    return Written(values, np.unique(rows.located.segments).tolist())


def _facts(built: Built | None, transform: PostTransform) -> dict[str, object]:
    """Return what is told of a generation: what was measured of an approximate one, and its transform."""
    told: dict[str, object] = {} if transform.is_none else {"transform": transform.kind}
    if built is None:
        return told
    return told | asdict(built.measured) | {"lists": built.index.lists, "code_dims": built.projection.dims}


def summed(parts: Iterable[bytes | memoryview], sums: StreamedChecksums) -> Iterator[bytes | memoryview]:
    """Yield the parts of a file, adding them to its checksums."""
    for part in parts:
        sums.update(part)
        yield part
