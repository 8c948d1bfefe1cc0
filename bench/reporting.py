"""What the benchmarks share: the machine's name, medians with their range, a report as JSON."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import faiss
from threadpoolctl import threadpool_limits


def machine() -> str:
    """Return the processor, its cores and the GPU, for people."""
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            processor = line.split(":", maxsplit=1)[1].strip()
            break
    return f"{processor}, {os.cpu_count()} cores"


def heading(about: str) -> str:
    """Return the line above a table: date, machine, and what the figures are."""
    return f"{datetime.now(UTC).date().isoformat()}, {machine()}, {about}"


def shown(values: Sequence[float], digits: int = 1) -> str:
    """Return the median with the lowest and the highest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def interleaved(runs: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return what each run gave in every round; they take turns, so that a drifting machine treats all alike."""
    results: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            results[name].append(run())
    return results


def ratios(ours: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Return ours / peer, round by round."""
    return [one / other for one, other in zip(ours, peer, strict=True)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep FAISS and NumPy's products to one thread meanwhile, whenever they were loaded."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        yield
    faiss.omp_set_num_threads(before)


def write(report: dict[str, Any], file: Path | None) -> None:
    """Write a report with date and machine as JSON, if a file is named."""
    if file is not None:
        dated = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), **report}
        file.write_text(json.dumps(dated, indent=2) + "\n")
