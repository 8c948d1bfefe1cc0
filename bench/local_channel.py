"""What the local channel brings and costs: small parts of photographs found by accurate searches, with it and without.

    python -m bench.local_channel FOLDER [--photographs 50] [--looked 10] [--drawn 1000] [--keep FOLDER] [--json FILE]

Every second photograph of the folder is a reference, the others are cut into nine tiles each, which are references,
too, beside drawn pictures. Both searches ask one collection, one after the other, with the same views and keypoints of
the query. Candidate: the photograph is among the first VERIFIED, and as many more as local features propose. The first
`--looked` photographs of each edit are looked at, too; found: the photograph is then the first match, and said to be
the same picture. Indexing is measured apart, on photographs in stores of their own. Times are CPU time, which a busy
machine disturbs least: of all processes where pictures are indexed, of the choice of candidates where they are asked
for.
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
from api.workspace import Workspace
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.procedural.pictures import procedural_images
from indexer.quality.composing import collage_of_four, laid_into
from indexer.quality.edits import as_jpeg
from indexer.quality.originals import grid
from indexer.quality.painting import Picture, part_of
from indexer.stored_pictures import keypoints_of
from search.finding.accurate import VERIFIED, AccurateSearch, SeenPicture
from search.finding.find_similar import Wanted
from search.geometry.keypoints import ASKED
from search.geometry.verify import prepared
from search.local.reading import LocalReader

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
LONGEST = 1280
TILES = 3  # columns and rows
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
    """What came of one edit. wrong: images that are said to be the same picture and are not."""

    asked: int = 0
    looked: int = 0
    candidate: int = 0
    found: int = 0
    wrong: int = 0
    search_ms: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, float]:
        return {
            "candidate": self.candidate / self.asked,
            "found": self.found / max(1, self.looked),
            "wrong": self.wrong,
            "search_cpu_ms": median(self.search_ms),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--photographs", type=int, default=50, help="that are asked for")
    parser.add_argument("--looked", type=int, default=10, help="of these, whose searches go on to the pixels")
    parser.add_argument("--drawn", type=int, default=1000)
    parser.add_argument("--indexed", type=int, default=50, help="photographs that indexing is measured with")
    parser.add_argument("--keep", type=Path, help="go on with the store and the pictures there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    files = sorted(path for path in photo_folder(options.folder).rglob("*") if path.suffix.lower() in SUFFIXES)
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        manifest, count = references(files, options.drawn, root / "references")
        run_index(Session(root / "store", WITH, json=False, progress="none"), IndexRequest([str(manifest)], local=True))
        with Workspace(root / "store") as workspace:
            told = workspace.status(WITH)[0].as_json()["local"]
            print(
                heading(f"{options.photographs} photographs asked for among {count:,} references; {told}"), flush=True
            )
            asking = Asking(workspace, options.looked)
            tallies = {}
            for edit in EDITS:
                tallies[edit] = asking.compared(edit, files[::2][: options.photographs], files[1::2])
                show(edit, tallies[edit])
        cost = indexing_cost(files[: options.indexed], Path(scratch))
    shown = {name: " and ".join(f"{one:.0f}" for one in values) for name, values in cost.items()}
    print(f"indexing, CPU ms an image: {shown[WITHOUT]} without, {shown[WITH]} with local features")
    edits = {edit: {name: one.as_json() for name, one in both.items()} for edit, both in tallies.items()}
    write({"references": count, "local": told, "indexing_cpu_ms": cost, "edits": edits}, options.json)


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


class Asking:
    """Asks one collection for edited photographs, with local features and without."""

    def __init__(self, workspace: Workspace, looked: int) -> None:
        self._workspace = workspace
        self._looked = looked
        self._snapshot = workspace.snapshot(workspace.collection(WITH))
        store = workspace.store
        self._local = LocalReader(store.database, store.blobs, self._snapshot.collection)
        self._catalogue = store.catalogue
        self._beside: frozenset[str] = frozenset()

    def compared(self, edit: str, asked: list[Path], others: list[Path]) -> dict[str, Tally]:
        """Ask for every photograph in one edit; the two searches take turns in being the first."""
        tallies = {WITH: Tally(), WITHOUT: Tally()}
        self._beside = frozenset(f"{path.stem}-{number}" for path in others for number in range(TILES * TILES))
        for number, path in enumerate(asked):
            rng = np.random.default_rng([zlib.crc32(edit.encode()), number])
            chosen = [opened(others[place]) for place in rng.permutation(len(others))[:3].tolist()]
            data = as_jpeg(EDITS[edit](opened(path), chosen, rng), 80)
            view = self._workspace.embedder(self._snapshot.collection).view(data, edit, every=True)
            if view.pixels is None:
                raise ValueError(f"{path} in the edit {edit} shows nothing")
            geometry = prepared(keypoints_of(view.pixels, view.size, ASKED))
            seen = SeenPicture(view.views, geometry, None, view.content)
            for name in (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH):
                self._ask(tallies[name], seen, path.stem, local=name == WITH, look=number < self._looked)
        return tallies

    def _ask(self, tally: Tally, seen: SeenPicture, key: str, *, local: bool, look: bool) -> None:
        stored = self._workspace.accurate_searches().stored
        search = AccurateSearch(self._snapshot, self._catalogue, stored, self._local if local else None)
        began = time.process_time()
        candidates = search.candidates(seen.views, Wanted(10), seen.geometry)
        tally.search_ms.append(1000 * (time.process_time() - began))
        looked = candidates[: VERIFIED + sum(one.local for one in candidates)]
        tally.asked += 1
        tally.candidate += any(one.image.key == key for one in looked)
        if not look:
            return
        # Tiles of what lies beside the photograph are rightly called the same picture: they are not asked for.
        matches = [one for one in search.matches(seen, candidates, Wanted(10)) if one.image.key not in self._beside]
        tally.looked += 1
        tally.found += bool(matches) and matches[0].image.key == key and matches[0].verified == "yes"
        tally.wrong += sum(one.image.key != key and one.verified == "yes" for one in matches)


def show(edit: str, both: dict[str, Tally]) -> None:
    rows = [both[name].as_json() for name in (WITHOUT, WITH)]
    cells = [f"{name} {rows[0][name]:.2f} -> {rows[1][name]:.2f}" for name in ("candidate", "found")]
    cells += [f"{name} {rows[0][name]:.0f} -> {rows[1][name]:.0f}" for name in ("wrong", "search_cpu_ms")]
    print(f"{edit:20} " + "   ".join(cells), flush=True)


if __name__ == "__main__":
    main()
