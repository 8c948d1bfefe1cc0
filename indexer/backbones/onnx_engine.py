"""ONNX Runtime on the CPU: twice the speed of the model card's loop, in a tenth of torch's start-up time.

A model file is one ONNX graph from (N, H, W, 3) uint8 to (N, D) float32, with timm's own answer to the probe picture
in its metadata: whoever opens it can tell whether it still answers right, without torch. Must never import torch.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np

from indexer.backbones.backbone import Pixels
from indexer.backbones.engine import EngineUnsound, from_text, probe, require_sound
from indexer.devices import usable_cores
from search.errors import OutOfMemory
from search.records import Embeddings

INPUT: Final = "pixels"
EXPECTED: Final = "lookalike.expected"  # metadata key: timm's answer to the probe picture
CHUNK: Final = 2  # pictures per call and thread: with more, activations leave the processor's cache
BATCH: Final = 16
# It moves zeros in front of a max-pooling into the pooling, where padding counts as minus infinity: wrong wherever
# activations are negative, as in BiT's stem (ONNX Runtime 1.31).
UNSOUND_OPTIMIZERS: Final = ["Pad_Fusion"]


class OnnxEngine:
    """A model file on the CPU.

    One picture is shared by all threads; of several, each thread takes its own, which scales with cores. Waiting
    threads sleep: decoding needs the cores too.
    """

    def __init__(self, file: Path, threads: int | None = None) -> None:
        """Raises:
        EngineUnsound: the file cannot be opened, or does not answer the probe picture as timm did.
        """
        self._file = file
        self._threads = threads or usable_cores()
        self._sessions: dict[int, Any] = {}
        self._workers: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        session = self._session(self._threads)
        try:
            expected = from_text(session.get_modelmeta().custom_metadata_map[EXPECTED])
            _, height, width, _ = session.get_inputs()[0].shape
        except (KeyError, ValueError, IndexError) as error:
            raise EngineUnsound(f"{file} is not one of our model files") from error
        require_sound(self, probe(height, width), expected)

    @property
    def name(self) -> str:
        """Library, version, number type, device."""
        import onnxruntime

        return f"ONNX Runtime {onnxruntime.__version__}, float32, cpu"

    @property
    def batch_size(self) -> int:
        """Pictures at once: enough for every thread to have some."""
        return max(BATCH, 2 * CHUNK * self._threads)

    def run(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 of (N, H, W, 3) uint8 prepared pixels.

        Raises:
            OutOfMemory: they do not fit.
        """
        if len(pixels) == 1 or self._threads == 1:
            return self._run_in_turn(self._session(self._threads), _chunks(pixels))
        session = self._session(1)
        parts = _dealt(_chunks(pixels, max(1, min(CHUNK, len(pixels) // self._threads))), self._threads)
        if self._workers is None:
            self._workers = ThreadPoolExecutor(self._threads, thread_name_prefix="onnx")
        return np.concatenate(list(self._workers.map(lambda part: self._run_in_turn(session, part), parts)))

    def _run_in_turn(self, session: Any, chunks: Sequence[Pixels]) -> Embeddings:
        try:
            rows: Embeddings = np.concatenate([session.run(None, {INPUT: chunk})[0] for chunk in chunks])
        except RuntimeError as error:
            if "alloc" not in str(error):
                raise
            height, width = chunks[0].shape[1:3]
            raise OutOfMemory(
                f"memory ran out on pictures of {width} x {height} pixels: choose a smaller backbone or --image-size"
            ) from error
        return rows

    def _session(self, threads: int) -> Any:
        with self._lock:
            if threads not in self._sessions:
                self._sessions[threads] = _open(self._file, threads)
            return self._sessions[threads]


def _open(file: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=UNSOUND_OPTIMIZERS
        )
    except Exception as error:  # every status code of ONNX Runtime is an exception class of its own
        reason = " ".join(str(error).split())[:200]
        raise EngineUnsound(f"ONNX Runtime cannot open {file}: {reason}") from error


def _chunks(pixels: Pixels, size: int = CHUNK) -> list[Pixels]:
    return [np.ascontiguousarray(pixels[start : start + size]) for start in range(0, len(pixels), size)]


def _dealt(chunks: list[Pixels], hands: int) -> list[list[Pixels]]:
    """Return the chunks in at most `hands` runs of nearly equal length, in order."""
    bounds = [len(chunks) * hand // hands for hand in range(hands + 1)]
    return [chunks[start:end] for start, end in zip(bounds, bounds[1:], strict=False) if end > start]
