"""What the local channel brings and costs: small parts of photographs found by accurate searches, with it and without.

    python -m bench.local_channel FOLDER [--photographs 50] [--drawn 1000] [--keep FOLDER] [--json FILE]

Every second photograph of the folder is a reference, the others are cut into nine tiles each, which are references,
too, beside drawn pictures. Both searches ask one store: the collection `with` was indexed by `--local`, `without` was
not, and shares its embeddings. They take turns. Found: the photograph is the first match; shown: it is said to be the
same picture. Indexing is measured apart, on 100 photographs in stores of their own, in CPU time of all processes.
"""

import argparse
import csv
import resource
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from api.console import Session
from api.indexing import IndexRequest, run_index
from api.queries import QueryRequest
from api.workspace import Workspace
from bench.reporting import heading, write
from indexer.procedural.pictures import procedural_images
from indexer.quality.composing import collage_of_four, laid_into
from indexer.quality.edits import as_jpeg
from indexer.quality.originals import grid
from indexer.quality.painting import Picture, part_of
from search.geometry.local_features import RECORD_BYTES

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LONGEST = 1280
TILES = 3  # columns and rows
INDEXED = 100
ROUNDS = 2
DRAWN_SEED = 8_800_000
WITH, WITHOUT = "with", "without"

Edit = Callable[[Picture, list[Picture], np.random.Generator], Picture]
EDITS: dict[str, Edit] = {
    "crop 20 %": lambda picture, _, rng: part_of(picture, 0.2, rng),
    "crop 10 %": lambda picture, _, rng: part_of(picture, 0.1, rng),
    "crop 5 %": lambda picture, _, rng: part_of(picture, 0.05, rng),
    "collage of four": collage_of_four,
    "on 15 % of another": lambda picture, others, rng: laid_into(picture, others[0], 0.15, rng),
    "on 7 % of another": lambda picture, others, rng: laid_into(picture, others[0], 0.07, rng),
}


