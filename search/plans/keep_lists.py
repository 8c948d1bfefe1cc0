"""What to keep and what to drop, as two Parquet files: for archives, object storage and data sets."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from search.errors import StoreUnavailable, UsageError
from search.plans.choosing import Choice
from search.plans.plan import Plan, PlannedFile

KEEP, DROP = "keep.parquet", "drop.parquet"
_FILE: Final = [
    ("group", pa.int64()),
    ("id", pa.int64()),
    ("key", pa.string()),
    ("uri", pa.string()),
    ("sha256", pa.string()),
    ("bytes", pa.int64()),
]
_KEEP: Final = pa.schema([*_FILE, ("reason", pa.string())])
_DROP: Final = pa.schema(
    [
        *_FILE,
        ("keeper_id", pa.int64()),
        ("keeper_key", pa.string()),
        ("keeper_uri", pa.string()),
        ("kind", pa.string()),
        ("relation", pa.string()),
        ("score", pa.float64()),
        ("verified", pa.string()),
        ("confirmed", pa.bool_()),
    ]
)


def free_places(folder: Path) -> tuple[Path, Path]:
    """Return where `keep.parquet` and `drop.parquet` are to be written; changes nothing.

    Raises:
        UsageError: one of them is there already, or the folder is none.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another with -o")
    for path in (folder / KEEP, folder / DROP):
        if path.exists():
            raise UsageError(f"{path} is there already; choose another folder with -o")
    return folder / KEEP, folder / DROP


def write_lists(plan: Plan, choice: Choice, folder: Path) -> tuple[Path, Path]:
    """Write `keep.parquet`, a row for each keeper, and `drop.parquet`, a row for each chosen member; return both.

    Raises:
        UsageError: one of them is there already, or the folder is none.
        StoreUnavailable: the folder cannot be made, or the disk is full.
    """
    keep, drop = free_places(folder)
    kept = [_row(one.group.number, one.group.keeper) | {"reason": one.group.reason} for one in choice.chosen]
    dropped = [
        _row(one.group.number, member.file)
        | {"keeper_id": one.group.keeper.image_id, "keeper_key": one.group.keeper.key}
        | {"keeper_uri": one.group.keeper.uri, "kind": member.kind, "relation": member.relation}
        | {"score": member.score, "verified": member.verified, "confirmed": member.confirmed}
        for one in choice.chosen
        for member in one.members
    ]
    about = {b"plan": plan.id.encode(), b"collection": plan.collection.encode()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, rows, schema in ((keep, kept, _KEEP), (drop, dropped, _DROP)):
            pq.write_table(pa.Table.from_pylist(rows, schema.with_metadata(about)), path)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write in {folder}: {error.strerror or error}; choose another with -o"
        ) from error
    return keep, drop


def _row(group: int, file: PlannedFile) -> dict[str, object]:
    return {"group": group, "id": file.image_id, "key": file.key, "uri": file.uri} | {
        "sha256": file.sha256,
        "bytes": file.size_bytes,
    }
