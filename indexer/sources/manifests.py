"""Manifests: CSV and Parquet files whose rows name pictures, with keys, checksums and metadata.

A row names its picture by `uri`, else `url`, else `path`; relative ones lie beside the manifest. `key` is the user's
name of the image, `sha256` what its bytes must have; every other column is metadata. Rows stream: Parquet by row
groups, CSV line by line. Of rows that share a key the first counts.
"""

import csv
import datetime
import decimal
import hashlib
import io
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import IO, Any, Final
from urllib.parse import unquote, urljoin

import numpy as np
import xxhash

from indexer.sources.found import (
    INSIDE,
    ROW,
    Found,
    FoundFile,
    IgnoredFile,
    Origin,
    Source,
    UnreadableFile,
    Visit,
    is_url,
    stamped,
)
from indexer.sources.local_files import look, reason_of
from indexer.sources.remote_files import explained, look_remote, open_remote
from indexer.sources.sidecars import cleaned, cleaned_text, storable
from search.errors import BadImage, UsageError

PLACES: Final = ("uri", "url", "path")
SUFFIXES: Final = (".csv", ".parquet", ".pq")
_ROWS: Final = 1_000  # looked at together
_LOOKERS: Final = 16  # requests for sizes and dates at a time
_MAX_CELL: Final = 1 << 20  # characters of a CSV cell
_MAX_KEY: Final = 2_000  # characters: what an index entry of PostgreSQL holds
_INT: Final = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_SHA256_BYTES: Final = hashlib.sha256().digest_size

Row = Mapping[str, object]


def is_manifest(name: str) -> bool:
    """Tell by its name whether a file is a manifest."""
    return name.lower().endswith(SUFFIXES)


def require_places(path: str) -> None:
    """Raises:
    UsageError: the file is no manifest: unreadable, or without a column that names pictures.
    """
    try:
        with _opened(path) as file:
            columns = _parquet(file).schema_arrow.names if _is_parquet(path) else _csv_columns(file)
    except UsageError:
        raise
    except Exception as error:  # pyarrow and network files raise whatever their own libraries do
        raise UsageError(f"{path}: cannot be read as a manifest: {explained(error)[1]}") from error
    if not any(place in columns for place in PLACES):
        listed = ", ".join(columns) or "none"
        raise UsageError(f"{path}: a manifest names pictures in a column uri, url or path; its columns are: {listed}")


def count_rows(path: str) -> int | None:
    """Return how many rows a local manifest has, None when counting would need a download."""
    if is_url(path):
        return None
    with _opened(path) as file:
        if _is_parquet(path):
            return int(_parquet(file).metadata.num_rows)
        return max(0, sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1)


def walk_manifest(source: Source, visit: Visit) -> Iterator[Found]:
    """Yield the pictures that the rows of a manifest name. A row that cannot be used is one entry for the ledger."""
    keys = _SeenKeys()
    number = 0
    try:
        with _opened(source.path) as file, ThreadPoolExecutor(_LOOKERS) as lookers:
            rows = _parquet_rows(file) if _is_parquet(source.path) else _csv_rows(file)
            while batch := list(itertools.islice(rows, _ROWS)):
                new = keys.add([_key_text(row) for row in batch])
                jobs = [
                    (source, number + at + 1, row, bool(first))
                    for at, (row, first) in enumerate(zip(batch, new, strict=True))
                ]
                number += len(batch)
                for found in _looked_at(jobs, lookers):
                    visit.images += isinstance(found, FoundFile)
                    yield found
        visit.whole = True
    except Exception as error:  # noqa: BLE001 -- pyarrow and network files raise whatever their own libraries do
        reason, detail = (reason_of(error), str(error)) if isinstance(error, OSError) else explained(error)
        yield UnreadableFile(source.uri, reason, f"the manifest cannot be read beyond row {number}: {detail}")


