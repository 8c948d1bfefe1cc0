"""Looking for duplicates as a job of a server does, in this process."""

from collections.abc import Mapping
from pathlib import Path

from api.jobs.dedup_job import run_dedup
from api.jobs.progress import Meter
from api.jobs.task import Task


def look_for_duplicates(store: Path, collection: str = "default", **body: object) -> Mapping[str, object]:
    """Keep the report of a collection, and return the job's result."""
    return run_dedup(Task(store, 1, collection, body, "cpu", None, Meter(lambda _: None)))
