"""All groups as CSV, JSON and Parquet, row by row: a hundred thousand groups need no more memory than ten."""

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from api.duplicate_report.rows import COLUMNS, group_json, rows_of
from search.duplicates.groups import DuplicateGroup

PAGE_ROWS: Final = 10_000
_TYPES: Final = {
    "group": pa.int64(),
    "id": pa.int64(),
    "width": pa.int32(),
    "height": pa.int32(),
    "bytes": pa.int64(),
    "keeper_id": pa.int64(),
    "score": pa.float64(),
    "probability": pa.float64(),
    "confirmed": pa.bool_(),
    "copy_of": pa.int64(),
}
SCHEMA: Final = pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS])


def write_csv(groups: Sequence[DuplicateGroup], file: Path) -> None:
    """Write a row for each image of each group, with a line of headings."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.DictWriter(opened, COLUMNS)
        table.writeheader()
        table.writerows(rows_of(groups))


def write_json(facts: Mapping[str, object], groups: Sequence[DuplicateGroup], file: Path) -> None:
    """Write one JSON object: facts, and all groups as `groups`, a line each."""
    with file.open("w", encoding="utf-8") as opened:
        opened.write(json.dumps({**facts})[:-1] + ', "groups": [')
        for number, group in enumerate(groups):
            opened.write((",\n" if number else "\n") + json.dumps(group_json(group), allow_nan=False))
        opened.write("\n]}\n")


def write_parquet(groups: Sequence[DuplicateGroup], file: Path) -> None:
    """Write the rows of `write_csv`, typed."""
    rows = rows_of(groups)
    with pq.ParquetWriter(file, SCHEMA) as table:
        while page := list(islice(rows, PAGE_ROWS)):
            table.write_table(pa.Table.from_pylist(page, schema=SCHEMA))
