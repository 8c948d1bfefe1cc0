"""What searching gains from a GPU: an index trained and built, a batch of queries, and all pairs, against the CPU.

    python -m bench.gpu_search [--rows 60000] [--json FILE]

Synthetic rows of 2,048 dims (bench/synthetic_embeddings.py). All finders must return the same pairs and neighbours, or
the run fails. `python -m bench.gpu` prints the same. Without a GPU it says so and measures the CPU alone.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench.reporting import heading, write
from bench.synthetic_embeddings import Synthetic
from indexer.torch_pairs import TorchPairs
from search.index.cpu_pairs import CpuPairs
from search.index.devices import VARIABLE, faiss_gpu
from search.index.gpu_pairs import GpuPairs
from search.index.pair_finder import PairFinder
from search.index.training import build
from search.records import Embeddings

ROWS: Final = 60_000
QUERIES: Final = 2_000
THRESHOLD: Final = 0.9
RECALL_TARGET: Final = 0.95


class Matrix:
    """Rows in memory, as `build` reads them."""

    def __init__(self, embeddings: Embeddings) -> None:
        self._embeddings = embeddings

    def __len__(self) -> int:
        return len(self._embeddings)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        rows: Embeddings = self._embeddings[numbers]
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(heading(f"{options.rows} rows of 2,048 dims, torch {torch.__version__}"), flush=True)
    write({"search": measure_search(options.rows)}, options.json)


def measure_search(rows: int = ROWS) -> dict[str, Any]:
    """Print and return seconds by device and work."""
    synthetic = Synthetic()
    embeddings = np.concatenate([block for block, _ in synthetic.blocks(rows)])
    queries = synthetic.queries(min(QUERIES, rows), embeddings)
    finders: dict[str, PairFinder] = {"FAISS, CPU": CpuPairs()}
    gpu = faiss_gpu()
    if gpu is None:
        print("FAISS sees no GPU here (docs/operations.md, FAISS on a GPU): its figures are of the CPU alone")
    else:
        finders["FAISS, GPU"] = GpuPairs(gpu)
    if torch.cuda.is_available():
        finders["torch, GPU"] = TorchPairs("cuda")
    else:
        print("torch sees no GPU here: not measured")
    builds = {"FAISS, CPU": False} | ({"FAISS, GPU": True} if gpu else {})
    report: dict[str, Any] = {"rows": rows, "queries": len(queries)}
    report["build"] = {name: built(embeddings, on_gpu) for name, on_gpu in builds.items()}
    warm = embeddings[:5_000]
    for finder in finders.values():
        finder.pairs(warm, THRESHOLD)
    report["all pairs"] = same({name: each.pairs for name, each in finders.items()}, embeddings, THRESHOLD)
    report["10 nearest"] = same({name: each.nearest for name, each in finders.items()}, queries, embeddings, 10)
    print(json.dumps(report, indent=2), flush=True)
    return report


def built(embeddings: Embeddings, on_gpu: bool) -> dict[str, float]:
    """Return how long an index takes, and what it finds."""
    with environment(VARIABLE, "1" if on_gpu else "0"):
        began = time.perf_counter()
        made = build(Matrix(embeddings), RECALL_TARGET)
        seconds = time.perf_counter() - began
    return {"seconds": round(seconds, 2), "recall@10": made.measured.recall, "compared": made.measured.compared}


def same(calls: dict[str, Callable[..., tuple[Any, ...]]], *given: Any) -> dict[str, Any]:
    """Return the seconds of each call, all of which must answer alike."""
    seconds: dict[str, Any] = {}
    answers = []
    for name, call in calls.items():
        began = time.perf_counter()
        answers.append(call(*given))
        seconds[name] = round(time.perf_counter() - began, 3)
        for mine, first in zip(answers[-1], answers[0], strict=True):
            np.testing.assert_array_equal(mine, first, err_msg=f"{name} answers differently")
    return {"found": answers[0][0].size, **seconds}


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


if __name__ == "__main__":
    main()
