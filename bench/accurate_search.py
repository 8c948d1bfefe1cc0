"""Accurate searches over ten thousand images: how long they take, with keypoints remembered and made when needed.

    python -m bench.accurate_search [FOLDER] [--images 10000] [--queries 60] [--kept FOLDER] [--json FILE]

The store holds the photographs of FOLDER (default: the sample collection), their tiles up to half of it, and drawn
pictures, embedded by the built-in backbone. It is kept in `--kept`, and the same command goes on where it was. Queries
are edits of photographs that are there, one of each kind in turn, and drawn pictures that are not, one in five. Each is
asked one at a time, as by a server that has been up for a while:

    fast         one embedding, plain exact search
    on demand    accurate, no keypoints of any indexed image remembered
    cached       accurate, those of all candidates remembered

Times are of the whole search from the file's bytes on, in milliseconds, with what the parts of it took.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from api.console import Session
from api.indexing import IndexRequest, run_index
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from bench.indexing_speed import sample
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.backbones.backbones import BUILTIN, BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.procedural.pictures import procedural_images
from indexer.quality.distractors import drawn, tiles
from indexer.quality.edits import EDITS, as_jpeg
from indexer.quality.originals import Original, gather_folder, picture_of
from indexer.quality.shelf import Shelf
from search.geometry.keypoint_cache import KeypointCache

TILE_SHARE = 0.5
ABSENT = 5  # one query in so many is not there
ABSENT_SEED = 900_000  # far from that of the store's drawn pictures
PARTNERS = 6
PARTS = ("decode", "embed", "search", "verify", "total")

Query = tuple[str, bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--kept", type=Path, help="folder for pictures and store; default: a temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = photo_folder(options.folder, lambda: sample(Path(scratch) / "sample"))
        kept = options.kept or Path(scratch) / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        shelf = Shelf(kept, {"images": options.images, "bench": "accurate_search"})
        originals = gathered(folder, shelf)
        index(shelf, pictures(shelf, originals, options.images))
        asked = list(queries(shelf, originals, options.queries))
        with remembering(kept / "cache"), Workspace(kept / "store", lasting=True) as workspace:
            measured = timed(workspace, asked)
    print(heading(f"{options.images} images, {len(asked)} queries"))
    show(measured)
    write(report(measured), options.json)


def gathered(folder: Path, shelf: Shelf) -> list[Original]:
    with DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        found = gather_folder(folder, shelf, pool, 0, lambda done, total: None)
    return list(found.originals)


def pictures(shelf: Shelf, originals: list[Original], count: int) -> list[str]:
    """Return the files of the store: photographs, tiles, drawn pictures."""
    known = [original.file for original in originals][:count]
    known += tiles(shelf, originals, min(int(count * TILE_SHARE), count - len(known)))
    return known + drawn(shelf, count - len(known), 0, lambda done, total: None)


def index(shelf: Shelf, files: list[str]) -> None:
    manifest = shelf.put("images.csv", lambda: "\n".join(["path,key", *(f"{file},{file}" for file in files)]).encode())
    session = Session(shelf.root / "store", "default", json=False, progress="none")
    summary, _ = run_index(session, IndexRequest([str(shelf.root / manifest)], BUILTIN))
    if summary.counts.failed:
        raise SystemExit(f"{summary.counts.failed} pictures could not be indexed in {shelf.root}")


def queries(shelf: Shelf, originals: list[Original], count: int) -> Iterator[Query]:
    """Yield what is asked for and its file; "" for what is not there."""
    away = iter(procedural_images(count // ABSENT + 1, ABSENT_SEED))
    partners = [picture_of(shelf.read(original.file)) for original in originals[:PARTNERS]]
    for number in range(count):
        if number % ABSENT == ABSENT - 1:
            yield "", as_jpeg(Image.fromarray(next(away)), 85)
            continue
        original, edit = originals[number % len(originals)], EDITS[number % len(EDITS)]
        make = partial(edit.apply, picture_of(shelf.read(original.file)), np.random.default_rng([number]), partners)
        yield original.file, make()


@contextmanager
def remembering(folder: Path) -> Iterator[None]:
    """Keep keypoints in a folder of this bench alone."""
    with patch.dict("os.environ", {"LOOKALIKE_CACHE": str(folder)}):
        yield


def timed(workspace: Workspace, asked: list[Query]) -> dict[str, list[tuple[bool, Found]]]:
    """Return for each way of searching whether the right image came first, and the answer, query by query."""
    target = workspace.collection("default")

    def ask(query: Query, *, accurate: bool) -> tuple[bool, Found]:
        found = workspace.search_by_picture(target, query[1], "query", QueryRequest(10, accurate=accurate))
        return bool(found.matches) and found.matches[0].image.key == query[0], found

    for query in asked[:3]:  # what is loaded once, and the first touch of pages
        ask(query, accurate=True)
    with patch.object(KeypointCache, "find", return_value=None):
        on_demand = [ask(query, accurate=True) for query in asked]  # and now they are remembered
    cached = [ask(query, accurate=True) for query in asked]
    return {"fast": [ask(query, accurate=False) for query in asked], "on demand": on_demand, "cached": cached}


def percentiles(answers: list[tuple[bool, Found]]) -> dict[str, tuple[float, float]]:
    """Return the median and the 95th percentile of each part, in milliseconds."""
    times = {part: [found.took_ms()[part] or 0.0 for _, found in answers] for part in PARTS}
    return {part: (float(np.median(values)), float(np.percentile(values, 95))) for part, values in times.items()}


def show(measured: dict[str, list[tuple[bool, Found]]]) -> None:
    for name, answers in measured.items():
        parts = "   ".join(f"{part} {middle:.0f} / {high:.0f}" for part, (middle, high) in percentiles(answers).items())
        print(f"{name:10} p50 / p95 ms:   {parts}   first and right: {sum(right for right, _ in answers)}")


def report(measured: dict[str, list[tuple[bool, Found]]]) -> dict[str, object]:
    return {
        name: {"milliseconds": percentiles(answers), "first": sum(right for right, _ in answers)}
        for name, answers in measured.items()
    }


if __name__ == "__main__":
    main()
