"""Run benchmarks one after the other, as `make bench` does, and sum up: what failed, what was skipped, how long it was.

    python -m bench.every_bench [NAME ...] [-- ARGUMENTS OF EACH]

Without names: all of them. One that fails or is skipped (bench/photographs.py) does not stop the others; the exit code
is 1 when one has failed.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.photographs import SKIPPED

FOLDER: Final = Path(__file__).parent
NO_BENCH: Final = {"every_bench", "sample_collection"}  # programs that measure nothing

Run = Callable[[str, Sequence[str]], int]


def main(arguments: Sequence[str]) -> int:
    """Run what the arguments name; return the exit code."""
    at = list(arguments).index("--") if "--" in arguments else len(arguments)
    names, passed = arguments[:at], arguments[at + 1 :]
    known = benches()
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"there is no benchmark {unknown[0]!r}; choose from {', '.join(known)}", file=sys.stderr)
        return 2
    return run_all(names or known, passed, run_one)


def benches() -> list[str]:
    """Return the names of all benchmarks."""
    programs = [path.stem for path in sorted(FOLDER.glob("*.py")) if '__name__ == "__main__"' in path.read_text()]
    return [name for name in programs if name not in NO_BENCH]


def run_one(name: str, arguments: Sequence[str]) -> int:
    """Run a benchmark in a process of its own; return its exit code."""
    return subprocess.run([sys.executable, "-m", f"bench.{name}", *arguments], check=False).returncode


def run_all(names: Sequence[str], arguments: Sequence[str], run: Run) -> int:
    """Run benchmarks in turn, print how each of them ended, and return 1 when one failed, else 0."""
    ended: dict[str, tuple[str, float]] = {}
    for name in names:
        print(f"\n\033[1m{name}\033[0m", flush=True)
        began = time.monotonic()
        code = run(name, arguments)
        how = "done" if code == 0 else "skipped" if code == SKIPPED else f"failed with exit code {code}"
        ended[name] = (how, time.monotonic() - began)
    print(f"\n\033[1msummary\033[0m ({sum(seconds for _, seconds in ended.values()) / 60:.0f} minutes)")
    for name, (how, seconds) in ended.items():
        print(f"  {name:24} {how} ({seconds:.0f} s)")
    return int(any(how.startswith("failed") for how, _ in ended.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
