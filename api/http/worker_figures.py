"""Figures of all worker processes in one answer: each tells its own to the others on a Unix socket.

Whoever asks a server with `--workers` for `/metrics` reaches one process, another one each time. That one asks the
others and names each series after its worker, as one target has to show them: `worker="0"`, `worker="1"`. A number is
that of a place, not of a process: a worker that is started anew counts from 0 under the same name, which monitoring
knows as a restart. One that does not answer has `lookalike_worker_up 0` and no figures.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily, Metric

ANSWER_S: Final = 1.0  # for another worker to answer: monitoring waits for all of them
PIECE_BYTES: Final = 65_536
Figures = Callable[[], Iterable[Metric]]


@dataclass(frozen=True, slots=True)
class WorkerFigures:
    """One worker among others. number: its place, from 0. folder: of the sockets, which other users cannot enter."""

    folder: Path
    number: int
    count: int

    @asynccontextmanager
    async def telling(self, own: Figures) -> AsyncIterator[None]:
        """Tell the others this worker's figures until the block ends."""

        async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                writer.write(json.dumps([_plain(metric) for metric in own()]).encode())
                await writer.drain()
            writer.close()

        place = self._place(self.number)
        place.unlink(missing_ok=True)  # of the worker that was here before
        server = await asyncio.start_unix_server(tell, place)
        try:
            yield
        finally:
            server.close()

    def of_all(self, own: Figures) -> Iterator[Metric]:
        """Yield the figures of all workers, each series with its worker. It waits for the others."""
        up = GaugeMetricFamily("lookalike_worker_up", "Whether a worker process answers.", labels=["worker"])
        together: dict[str, Metric] = {}
        for number in range(self.count):
            told = [_plain(metric) for metric in own()] if number == self.number else self._told_by(number)
            up.add_metric([str(number)], float(told is not None))
            for name, about, kind, samples in told or ():
                metric = together.setdefault(name, Metric(name, about, kind))
                for series, labels, value in samples:
                    metric.add_sample(series, {**labels, "worker": str(number)}, value)
        yield up
        yield from together.values()

    def _told_by(self, number: int) -> list[Any] | None:
        """Return what a worker tells, None where it does not answer: it starts, or has just ended."""
        received = bytearray()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asked:
                asked.settimeout(ANSWER_S)
                asked.connect(str(self._place(number)))
                while piece := asked.recv(PIECE_BYTES):
                    received += piece
            told: list[Any] = json.loads(received)
        except (OSError, ValueError):
            return None
        return told

    def _place(self, number: int) -> Path:
        return self.folder / str(number)


def _plain(metric: Metric) -> tuple[str, str, str, list[tuple[str, dict[str, str], float]]]:
    samples = [(sample.name, dict(sample.labels), float(sample.value)) for sample in metric.samples]
    return metric.name, metric.documentation, metric.type, samples
