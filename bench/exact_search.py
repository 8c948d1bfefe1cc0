"""Exact search against what the machine can do: reading memory for one query, multiplying matrices for a batch.

    python -m bench.exact_search [--rows 10000] [--dims 2048] [--rounds 7] [--json FILE]

One thread. The bandwidth of memory is that of NumPy's fastest way through the same rows: their sum, their maximum, the
bitwise or of them, or their product with a vector. The speed of multiplication is that of the faster of two products by
NumPy: the batch with all rows, and two square matrices. Ours is what a snapshot of a small collection runs: the index
over a generation's bytes, 10 neighbours.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import numpy as np

from bench.reporting import heading, interleaved, one_thread, shown, write
from search.blobs.generation_files import Section, packed, unpacked
from search.index.exact import ExactIndex
from search.records import Embeddings

K = 10
BATCH = 64
SQUARE = 2048
NONE = np.empty(0, np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    rows = random.standard_normal((options.rows, options.dims), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    queries = np.ascontiguousarray(rows[:BATCH])
    square = random.standard_normal((SQUARE, SQUARE), np.float32)
    index = opened(rows)
    # The same bytes where ours reads them: pages of a file, not of the heap.
    mapped = index.embeddings()
    words = mapped.view(np.uint64)
    gigabytes, flops = rows.nbytes / 1e9, 2.0 * BATCH * rows.size / 1e9
    reading: dict[str, Callable[[], object]] = {
        "sum": mapped.sum,
        "maximum": mapped.max,
        "bitwise or": lambda: np.bitwise_or.reduce(words, axis=None),
        "product": lambda: mapped @ queries[0],
        "ours": lambda: index.candidates(queries[:1], K, NONE),
    }
    with one_thread():
        one = rates(reading, dict.fromkeys(reading, gigabytes), options.rounds)
    batches: dict[str, Callable[[], object]] = {
        "batch": lambda: queries @ mapped.T,
        "square": lambda: square @ square,
        "ours": lambda: index.search(queries, K),
    }
    with one_thread():
        many = rates(batches, {"batch": flops, "square": 2.0 * SQUARE**3 / 1e9, "ours": flops}, options.rounds)
    print(heading(f"{options.rows} rows of {options.dims} dims, one thread"))
    report("one query", "GB/s", one)
    report(f"batch of {BATCH}", "GFLOP/s", many)
    write({"rows": options.rows, "dims": options.dims, "one_query_gb_s": one, "batch_gflop_s": many}, options.json)


def opened(rows: Embeddings) -> ExactIndex:
    """Return the index as a reader opens it: mapped from a file laid out like a generation's."""
    size = len(ExactIndex.build(rows).dump())
    section = Section(size, ExactIndex.streamed([rows], *rows.shape), lead=size - rows.nbytes)
    with tempfile.NamedTemporaryFile() as file:
        for piece in packed({"index": section}, {}):
            file.write(piece)
        file.flush()
        sections, _ = unpacked(file.name, np.memmap(file.name, np.uint8, mode="r"))
    return ExactIndex.load(sections["index"], *rows.shape)


def rates(runs: Mapping[str, Callable[[], object]], work: Mapping[str, float], rounds: int) -> dict[str, list[float]]:
    """Return the work done in a second by each run, in every round: the best of three in a row."""
    return interleaved({name: lambda name=name: work[name] / seconds(runs[name]) for name in runs}, rounds)  # type: ignore[misc]


def seconds(run: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best


def report(what: str, unit: str, found: dict[str, list[float]]) -> None:
    limits = {name: median(values) for name, values in found.items() if name != "ours"}
    fastest = max(limits, key=lambda name: limits[name])
    share = [100 * ours / limit for ours, limit in zip(found["ours"], found[fastest], strict=True)]
    print(f"{what}: " + ", ".join(f"{name} {shown(values)}" for name, values in found.items()) + f" {unit}")
    print(f"  ours / {fastest}: {shown(share, 0)} %")


if __name__ == "__main__":
    main()
