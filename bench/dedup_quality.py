"""How good the groups of `dedup` are, on photographs hidden among their own edited copies and among look-alikes.

    python -m bench.dedup_quality PHOTOS [--copies 4] [--distractors 1000] [--seeds 0,1,2] [--precision 0.99]
                                  [--json FILE]

Two thirds of the photographs are in the collection with so many edited copies each, of kinds drawn from the light and
medium strata of indexer/quality/edits.py, those that nothing was tuned on among them. The others are cut into tiles,
which are hard negatives; textures, the two halves of a stereo pair and drawn pictures are added. All files have one
date and no metadata, so neither tells which came first.

precision: of the members, those of their keeper's photograph. recall: of the edited copies, those in the group of their
photograph's original. clean: groups without a wrong member. keeper correct: of the groups that hold an original, those
that keep it. Each seed draws other photographs, edits and distractors; with several the pooled figures come last, with
95 % intervals (Clopper-Pearson), which take copies of one photograph for independent and are so much too narrow.
"""

import argparse
import os
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import lookalike
from api.deduplicating import Deduplicated, DedupOptions, Told, deduplicate
from api.workspace import Workspace
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.quality.distractors import drawn, hard_negatives
from indexer.quality.edits import EDITS
from indexer.quality.originals import gather_folder, picture_of
from indexer.quality.shelf import Shelf
from search.calibration.bounds import lower_bound
from search.records import ImageRecord

EDITED_SHARE = 2 / 3  # of the photographs
PARTNERS = 6
ONE_DATE = 1_700_000_000
KINDS = tuple(edit for edit in EDITS if edit.stratum in ("light", "medium"))
ORIGINAL = "original"
ONE_SIDE = 0.975  # of an interval of 95 %
# Figures that are shares: how many, of how many.
SHARES = {
    "precision": ("right members", "members"),
    "clean groups": ("groups without a wrong member", "groups"),
    "recall": ("copies found", "copies"),
    "keeper correct": ("originals kept", "groups with an original"),
}


@dataclass(frozen=True, slots=True)
class Made:
    """One file of the collection. kind: of the edit, ORIGINAL, or "" for what has no copies. source: a photograph."""

    source: int
    kind: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--copies", type=int, default=4, help="edited copies of each photograph")
    parser.add_argument("--distractors", type=int, default=1000, help="drawn pictures")
    parser.add_argument("--seeds", type=_numbers, default=(0,), metavar="N,...")
    parser.add_argument("--precision", type=float, default=0.99)
    parser.add_argument("--folder", type=Path, help="keep the collection here, to look at it, or to run again")
    parser.add_argument("--no-calibrate", action="store_true", help="as of dedup")
    parser.add_argument("--wrong", action="store_true", help="name what is wrong")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            root = (options.folder or Path(scratch)) / f"seed-{seed}"
            root.mkdir(parents=True, exist_ok=True)
            rows.append(_measured(options, root, seed))
    tables = [*rows, pooled(rows)] if len(rows) > 1 else rows
    for row in tables:
        print(heading(f"{row['images']} images, the built-in backbone, --precision {options.precision}"))
        for name, value in row.items():
            print(f"| {name} | {value} |")
    write({"rows": tables}, options.json)


def _measured(options: argparse.Namespace, root: Path, seed: int) -> dict[str, object]:
    """Return the figures of one seed, whose collection is made below a folder."""
    made = build(photo_folder(options.photos), root, options.copies, options.distractors, seed)
    with lookalike.open(root / "store") as album:
        album.index(root / "collection", progress=False)
    began = time.perf_counter()
    with Workspace(root / "store") as workspace:
        wanted = DedupOptions(precision=options.precision, calibrate=not options.no_calibrate)
        found = deduplicate(workspace, workspace.collection("default"), wanted, Told(say=print))
    seconds = time.perf_counter() - began
    return {"seed": seed} | figures(made, found, options.wrong) | {"seconds": round(seconds, 1)}


def pooled(rows: Sequence[dict[str, object]]) -> dict[str, object]:
    """Return the figures of all seeds together, each share with its 95 % interval."""

    def total(name: str) -> int:
        return sum(int(str(row[name])) for row in rows)

    table: dict[str, object] = {"seed": "all", "images": total("images")}
    for name, (part, whole) in SHARES.items():
        right, of = total(part), total(whole)
        low, high = lower_bound(right, of, ONE_SIDE), 1 - lower_bound(of - right, of, ONE_SIDE)
        table[name] = f"{right / max(1, of):.4f} ({right} of {of}; {low:.4f} to {high:.4f})"
    return table


