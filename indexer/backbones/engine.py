"""What runs a network: an engine takes prepared pixels and answers with one row per picture.

Which engine it is never shows in an embedding beyond rounding: engines are provenance, not part of a space. Knows no
torch, so that a query answered by ONNX Runtime does not wait for torch to load.
"""

import base64
from typing import Final, Protocol

import numpy as np

from indexer.backbones.backbone import Pixels
from search.records import Embeddings

# How far an engine may be from timm's own network, as a share of the largest output. Folding costs 1e-6, layers that
# normalise by the input (BiT) 1e-5; a wrong graph is off by 1e-2 and more.
TOLERANCE: Final = 1e-4
_PROBE_SEED: Final = 20_211_011


class Engine(Protocol):
    """A prepared network on one device."""

    @property
    def name(self) -> str:
        """What it is, for people: library, version, number type, device."""
        ...

    @property
    def batch_size(self) -> int:
        """How many pictures at once it likes best."""
        ...

    def run(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 of (N, H, W, 3) uint8 prepared pixels. Not thread-safe: one caller at a time."""
        ...


class EngineUnsound(Exception):
    """An engine does not answer as timm's network does, or cannot be built; the message says why."""


def probe(height: int, width: int) -> Pixels:
    """Return the (1, H, W, 3) uint8 picture engines are tried on: smooth in places, noisy in others, the same always.

    Its pixels come from integer arithmetic and numpy's PCG64, which are the same on every machine.
    """
    random = np.random.Generator(np.random.PCG64(_PROBE_SEED))
    rows, columns = np.arange(height)[:, None, None], np.arange(width)[None, :, None]
    smooth = (rows * 255 // height + columns * np.array([97, 31, 61]) // 16) % 256
    noise = random.integers(-48, 49, (height, width, 3)) * ((rows // 32 + columns // 32) % 2)
    picture: Pixels = np.clip(smooth + noise, 0, 255).astype(np.uint8)[None]
    return picture


def require_sound(engine: Engine, pixels: Pixels, expected: Embeddings) -> None:
    """Raises:
    EngineUnsound: the engine's answer is not the expected one within TOLERANCE.
    """
    answer = engine.run(pixels)
    if answer.shape != expected.shape:
        raise EngineUnsound(f"{engine.name} answers with shape {answer.shape} where timm has {expected.shape}")
    largest = float(np.abs(expected).max())
    off = float(np.abs(answer - expected).max())
    if not off <= TOLERANCE * largest:  # also when it is NaN
        raise EngineUnsound(f"{engine.name} differs from timm by {off:.2g} on outputs up to {largest:.2g}")


def to_text(rows: Embeddings) -> str:
    """Return float32 rows as text; `from_text` is the way back."""
    return base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode()


def from_text(text: str) -> Embeddings:
    """Return the (1, D) float32 row that `to_text` wrote.

    Raises:
        ValueError: the text is something else.
    """
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)[None]
