"""Regions: how many photographs are found inside collages, screenshots and other pictures, with them and without.

    python -m bench.regions [FOLDER] [--photographs 60] [--distractors 1000] [--rounds 2] [--rules] [--json FILE]

What is indexed are pictures that hold a photograph, one of each kind for every photograph, among other photographs and
drawn pictures; what is asked for is the photograph alone, by a plain search. Other pictures that hold the same
photograph are passed over when the place of one is counted. Both stores are filled in turn, --rounds times; times are
those of the fastest round. Built-in backbone, nothing is downloaded.

--rules compares ways to cut regions instead, on the same pictures without drawn ones: search/regions.py took its shares
from that table.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import lookalike
from bench.indexing_speed import SUFFIXES
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.backbones.backbone import Backbone, Pixels
from indexer.backbones.backbones import BUILTIN, load_backbone
from indexer.decoding.preparation import prepare
from indexer.decoding.region_frames import cut
from indexer.procedural.pictures import procedural_images
from indexer.quality import composing
from search.embeddings import unit_rows
from search.finding.region_search import everywhere
from search.finding.snapshot import SnapshotReader
from search.records import Embeddings, Region
from search.regions import LONG, bands, corners, regions_of
from search.storing.store import Store

Picture = Image.Image
Kind = Callable[[Picture, Sequence[Picture], np.random.Generator], Picture]
Rule = Callable[[int, int], tuple[Region, ...]]
LONGEST = 640  # pixels a side of a photograph
DEPTH = 10
SEED = 20261123


def phone(picture: Picture, _others: Sequence[Picture], rng: np.random.Generator) -> Picture:
    """Return the picture as wide as the screen of a phone, anywhere on it, or as large as fits."""
    screen = Image.new("RGB", (360, 780), (255, 255, 255))
    shown = picture.resize((360, round(360 * picture.height / picture.width)))
    if shown.height > 600:
        shown = picture.resize((round(600 * picture.width / picture.height), 600))
    screen.paste(shown, ((360 - shown.width) // 2, int(rng.integers(40, 740 - shown.height))))
    return screen


def strip(picture: Picture, others: Sequence[Picture], rng: np.random.Generator) -> Picture:
    """Return the picture and two others of the same height beside each other, in any order."""
    three = [one.resize((max(1, round(400 * one.width / one.height)), 400)) for one in (picture, *others[:2])]
    sheet, left = Image.new("RGB", (sum(one.width for one in three), 400)), 0
    for place in rng.permutation(3).tolist():
        sheet.paste(three[place], (left, 0))
        left += three[place].width
    return sheet


KINDS: dict[str, Kind] = {
    "two side by side": lambda one, others, rng: composing.collage(one, others[0], rng, stacked=False),
    "two stacked": lambda one, others, rng: composing.collage(one, others[0], rng, stacked=True),
    "strip of three": strip,
    "grid of four": lambda one, others, rng: composing.collage_of_four(one, others[:3], rng),
    "screenshot": lambda one, _others, rng: composing.screenshot(one, 0.4, rng),
    "on a phone's screen": phone,
    "inside another, 25 % of its area": lambda one, others, rng: composing.laid_into(one, others[0], 0.25, rng),
    "inside another, 12 % of its area": lambda one, others, rng: composing.laid_into(one, others[0], 0.12, rng),
}


def by_shape(corner: float, band: float, long: float) -> Rule:
    """Return the rule that cuts corners of ordinary pictures, and bands of long ones."""
    return lambda width, height: (
        corners(corner) if max(width, height) < long * min(width, height) else bands(band, beside=width > height)
    )


RULES: dict[str, Rule] = {
    **{f"corners of {share}": by_shape(share, 0, np.inf) for share in (0.5, 0.55, 0.6, 0.67)},
    **{f"bands of {share}": by_shape(0, share, 0) for share in (0.4, 0.5)},
    **{f"corners of .55, bands of .5 from {long}:1": by_shape(0.55, 0.5, long) for long in (1.6, LONG, 2.3)},
    "corners of .55, bands of .4 from 2.0:1": by_shape(0.55, 0.4, LONG),
    "as it is": regions_of,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--distractors", type=int, default=1000, help="drawn pictures beside the other photographs")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rules", action="store_true", help="compare ways to cut regions")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        photographs = load(photo_folder(options.folder))
        sought, others = photographs[: options.photographs], photographs[options.photographs :]
        if len(others) < 8:
            raise SystemExit(f"{len(photographs)} photographs are too few for --photographs {options.photographs}")
        made = {name: composed(kind, sought, others) for name, kind in KINDS.items()}
        if options.rules:
            write(compare_rules(sought, others, made), options.json)
            return
        folder = Path(scratch) / "indexed"
        save(folder, made, others, options.distractors)
        write(compare_stores(Path(scratch), folder, sought, options.rounds), options.json)


def load(folder: Path) -> list[Picture]:
    """Return the photographs of a folder, not those below it, in an order of their own."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    pictures = []
    for place in np.random.default_rng(SEED).permutation(len(found)).tolist():
        picture = Image.open(found[place]).convert("RGB")
        picture.thumbnail((LONGEST, LONGEST))
        pictures.append(picture)
    return pictures