def build(photos: Path, root: Path, copies: int, distractors: int, seed: int) -> dict[str, Made]:
    """Make the collection below a folder; return what each of its files is, by name."""
    shelf, quiet = Shelf(root / "shelf", {"seed": seed}), lambda _done, _total: None
    with DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        originals = gather_folder(photos, shelf, pool, seed, quiet).originals
    edited, rest = np.split(np.array(originals, object), [round(EDITED_SHARE * len(originals))])
    (root / "collection").mkdir(exist_ok=True)
    files: dict[str, tuple[Made, bytes]] = {}
    partners = [picture_of(shelf.read(one.file)) for one in rest[:PARTNERS]]
    for original in edited:
        rng = np.random.default_rng([seed, zlib.crc32(original.file.encode())])
        files[f"{original.source}-original{Path(original.file).suffix}"] = (
            Made(original.source, ORIGINAL), shelf.read(original.file)
        )  # fmt: skip
        picture = picture_of(shelf.read(original.file))
        for place in rng.permutation(len(KINDS))[:copies].tolist():
            kind = KINDS[place]
            data = kind.apply(picture, rng, partners)
            files[f"{original.source}-{kind.name}{_suffix(data)}"] = (Made(original.source, kind.name), data)
    planted, queries = hard_negatives(shelf, list(rest), seed, once=True)
    alone = [*planted, *(one.file for one in queries), *drawn(shelf, distractors, seed, quiet)]
    for number, name in enumerate(alone):
        # Each is a picture of its own; the photographs themselves have numbers from 0 on.
        files[f"alone-{number}{Path(name).suffix}"] = (Made(-1 - number, ""), shelf.read(name))
    for name, (_, data) in files.items():
        place = root / "collection" / name.replace(" ", "-")
        place.write_bytes(data)
        os.utime(place, (ONE_DATE, ONE_DATE))
    return {name.replace(" ", "-"): made for name, (made, _) in files.items()}


def figures(made: dict[str, Made], found: Deduplicated, tell: bool) -> dict[str, object]:  # noqa: FBT001
    """Return what the groups are worth."""
    together = set[str]()
    right = reported = clean = originals = kept = 0
    for group in found.report.groups:
        names = [_name(group.keeper), *(_name(member.image) for member in group.members)]
        keeper, *members = (made[name] for name in names)
        good = sum(member.source == keeper.source for member in members)
        right, reported, clean = right + good, reported + len(members), clean + (good == len(members))
        held = {one.source for one in (keeper, *members) if one.kind == ORIGINAL}
        together |= {name for name in names if made[name].source in held}
        originals, kept = originals + bool(held), kept + (keeper.kind == ORIGINAL)
        if tell and (good < len(members) or (held and keeper.kind != ORIGINAL)):
            print("wrong" if good < len(members) else "kept", names, group.reason)
    copies = {name: one for name, one in made.items() if one.kind not in ("", ORIGINAL)}
    if tell:
        print("missed", Counter(one.kind for name, one in copies.items() if name not in together))
    return {
        "images": len(made),
        "threshold": round(found.report.threshold, 4),
        "threshold_source": found.source,
        "looked_from": round(found.report.floor or 0.0, 4),
        "groups": len(found.report.groups),
        "members": reported,
        "right members": right,
        "groups without a wrong member": clean,
        "precision": round(right / max(1, reported), 4),
        "precision, lower 95 % bound": round(lower_bound(right, reported), 4),
        "clean groups": round(clean / max(1, len(found.report.groups)), 4),
        "copies": len(copies),
        "copies found": len(copies.keys() & together),
        "recall": round(len(copies.keys() & together) / len(copies), 4),
        "recall, unseen kinds": _recall(copies, together, unseen=True),
        "recall, light": _recall(copies, together, stratum="light"),
        "recall, medium": _recall(copies, together, stratum="medium"),
        "groups with an original": originals,
        "originals kept": kept,
        "keeper correct": round(kept / max(1, originals), 4),
        "similar": len(found.report.similar),
        "pairs looked at": found.report.looked_at,
    }


def _recall(
    copies: dict[str, Made], together: set[str], *, unseen: bool | None = None, stratum: str | None = None
) -> float:
    kinds = {edit.name for edit in KINDS if unseen in (None, edit.unseen) and stratum in (None, edit.stratum)}
    mine = [name for name, one in copies.items() if one.kind in kinds]
    return round(sum(name in together for name in mine) / max(1, len(mine)), 4)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(one) for one in text.split(","))


def _name(image: ImageRecord) -> str:
    return Path(image.uri).name


def _suffix(data: bytes) -> str:
    return ".png" if data[:4] == b"\x89PNG" else ".webp" if data[:4] == b"RIFF" else ".jpg"


if __name__ == "__main__":
    main()
