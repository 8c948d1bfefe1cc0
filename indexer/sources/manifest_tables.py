"""The tables of manifests: CSV and Parquet files as rows of named cells.

Rows stream, Parquet by row groups, CSV line by line, so that a table may have hundreds of millions.
"""

import csv
import datetime
import decimal
import io
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, Final

from indexer.sources.found import is_url
from indexer.sources.network_errors import explained, refused
from indexer.sources.remote_files import open_remote
from search.errors import UsageError

PLACES: Final = ("uri", "url", "path")
SUFFIXES: Final = (".csv", ".parquet", ".pq")
ROWS: Final = 1_000  # read together
BROKEN: Final = "\0broken"  # a row of this cell alone is none, and says why; no column has this name
_MAX_CELL: Final = 1 << 20  # characters of a CSV cell
_INT: Final = re.compile(r"[+-]?(0|[1-9][0-9]{0,17})")
_FLOAT: Final = re.compile(r"[+-]?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?")

Row = Mapping[str, object]


def is_manifest(name: str) -> bool:
    """Tell by its name whether a file is a manifest."""
    return name.lower().endswith(SUFFIXES)


def require_places(path: str) -> None:
    """Raises:
    UsageError: the file is no manifest: unreadable, without a column that names pictures, or with one name twice.
    SourceUnavailable: it lies behind a network that does not answer.
    """
    try:
        file = _opened(path)
    except Exception as error:
        if is_url(path):
            raise refused(path, error) from error
        raise UsageError(f"{path}: cannot be read as a manifest: {explained(error)[1]}") from error
    try:
        with file:
            columns = _parquet(file).schema_arrow.names if _is_parquet(path) else _csv_columns(file)
    except Exception as error:  # pyarrow and network files raise whatever their own libraries do
        raise UsageError(f"{path}: cannot be read as a manifest: {explained(error)[1]}") from error
    _require_columns(path, columns)


def _require_columns(path: str, columns: Sequence[str]) -> None:
    twice = next((name for name, times in Counter(columns).items() if name and times > 1), None)
    if twice is not None:
        raise UsageError(f"{path}: two of its columns are called {twice!r}; give each a name of its own")
    if any(place in columns for place in PLACES):
        return
    listed, hint = ", ".join(columns) or "none", ""
    if any(name.lower() in PLACES for name in columns):
        hint = "; write the name in lower case"
    elif any(mark in name for name in columns for mark in ";\t|"):
        hint = "; only commas separate columns"
    raise UsageError(f"{path}: a manifest names pictures in a column uri, url or path; its columns are: {listed}{hint}")


def count_rows(path: str) -> int | None:
    """Return how many rows a local manifest has, None when counting would need a download."""
    if is_url(path):
        return None
    with _opened(path) as file:
        if _is_parquet(path):
            return int(_parquet(file).metadata.num_rows)
        return max(0, sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - 1)


@contextmanager
def rows_of(path: str) -> Iterator[Iterator[Row]]:
    """Give the rows of a manifest, without empty cells; blank lines of a CSV are no rows.

    Raises:
        Exception: whatever pyarrow or a backend does; while the rows are read, too.
    """
    with _opened(path) as file:
        yield _parquet_rows(file) if _is_parquet(path) else _csv_rows(file)


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

    for batch in _parquet(file).iter_batches(batch_size=ROWS):
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
        head = list(itertools.islice(rows, ROWS))
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
            yield {BROKEN: str(error)}
            continue
        if not cells:
            continue
        if len(cells) > len(columns):
            yield {BROKEN: f"it has {len(cells)} cells, the header has {len(columns)}"}
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
