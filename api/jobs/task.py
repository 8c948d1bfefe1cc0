"""What a job is given when it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from api.jobs.progress import Meter


@dataclass(frozen=True, slots=True)
class Task:
    """A job, as the process that runs it knows it. root: the store's folder. collection: its name, None for none.

    request: the checked body of the request that started it. job_id: of its row. device, weights, roots, allow_url: as
    of `serve`.
    """

    root: Path
    job_id: int
    collection: str
    request: Mapping[str, Any]
    device: str
    weights: Path | None
    meter: Meter
    roots: tuple[Path, ...] = ()
    allow_url: bool = False