def _looked_at(jobs: list[tuple[Source, int, Row, bool]], lookers: ThreadPoolExecutor) -> Iterable[Found]:
    if any(is_url(source.path) or is_url(_place(row) or "") for source, _, row, _ in jobs):
        return lookers.map(lambda job: _found(*job), jobs)
    return (_found(*job) for job in jobs)


def _found(source: Source, number: int, row: Row, first: bool) -> Found:
    """Return the picture of a row. first: no row before it has its key."""
    try:
        if len(row) == 1 and _BROKEN in row:
            raise BadImage("bad_manifest_row", str(row[_BROKEN]))
        place = _place(row)
        if place is None:
            raise BadImage("bad_manifest_row", "it names no picture: uri, url and path are all empty or missing")
        if not first:
            raise BadImage("duplicate_key", f"its key {_key_text(row)!r} is that of an earlier row, which counts")
        found = _at(_resolved(source.path, place))
        if not isinstance(found, FoundFile):
            return found
        if source.exclude.matches(os.path.basename(found.path)):  # noqa: PTH119
            return IgnoredFile(found.path)
        return _described(found, source, row)
    except BadImage as error:
        detail = f"row {number}: {error.detail}"
        return UnreadableFile(f"{source.uri}{ROW}{number}", error.reason, detail)


def _at(place: str) -> Found:
    return look_remote(place) if is_url(place) else look(place, named=True)


def _described(found: FoundFile, source: Source, row: Row) -> FoundFile:
    sha256 = _sha256(row.get("sha256"))
    named = next(place for place in PLACES if row.get(place) not in (None, ""))
    others = {name: value for name, value in row.items() if name not in (named, "key", "sha256")}
    kept = storable({cleaned_text(name): cleaned(value) for name, value in others.items() if value is not None})
    content = found.origin.content if found.origin is not None else None
    origin = Origin(content, _key_text(row), sha256, kept or None, source.uri)
    # Another expected sha256 means that the file must be read again.
    mtime_ns = found.mtime_ns if sha256 is None else stamped(found.mtime_ns, sha256)
    return replace(found, origin=origin, mtime_ns=mtime_ns)


def _place(row: Row) -> str | None:
    return next((str(row[place]) for place in PLACES if row.get(place) not in (None, "")), None)


def _key_text(row: Row) -> str | None:
    value = row.get("key")
    return None if value in (None, "") else cleaned_text(str(value))[:_MAX_KEY]


def _sha256(value: object) -> bytes | None:
    if value in (None, ""):
        return None
    if isinstance(value, bytes) and len(value) == _SHA256_BYTES:
        return value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise BadImage("bad_manifest_row", f"its sha256 {text[:80]!r} is not 64 hexadecimal digits")
    return bytes.fromhex(text)


def _resolved(manifest: str, place: str) -> str:
    """Return the local path or URL that a cell means."""
    if INSIDE in place:
        raise BadImage("bad_manifest_row", f"{place}: name the archive itself as a SOURCE, not its members")
    if place.startswith("file:///"):
        return unquote(place.removeprefix("file://"), errors="surrogateescape")
    if is_url(place):
        return place
    if is_url(manifest):
        return urljoin(manifest, place) if manifest.startswith("http") else f"{manifest.rpartition('/')[0]}/{place}"
    return os.path.normpath(os.path.join(os.path.dirname(manifest), place))  # noqa: PTH118, PTH120


