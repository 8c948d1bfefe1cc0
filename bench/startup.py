"""Seconds from typing `lookalike search IMAGE` to its answer, with a prepared backbone.

    python -m bench.startup [FOLDER] [--rounds 7] [--json FILE]

The collection is indexed first with `eca_nfnet_l0` (seeded weights from a file) and with `builtin`; what is timed is a
new process each time, from its start to its end. The first round, which finds nothing in the system's file cache, is
left out.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.indexing_speed import eca_weights, repeated, sample
from bench.photographs import photo_folder
from bench.reporting import heading, interleaved, shown, write

FILES = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = repeated(photo_folder(options.folder, lambda: sample(Path(scratch))), FILES, Path(scratch, "pictures"))
        stores = {name: Path(scratch, name) for name in ("eca_nfnet_l0", "builtin")}
        for name, store in stores.items():
            weights = ["--weights", str(eca_weights(Path(scratch)))] if name != "builtin" else []
            lookalike(store, "index", str(folder), "--backbone", name, *weights)
        query = str(min(folder.iterdir()))
        runs = {name: (lambda store=store: lookalike(store, "search", query)) for name, store in stores.items()}
        results = {name: seconds[1:] for name, seconds in interleaved(runs, options.rounds + 1).items()}
    print(heading(f"search by picture in {FILES} images, {options.rounds} rounds, medians (lowest - highest)"))
    for name, seconds in results.items():
        print(f"{name:14} {shown(seconds, 2)} s")
    write({"seconds": results}, options.json)


def lookalike(store: Path, *arguments: str) -> float:
    """Run a command and return how long it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "api", "--store", str(store), "--progress", "none", "--json", *arguments]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
