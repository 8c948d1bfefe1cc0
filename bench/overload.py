"""The server under four times the requests it can answer, for a minute, and after it.

    python -m bench.overload [PHOTOS] [--rows 200000] [--seconds 60] [--times 4] [--workers 1] [--kinds id,upload]

First what it can do (closed loop), then how long good answers take at 70 % of that; then requests come at random
moments at four times that rate (bench/http_load.py), and afterwards at half of it again. Shown: what was answered how
often, how long good answers and refusals took, the memory of all its processes before, at most and at the end, and
how long after the flood good answers were as quick as before it; and what of that misses its bar. Ends with 1 where
answers are wrong (another 5xx, a refusal without Retry-After, none at all), which no busy machine excuses.
"""

import argparse
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from bench.http_load import BUSY, OK, Load, closed_loop, open_loop
from bench.photographs import photo_folder
from bench.reporting import heading, write
from bench.sample_collection import build
from bench.serving import WARM_UP_S, Kind, kinds_of, workers_options
from bench.serving_store import Serving, ours, prepare, quiet_environment

USUAL = 0.7  # of what it can do: the load that good answers are compared with
AFTER = 0.5
SAMPLE_S = 2.0
RECOVERY_S = 10
MEGABYTE = 1e6
BAR_RATIO = 2.0
BAR_REFUSAL_MS = 100.0
BAR_MEMORY = 1.05
BAR_RECOVERY_S = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=4.0)
    parser.add_argument("--workers", default="1")
    parser.add_argument("--kinds", default="id,upload")
    parser.add_argument("--folder", type=Path, help="keep rows and store here, and use what is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quiet_environment()
    report = {}
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = options.folder or scratch / "rows"
        photos = photo_folder(options.photos, lambda: build(scratch / "sample").photos)
        prepare(folder, options.rows)
        print(
            heading(f"{options.rows} rows of 256 dims, {options.times:g} times its capacity for {options.seconds:g} s")
        )
        for kind in kinds_of(photos, options.rows):
            if kind.name in options.kinds.split(","):
                with ours(folder, *workers_options(options.workers)) as serving:
                    report[kind.name] = flooded(kind, serving, options.times, options.seconds)
                _print(kind.name, report[kind.name])
    write({"rows": options.rows, "times": options.times, "kinds": report}, options.json)
    if any(seen["unexpected_5xx"] or seen["unexplained"] for seen in report.values()):
        sys.exit("answers are wrong: see above")


def flooded(kind: Kind, serving: Serving, times: float, seconds: float) -> dict[str, Any]:
    """Return what became of a server under a flood."""
    closed_loop(serving.place, kind.ours, kind.connections, WARM_UP_S)
    capacity = median(closed_loop(serving.place, kind.ours, kind.connections, 5.0).rate for _ in range(3))
    if not capacity:
        odd = closed_loop(serving.place, kind.ours, kind.connections, 1.0)
        sys.exit(f"{kind.name}: nothing is answered well: {dict(odd.statuses)}, lost {odd.lost}")
    usual = open_loop(serving.place, kind.ours, USUAL * capacity, 20.0)
    before = serving.resident()
    with _sampled(serving) as memory:
        flood = open_loop(serving.place, kind.ours, times * capacity, seconds)
    seconds_after = [open_loop(serving.place, kind.ours, AFTER * capacity, 1.0) for _ in range(RECOVERY_S)]
    usual_ms, good_ms = usual.milliseconds(0.99), flood.milliseconds(0.99)
    return {
        "capacity": capacity,
        "usual_p99_ms": usual_ms,
        "usual_refused": _refused(usual),
        "statuses": {str(status): count for status, count in sorted(flood.statuses.items())},
        "lost": flood.lost,
        "unexplained": flood.unexplained,
        "unexpected_5xx": sum(
            count for status, count in flood.statuses.items() if status >= 500 and status not in BUSY
        ),
        "good_rate": flood.rate,
        "good_p99_ms": good_ms,
        "good_ratio": good_ms / usual_ms,
        "refused_p50_ms": flood.milliseconds(0.5, BUSY),
        "refused_p99_ms": flood.milliseconds(0.99, BUSY),
        "generator_late_p99_ms": [usual.late_ms, flood.late_ms],
        "memory_mb": [round(one / MEGABYTE) for one in (before, max(memory), memory[-1], serving.resident())],
        "recovered_s": _recovered(seconds_after, usual_ms),
    }


def _refused(load: Load) -> int:
    return sum(count for status, count in load.statuses.items() if status != OK)


def _recovered(seconds: list[Load], usual_ms: float) -> float:
    """Return after how many seconds nothing was refused and the slowest were as quick as usual; NaN for never."""
    for number, load in enumerate(seconds):
        if not _refused(load) and load.milliseconds(0.99) <= 1.5 * usual_ms:
            return float(number)
    return float("nan")


@contextlib.contextmanager
def _sampled(serving: Serving) -> Iterator[list[int]]:
    """Look at the memory of a server now and then; what was seen is in the list after the block."""
    seen, ended = [serving.resident()], threading.Event()

    def look() -> None:
        while not ended.wait(SAMPLE_S):
            seen.append(serving.resident())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    yield seen
    ended.set()
    looking.join()


def _print(name: str, seen: dict[str, Any]) -> None:
    print(
        f"{name:8}capacity {seen['capacity']:.0f}/s, good answers under the flood {seen['good_rate']:.0f}/s; "
        f"p99 of good answers: usually {seen['usual_p99_ms']:.1f} ms, then {seen['good_p99_ms']:.1f} ms "
        f"({seen['good_ratio']:.2f} x); "
        f"refusals p50 {seen['refused_p50_ms']:.1f} ms, p99 {seen['refused_p99_ms']:.1f} ms; of this the generator's "
        f"own delay, p99: {' ms, then '.join(f'{late:.1f}' for late in seen['generator_late_p99_ms'])} ms"
    )
    print(
        f"{name:8}answers {seen['statuses']}, refused at the usual load {seen['usual_refused']}, lost {seen['lost']}, "
        f"refused without Retry-After {seen['unexplained']}, other 5xx {seen['unexpected_5xx']}; "
        f"memory before, most, last, after (MB): {seen['memory_mb']}; as before after {seen['recovered_s']:.0f} s"
    )
    print(f"{name:8}{'; '.join(_missed(seen)) or 'all bars are met'}")


def _missed(seen: dict[str, Any]) -> list[str]:
    """Return which bars are missed."""
    before, most = seen["memory_mb"][:2]
    bars = {
        "good answers take at most twice as long as usually": seen["good_ratio"] <= BAR_RATIO,
        "refusals take less than 100 ms": not seen["refused_p99_ms"] >= BAR_REFUSAL_MS,  # NaN: none was refused
        "memory is flat": most <= BAR_MEMORY * before,
        "as before after 5 s": seen["recovered_s"] <= BAR_RECOVERY_S,
        "every request is answered": not seen["lost"],
        "no other 5xx, no refusal without Retry-After": not seen["unexpected_5xx"] + seen["unexplained"],
    }
    return [f"MISSED: {bar}" for bar, met in bars.items() if not met]


if __name__ == "__main__":
    main()
