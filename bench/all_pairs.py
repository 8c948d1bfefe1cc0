"""Finding all near pairs: ours and its peers in turn, growth, a million rows, the next run, and frames of one scene.

    python -m bench.all_pairs [--rounds 3] [--rows 20000] [--grown 200000] [--million 1000000]
        [--frames 20000] [--json FILE]

Synthetic rows (bench/synthetic_embeddings.py) with 3,000 clusters for each 20,000 rows, pairs from a cosine of .9 on,
all cores. The peers: a product of matrices in blocks of the upper triangle; FAISS's range search of a flat index; and
what imagededup's CNN does with its encodings (sklearn's cosine_similarity in chunks of 1,000 rows in a pool of
processes, each kept in float16, stacked, then a loop over all rows). 0 leaves a part out. Run it alone on the machine.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import faiss
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

from bench.reporting import heading, ratios, shown, write
from bench.synthetic_embeddings import Synthetic
from search.embeddings import lengthened, unit_rows
from search.index.cpu_pairs import CpuPairs
from search.index.pair_scoring import HeldRows
from search.pairing.known_pairs import FoundPairs
from search.pairing.near_pairs import near_pairs
from search.pairing.pair_file import PairFile
from search.records import Embeddings

THRESHOLD: Final = 0.9
BASE_ROWS: Final = 20_000
BASE_CLUSTERS: Final = 3_000
HEIGHT, WIDTH = 2_048, 4_096
CHUNK: Final = 1_000
ADDED: Final = 0.01
LISTS: Final = 0  # rows up to which everything is compared


class MatrixRows(HeldRows):
    """Rows of a matrix in memory; row n is image n + 1, and lies at place n + 1."""

    def __init__(self, embeddings: Embeddings) -> None:
        super().__init__(embeddings)
        self.ids: NDArray[np.int64] = np.arange(1, len(embeddings) + 1)
        self.places = self.ids.astype(np.uint64)


class MappedRows:
    """The same of half precision in a file."""

    def __init__(self, path: Path) -> None:
        self._stored = np.load(path, mmap_mode="r")
        self.dims = int(self._stored.shape[1])
        self.ids: NDArray[np.int64] = np.arange(1, len(self._stored) + 1)
        self.places = self.ids.astype(np.uint64)

    def __len__(self) -> int:
        return len(self._stored)

    def read(self, numbers: NDArray[np.int64]) -> Embeddings:
        return lengthened(self._stored[numbers])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=BASE_ROWS)
    parser.add_argument("--grown", type=int, default=200_000)
    parser.add_argument("--million", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=20_000, help="of one scene, which are all near to each other")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        million_child(options.child)
        return
    print(heading(f"pairs from {THRESHOLD} on, all cores"), flush=True)
    report: dict[str, Any] = {}
    if options.rows:
        report["peers"] = against_peers(rows_of(options.rows), options.rounds)
        report["added"] = added(options.rows, options.rounds)
    if options.grown:
        report["growth"] = growth(options.grown, options.rounds)
        report["added to lists"] = added(options.grown, options.rounds)
    if options.million:
        report["million"] = million(options.million)
    if options.frames:
        report["frames"] = frames_of_one_scene(options.frames)
    write(report, options.json)


def synthetic(rows: int, dims: int) -> Synthetic:
    return Synthetic(dims, clusters=max(1, BASE_CLUSTERS * rows // BASE_ROWS))


def rows_of(rows: int, dims: int = 2_048) -> Embeddings:
    out = np.empty((rows, dims), np.float32)
    start = 0
    for block, _ in synthetic(rows, dims).blocks(rows):
        out[start : start + len(block)] = block
        start += len(block)
    return out


def against_peers(rows: Embeddings, rounds: int) -> dict[str, Any]:
    """Print and return the seconds of each way in each round, ours over theirs, and what was found."""
    ways: dict[str, Callable[[Embeddings], NDArray[np.int64]]] = {
        "ours": ours,
        "blocked GEMM": blocked_product,
        "FAISS range_search": faiss_range_search,
        "imagededup": imagededup,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, NDArray[np.int64]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            found[name] = way(rows)
            seconds[name].append(time.perf_counter() - began)
    truth = found["blocked GEMM"]
    recall = float(np.isin(truth, found["ours"]).mean())
    print(f"{len(rows)} rows of {rows.shape[1]} dims: {len(truth)} pairs; ours {len(found['ours'])}, recall {recall}")
    report: dict[str, Any] = {"pairs": {name: len(each) for name, each in found.items()}, "recall": recall}
    for name, each in seconds.items():
        ratio = ratios(seconds["ours"], each)
        print(f"  {name}: {shown(each, 2)} s, ours / it {shown(ratio, 3)}, {len(found[name])} pairs", flush=True)
        report[name] = {"seconds": each, "ours / it": median(ratio)}
    return report


def ours(rows: Embeddings) -> NDArray[np.int64]:
    near = CpuPairs().pairs(rows, THRESHOLD)
    return near.rows * len(rows) + near.later


def blocked_product(rows: Embeddings) -> NDArray[np.int64]:
    keys = []
    for first in range(0, len(rows), WIDTH):
        there = rows[first : first + WIDTH].T
        for start in range(0, min(first + WIDTH, len(rows)), HEIGHT):
            one, other = np.nonzero(rows[start : start + HEIGHT] @ there >= THRESHOLD)
            later = other + first > one + start
            keys.append((one[later] + start) * len(rows) + other[later] + first)
    return np.concatenate(keys)


def faiss_range_search(rows: Embeddings) -> NDArray[np.int64]:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    keys = []
    for start in range(0, len(rows), HEIGHT):
        ends, _, others = index.range_search(rows[start : start + HEIGHT], THRESHOLD)
        one = np.repeat(np.arange(len(ends) - 1), (ends[1:] - ends[:-1]).astype(np.int64)) + start
        keys.append((one * len(rows) + others)[others > one])
    return np.concatenate(keys)


def imagededup(rows: Embeddings) -> NDArray[np.int64]:
    """Its get_cosine_similarity and the loop of its CNN.find_duplicates, without scores."""
    starts = range(0, len(rows), CHUNK)
    with multiprocessing.Pool() as pool:
        chunks = list(pool.imap(similarity_of_chunk, [(rows, (start, start + CHUNK)) for start in starts]))
    similar = np.vstack(chunks)
    np.fill_diagonal(similar, 2.0)
    names = np.array([str(number) for number in range(len(rows))])
    results = {}
    for number, scores in enumerate(similar):
        near = (scores >= THRESHOLD) & (scores < 2)
        results[names[number]] = list(names[near])
    keys = [int(one) * len(rows) + int(two) for one, those in results.items() for two in those if int(two) > int(one)]
    return np.array(keys, np.int64)


def similarity_of_chunk(given: tuple[Embeddings, tuple[int, int]]) -> NDArray[np.float16]:
    rows, (start, stop) = given
    return np.asarray(cosine_similarity(rows[start:stop], rows).astype(np.float16))


def growth(rows: int, rounds: int) -> dict[str, Any]:
    """Print and return the seconds of two sizes by lists, with clusters growing alike."""
    seconds: dict[int, list[float]] = {BASE_ROWS: [], rows: []}
    report: dict[str, Any] = {}
    sources = {count: MatrixRows(rows_of(count)) for count in seconds}
    for _ in range(rounds):
        for count, source in sources.items():
            began = time.perf_counter()
            found = near_pairs(source, THRESHOLD, exact_rows=LISTS)
            seconds[count].append(time.perf_counter() - began)
            report[str(count)] = {"seconds": seconds[count]} | told(found)
    times = ratios(seconds[rows], seconds[BASE_ROWS])
    for count, each in seconds.items():
        print(f"by lists, {count} rows of 2048 dims: {shown(each, 2)} s, {report[str(count)]}")
    print(f"  times as long for {rows / BASE_ROWS:.0f} times as many: {shown(times)}", flush=True)
    return report | {"times": times}


def told(found: FoundPairs) -> dict[str, Any]:
    if found.recall is None:
        return {"pairs": len(found.one)}
    return {"pairs": len(found.one), "recall": found.recall.share, "pairs of the sample": found.recall.pairs}


def added(rows: int, rounds: int) -> dict[str, Any]:
    """Print and return the seconds of a first run, and of the next one after 1 % were added; both keep their pairs."""
    everything = rows_of(rows)
    before = MatrixRows(everything[: rows - int(rows * ADDED)])
    after = MatrixRows(everything)
    first, second, whole = list[float](), list[float](), list[float]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            file, other = PairFile(Path(folder), 1, "bench"), PairFile(Path(folder), 2, "bench")
            first.append(timed(lambda: near_pairs(before, THRESHOLD, file=file))[0])  # noqa: B023
            took, found = timed(lambda: near_pairs(after, THRESHOLD, file=file))  # noqa: B023
            second.append(took)
            took, anew = timed(lambda: near_pairs(after, THRESHOLD, file=other))  # noqa: B023
            whole.append(took)
    same = len(np.intersect1d(keys_of(found), keys_of(anew))) / max(1, len(anew.one))
    share = ratios(second, whole)
    print(f"{rows} rows of 2048 dims: {shown(whole, 2)} s; the last {found.compared} added: {shown(second, 3)} s")
    print(f"  share {shown([100 * each for each in share])} %; of the pairs of the full run {same:.5f}", flush=True)
    return {"full": whole, "added": second, "share": median(share), "same": same}


def keys_of(found: FoundPairs) -> NDArray[np.int64]:
    return found.one * 2**31 + found.other


def timed(run: Callable[[], FoundPairs]) -> tuple[float, FoundPairs]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


def million(rows: int) -> dict[str, Any]:
    """Print and return what a process of its own needs for many rows of 256 dims, which it maps from a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        out = np.lib.format.open_memmap(path, "w+", np.float16, (rows, 256))
        start = 0
        for block, _ in synthetic(rows, 256).blocks(rows):
            out[start : start + len(block)] = block
            start += len(block)
        out.flush()
        del out
        command = [sys.executable, "-m", "bench.all_pairs", "--child", str(path)]
        answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(f"{rows} rows of 256 dims: {answer['seconds']:.0f} s, {answer['peak_bytes'] / 2**30:.2f} GiB, {answer}")
    return dict(answer)