@dataclass(slots=True)
class Tally:
    """What came of one edit in one collection."""

    found: int = 0
    shown: int = 0
    wrong: int = 0
    search_ms: list[float] = field(default_factory=list)
    verify_ms: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--photographs", type=int, default=50, help="that are asked for")
    parser.add_argument("--drawn", type=int, default=1000)
    parser.add_argument("--keep", type=Path, help="go on with the store and the pictures there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    files = sorted(path for path in options.folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        cost = indexing_cost(files[:INDEXED], Path(scratch))
        manifest, count = references(files, options.drawn, root / "references")
        for name in (WITH, WITHOUT):
            run_index(session(root, name), IndexRequest([str(manifest)], local=name == WITH))
        asked = files[::2][: options.photographs]
        with Workspace(root / "store") as workspace:
            tallies = {edit: compared(workspace, edit, asked, files[1::2]) for edit in EDITS}
            told = workspace.status(WITH)[0].as_json()["local"]
    show(tallies, len(asked), count, cost, told)
    write(
        {
            "references": count,
            "local": told,
            "record_bytes": RECORD_BYTES,
            "indexing_cpu_ms": cost,
            "edits": {
                edit: {name: _as_json(one, len(asked)) for name, one in both.items()} for edit, both in tallies.items()
            },
        },
        options.json,
    )


def session(root: Path, collection: str) -> Session:
    return Session(root / "store", collection, json=False, progress="none")


def indexing_cost(files: list[Path], scratch: Path) -> dict[str, list[float]]:
    """Return the CPU milliseconds an image took in each round, with local features and without, one process a time."""
    manifest = _manifest(scratch / "indexed.csv", files)
    cost: dict[str, list[float]] = {WITH: [], WITHOUT: []}
    for number in range(ROUNDS + 1):  # the first makes the model file, and does not count
        for name in (WITHOUT, WITH):
            before = _cpu()
            target = Session(scratch / f"{name}{number}", "default", json=False, progress="none")
            run_index(target, IndexRequest([str(manifest)], local=name == WITH, workers=1))
            if number:
                cost[name].append(1000 * (_cpu() - before) / len(files))
    return cost


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def references(files: list[Path], drawn: int, folder: Path) -> tuple[Path, int]:
    """Write the references, and a manifest of them; return it, and how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{path.stem}.jpg" for path in files[::2]]
    for path, place in zip(files[::2], made, strict=True):
        if not place.exists():
            place.write_bytes(as_jpeg(opened(path), 92))
    for path in files[1::2]:
        names = [folder / f"{path.stem}-{number}.jpg" for number in range(TILES * TILES)]
        if not names[-1].exists():
            for name, tile in zip(names, grid(opened(path), TILES, TILES), strict=True):
                name.write_bytes(as_jpeg(tile, 92))
        made += names
    names = [folder / f"drawn-{number}.jpg" for number in range(drawn)]
    if drawn and not names[-1].exists():
        for name, pixels in zip(names, procedural_images(drawn, DRAWN_SEED), strict=True):
            name.write_bytes(as_jpeg(Image.fromarray(pixels), 92))
    return _manifest(folder.parent / "references.csv", made + names), len(made) + len(names)


def _manifest(place: Path, files: list[Path]) -> Path:
    with place.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "key"))
        rows.writerows((str(path.absolute()), path.stem) for path in files)
    return place


def opened(path: Path) -> Picture:
    with Image.open(path) as picture:
        plain = picture.convert("RGB")
    plain.thumbnail((LONGEST, LONGEST))
    return plain


def compared(workspace: Workspace, edit: str, asked: list[Path], others: list[Path]) -> dict[str, Tally]:
    """Ask for every photograph in one edit, of both collections in turns; whoever comes first pays for keypoints."""
    tallies = {WITH: Tally(), WITHOUT: Tally()}
    targets = {name: workspace.collection(name) for name in tallies}
    for number, path in enumerate(asked):
        rng = np.random.default_rng([zlib.crc32(edit.encode()), number])
        chosen = [opened(others[place]) for place in rng.permutation(len(others))[:3].tolist()]
        data = as_jpeg(EDITS[edit](opened(path), chosen, rng), 80)
        # Once unmeasured, so that both find the keypoints of all candidates in the cache.
        for name in (WITH, WITHOUT):
            workspace.search_by_picture(targets[name], data, edit, QueryRequest(10, accurate=True))
        for name in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
            _ask(workspace, tallies[name], (targets[name].name, data), (path.stem, {one.stem for one in others}))
    return tallies


def _ask(workspace: Workspace, tally: Tally, query: tuple[str, bytes], right: tuple[str, set[str]]) -> None:
    """right: the key of the photograph, and the photographs whose tiles a collage may show, too."""
    collection, data = query
    key, partners = right
    found = workspace.search_by_picture(
        workspace.collection(collection), data, "a query", QueryRequest(10, accurate=True)
    )
    # Tiles of what lies beside the photograph are rightly called the same picture: they are not asked for.
    matches = [one for one in found.matches if one.image.key.rpartition("-")[0] not in partners]
    tally.found += bool(matches) and matches[0].image.key == key
    tally.shown += any(one.image.key == key and one.verified == "yes" for one in matches)
    tally.wrong += sum(one.image.key != key and one.verified == "yes" for one in matches)
    tally.search_ms.append(found.search_ms)
    tally.verify_ms.append(found.verify_ms or 0.0)


def _as_json(tally: Tally, asked: int) -> dict[str, float]:
    return {
        "found": tally.found / asked,
        "shown": tally.shown / asked,
        "wrong": tally.wrong,
        "search_ms": median(tally.search_ms),
        "verify_ms": median(tally.verify_ms),
    }


def show(
    tallies: dict[str, dict[str, Tally]], asked: int, count: int, cost: dict[str, list[float]], told: object
) -> None:
    print(heading(f"{asked} photographs asked for among {count:,} references"))
    print(f"{'':20} {'found':>15} {'shown':>15} {'wrong':>13} {'search ms':>15} {'verify ms':>15}")
    print(f"{'':20} " + " ".join([f"{'without':>8} {'with':>6}"] * 5))
    for edit, both in tallies.items():
        rows = [_as_json(both[name], asked) for name in (WITHOUT, WITH)]
        cells = [f"{rows[0][name]:8.2f} {rows[1][name]:6.2f}" for name in ("found", "shown")]
        cells += [f"{rows[0][name]:8.0f} {rows[1][name]:6.0f}" for name in ("wrong", "search_ms", "verify_ms")]
        print(f"{edit:20} " + " ".join(cells))
    shown = {name: " and ".join(f"{one:.0f}" for one in values) for name, values in cost.items()}
    print(f"indexing, CPU ms an image: {shown[WITHOUT]} without, {shown[WITH]} with local features")
    print(f"bytes: {RECORD_BYTES} a record; {told}")


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"{time.perf_counter() - began:.0f} s")
