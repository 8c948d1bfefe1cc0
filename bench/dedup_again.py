"""How long `dedup` takes the second time: over the same photographs, and after 1 % more were added.

    python -m bench.dedup_again PHOTOS [--copies 4] [--distractors 1000] [--seed 0] [--added 0.01] [--json FILE]

The collection is that of bench/dedup_quality.py; every so manieth file is held back at first. Nothing is calibrated, as
that is done once. Runs: the first; again over the same; with the files that were held back; and, to compare with, over
all of them with nothing kept. kept: what is in the store's folder of answers, by the pairs that were looked at.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import lookalike
from api.deduplicating import Deduplicated, DedupOptions, deduplicate
from api.workspace import Workspace
from bench.dedup_quality import build
from bench.photographs import photo_folder
from bench.reporting import heading, write
from search.duplicates.answer_file import FOLDER as ANSWERS
from search.pairing.pair_file import FOLDER as PAIRS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--copies", type=int, default=4, help="edited copies of each photograph")
    parser.add_argument("--distractors", type=int, default=1000, help="drawn pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--added", type=float, default=0.01, help="share of the files that is added later")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        names = sorted(build(photo_folder(options.photos), root, options.copies, options.distractors, options.seed))
        later = set(names[:: round(1 / options.added)])
        row = measured(root, later) | {"seed": options.seed}
    print(heading(f"{len(names)} images, {len(later)} of them added later, the built-in backbone"))
    for name, value in row.items():
        print(f"| {name} | {value} |")
    write({"rows": [row]}, options.json)


def measured(root: Path, later: set[str]) -> dict[str, object]:
    """Return the seconds of each run, and what it looked at."""
    collection, waiting, store = root / "collection", root / "waiting", root / "store"
    waiting.mkdir()
    for name in later:
        (collection / name).rename(waiting / name)
    _index(root)
    first, first_s = _dedup(store)
    kept = sum(path.stat().st_size for path in (store / ANSWERS).iterdir())
    again, again_s = _dedup(store)
    for name in later:
        (waiting / name).rename(collection / name)
    _index(root)
    added, added_s = _dedup(store)
    for folder in (ANSWERS, PAIRS):
        shutil.rmtree(store / folder)
    full, full_s = _dedup(store)
    return {
        "first, s": round(first_s, 2),
        "again, s": round(again_s, 2),
        "with what was added, s": round(added_s, 2),
        "all anew, keypoints known, s": round(full_s, 2),
        "again / first": round(again_s / first_s, 4),
        "with what was added / first": round(added_s / first_s, 4),
        "with what was added / all anew": round(added_s / full_s, 4),
        "pairs looked at": [run.report.looked_at for run in (first, again, added, full)],
        "pairs known": [run.report.known for run in (first, again, added, full)],
        "same groups": again.report.groups == first.report.groups and added.report.groups == full.report.groups,
        "bytes kept a pair": round(kept / max(1, first.report.looked_at)),
    }


def _index(root: Path) -> None:
    with lookalike.open(root / "store") as album:
        album.index(root / "collection", progress=False)


def _dedup(store: Path) -> tuple[Deduplicated, float]:
    """Return the groups, and the seconds that finding them took, opening the store included."""
    began = time.perf_counter()
    with Workspace(store) as workspace:
        found = deduplicate(workspace, workspace.collection("default"), DedupOptions(calibrate=False))
    return found, time.perf_counter() - began


if __name__ == "__main__":
    main()