def frames_of_one_scene(rows: int, dims: int = 512) -> dict[str, Any]:
    """Print and return what a crowd costs: rows of which each is near to each (search/index/crowd.py)."""
    random = np.random.default_rng(0)
    scene, noise = random.standard_normal(dims), random.standard_normal((rows, dims)).astype(np.float32)
    shares = 0.2 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    took, found = timed(lambda: near_pairs(MatrixRows(unit_rows(scene / np.linalg.norm(scene) + shares)), THRESHOLD))
    asked = [] if found.crowd is None else random.choice(found.crowd.names[0], 20).tolist()
    began = time.perf_counter()
    answered = [len(found.crowd.of(name)[0]) for name in asked if found.crowd is not None]
    each_ms = 1000 * (time.perf_counter() - began) / max(1, len(asked))
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = {
        "pairs": rows * (rows - 1) // 2,
        "listed": len(found.one),
        "crowd": len(found.crowd or ()),
        "seconds": took,
    }
    report |= {"neighbours of one": median(answered or [0]), "ms for one": each_ms, "peak_bytes": peak}
    print(f"{rows} frames of one scene, {dims} dims: {report}", flush=True)
    return report


def million_child(path: Path) -> None:
    began, shown_share = time.monotonic(), 0.0

    def progress(done: int, total: int) -> None:
        nonlocal shown_share
        if done / total >= shown_share:
            print(f"  {100 * done / total:.0f} % after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            shown_share += 0.05

    rows = MappedRows(path)
    with tempfile.TemporaryDirectory() as folder:
        took, found = timed(lambda: near_pairs(rows, THRESHOLD, file=PairFile(Path(folder), 1, "b"), progress=progress))
        kept = PairFile(Path(folder), 1, "b").path.stat().st_size
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": took, "peak_bytes": peak, "kept_bytes": kept} | told(found)))


if __name__ == "__main__":
    main()
