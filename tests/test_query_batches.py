"""Pictures of many callers, embedded together."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from indexer.query_batches import QueryBatches
from search.records import Embeddings
from search.unwanted import Unwanted, while_wanted
from tests.fakes import FakeBackbone


class GatedBackbone(FakeBackbone):
    """Embeds when it is let; remembers how many pictures came at once. batch_size: 4."""

    batch_size = 4

    def __init__(self) -> None:
        super().__init__()
        self.let, self.begun = threading.Event(), threading.Semaphore(0)
        self.sizes: list[int] = []

    def embed(self, pixels: np.ndarray) -> Embeddings:
        self.sizes.append(len(pixels))
        self.begun.release()
        assert self.let.wait(20)
        if (pixels == 13).all(axis=(1, 2, 3)).any():
            raise MemoryError("no room")
        return super().embed(pixels)


def frame(value: int) -> np.ndarray:
    return np.full((1, 8, 8, 3), value, np.uint8)


def waiting(batches: QueryBatches, count: int) -> None:
    """Return when so many wait behind the one that is embedded."""
    with batches._changed:
        assert batches._changed.wait_for(lambda: len(batches._waiting) == count, 20)


def asked(batches: QueryBatches, threads: ThreadPoolExecutor, *values: int) -> list["Future[Embeddings]"]:
    """Ask for pictures, one after the other, each by a thread of its own; return what they will get."""
    futures = []
    for number, value in enumerate(values, len(batches._waiting) + 1):
        futures.append(threads.submit(batches.embed, frame(value)))
        waiting(batches, number)
    return futures


def test_whoever_is_alone_goes_ahead_and_those_who_come_meanwhile_are_embedded_together() -> None:
    backbone = GatedBackbone()
    batches = QueryBatches(backbone)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batches.embed, frame(1))
        assert backbone.begun.acquire(timeout=20)
        others = asked(batches, threads, 2, 3, 4, 5, 6)
        backbone.let.set()
        rows = [one.result(20) for one in [first, *others]]
    assert backbone.sizes == [1, 4, 1], "a batch of four, and the one that had no room in it"
    assert [float(row[0, 0]) + 127.5 for row in rows] == [1, 2, 3, 4, 5, 6]
    assert (batches.batches, batches.pictures) == (3, 6)


def test_pictures_that_nobody_waits_for_any_more_are_not_embedded() -> None:
    backbone = GatedBackbone()
    batches = QueryBatches(backbone)
    gone = threading.Event()

    def leaving(value: int) -> Embeddings:
        with while_wanted(lambda: not gone.is_set()):
            return batches.embed(frame(value))

    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batches.embed, frame(1))
        assert backbone.begun.acquire(timeout=20)
        left = threads.submit(leaving, 2)
        waiting(batches, 1)
        (stayed,) = asked(batches, threads, 3)
        gone.set()
        backbone.let.set()
        assert first.result(20).shape == stayed.result(20).shape
        with pytest.raises(Unwanted):
            left.result(20)
    assert backbone.sizes == [1, 1]


def test_an_error_is_told_to_all_of_its_batch_and_to_nobody_else() -> None:
    backbone = GatedBackbone()
    batches = QueryBatches(backbone)
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(batches.embed, frame(1))
        assert backbone.begun.acquire(timeout=20)
        others = asked(batches, threads, 2, 13)
        backbone.let.set()
        assert first.result(20) is not None
        for one in others:
            with pytest.raises(MemoryError):
                one.result(20)
    assert len(batches.embed(frame(5))) == 1


def test_a_device_that_likes_batches_waits_for_what_is_announced_and_for_nothing_else() -> None:
    backbone = GatedBackbone()
    backbone.let.set()
    batches = QueryBatches(backbone, linger_s=60.0)
    assert len(batches.embed(frame(1))) == 1, "nobody is announced: at once"
    with ThreadPoolExecutor(2) as threads:
        with batches.announced():
            first = threads.submit(batches.embed, frame(2))
            waiting(batches, 1)
            assert not first.done()
        assert len(first.result(20)) == 1, "whoever was announced has gone elsewhere"
    assert backbone.sizes == [1, 1]
