"""Pictures of many callers, embedded together: whoever finds the backbone free embeds for all who wait.

A caller that is alone goes ahead at once. While it embeds, others gather behind it, and the next of them embeds what
has come by then, at most a batch of it. On a device where a batch takes hardly longer than one picture, it also waits
a moment for pictures that are announced, being decoded still; never for longer than `linger_s`, and never for nobody.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from indexer.backbones.backbone import Backbone, Pixels
from search.records import Embeddings
from search.unwanted import Unwanted, is_wanted, stop_if_unwanted

BATCH = 16  # pictures, where the backbone does not say


class QueryBatches:
    """A backbone for any number of threads. batches, pictures: how many it has embedded."""

    def __init__(self, backbone: Backbone, linger_s: float = 0.0) -> None:
        self._backbone = backbone
        self._most: int = getattr(backbone, "batch_size", BATCH)
        self._linger_s = linger_s
        self._waiting = deque[_Asked]()
        self._announced = 0
        self._changed = threading.Condition()  # guards the two above
        self._turn = threading.Lock()  # whoever holds it embeds
        self.batches = 0
        self.pictures = 0

    @contextmanager
    def announced(self) -> Iterator[None]:
        """Tell that pictures are on their way, while they are being decoded in this block."""
        with self._changed:
            self._announced += 1
        try:
            yield
        finally:
            with self._changed:
                self._announced -= 1
                self._changed.notify_all()

    def embed(self, frames: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels.

        Raises:
            Unwanted: nobody waits for them any more.
            OutOfMemory: as the backbone.
        """
        asked = _Asked(frames)
        with self._changed:
            self._waiting.append(asked)
            self._changed.notify_all()
        while True:
            with self._turn:
                if asked.is_answered:  # by the one whose turn it was
                    return asked.rows()
                self._answer_waiting()

    def _answer_waiting(self) -> None:
        batch = self._gathered()
        if not batch:
            return
        try:
            rows = self._backbone.embed(np.concatenate([one.frames for one in batch]))
        except Exception as error:  # noqa: BLE001 -- each of them meets it, in its own thread
            for one in batch:
                one.answer = error
            return
        self.batches += 1
        self.pictures += len(rows)
        at = 0
        for one in batch:
            one.answer = rows[at : at + len(one.frames)]
            at += len(one.frames)

    def _gathered(self) -> list["_Asked"]:
        """Return those to embed for now, oldest first: a batch of them, or one that is larger than a batch."""
        batch, size = list[_Asked](), 0
        ends = time.monotonic() + self._linger_s
        with self._changed:
            while self._announced and self._frames_waiting() < self._most and (left := ends - time.monotonic()) > 0:
                self._changed.wait(left)
            while self._waiting and (not batch or size + len(self._waiting[0].frames) <= self._most):
                one = self._waiting.popleft()
                if one.is_wanted():
                    batch.append(one)
                    size += len(one.frames)
                else:
                    one.answer = Unwanted()
        return batch

    def _frames_waiting(self) -> int:
        return sum(len(one.frames) for one in self._waiting)


class _Asked:
    """What one caller wants embedded, and what became of it."""

    def __init__(self, frames: Pixels) -> None:
        stop_if_unwanted()
        self.frames = frames
        self.is_wanted = is_wanted()
        self.answer: Embeddings | Exception | None = None

    @property
    def is_answered(self) -> bool:
        return self.answer is not None

    def rows(self) -> Embeddings:
        if isinstance(self.answer, Exception):
            raise self.answer
        assert self.answer is not None  # noqa: S101 -- asked for when it is there
        return self.answer
