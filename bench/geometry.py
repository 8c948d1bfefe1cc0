"""Geometric verification: what it finds of edited photographs, what it takes for the same wrongly, time and bytes.

    python -m bench.geometry [FOLDER] [--photographs 100] [--which even|odd|all] [--json FILE]

Every photograph is edited in every way (bench/geometry_edits.py) and compared with its original, and with originals of
other photographs, which count as false when called the same. Hard negatives beside: disjoint tiles of one photograph,
and the stereo pair that ships with scikit-image, whole and in parts. Times are CPU time of one thread, which a busy
machine disturbs least: the extraction of an indexed picture, and one candidate of a search that verifies all of 50, the
original first.

search/geometry was tuned on the even photographs of the folder; `odd`, the default, are those it has not seen.
"""

import argparse
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.geometry_edits import OTHERS, TARGETS, Edit, Setting
from bench.indexing_speed import sample
from bench.photographs import photo_folder
from bench.reporting import heading, one_thread, write
from search.geometry.keypoints import Keypoints, extract
from search.geometry.stored_keypoints import to_bytes
from search.geometry.verify import prepare, verify, verify_in_order

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
DIFFERENT_PER_QUERY = 2
CANDIDATES = 50
SEARCHES = 20


@dataclass(slots=True)
class Tally:
    """Answers of pairs that show the same picture, by edit, and of pairs that do not, by kind."""

    same: dict[str, Counter[str]] = field(default_factory=dict)
    different: dict[str, Counter[str]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--photographs", type=int, default=100)
    parser.add_argument("--which", choices=("even", "odd", "all"), default="odd")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = photo_folder(options.folder, lambda: sample(Path(scratch)))
        drawn = folder.is_relative_to(scratch)
        photographs = load(folder, "all" if drawn else options.which, options.photographs)
    cv2.setNumThreads(1)
    with one_thread():
        indexed, extraction_ms = extracted(photographs)
        tally = Tally()
        for name, edit in {**TARGETS, **OTHERS}.items():
            tally.same[name] = compare_edited(name, edit, photographs, indexed, tally.different)
        tally.different["disjoint tiles"] = tiles(photographs)
        tally.different["stereo pair"] = stereo_pair()
        candidate_ms = searches(photographs, indexed)
    sizes = [len(to_bytes(keypoints)) for keypoints in indexed]
    show(len(photographs), tally, extraction_ms, candidate_ms, sizes)
    write(report(tally, extraction_ms, candidate_ms, sizes), options.json)


def load(folder: Path, which: str, count: int) -> list[Image.Image]:
    """Return photographs of a folder, not those below it, where the sample collection has copies."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    chosen = {"even": found[::2], "odd": found[1::2], "all": found}[which][:count]
    if len(chosen) < 8:
        raise SystemExit(f"{folder} has {len(chosen)} photographs to compare; 8 are needed")
    return [Image.open(path).convert("RGB") for path in chosen]


def extracted(photographs: list[Image.Image]) -> tuple[list[Keypoints], list[float]]:
    indexed, times = [], []
    for photograph in photographs:
        pixels = np.asarray(photograph)
        began = time.process_time()
        indexed.append(extract(pixels))
        times.append((time.process_time() - began) * 1e3)
    return indexed, times


def compare_edited(
    name: str,
    edit: Edit,
    photographs: list[Image.Image],
    indexed: list[Keypoints],
    different: dict[str, Counter[str]],
) -> Counter[str]:
    """Return the answers for each photograph after an edit; those for others go to `different`.

    What an edit puts beside the photograph, as in a collage, is none of those compared with.
    """
    answers: Counter[str] = Counter()
    count = len(photographs)
    wrong = different.setdefault("different photographs", Counter())
    for number, photograph in enumerate(photographs):
        seed = zlib.crc32(name.encode()) + number
        others = tuple(photographs[(number + step) % count] for step in (1, 2, 3))
        query = prepare(np.asarray(edit(photograph, Setting(others, np.random.default_rng(seed)))))
        answers[verify(query, indexed[number]).answer] += 1
        apart = [indexed[(number + 4 + (seed + step * 7) % (count - 7)) % count] for step in range(DIFFERENT_PER_QUERY)]
        wrong.update(found.answer for found in verify_in_order(query, apart))
    return answers


def tiles(photographs: list[Image.Image]) -> Counter[str]:
    """Return the answers for the four quarters of each photograph, pair by pair: nothing of them is the same."""
    answers: Counter[str] = Counter()
    for photograph in photographs:
        pixels = np.asarray(photograph)
        rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
        quarters = [pixels[y : y + rows, x : x + columns] for y in (0, rows) for x in (0, columns)]
        kept = [extract(quarter) for quarter in quarters]
        for number, quarter in enumerate(quarters[:-1]):
            answers.update(found.answer for found in verify_in_order(prepare(quarter), kept[number + 1 :]))
    return answers


def stereo_pair() -> Counter[str]:
    """Return the answers for two shots of a motorcycle, the one whole, the other whole and in parts and sizes."""
    from skimage.data import stereo_motorcycle

    left, right = (np.asarray(Image.fromarray(one).convert("RGB")) for one in stereo_motorcycle()[:2])
    indexed = extract(left)
    return Counter(verify(prepare(part), indexed).answer for part in parts(right))


def parts(shot: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    height, width = shot.shape[:2]
    yield from (shot, shot[::2, ::2], np.asarray(cv2.GaussianBlur(shot, (0, 0), 2), np.uint8))
    for top in (0, height // 4, height // 2):
        for left in (0, width // 4, width // 2):
            yield np.ascontiguousarray(shot[top : top + height // 2, left : left + width // 2])


def searches(photographs: list[Image.Image], indexed: list[Keypoints]) -> list[float]:
    """Return milliseconds a candidate, search by search, the queries halves of the photographs at half size."""
    times = []
    rng = np.random.default_rng(0)
    for number in rng.permutation(len(photographs))[:SEARCHES]:
        photograph = photographs[number]
        half = photograph.crop((0, 0, photograph.width * 7 // 10, photograph.height * 7 // 10))
        query = prepare(np.asarray(half.resize((half.width // 2 + 1, half.height // 2 + 1))))
        candidates = [indexed[one] for one in (number, *rng.choice(len(indexed), CANDIDATES - 1))]
        began = time.process_time()
        list(verify_in_order(query, candidates))
        times.append((time.process_time() - began) * 1e3 / CANDIDATES)
    return times


def show(count: int, tally: Tally, extraction_ms: list[float], candidate_ms: list[float], sizes: list[int]) -> None:
    print(heading(f"{count} photographs, one thread"))
    for name, answers in tally.same.items():
        total = answers.total()
        mark = " " if name in TARGETS else "*"
        print(f"{mark} {name:32} yes {answers['yes'] / total:.3f}   cannot {answers['cannot'] / total:.3f}")
    print("  (* not among the targets)")
    for name, answers in tally.different.items():
        print(f"{name:34} {answers['yes']} of {answers.total()} pairs called the same, {answers['cannot']} cannot")
    print(f"extraction {median(extraction_ms):.1f} ms, candidate {median(candidate_ms):.2f} ms, medians")
    print(f"bytes an image: {median(sizes):.0f}, at most {max(sizes)}")


def report(tally: Tally, extraction_ms: list[float], candidate_ms: list[float], sizes: list[int]) -> dict[str, object]:
    return {
        "same": {name: dict(answers) for name, answers in tally.same.items()},
        "different": {name: dict(answers) for name, answers in tally.different.items()},
        "extraction_ms": median(extraction_ms),
        "candidate_ms": median(candidate_ms),
        "bytes": median(sizes),
    }


if __name__ == "__main__":
    main()
