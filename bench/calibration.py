"""What the promise of `calibrate` is worth: realised less asked precision, on photographs and edits it has not seen.

    python -m bench.calibration FOLDER [--seeds 6] [--samples 300] [--json FILE]

The photographs are split into two halves. One is indexed and calibrated, with the kinds of edits that are free for
tuning. Of the other half four fifths are indexed in a store of their own; all of it is asked for in one edit of each
kind, so that a fifth of the queries has no picture there. Precision is over all pairs with scores of at least the
threshold of the first half, at the prevalence that was calibrated for; for the kinds of edits that were free, and for
those that were not. In brackets where it lies in 95 % of the cases when the photographs that are asked for are drawn
again. The last lines are means over all splits. The photographs must all be different: a copy of another would count
as a mistake.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import lookalike
from api.calibrating import CalibrationRequest, Told, calibrate
from api.workspace import Workspace
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.quality.edits import EDITS, EditKind
from search.calibration.calibration import Calibration, Operating

COLLECTION = "default"
LONGEST = 1024
DRAWS = 400
ABSENT = 5  # one of so many is not there
DEPTH = 20
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """What unseen queries found. right, wrong: scores; right_of, wrong_of: numbers of the photographs behind them.

    there: whether each photograph is in the collection. kinds: edits of each.
    """

    right: NDArray[np.float64]
    right_of: NDArray[np.int64]
    wrong: NDArray[np.float64]
    wrong_of: NDArray[np.int64]
    there: NDArray[np.bool_]
    kinds: int

    def precision(self, threshold: float, prevalence: float, times: NDArray[np.int64] | None = None) -> float | None:
        """Return the precision at a threshold, None where nothing is reported; times: how often each photo counts."""
        often = np.ones(len(self.there), np.int64) if times is None else times
        found = often[self.right_of[self.right >= threshold]].sum() / max(1, self.kinds * often[self.there].sum())
        wrong = often[self.wrong_of[self.wrong >= threshold]].sum() / (self.kinds * often.sum())
        right = prevalence * float(found)
        return right / (right + float(wrong)) if right + wrong else None

    def interval(self, threshold: float, prevalence: float, seed: int) -> tuple[float, float]:
        """Return between which precisions 95 % lie when the photographs are drawn again."""
        rng, count = np.random.default_rng(seed), len(self.there)
        drawn = [rng.multinomial(count, np.full(count, 1 / count)) for _ in range(DRAWS)]
        found = [self.precision(threshold, prevalence, times) for times in drawn]
        low, high = np.percentile([one for one in found if one is not None], [2.5, 97.5])
        return float(low), float(high)

    def recall(self, threshold: float) -> float:
        """Return the share of pictures that are there whose score is at least the threshold."""
        return float((self.right >= threshold).sum()) / (self.kinds * int(self.there.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="photographs that are all different")
    parser.add_argument("--seeds", type=int, default=6, help="splits")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    files = sorted(file for file in photo_folder(options.folder).rglob("*") if file.suffix.lower() in SUFFIXES)
    rows = [row for seed in range(options.seeds) for row in measured(files, options.samples, seed)]
    print(heading(f"{len(files)} photographs in two halves, the built-in backbone"))
    print("| split | edits | asked | threshold | promised | realised | less asked, points | 95 % | recall |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(shown(value) for value in row.values()) + " |")
    for edits, asked_for in dict.fromkeys((row["edits"], row["asked"]) for row in rows):
        kept = [row["less_asked_points"] for row in rows if (row["edits"], row["asked"]) == (edits, asked_for)]
        known = [float(str(one)) for one in kept if one is not None]
        told = f"{np.mean(known):+.1f} points, {min(known):+.1f} at least" if known else "never enough evidence"
        print(f"{edits} edits, asked {asked_for}: {told} ({len(known)} of {len(kept)} splits)")
    write({"rows": rows}, options.json)


def shown(value: object) -> str:
    """Return a cell of the table."""
    if isinstance(value, tuple):
        return f"({value[0]:+.1f} to {value[1]:+.1f})"
    return "-" if value is None else str(value)


def measured(files: Sequence[Path], samples: int, seed: int) -> list[dict[str, object]]:
    """Return the rows of one split."""
    order = np.random.default_rng(seed).permutation(len(files))
    mine, theirs = ([files[row] for row in part] for part in np.array_split(order, 2))
    absent = theirs[::ABSENT]
    present = [file for file in theirs if file not in set(absent)]
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with indexed(Path(folder) / "mine", mine) as workspace:
            request = CalibrationRequest(samples, seed)
            found = calibrate(workspace, workspace.collection(COLLECTION), request, Told())
        seconds = time.perf_counter() - began
        print(f"split {seed}: {seconds:.0f} s, {found.evidence}, verified {found.verified}", flush=True)
        rows = []
        with indexed(Path(folder) / "theirs", present) as workspace:
            for name, unseen in (("seen", False), ("unseen", True)):
                kinds = [edit for edit in EDITS if edit.unseen is unseen]
                pairs = asked(workspace, present, absent, kinds, seed)
                rows += [row_of(seed, name, point, pairs, found) for point in (found.automatic, found.review)]
    return rows


def row_of(seed: int, edits: str, point: Operating, pairs: Pairs, found: Calibration) -> dict[str, object]:
    """Return what one threshold keeps of its promise."""
    realised = None if point.score is None else pairs.precision(point.score, found.prevalence)
    return {
        "split": seed,
        "edits": edits,
        "asked": point.precision,
        "threshold": None if point.score is None else round(point.score, 4),
        "promised": None if point.bound is None else round(point.bound, 4),
        "realised": None if realised is None else round(realised, 4),
        "less_asked_points": None if realised is None else round(100 * (realised - point.precision), 2),
        "less_asked_interval": None
        if realised is None or point.score is None
        else tuple(
            round(100 * (end - point.precision), 1) for end in pairs.interval(point.score, found.prevalence, seed)
        ),
        "recall": None if point.score is None else round(pairs.recall(point.score), 3),
    }


def indexed(root: Path, files: Sequence[Path]) -> Workspace:
    """Return the workspace of a new store of these photographs, brought to a size that is decoded quickly."""
    photos = root / "photos"
    photos.mkdir(parents=True)
    for file in files:
        opened(file).save(photos / f"{file.stem}.png")
    with lookalike.open(root / "store") as album:
        album.index(photos, progress=False)
    return Workspace(root / "store")


def asked(
    workspace: Workspace, present: Sequence[Path], absent: Sequence[Path], kinds: Sequence[EditKind], seed: int
) -> Pairs:
    """Return what every edit of every photograph finds."""
    target = workspace.collection(COLLECTION)
    snapshot, embedder = workspace.snapshot(target), workspace.embedder(target)
    records = workspace.store.catalogue.images_by_id(target.id, snapshot.sample(len(snapshot)).tolist())
    names = {image_id: Path(record.uri).stem for image_id, record in records.items()}
    rng, right, wrong = np.random.default_rng([seed, 1]), list[tuple[float, int]](), list[tuple[float, int]]()
    partners = [opened(file) for file in absent]
    files = [*present, *absent]
    for number, file in enumerate(files):
        picture = opened(file)
        own = Path(file.as_uri()).stem
        others = [one for name, one in zip(absent, partners, strict=True) if name != file]
        for view in embedder.whole([kind.apply(picture, rng, others) for kind in kinds], file.name):
            if view is None:
                raise SystemExit(f"an edited copy of {file} has no embedding")
            ranked = snapshot.search(view, DEPTH)
            for image_id, score in zip(ranked.ids.tolist(), ranked.scores.tolist(), strict=True):
                (right if names[image_id] == own else wrong).append((score, number))
    there = np.arange(len(files)) < len(present)
    return Pairs(*_columns(right), *_columns(wrong), there, len(kinds))


def _columns(found: Sequence[tuple[float, int]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    return np.array([score for score, _ in found], np.float64), np.array([number for _, number in found], np.int64)


def opened(file: Path) -> Image.Image:
    """Return a photograph, its long side at most LONGEST pixels."""
    with Image.open(file) as picture:
        made = picture.convert("RGB")
    made.thumbnail((LONGEST, LONGEST))
    return made


if __name__ == "__main__":
    main()
