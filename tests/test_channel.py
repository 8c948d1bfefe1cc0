"""Channels between threads: bounded, ending, and never blocking after an error."""

import threading
import time

import pytest

from indexer.jobs.channel import Aborted, Channel, Stage


def test_items_come_out_in_the_order_they_went_in() -> None:
    channel: Channel[int] = Channel(10, producers=1)
    for number in range(5):
        channel.put(number + 1)
    channel.producer_ended()
    assert list(channel) == [1, 2, 3, 4, 5]
    assert channel.ended


def test_a_full_channel_makes_its_producer_wait() -> None:
    channel: Channel[int] = Channel(1, producers=1)
    channel.put(1)
    waiting = threading.Thread(target=channel.put, args=(2,))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    assert channel.get() == 1
    waiting.join(5)
    assert channel.get() == 2


def test_a_channel_ends_only_after_its_last_producer() -> None:
    channel: Channel[int] = Channel(1, producers=2)
    channel.producer_ended()
    assert channel.get(timeout_s=0.01) is None
    assert not channel.ended
    channel.producer_ended()
    assert channel.ended


def test_abort_wakes_producers_and_gives_consumers_the_first_error() -> None:
    channel: Channel[int] = Channel(1, producers=1)
    channel.put(1)
    stopped: list[str] = []

    def produce() -> None:
        try:
            channel.put(2)
        except Aborted:
            stopped.append("aborted")

    thread = threading.Thread(target=produce)
    thread.start()
    channel.abort(OSError("first"))
    channel.abort(OSError("second"))
    thread.join(5)
    assert stopped == ["aborted"]
    with pytest.raises(OSError, match="first"):
        channel.get()


def test_an_error_in_a_stage_reaches_the_last_consumer() -> None:
    inputs: Channel[int] = Channel(10, producers=1)
    results: Channel[int] = Channel(10, producers=2)

    def work(number: int) -> None:
        if number == 3:
            raise OSError("number 3")
        results.put(number)

    Stage(work, inputs, [results], threads=2).start()
    for number in range(1, 6):
        inputs.put(number)
    inputs.producer_ended()
    with pytest.raises(OSError, match="number 3"):
        for _ in range(100):
            results.get(timeout_s=0.1)


def test_two_stages_pass_everything_on_once() -> None:
    first: Channel[int] = Channel(2, producers=1)
    second: Channel[int] = Channel(2, producers=3)
    third: Channel[int] = Channel(2, producers=2)
    Stage(second.put, first, [second], threads=3).start()
    Stage(third.put, second, [third], threads=2).start()

    def feed() -> None:
        for number in range(1, 201):
            first.put(number)
        first.producer_ended()

    feeding = threading.Thread(target=feed)
    feeding.start()
    assert sorted(third) == list(range(1, 201))
    feeding.join()


def test_waiting_for_room_is_no_work() -> None:
    inputs: Channel[int] = Channel(10, producers=1)
    results: Channel[int] = Channel(1, producers=1)
    stage = Stage(results.put, inputs, [results], threads=1)
    stage.start()
    for number in (1, 2, 3):
        inputs.put(number)
    inputs.producer_ended()
    time.sleep(0.3)
    assert list(results) == [1, 2, 3]
    assert stage.busy_share < 0.1


def test_heavy_items_fill_a_channel_before_many_do() -> None:
    channel: Channel[bytes] = Channel(10, producers=1, weigh=len, max_bytes=100)
    channel.put(bytes(60))
    channel.put(bytes(60))
    waiting = threading.Thread(target=channel.put, args=(b"x",))
    waiting.start()
    time.sleep(0.05)
    assert waiting.is_alive()
    assert channel.get() == bytes(60)
    waiting.join(5)
    assert [channel.get(), channel.get()] == [bytes(60), b"x"]
