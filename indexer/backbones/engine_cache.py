"""Where model files for ONNX Runtime are kept: beside the weights they come from, else in the user's cache folder.

A file's name is a fingerprint of all that shaped it, so a file is either right or absent. Must never import torch.
"""

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from platformdirs import user_cache_path

from indexer.backbones.engine import EngineUnsound
from indexer.backbones.onnx_engine import OnnxEngine
from search.errors import UsageError
from search.records import AVERAGE

log = logging.getLogger(__name__)

# Raise it when folding or exporting changes what a model file holds.
FORMAT: Final = 2
HALF: Final = ".part"  # how the names of files end that are still being written
HALF_AGE_S: Final = 3_600.0
FOLDER: Final = ".lookalike-engines"
CACHE_VARIABLE: Final = "LOOKALIKE_CACHE"
ENGINE_VARIABLE: Final = "LOOKALIKE_ENGINE"
CHOICES: Final = ("auto", "torch")


def engine_choice() -> str:
    """Return what LOOKALIKE_ENGINE asks for: "auto", or "torch" to do without ONNX Runtime.

    Raises:
        UsageError: it names no engine.
    """
    choice = os.environ.get(ENGINE_VARIABLE) or "auto"
    if choice not in CHOICES:
        raise UsageError(f"{ENGINE_VARIABLE} is {choice!r}, choose {' or '.join(CHOICES)}")
    return choice


def fingerprint(backbone: str, weights_sha256: str, preparation: str, pooling: str = AVERAGE) -> str:
    """Return the name of a model file.

    backbone: its canonical name, since two architectures may share one set of tensors and compute different things with
    it. weights_sha256: over the tensors. preparation: its canonical JSON. pooling: one of POOLINGS.
    """
    told = f"{FORMAT}\n{backbone}\n{weights_sha256}\n{preparation}"
    if pooling != AVERAGE:  # model files that were made before there was another one keep their names
        told += f"\n{pooling}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def place(name: str, weights: Path | None) -> Path | None:
    """Return where to write a model file, None when no folder can be written."""
    for folder in _folders(weights):
        if _writable(folder):
            _sweep(folder)
            return folder / f"{name}.onnx"
    return None


def cached_engine(name: str, weights: Path | None) -> OnnxEngine | None:
    """Return the engine whose model file is at hand and still answers right; a file that does not is removed."""
    for file in _found(name, weights):
        try:
            return OnnxEngine(file)
        except EngineUnsound as error:
            log.warning("%s; it is made again", error)
            with contextlib.suppress(OSError):  # where it cannot be removed, another folder may have a better one
                file.unlink()
    return None


def _found(name: str, weights: Path | None) -> Iterator[Path]:
    for folder in _folders(weights):
        file = folder / f"{name}.onnx"
        with contextlib.suppress(OSError):  # a folder of somebody else's
            if file.is_file():
                yield file


def _sweep(folder: Path) -> None:
    """Remove what killed exports left behind."""
    for half in folder.glob(f"*{HALF}"):
        with contextlib.suppress(OSError):
            if time.time() - half.stat().st_mtime > HALF_AGE_S:
                half.unlink()


def _folders(weights: Path | None) -> Iterator[Path]:
    if weights is not None:
        yield weights.absolute().parent / FOLDER
    chosen = os.environ.get(CACHE_VARIABLE)
    yield (Path(chosen) if chosen else user_cache_path("lookalike", appauthor=False)) / "engines"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
