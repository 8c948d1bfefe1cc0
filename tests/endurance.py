"""What the long tests of `make soak` share: how many trials, from which seed, side by side, and how far they got.

SOAK_SCALE (1): this share of the trials. SOAK_SECONDS: no part runs longer; the next `make soak` goes on where this one
stopped. SOAK_SEED: begin anew, from this seed; a trial is known by its seed, so one that failed can be run again.
SOAK_PROCESSES (2): trials at a time.
"""

import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import count
from typing import TypedDict

import pytest

Work = Callable[[range], list[str]]
TALK_S = 10.0
MAX_SEED = 2**31


class Progress(TypedDict):
    """seed: of the first trial. done: trials that are over. violations: what they found."""

    seed: int
    done: int
    violations: list[str]


def endure(config: pytest.Config, name: str, total: int, work: Work, piece: int) -> list[str]:
    """Run trials by the `piece` and return what they found, with the seed of each; tells on stderr how far it is.

    work: takes seeds and returns violations; runs in other processes, so it has to be picklable.
    """
    trials = max(piece, round(total * float(os.environ.get("SOAK_SCALE", "1"))))
    progress = _begun(config, name, trials)
    first, begun, told = progress["done"], time.monotonic(), 0.0
    longest = float(os.environ.get("SOAK_SECONDS", "inf"))
    for seeds, found in _finished(work, _pieces(progress, trials, piece, begun + longest)):
        progress["done"] += len(seeds)
        progress["violations"] += found
        config.cache.set(_key(name), progress)
        passed = time.monotonic() - begun
        if found or passed - told > TALK_S or progress["done"] >= trials:
            told = passed
            _tell(config, name, progress, trials, (progress["done"] - first) / passed)
    if progress["done"] >= trials:
        config.cache.set(_key(name), None)
    return progress["violations"]


def _begun(config: pytest.Config, name: str, trials: int) -> Progress:
    """Return the progress of a run that was stopped, or a new one."""
    chosen = os.environ.get("SOAK_SEED")
    known: Progress | None = config.cache.get(_key(name), None)
    if chosen is None and known is not None and known["done"] < trials:
        return known
    return Progress(seed=int(chosen) if chosen else time.time_ns() % MAX_SEED, done=0, violations=[])


def _pieces(progress: Progress, trials: int, piece: int, until: float) -> Iterator[range]:
    begin, first = progress["seed"], progress["seed"] + progress["done"]
    for start in range(first, begin + trials, piece):
        if start > first and time.monotonic() > until:  # however short the time, each run gets further
            return
        yield range(start, min(start + piece, begin + trials))


def _finished(work: Work, pieces: Iterator[range]) -> Iterator[tuple[range, list[str]]]:
    """Yield the pieces in their order, each with what it found."""
    processes = int(os.environ.get("SOAK_PROCESSES", "2"))
    waiting: deque[tuple[range, Future[list[str]]]] = deque()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("forkserver")) as pool:
        for number in count():
            seeds = next(pieces, None)
            if seeds is not None:
                waiting.append((seeds, pool.submit(work, seeds)))
            if not waiting:
                return
            if seeds is None or number >= processes:
                done, result = waiting.popleft()
                yield done, result.result()


def _tell(config: pytest.Config, name: str, progress: Progress, trials: int, rate: float) -> None:
    left = (trials - progress["done"]) / rate / 60
    done = f"{progress['done']:,} of {trials:,} from seed {progress['seed']}"
    found = progress["violations"]
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        lines = [f"{name}: {done}, {rate:.2f}/s, {left:.0f} min left, {len(found)} violations", *found[-3:]]
        sys.stderr.write("".join(f"{line}\n" for line in lines))


def _key(name: str) -> str:
    return f"soak/{name}"
