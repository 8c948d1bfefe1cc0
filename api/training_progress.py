"""Progress of a fine-tuning run on stderr: a bar on a terminal, a line per epoch otherwise, JSON lines, or nothing."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from api.console import ProgressMode, say
from indexer.finetuning.checkpoints import EpochResult
from indexer.finetuning.training import Progress as TrainingProgress

LINE_EVERY_S = 5.0


class Silent:
    """Says nothing."""

    def checking(self, done: int, total: int) -> None:
        """Ignore it."""

    def resumed(self, epochs_done: int) -> None:
        """Ignore it."""

    def step(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Ignore it."""

    def ended(self, result: EpochResult, *, best: bool) -> None:
        """Ignore it."""


class Lines(Silent):
    """A line for every epoch, and every few seconds in between. As JSON objects when `as_json`."""

    def __init__(self, epochs: int, *, as_json: bool) -> None:
        self._epochs = epochs
        self._as_json = as_json
        self._last = time.monotonic()

    def checking(self, done: int, total: int) -> None:
        """Say how many files were checked."""
        if self._due() or done == total:
            self._say({"event": "checking", "done": done, "total": total}, f"{done} of {total} pictures checked")

    def resumed(self, epochs_done: int) -> None:
        """Say that it does not begin anew."""
        self._say({"event": "resumed", "epochs_done": epochs_done}, resumed_line(epochs_done, self._epochs))

    def step(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Say how far the epoch is."""
        if self._due():
            event = {"event": "progress", "epoch": epoch, "epochs": self._epochs, "batch": done, "batches": total}
            text = f"epoch {epoch} of {self._epochs}, batch {done} of {total}: {_numbers(loss, accuracy)}"
            self._say(event | {"loss": loss, "accuracy": accuracy}, text)

    def ended(self, result: EpochResult, *, best: bool) -> None:
        """Say what the epoch came to."""
        event = {"event": "epoch", "epochs": self._epochs, "best": best} | asdict(result)
        self._say(event, epoch_line(result, self._epochs, best=best))

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return False
        self._last = now
        return True

    def _say(self, event: dict[str, object], text: str) -> None:
        say(json.dumps(event) if self._as_json else text)


class Bar(Silent):
    """A bar over all epochs with loss, accuracy and the time left, and above it a line for every epoch that is over."""

    def __init__(self, bar: Progress, epochs: int) -> None:
        self._bar = bar
        self._epochs = epochs
        self._task = bar.add_task("", total=None, doing="checking pictures", numbers="")
        self._training = False

    def checking(self, done: int, total: int) -> None:
        """Move the bar of the check."""
        self._bar.update(self._task, completed=done, total=total)

    def resumed(self, epochs_done: int) -> None:
        """Leave a line above the bar."""
        self._bar.console.print(resumed_line(epochs_done, self._epochs), markup=False, highlight=False)

    def step(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Move the bar of the training."""
        if not self._training:  # the pace of the check says nothing about the time that training takes
            self._bar.reset(self._task, total=self._epochs * total, completed=(epoch - 1) * total)
            self._training = True
        self._bar.update(
            self._task,
            completed=(epoch - 1) * total + done,
            doing=f"epoch {epoch} of {self._epochs}",
            numbers=_numbers(loss, accuracy),
        )

    def ended(self, result: EpochResult, *, best: bool) -> None:
        """Leave a line above the bar."""
        self._bar.console.print(epoch_line(result, self._epochs, best=best), markup=False, highlight=False)


@contextmanager
def training_progress(mode: ProgressMode, epochs: int) -> Iterator[TrainingProgress]:
    """Give the progress of a run in the wanted form; `auto` draws a bar on a terminal only."""
    if mode == "none":
        yield Silent()
    elif mode == "auto" and sys.stderr.isatty():
        with _bar() as bar:
            yield Bar(bar, epochs)
    else:
        yield Lines(epochs, as_json=mode == "json")


def epoch_line(result: EpochResult, epochs: int, *, best: bool) -> str:
    """Return what an epoch came to as one line."""
    return (
        f"epoch {result.epoch} of {epochs}: loss {result.loss:.3f}, on pictures kept for checking "
        f"{result.val_loss:.3f} and {result.accuracy:.1%} right{', the best so far' if best else ''}"
        f" ({result.seconds:.1f} s)"
    )


def resumed_line(epochs_done: int, epochs: int) -> str:
    """Return the line that says where an interrupted run goes on."""
    return f"going on with the interrupted run after epoch {epochs_done} of {epochs}; --restart would begin anew"


def _numbers(loss: float, accuracy: float) -> str:
    return f"loss {loss:.3f}, {accuracy:.1%} right"


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.fields[doing]}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
        console=Console(stderr=True),
        transient=True,
    )
