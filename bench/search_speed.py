"""Searching a store against other libraries, at equal recall: latency, memory a row, opening.

    python -m bench.search_speed [--rows 200000] [--dims 2048] [--peers "hnswlib,usearch f16"] [--json FILE]
    python -m bench.search_speed --photos FOLDER --rows 20000

Rows are synthetic (bench/synthetic_embeddings.py), or pieces of photographs and their edits (bench/photo_rows.py).
Ours is a whole store: catalogue, segments and a published generation with its defaults; what it returns are exact
cosines with image ids. A peer is its index in memory (LanceDB: its table on disk), at its fastest setting that reaches
the recall. Each runs in a process of its own, one thread, one query at a time; the processes take turns, round by
round. Memory is what the process holds resident after the queries, less what it held before it opened anything.
"""

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.reporting import heading, shown, write
from bench.search_peers import PEERS
from bench.synthetic_embeddings import Pictures, Synthetic

K = 10
QUERIES = 400
RECALL = 0.99
OURS = "lookalike"
COMMIT_ROWS = 16_384
TIE = 1e-6  # of scores: how far the sums of two libraries may lie apart


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--photos", type=Path, help="rows from pieces of these photographs, 256 dims each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--folder", type=Path, help="keep rows, store and the peers' files here, and use what is there")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measured(options.one, options.folder)))
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        names = [OURS, *(name for name in options.peers.split(",") if name)]
        seconds = prepared(folder, names, options.rows, options.dims, options.photos)
        rounds = [{name: run(name, folder) for name in names} for _ in range(options.rounds)]
    report(names, rounds, seconds, options)


def report(names: list[str], rounds: list[dict[str, Any]], seconds: dict[str, float], options: Any) -> None:
    dims = rounds[0][OURS]["dims"]
    print(heading(f"{options.rows} rows of {dims} dims, {QUERIES} queries, one thread, k {K}"))
    print(f"{'':14} recall@{K}  latency ms: median of each round   mean   p99   open+first ms   bytes/row   built in s")
    for name in names:
        one = [done[name] for done in rounds]
        print(
            f"{name:14} {one[0]['recall']:9.4f}  {shown([r['median_ms'] for r in one], 3):>32} "
            f"{median(r['mean_ms'] for r in one):6.3f} {median(r['p99_ms'] for r in one):6.2f} "
            f"{median(r['open_ms'] for r in one):10.0f} {median(r['resident'] / options.rows for r in one):14.0f} "
            f"{seconds.get(name, 0):10.0f}"
        )
    fit = [name for name in names[1:] if rounds[0][name]["recall"] >= RECALL and name != "faiss flat"]
    for name in fit:
        mean = [done[OURS]["mean_ms"] / done[name]["mean_ms"] for done in rounds]
        memory = [done[OURS]["resident"] / done[name]["resident"] for done in rounds]
        print(f"ours / {name}: mean latency {shown(mean, 2)}, memory {shown(memory, 3)}")
    write({"rows": options.rows, "dims": dims, "rounds": rounds, "built_s": seconds}, options.json)


def prepared(
    folder: Path, names: list[str], rows: int, dims: int = 2048, photos: Path | None = None
) -> dict[str, float]:
    """Make what is not there yet: rows, queries, truth, the store, the peers' files. Return how long each took."""
    if not (folder / "truth.npy").exists():
        if photos is None:
            make_rows(folder, rows, dims)
        else:
            make_photo_rows(folder, rows, photos)
        write_truth(folder)
    stored = np.load(folder / "rows.npy", mmap_mode="r")
    seconds = {}
    for name in names:
        file = folder / name.replace(" ", "_")
        if file.exists():
            continue
        began = time.perf_counter()
        if name == OURS:
            fill_store(folder, stored)
        else:
            PEERS[name].build(stored, file)
        seconds[name] = time.perf_counter() - began
        print(f"{name}: built in {seconds[name]:.0f} s", file=sys.stderr, flush=True)
    return seconds


def make_rows(folder: Path, rows: int, dims: int) -> None:
    source = Synthetic(dims)
    out = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=np.float16, shape=(rows, dims))
    clusters, start = [], 0
    for block, cluster in source.blocks(rows):
        out[start : start + len(block)] = block
        clusters.append(cluster)
        start += len(block)
    np.save(folder / "clusters.npy", np.concatenate(clusters))
    np.save(folder / "queries.npy", source.queries(QUERIES, unit(out[:20_000])))


def make_photo_rows(folder: Path, rows: int, photos: Path) -> None:
    from bench.photo_rows import photo_rows

    embeddings, numbers = zip(*photo_rows(photos, rows + QUERIES), strict=True)
    everything = np.concatenate(embeddings)
    np.save(folder / "rows.npy", everything[:rows].astype(np.float16))
    np.save(folder / "clusters.npy", np.concatenate(numbers)[:rows])
    np.save(folder / "queries.npy", everything[rows:])