class _SeenKeys:
    """Which keys were met: 8 bytes each, sorted, since manifests may have hundreds of millions of rows."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray[Any, np.dtype[np.uint64]]] = []

    def add(self, keys: list[str | None]) -> list[bool]:
        """Add keys; return for each whether it is new. None is no key, and always new."""
        digests = [None if key is None else xxhash.xxh3_64_intdigest(key.encode()) for key in keys]
        met: set[int] = set()
        fresh = []
        for digest in digests:
            fresh.append(digest is None or (digest not in met and not self._has(digest)))
            if digest is not None:
                met.add(digest)
        self._keep(np.sort(np.fromiter(met, np.uint64, len(met))))
        return fresh

    def _has(self, digest: int) -> bool:
        wanted = np.uint64(digest)
        places = ((run, int(np.searchsorted(run, wanted))) for run in self._runs)
        return any(place < len(run) and run[place] == wanted for run, place in places)

    def _keep(self, run: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
        # Runs of like length are merged, so that there are never more than some twenty.
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.union1d(self._runs.pop(), run)
        if len(run):
            self._runs.append(run)


_BROKEN: Final = "\0broken"  # no column has this name


def _is_parquet(path: str) -> bool:
    return not path.lower().endswith(".csv")


def _opened(path: str) -> IO[bytes]:
    opened: IO[bytes] = open_remote(path) if is_url(path) else open(path, "rb")  # noqa: PTH123, SIM115
    return opened


def _parquet(file: IO[bytes]) -> Any:
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(file)


def _parquet_rows(file: IO[bytes]) -> Iterator[Row]:
    import pyarrow

    for batch in _parquet(file).iter_batches(batch_size=_ROWS):
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            kind = column.type
            if pyarrow.types.is_timestamp(kind) and kind.unit == "ns":
                column = column.cast(pyarrow.timestamp("us", kind.tz), safe=False)  # noqa: PLW2901
            if name == "sha256" or not _is_binary(kind):
                columns[name] = column.to_pylist()
        for values in zip(*columns.values(), strict=True):
            yield {name: _plain(value) for name, value in zip(columns, values, strict=True)}


def _is_binary(kind: Any) -> bool:
    import pyarrow

    return bool(
        pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind) or pyarrow.types.is_fixed_size_binary(kind)
    )


def _plain(value: object) -> object:
    """Return a value of a Parquet cell as JSON holds it: dates as ISO text."""
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    return value if isinstance(value, str | int | float | bool | bytes | None) else str(value)


def _csv_columns(file: IO[bytes]) -> list[str]:
    with _csv_text(file) as text:
        return _header(csv.reader(text))


def _csv_text(file: IO[bytes]) -> io.TextIOWrapper:
    csv.field_size_limit(_MAX_CELL)
    return io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")


def _header(reader: Iterator[list[str]]) -> list[str]:
    return [name.strip() for name in next(reader, [])]


def _csv_rows(file: IO[bytes]) -> Iterator[Row]:
    with _csv_text(file) as text:
        reader = csv.reader(text)
        columns = _header(reader)
        rows = _csv_cells(columns, reader)
        head = list(itertools.islice(rows, _ROWS))
        kinds = {
            column: _kind_of([row.get(column) for row in head])
            for column in columns
            if column not in (*PLACES, "key", "sha256")
        }
        for row in itertools.chain(head, rows):
            yield {name: kinds[name](str(cell)) if name in kinds else cell for name, cell in row.items()}


def _csv_cells(columns: list[str], reader: Iterator[list[str]]) -> Iterator[Row]:
    """Yield rows of texts, without empty cells; a row that is none says why."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield {_BROKEN: str(error)}
            continue
        if not cells:
            continue
        if len(cells) > len(columns):
            yield {_BROKEN: f"it has {len(cells)} cells, the header has {len(columns)}"}
            continue
        yield {name: cell for name, cell in zip(columns, cells, strict=False) if cell != ""}


def _kind_of(cells: list[object]) -> Callable[[str], object]:
    """Return how the cells of a CSV column become values: numbers only where all of the first rows are some.

    A leading zero makes a text of a column: article numbers and postcodes are none to calculate with.
    """
    texts = [str(cell) for cell in cells if cell is not None]
    if texts and all(_INT.fullmatch(text) for text in texts):
        return _int_or_text
    if texts and all(_is_float(text) for text in texts):
        return _float_or_text
    return str


def _int_or_text(text: str) -> object:
    return int(text) if _INT.fullmatch(text) else text


def _float_or_text(text: str) -> object:
    return float(text) if _is_float(text) else text


def _is_float(text: str) -> bool:
    return any(letter.isdecimal() for letter in text) and _FLOAT.fullmatch(text) is not None
