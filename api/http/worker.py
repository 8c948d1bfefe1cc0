"""One of several processes that answer on one socket (worker_processes.py beside it starts and watches them)."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import TypeAdapter

from api.http.key_gate import Guard
from api.http.server import serve_on
from api.http.worker_figures import WorkerFigures
from api.http.worker_processes import STARTED
from api.jobs.supervising import Launch


def be_worker(start: Mapping[str, Any]) -> None:
    """Serve until asked to end, or until the process that started this one has ended."""
    logging.basicConfig(level=start["log"], format=f"%(levelname)s worker {os.getpid()} %(name)s: %(message)s")
    # After uvicorn has closed everything it raises the signal again: asked to end and ended is a success.
    signal.signal(signal.SIGTERM, _ended)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    said = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no word for the starter

    def started() -> None:
        os.write(said, STARTED)

    serve_on(
        socket.socket(fileno=start["socket"]),
        TypeAdapter(Launch).validate_python(start["launch"]),
        start["names"],
        TypeAdapter(Guard).validate_python(start["guard"]),
        started,
        among=WorkerFigures(Path(start["figures"]), start["number"], start["count"]),
    )


def _end_with_starter() -> None:
    # Nothing comes: it ends with the process at its other end. Not through sys.stdin, whose lock this thread would hold
    # while the interpreter ends.
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
