"""Embeddings that another program made: .npy files, memory-mapped, and the Parquet files that say what each row is.

Layouts: one file; a folder or a glob of files; clip-retrieval's folder (`img_emb/*.npy`, `metadata/*.parquet`); a
folder that `export` wrote. Files are taken in the order of the numbers in their names. No pickle is ever loaded.
"""

import glob
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from search.errors import UsageError

KINDS = (np.float16, np.float32, np.float64)
# Folder of a known layout: embeddings and metadata below it.
LAYOUTS = (("embeddings.npy", "images.parquet"), ("img_emb/*.npy", "metadata/*.parquet"))


@dataclass(frozen=True, slots=True)
class Shards:
    """The files of an import. rows: of each .npy file; dims: of all of them. metadata: none when nothing says more."""

    embeddings: tuple[Path, ...]
    rows: tuple[int, ...]
    dims: int
    metadata: tuple[Path, ...]

    @property
    def total(self) -> int:
        """Return how many rows there are."""
        return sum(self.rows)

    def blocks(self, size: int) -> Iterator[NDArray[np.floating]]:
        """Yield all rows in order, at most `size` at a time, (n, D), as they are in the file."""
        for path in self.embeddings:
            matrix = _opened(path)
            for start in range(0, len(matrix), size):
                yield np.array(matrix[start : start + size])

    def descriptions(self) -> Iterator[tuple[dict[str, Any], Path]]:
        """Yield what the metadata says of each row, and the file that says it; {} for each without metadata."""
        if not self.metadata:
            for path, rows in zip(self.embeddings, self.rows, strict=True):
                yield from (({}, path) for _ in range(rows))
        for path in self.metadata:
            with _parquet(path) as file:
                for batch in file.iter_batches(batch_size=1_024):
                    yield from ((row, path) for row in batch.to_pylist())


def find_shards(embeddings: str, metadata: str | None) -> Shards:
    """Return the files that two arguments of `import` name.

    Raises:
        UsageError: there are none, they are not embeddings, or their rows do not match.
    """
    paths, described = _files(embeddings, "*.npy"), _files(metadata, "*.parquet") if metadata is not None else []
    for matrices, tables in LAYOUTS:
        found = _numbered(list(Path(embeddings).expanduser().glob(matrices)))
        if found:
            paths = found
            described = described or _numbered(list(Path(embeddings).expanduser().glob(tables)))
            break
    if not paths:
        raise UsageError(f"{embeddings}: no .npy file there; name a file, a folder or a glob of them")
    shapes = [_opened(path).shape for path in paths]
    for path, shape in zip(paths, shapes, strict=True):
        if shape[1] != shapes[0][1]:
            raise UsageError(
                f"{path} has embeddings of {shape[1]} dims, {paths[0]} of {shapes[0][1]}; nothing was imported"
            )
    shards = Shards(tuple(paths), tuple(shape[0] for shape in shapes), shapes[0][1], tuple(described))
    _require_matching(shards)
    return shards


def _require_matching(shards: Shards) -> None:
    if not shards.metadata:
        return
    described = []
    for path in shards.metadata:
        with _parquet(path) as file:
            described.append(file.metadata.num_rows)
    if len(described) == len(shards.rows):
        for path, table, rows, said in zip(shards.embeddings, shards.metadata, shards.rows, described, strict=True):
            if rows != said:
                raise UsageError(f"{path} has {rows} rows, {table} describes {said}; nothing was imported")
    elif sum(described) != shards.total:
        raise UsageError(
            f"the .npy files have {shards.total} rows, the metadata describes {sum(described)}; nothing was imported"
        )


def _files(argument: str, pattern: str) -> list[Path]:
    place = Path(argument).expanduser()
    if place.is_dir():
        return _numbered(list(place.glob(pattern)))
    if place.exists():
        return [place]
    found = [Path(name) for name in glob.iglob(str(place), recursive=True)] if glob.has_magic(argument) else []  # noqa: PTH207
    if not found:
        raise UsageError(f"{argument}: there is no such file; name a file, a folder or a glob that exists")
    return _numbered(found)


def _numbered(paths: Sequence[Path]) -> list[Path]:
    """Return paths with 2 before 10."""
    return sorted(paths, key=lambda path: [int(part) if part.isdigit() else part for part in _parts(path)])


def _parts(path: Path) -> list[str]:
    # Texts and numbers alternate, so that like is compared with like.
    return re.split(r"(\d+)", path.name)


def _opened(path: Path) -> NDArray[np.floating]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UsageError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.type not in KINDS or not matrix.shape[1]:  # noqa: PLR2004
        seen = f"{matrix.dtype} of shape {matrix.shape}" if isinstance(matrix, np.ndarray) else "an archive"
        raise UsageError(f"{path} holds {seen}; embeddings are (N, D) of float16, float32 or float64")
    return matrix


def _parquet(path: Path) -> Any:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is no Parquet file: {str(error).splitlines()[0]}") from error