def composed(kind: Kind, sought: Sequence[Picture], others: Sequence[Picture]) -> list[Picture]:
    """Return a picture of a kind for each photograph, with others that nobody asks for."""
    rng = np.random.default_rng(SEED)
    return [kind(one, [others[at] for at in rng.permutation(len(others))[:3]], rng) for one in sought]


def save(folder: Path, made: dict[str, list[Picture]], others: Sequence[Picture], distractors: int) -> None:
    """Write what is indexed: NUMBER-KIND.jpg, and pictures that hold none of what is sought."""
    folder.mkdir()
    for kind, (_, pictures) in enumerate(made.items()):
        for number, picture in enumerate(pictures):
            picture.save(folder / f"{number}-{kind}.jpg", quality=85)
    for number, picture in enumerate(others):
        picture.save(folder / f"other-{number}.jpg", quality=85)
    for number, pixels in enumerate(procedural_images(distractors, SEED)):
        Image.fromarray(pixels).save(folder / f"drawn-{number}.jpg", quality=85)


def compare_stores(scratch: Path, folder: Path, sought: Sequence[Picture], rounds: int) -> dict[str, object]:
    """Fill a store with regions and one without, in turn, and search in both."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        for regions in (False, True):
            with lookalike.open(scratch / f"{regions}-{number}") as album:
                began = time.perf_counter()
                album.index(folder, regions=regions, progress=False)
                seconds[regions].append(time.perf_counter() - began)
    backbone = load_backbone(BUILTIN)
    queries = embedded(backbone, [np.asarray(one) for one in sought])
    images = len(list(folder.iterdir()))
    shape: dict[str, object] = {"images": images, "photographs": len(sought)}
    for regions in (False, True):
        with Store(scratch / f"{regions}-0") as store:
            found, search_ms = places(store, queries)
        size = sum(path.stat().st_size for path in (scratch / f"{regions}-0").rglob("*") if path.is_file())
        facts = {"seconds": min(seconds[regions]), "bytes_per_image": size / images, "search_ms": search_ms}
        recalls = {
            kind: {f"recall@{depth}": float((found[:, number] < depth).mean()) for depth in (1, DEPTH)}
            for number, kind in enumerate(KINDS)
        }
        shape["with regions" if regions else "without"] = facts | {"kinds": recalls}
    show(shape)
    return shape


def places(store: Store, queries: Embeddings) -> tuple[np.ndarray, float]:
    """Return the place of the picture of each kind in the answer to each query, (Q, K), and the median milliseconds."""
    target = store.catalogue.collection("default")
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    names = {one.id: Path(one.uri).stem for one in store.catalogue.images(target.id, limit=1_000_000)}
    found = np.full((len(queries), len(KINDS)), DEPTH, np.int64)
    took = []
    for number, query in enumerate(queries):
        began = time.perf_counter()
        ranked = everywhere(snapshot).search(query[np.newaxis], DEPTH + len(KINDS))
        took.append(1000 * (time.perf_counter() - began))
        wrong = 0
        for image_id in ranked.ids.tolist():
            holder, _, kind = names[image_id].partition("-")
            if holder == str(number):
                found[number, int(kind)] = wrong
            else:
                wrong += 1
    return found, float(np.median(took))


def embedded(backbone: Backbone, pictures: Sequence[Pixels]) -> Embeddings:
    """Return the embedding of each picture, (N, D) of unit length."""
    frames = [prepare(np.ascontiguousarray(one), backbone.preparation) for one in pictures]
    return unit_rows(
        np.concatenate([backbone.embed(np.stack(frames[at : at + 32])) for at in range(0, len(frames), 32)])
    )


def compare_rules(
    sought: Sequence[Picture], others: Sequence[Picture], made: dict[str, list[Picture]]
) -> dict[str, object]:
    """Return, and print, recall@1 and the mean score of what is right for each rule and kind."""
    backbone = load_backbone(BUILTIN)
    queries = embedded(backbone, [np.asarray(one) for one in sought])
    against = (queries @ embedded(backbone, [np.asarray(one) for one in others]).T).max(axis=1)
    known: dict[tuple[str, Region], Embeddings] = {}
    shape: dict[str, object] = {}
    wholes = {kind: embedded(backbone, [np.asarray(one) for one in pictures]) for kind, pictures in made.items()}
    for rule, regions in {"whole pictures alone": None, **RULES}.items():
        cells = {}
        for kind, pictures in made.items():
            scores = queries @ wholes[kind].T
            parts = [() if regions is None else regions(*picture.size) for picture in pictures]
            wanted = {(f"{kind} {at}", part): at for at in range(len(pictures)) for part in parts[at]}
            fresh = [place for place in wanted if place not in known]
            crops = [cut(np.asarray(pictures[wanted[place]]), place[1]) for place in fresh]
            known |= dict(zip(fresh, embedded(backbone, crops) if crops else (), strict=True))
            for place, at in wanted.items():
                scores[:, at] = np.maximum(scores[:, at], queries @ known[place])
            right = np.diag(scores)
            wrong = np.maximum((scores - 3 * np.eye(len(scores))).max(axis=1), against)
            cells[kind] = {"recall@1": float((right > wrong).mean()), "score": float(right.mean())}
        shape[rule] = cells
        told = "  ".join(f"{cell['recall@1']:.2f} {cell['score']:.2f}" for cell in cells.values())
        print(f"{rule:42} {told}  mean {np.mean([cell['recall@1'] for cell in cells.values()]):.3f}", flush=True)
    return shape


def show(shape: dict[str, object]) -> None:
    """Print the table."""
    print(heading(f"{shape['photographs']} photographs sought among {shape['images']} pictures"))
    without, with_regions = shape["without"], shape["with regions"]
    assert isinstance(without, dict)
    assert isinstance(with_regions, dict)
    for kind in KINDS:
        cells = [one["kinds"][kind][f"recall@{depth}"] for depth in (1, DEPTH) for one in (without, with_regions)]
        print(f"{kind:36} @1 {cells[0]:.3f} -> {cells[1]:.3f}   @{DEPTH} {cells[2]:.3f} -> {cells[3]:.3f}")
    for name, unit in (("seconds", "s to index"), ("bytes_per_image", "bytes an image"), ("search_ms", "ms a search")):
        print(f"{unit:36} {without[name]:,.1f} -> {with_regions[name]:,.1f}")


if __name__ == "__main__":
    main()
