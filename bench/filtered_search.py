"""Searches with a condition, against comparing every image that fulfils it: recall and latency by share of images.

    python -m bench.filtered_search [--rows 200000] [--dims 2048] [--folder FOLDER] [--json FILE]

The store is that of bench/search_speed.py. Folders and labels belong to whole clusters, so most queries find nothing
near them that fulfils the condition; dates and widths are drawn at random. Both sides include the SQL, on SQLite. They
take turns query by query, now one first and now the other; the slower one for the first few only, unless few images
fulfil the condition. One thread.
"""

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.reporting import heading, one_thread, write
from bench.search_speed import OURS, K, prepared, unit
from bench.synthetic_embeddings import Pictures
from search.records import Embeddings

if TYPE_CHECKING:  # FAISS reads its number of threads when it is loaded
    from search.conditions.where import Condition
    from search.finding.ranked import Ranked
    from search.finding.snapshot import Snapshot
    from search.storing.catalogue import Catalogue

QUERIES = 60
EXACT_QUERIES = 8  # of those; comparing half of a large collection takes seconds
RARE = 0.02  # up to this share of the images all queries are compared exactly, too
Conditions = Sequence[tuple[str, str, NDArray[np.bool_]]]
Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--folder", type=Path, help="keep rows and store here, and use what is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        prepared(folder, [OURS], options.rows, options.dims)
        with one_thread():
            results = list(measured(folder))
    print(heading(f"{options.rows} rows of {options.dims} dims, {QUERIES} queries, one thread, k {K}"))
    print(f"{'kind':8} {'share %':>8} {'recall@10':>10} {'ours ms':>9} {'exact ms':>9} {'ours / exact':>13}")
    for one in results:
        figures = f"{one['ours_ms']:9.2f} {one['exact_ms']:9.2f} {one['ratio']:13.2f}"
        print(f"{one['kind']:8} {100 * one['share']:8.2f} {one['recall']:10.4f} {figures}")
    write({"rows": options.rows, "dims": options.dims, "results": results}, options.json)


def measured(folder: Path) -> Iterator[Result]:
    from search.conditions.where import parse
    from search.finding.filter_planner import search_where
    from search.finding.snapshot import SnapshotReader
    from search.storing.store import Store

    queries = np.load(folder / "queries.npy")
    queries = queries[np.linspace(0, len(queries) - 1, QUERIES).astype(int)]
    rows = np.load(folder / "rows.npy", mmap_mode="r")
    scores = np.concatenate([queries @ unit(rows[at : at + 10_000]).T for at in range(0, len(rows), 10_000)], axis=1)
    store = Store(folder / OURS)
    snapshot = SnapshotReader(store.database, store.blobs, store.catalogue.collection("default")).current()
    for kind, text, passing in conditions(Pictures(np.load(folder / "clusters.npy"))):
        allowed = np.flatnonzero(passing)
        condition = parse(text)
        hits = 0
        ours: list[float] = []
        exact: list[float] = []
        rare = len(allowed) <= RARE * len(rows)
        for number in range(QUERIES):
            query = queries[number : number + 1]
            true = allowed[np.argsort(-scores[number, allowed], kind="stable")[:K]] + 1
            planned = partial(search_where, snapshot, store.catalogue, query, K, condition)
            compared = partial(compared_all, snapshot, store.catalogue, query, condition)
            if number >= EXACT_QUERIES and not rare:
                found = timed(planned, ours)
            elif number % 2:
                timed(compared, exact)
                found = timed(planned, ours)
            else:
                found = timed(planned, ours)
                timed(compared, exact)
            hits += len(set(found.ids.tolist()) & set(true.tolist()))
        yield {
            "kind": kind,
            "share": len(allowed) / len(rows),
            "recall": hits / (QUERIES * min(K, len(allowed))),
            "ours_ms": median(ours),
            "exact_ms": median(exact),
            "ratio": median(one / other for one, other in zip(ours, exact, strict=False)),
        }


def compared_all(snapshot: "Snapshot", catalogue: "Catalogue", query: Embeddings, condition: "Condition") -> "Ranked":
    return snapshot.rank(query, K, catalogue.matching(snapshot.collection, condition))


def timed(run: Callable[[], "Ranked"], milliseconds: list[float]) -> "Ranked":
    began = time.perf_counter()
    found = run()
    milliseconds.append(1000 * (time.perf_counter() - began))
    return found


def conditions(pictures: Pictures) -> Conditions:
    """Return (kind, condition, which rows fulfil it) for shares of about 50, 10, 1 and 0.1 %."""
    made = []
    for name, share in pictures.SHARES:
        made.append(("label", f'label = "{name}"', pictures.draws < share))
    halves = " or ".join(f'path like "/photos/{digit}%"' for digit in range(5))
    made.append(("folder", halves, pictures.folders < 500))
    made += [
        ("folder", f'path like "/photos/{start}%"', pictures.folders < below)
        for start, below in (("0", 100), ("00", 10), ("000", 1))
    ]
    for days in (500, 100, 10, 1):
        date = (pictures.START + timedelta(days=days)).date().isoformat()
        made.append(("date", f"taken_at < {date}", np.floor(pictures.days * 86400) < days * 86400))
    made += [("width", f"width <= {most}", pictures.widths <= most) for most in (500, 100, 10, 1)]
    return made


if __name__ == "__main__":
    main()
