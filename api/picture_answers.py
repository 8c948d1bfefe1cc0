"""Pictures a user named, put to a network: read and decoded ahead of it, answered in the order they were named."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from api.console import ProgressMode
from api.named_pictures import real_path
from api.picture_progress import picture_progress
from indexer.backbones.backbone import Pixels
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.decoding import Decoder
from indexer.decoding.preparation import Preparation
from indexer.decoding.resizing import resizer
from indexer.devices import usable_cores
from indexer.sources.found import MAX_FILE_BYTES
from indexer.sources.local_files import read_local
from search.errors import BadImage, LookalikeError
from search.records import displayable

READ_AHEAD = 2  # pictures per decoding child
SHOWN_BAD = 5  # in the one line of an error

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class BadPicture:
    """A picture that cannot be used, and why; reason: one of BadImage.REASONS."""

    path: Path
    reason: str
    detail: str

    def as_json(self) -> dict[str, object]:
        """Return the object of `skipped` and `failed`."""
        return {"path": displayable(self.path.absolute()), "reason": self.reason, "detail": self.detail}

    def __str__(self) -> str:
        return f"{displayable(self.path)}: {self.reason}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Answered(Generic[Answer]):
    """What became of the pictures, each part in the order they were named. total: pictures named."""

    total: int
    answers: list[tuple[Path, Answer]]
    bad: list[BadPicture]

    def error(self, consequence: str = "") -> LookalikeError:
        """Return the error that names the bad pictures."""
        first = self.bad[0]
        if self.total == 1:
            return BadImage(first.reason, f"{displayable(first.path)}: {first.detail}{consequence}")
        shown = "; ".join(map(str, self.bad[:SHOWN_BAD]))
        more = f"; and {len(self.bad) - SHOWN_BAD} more" if len(self.bad) > SHOWN_BAD else ""
        return LookalikeError(f"{len(self.bad)} of {self.total} pictures cannot be used ({shown}{more}){consequence}")


@dataclass(frozen=True, slots=True)
class Pace:
    """How to go through many pictures. batch_size: per call of the network; progress: as the global option."""

    batch_size: int
    progress: ProgressMode
    all_or_nothing: bool = False


def answer_pictures(
    paths: Sequence[Path], preparation: Preparation, run: Callable[[Pixels], Sequence[Answer | None]], pace: Pace
) -> Answered[Answer]:
    """Return what `run` says of each picture; one that is bad costs only itself.

    run: (N, H, W, 3) uint8 prepared pixels to N answers, None where the network answered with NaN or infinity.
    all_or_nothing: after a bad picture nothing more is run; the rest is only decoded, to name all bad ones at once.

    Raises:
        LookalikeError: decoding children cannot start.
    """
    outcome: Answered[Answer] = Answered(len(paths), [], [])
    children = min(usable_cores(), len(paths))
    waiting: list[tuple[Path, Pixels]] = []

    def flush() -> None:
        if waiting and not (pace.all_or_nothing and outcome.bad):
            found = run(np.stack([pixels for _, pixels in waiting]))
            for (path, _), answer in zip(waiting, found, strict=True):
                if answer is None:
                    outcome.bad.append(BadPicture(path, "invalid_embedding", "the backbone answers NaN or infinity"))
                else:
                    outcome.answers.append((path, answer))
        waiting.clear()

    with (
        DecoderPool(preparation, children=children, resize=resizer(preparation)) as pool,
        picture_progress(pace.progress, len(paths)) as advance,
    ):
        for number, (path, decoded) in enumerate(_decoded(paths, pool, children), start=1):
            if isinstance(decoded, BadImage):
                outcome.bad.append(BadPicture(path, decoded.reason, decoded.detail))
            else:
                waiting.append((path, decoded))
            if len(waiting) == pace.batch_size:
                flush()
            advance(number - len(waiting), len(outcome.bad))
        flush()
    return outcome


def decode_one(path: Path, preparation: Preparation) -> Pixels:
    """Return the prepared pixels of one picture: (H, W, 3) uint8.

    Raises:
        BadImage: it cannot be read or decoded; the message names it.
    """
    with DecoderPool(preparation, children=1) as pool:
        found = _decode(path, pool)
    if isinstance(found, BadImage):
        raise BadImage(found.reason, f"{displayable(path)}: {found.detail}")
    return found


def _decoded(paths: Sequence[Path], pool: Decoder, children: int) -> Iterator[tuple[Path, Pixels | BadImage]]:
    ahead: deque[tuple[Path, Future[Pixels | BadImage]]] = deque()
    threads = ThreadPoolExecutor(children, thread_name_prefix="decode")
    try:
        for path in paths:
            ahead.append((path, threads.submit(_decode, path, pool)))
            if len(ahead) > READ_AHEAD * children:
                first, waiting = ahead.popleft()
                yield first, waiting.result()
        for first, waiting in ahead:
            yield first, waiting.result()
    finally:
        # Closing the pool wakes the threads that still wait for a child.
        threads.shutdown(wait=False, cancel_futures=True)


def _decode(path: Path, pool: Decoder) -> Pixels | BadImage:
    try:
        return pool.decode(_read(path), str(path)).pixels
    except BadImage as bad:
        return bad


def _read(path: Path) -> bytes:
    data = read_local(os.fspath(real_path(path)), MAX_FILE_BYTES)
    if not data:
        raise BadImage("empty", "no bytes")
    return data