def write_truth(folder: Path) -> None:
    """Compare every query with every row, and keep the numbers of the best."""
    queries, stored = np.load(folder / "queries.npy"), np.load(folder / "rows.npy", mmap_mode="r")
    best = np.full((len(queries), K), -2.0, np.float32)
    truth = np.zeros((len(queries), K), np.int64)
    for start in range(0, len(stored), 10_000):
        block = unit(stored[start : start + 10_000])
        scores = np.concatenate([best, queries @ block.T], axis=1)
        numbers = np.concatenate([truth, np.tile(np.arange(start, start + len(block)), (len(queries), 1))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        best, truth = np.take_along_axis(scores, order, axis=1), np.take_along_axis(numbers, order, axis=1)
    np.save(folder / "truth.npy", truth)


def unit(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    wide = rows.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide


def fill_store(folder: Path, rows: NDArray[np.float16]) -> None:
    from search.finding.generations import Generations
    from search.records import SpaceSpec
    from search.storing.commits import Batch, Committer
    from search.storing.store import Store

    images = Pictures(np.load(folder / "clusters.npy"))
    with Store.create(folder / OURS) as store:
        spec = SpaceSpec("synthetic", "0" * 64, '{"mode":"full","width":1,"height":1}', rows.shape[1])
        target = store.open_collection("default", spec)
        committer = Committer(store.database, store.blobs, target)
        sequence = 0
        for start in range(0, len(rows), COMMIT_ROWS):
            block = unit(rows[start : start + COMMIT_ROWS])
            new = [images.image(number) for number in range(start, start + len(block))]
            sequence = committer.commit(Batch(new, block))
        committer.finish("done", {})
        began = time.perf_counter()
        record = Generations(store.database, store.blobs, target).publish(sequence)
        print(f"published in {time.perf_counter() - began:.0f} s: {record.facts if record else {}}", file=sys.stderr)


def run(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.search_speed", "--one", name, "--folder", str(folder)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ | threads)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Open one of them, ask all queries, and return what was seen."""
    queries = np.load(folder / "queries.npy")
    dims = queries.shape[1]
    # Imported before, as the peers are: what is measured is the index, not Python.
    for module in ("search.finding.snapshot", "search.storing.store"):
        importlib.import_module(module)

    make = ours if name == OURS else lambda folder: peer(name, folder, dims)
    before = resident()
    began = time.perf_counter()
    searches = make(folder)
    searches[0](queries[:1])
    open_ms = 1000 * (time.perf_counter() - began)
    for ask in searches:
        found = [ask(queries[number : number + 1]) for number in range(len(queries))]
        recall = recall_of(folder, queries, found)
        if recall >= RECALL:
            break
    times = []
    for number in range(len(queries)):
        began = time.perf_counter()
        ask(queries[number : number + 1])
        times.append(1000 * (time.perf_counter() - began))
    return {
        "dims": dims,
        "recall": recall,
        "median_ms": median(times),
        "mean_ms": float(np.mean(times)),
        "p99_ms": float(np.quantile(times, 0.99)),
        "open_ms": open_ms,
        "resident": resident() - before,
    }


def recall_of(folder: Path, queries: NDArray[np.float32], found: list[NDArray[np.int64]]) -> float:
    """Return the share of the K best that was found; one that scores as the last of them is as good (copies do)."""
    truth, stored = np.load(folder / "truth.npy"), np.load(folder / "rows.npy", mmap_mode="r")
    hits = 0
    for query, true, rows in zip(queries, truth, found, strict=True):
        last = float((unit(stored[true[-1:]]) @ query)[0])
        hits += int((unit(stored[rows[:K]]) @ query >= last - TIE).sum())
    return hits / (len(queries) * K)


def ours(folder: Path) -> list[Callable[[NDArray[np.float32]], NDArray[np.int64]]]:
    from search.finding.snapshot import SnapshotReader
    from search.storing.store import Store

    store = Store(folder / OURS)
    reader = SnapshotReader(store.database, store.blobs, store.catalogue.collection("default"))
    # Ids count from 1 in the order of commits.
    return [lambda query: reader.current().search(query, K).ids - 1]


def peer(name: str, folder: Path, dims: int) -> list[Callable[[NDArray[np.float32]], NDArray[np.int64]]]:
    library = PEERS[name]
    library.load(folder / name.replace(" ", "_"), dims)

    def at(breadth: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
        return lambda query: library.search(query, K, breadth)

    return [at(breadth) for breadth in library.breadths]


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
