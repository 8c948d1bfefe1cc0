"""Peak memory of `lookalike index`, children included, over a small and a large collection: it must not grow.

    python -m bench.memory [--small 5000] [--large 100000] [--json FILE]

Pictures are tiny (64x64 JPEGs) so that the number of files is what grows. Sampled ten times a second: the sum of the
proportional set sizes (PSS) of the process and its decoding children, so that shared pages count once. Linux only.
"""

import argparse
import io
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

from bench.indexing_speed import with_comment
from bench.reporting import heading, write

SIDE = 64
MOTIFS = 500
FOLDER_FILES = 1_000
INTERVAL_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", type=int, default=5_000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(heading("peak PSS of the indexing process and its children"))
    peaks = {}
    for files in (options.small, options.large):
        with tempfile.TemporaryDirectory() as scratch:
            collection(Path(scratch, "pictures"), files)
            began = time.perf_counter()
            peaks[files] = peak_of_index(Path(scratch, "pictures"), Path(scratch, "store"))
            print(
                f"{files:7d} files: {peaks[files] / 2**20:6.0f} MiB   ({time.perf_counter() - began:.0f} s)", flush=True
            )
    print(f"large / small: {peaks[options.large] / peaks[options.small]:.3f}")
    write({"peak_bytes": {str(files): peak for files, peak in peaks.items()}}, options.json)


def collection(folder: Path, files: int) -> None:
    motifs = []
    random = np.random.default_rng(0)
    for _ in range(MOTIFS):
        blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        with io.BytesIO() as file:
            Image.fromarray(blocks).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(file, "JPEG", quality=85)
            motifs.append(file.getvalue())
    for number in range(files):
        place = folder / f"{number // FOLDER_FILES:04}"
        if number % FOLDER_FILES == 0:
            place.mkdir(parents=True)
        place.joinpath(f"{number:07}.jpg").write_bytes(with_comment(motifs[number % MOTIFS], str(number).encode()))


def peak_of_index(folder: Path, store: Path) -> int:
    command = [sys.executable, "-m", "api", "--store", str(store), "--progress", "none", "--json", "index", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        watch = Watch(process.pid)
        watch.start()
        code = process.wait()
        watch.stopped.set()
        watch.join()
    if code:
        raise SystemExit(f"index ended with exit code {code}")
    return watch.peak


class Watch(threading.Thread):
    """Samples the memory of a process tree until stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.stopped = pid, 0, threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(INTERVAL_S):
            self.peak = max(self.peak, sum(pss(pid) for pid in (self.pid, *children(self.pid))))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except OSError:  # the thread ended meanwhile
            continue
    return found


def pss(pid: int) -> int:
    """Return the proportional set size in bytes, 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
