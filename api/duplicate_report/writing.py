"""The report of a dedup job in a folder: report.html, groups.csv, groups.json, groups.parquet."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from api.duplicate_report.page import SHOWN_GROUPS, ReportFacts, page_of
from api.duplicate_report.pictures import GroupPictures
from api.duplicate_report.tables import write_csv, write_json, write_parquet
from search.duplicates.report import DuplicateReport
from search.errors import GuardRefused, UsageError

PAGE: Final = "report.html"
FILES: Final = (PAGE, "groups.csv", "groups.json", "groups.parquet")
Progress = Callable[[int, int], None]


def require_free(folder: Path) -> None:
    """Look whether a report can be written without replacing anything.

    Raises:
        GuardRefused: a former report is there, or a file with the name of one.
        UsageError: it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"-o {folder} is no folder; choose another")
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise GuardRefused(
            f"{folder} holds a report already ({', '.join(there)}); choose another folder for -o, or replace it with "
            "--overwrite"
        )


def write_report(  # noqa: PLR0913, PLR0917 -- what a report is made of
    report: DuplicateReport,
    collection: str,
    source: str,
    pictures: GroupPictures,
    folder: Path,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Write the four files and return the place of the page. Each is there whole, or as it was before; no other file
    of the folder is touched.

    source: who says which scores count, as `threshold_source` of `dedup`. progress: called with (groups shown, groups
    that the page will show).

    Raises:
        UsageError: the folder cannot be made or written.
    """
    now = datetime.now(UTC)
    threshold = report.threshold
    today = f"{now:%d %B %Y}".lstrip("0")
    facts = ReportFacts(collection, report.images, threshold, source, today, len(report.similar))
    told = {
        "collection": collection,
        "made_at": now.isoformat(timespec="seconds"),
        "threshold": threshold,
        "threshold_source": source,
        "images": report.images,
        "groups_total": len(report.groups),
        "bytes_reclaimable": report.bytes_reclaimable,
        "similar": [shots.as_json() for shots in report.similar],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _whole(folder / "groups.csv") as file:
            write_csv(report.groups, file)
        with _whole(folder / "groups.json") as file:
            write_json(told, report.groups, file)
        with _whole(folder / "groups.parquet") as file:
            write_parquet(report.groups, file)
        with _whole(folder / PAGE) as file, file.open("w", encoding="utf-8") as opened:
            shown = min(len(report.groups), SHOWN_GROUPS)
            done = 0
            for part in page_of(facts, report.groups, pictures):
                opened.write(part)
                if part.endswith("</section>\n"):
                    done += 1
                    progress(done, shown)
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error.strerror}; choose another folder for -o") from error
    return folder / PAGE


@contextmanager
def _whole(place: Path) -> Iterator[Path]:
    """Give a file beside a place, which takes the place when it is complete."""
    partial = place.with_name(f".{place.name}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(place)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
