"""A small model file is opened once in a test process: each opening costs ONNX Runtime a quarter of a second of work.

A run opens the built-in backbone hundreds of times where a program does once. A file that has changed is opened anew.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from indexer.backbones import onnx_engine

LARGEST: Final = 32 << 20  # bytes; larger ones would take too much memory when they are no longer needed
KEPT: Final = 8  # sessions

_open = onnx_engine._open


@lru_cache(KEPT)
def _opened(file: Path, _version: tuple[int, int, int], threads: int) -> Any:
    return _open(file, threads)


def open_once(file: Path, threads: int) -> Any:
    """Return a session of a model file; sessions have no state, and may be used by several at once."""
    try:
        found = file.stat()
    except OSError:
        return _open(file, threads)
    if found.st_size > LARGEST:
        return _open(file, threads)
    return _opened(file.resolve(), (found.st_ino, found.st_mtime_ns, found.st_size), threads)


def be_quick() -> None:
    """Do so in this process from now on."""
    onnx_engine._open = open_once
