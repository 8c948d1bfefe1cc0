"""An append-only journal: one JSON object a line, each with the hash of the line before, durable before it counts.

A line is written, and fsynced, before what it announces is done (intent) and after (outcome). A line without its end is
of a process that was killed while it wrote: nobody relied on it, and it is taken off. Everything else that does not fit
the chain was changed by somebody, and is refused.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from search.blobs.blobs import sync_folder
from search.errors import CorruptFile
from search.faults import fault
from search.plans.plan import canonical

BEGINNING: Final = "0" * 64


@dataclass(frozen=True, slots=True)
class Line:
    """at: when it was written, in seconds since 1970. event: a word. body: what it says."""

    at: float
    event: str
    body: Mapping[str, Any]


class Journal:
    """The journal of one plan, for one writer; use it in a `with`. `lines` grows with what is appended."""

    def __init__(self, path: Path) -> None:
        """Open a journal, making it where there is none.

        Raises:
            CorruptFile: a line is not as it was written.
            OSError: the system refuses.
        """
        self.path = path
        fresh = not path.exists()
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            self.lines, self._last = _read(whole, path)
            if len(whole) < len(data):
                os.ftruncate(self._handle, len(whole))
            if fresh:
                sync_folder(path.parent)
        except BaseException:
            os.close(self._handle)
            raise
        self._length = len(whole)

    def append(self, event: str, body: Mapping[str, Any]) -> None:
        """Write a line durably.

        Raises:
            OSError: the system refuses; the line is not part of the journal.
        """
        said = {"n": len(self.lines), "at": time.time(), "event": event, "before": self._last, **body}
        digest = _digest(said)
        data = canonical({**said, "hash": digest}) + b"\n"
        try:
            written = 0
            while written < len(data):
                written += os.write(self._handle, data[written:])
            fault("journal.write", self._handle)
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, self._length)
            raise
        self._length += len(data)
        self._last = digest
        self.lines.append(Line(float(said["at"]), event, body))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self._handle)


def read_journal(path: Path) -> list[Line]:
    """Return the lines of a journal, none where there is none; changes nothing.

    Raises:
        CorruptFile: a line is not as it was written.
    """
    return parsed_journal(path.read_bytes() if path.exists() else b"", path)


def parsed_journal(data: bytes, path: Path) -> list[Line]:
    """Return the lines of a journal's bytes. path: for messages.

    Raises:
        CorruptFile: a line is not as it was written.
    """
    return _read(data[: data.rfind(b"\n") + 1], path)[0]


def _read(data: bytes, path: Path) -> tuple[list[Line], str]:
    lines: list[Line] = []
    before = BEGINNING
    for number, text in enumerate(data.splitlines()):
        try:
            said = json.loads(text)
            digest = said.pop("hash")
            if said["n"] != number or said.pop("before") != before or digest != _digest({**said, "before": before}):
                raise ValueError
            lines.append(Line(float(said.pop("at")), said.pop("event"), said))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptFile(
                f"line {number + 1} of the journal {path} is not as it was written, so nothing is done by it; what it "
                "moved lies in .lookalike-quarantine/ of the indexed folder, and can be moved back by hand"
            ) from error
        before = digest
    return lines, before


def _digest(said: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(said)).hexdigest()
