"""A network on an NVIDIA GPU: folded, half precision, channels last, compiled, recorded as one CUDA graph.

The batch size is fixed, so that the graph and the answers are: a partial batch is padded. Two slots of pinned memory
take turns, so that the next batch travels while the GPU works on this one. A picture that half precision cannot hold
(infinity on the way) is done again in float32.
"""

import copy
import importlib.util
import logging
import threading
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from indexer.backbones.backbone import Pixels
from indexer.backbones.engine import probe
from indexer.backbones.fixed_batches import alternate, fitting_batch, halved_until_it_fits
from indexer.backbones.torch_engine import FromPixels, in_batches
from indexer.decoding.preparation import Preparation
from search.records import Embeddings

log = logging.getLogger(__name__)

LARGEST_BATCH: Final = 256
PROBED_BATCH: Final = 8
WARM_UPS: Final = 3  # compiles, and lets cuDNN choose its kernels, before the graph is recorded
BATCHES_A_CALL: Final = 4  # so that copying one overlaps with computing another
# How far 1 - cosine may be from float32's answer, by number type in the order they are tried.
NUMBER_TYPES: Final = ((torch.float16, 1e-3), (torch.bfloat16, 1e-2))

_recording: Final = threading.Lock()
Model = Callable[[torch.Tensor], torch.Tensor]


class CudaEngine:
    """A folded network on one GPU."""

    def __init__(
        self, network: torch.nn.Module, preparation: Preparation, device: torch.device, expected: Embeddings
    ) -> None:
        """expected: (1, D), timm's answer to the probe picture.

        Raises:
            OutOfMemory: the GPU does not hold the network with one picture.
        """
        torch.backends.cudnn.benchmark = True  # shapes are fixed, so trying every algorithm once pays
        self._device = device
        self._shape = (preparation.height, preparation.width, 3)
        self._network = FromPixels(network, preparation).eval()  # float32, on the CPU until it is needed
        picture = torch.from_numpy(probe(preparation.height, preparation.width))
        release = torch.cuda.empty_cache
        self._dtype, model = halved_until_it_fits(lambda _: self._in_half_precision(picture, expected), 1, release)
        per_picture = halved_until_it_fits(lambda size: self._bytes_per_picture(model, size), PROBED_BATCH, release)
        size = fitting_batch(per_picture, torch.cuda.mem_get_info(device)[0], LARGEST_BATCH)
        self._slots = halved_until_it_fits(lambda size: self._record(model, size), size, release)

    @property
    def name(self) -> str:
        """Library, version, number type, device."""
        number_type = str(self._dtype).removeprefix("torch.")
        return f"torch {torch.__version__}, {number_type}, {torch.cuda.get_device_name(self._device)}"

    @property
    def batch_size(self) -> int:
        """Pictures at once: several recorded batches, so that copying and computing overlap."""
        return BATCHES_A_CALL * self._slots[0].size

    def run(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 of (N, H, W, 3) uint8 prepared pixels.

        Raises:
            OutOfMemory: not even one picture fits.
        """
        rows = alternate(self._slots, pixels, self._slots[0].size)
        lost = ~np.isfinite(rows).all(axis=1)
        if lost.any():
            rows[lost] = self._exactly(pixels[lost])
        return rows

    def _exactly(self, pixels: Pixels) -> Embeddings:
        def answer(part: Pixels) -> Embeddings:
            exact = self._network.to(self._device)
            with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
                rows: Embeddings = exact(torch.from_numpy(np.ascontiguousarray(part)).to(self._device)).cpu().numpy()
                return rows

        try:
            return in_batches(answer, pixels, len(pixels))[0]
        finally:
            self._network.to("cpu")

    def _in_half_precision(self, picture: torch.Tensor, expected: Embeddings) -> tuple[torch.dtype, torch.nn.Module]:
        """Return the first number type that is close enough to float32, and the network in it."""
        for dtype, tolerance in NUMBER_TYPES:
            model = self._on_device(dtype)
            with torch.inference_mode():
                answer = model(picture.to(self._device)).double().cpu().numpy()
            if one_minus_cosine(answer, expected) <= tolerance:  # not when it is NaN
                return dtype, model
            log.info("%s is not close enough to float32 for this backbone", dtype)
        return torch.float32, self._on_device(torch.float32)

    def _on_device(self, dtype: torch.dtype) -> torch.nn.Module:
        model = copy.deepcopy(self._network).in_dtype(dtype).to(self._device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _bytes_per_picture(self, model: Model, size: int) -> float:
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        with torch.inference_mode():
            model(torch.zeros((size, *self._shape), dtype=torch.uint8, device=self._device))
        return (torch.cuda.max_memory_allocated(self._device) - before) / size

    def _record(self, model: torch.nn.Module, size: int) -> "list[_Slot]":
        """Compile, record the graph for batches of this size, and return its two slots."""
        pixels = torch.zeros((size, *self._shape), dtype=torch.uint8, device=self._device)
        stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        graph = torch.cuda.CUDAGraph()
        with _recording, torch.inference_mode(), torch.cuda.device(self._device):
            run = _compiled(model, pixels)
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    run(pixels)
            torch.cuda.current_stream().wait_stream(stream)
            # thread_local: other threads may use the GPU meanwhile.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                rows = run(pixels).float()
            # The graph holds the kernels. dynamo counts compilations by code, which all engines share, and gives up
            # silently after eight.
            torch._dynamo.reset()
        # Outside inference mode: what is made inside can only be changed inside.
        return [_Slot(graph, pixels, rows) for _ in range(2)]


class _Slot:
    """Pinned memory for one batch on its way to the GPU and back. size: pictures in a batch."""

    def __init__(self, graph: torch.cuda.CUDAGraph, pixels: torch.Tensor, rows: torch.Tensor) -> None:
        self.size = len(pixels)
        self._graph, self._pixels, self._rows = graph, pixels, rows
        self._pinned = torch.zeros(pixels.shape, dtype=torch.uint8, pin_memory=True)
        self._arrived = torch.empty_like(pixels)
        self._answer = torch.empty(rows.shape, dtype=torch.float32, pin_memory=True)
        self._copying = torch.cuda.Stream(pixels.device)  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._count = 0

    def begin(self, part: Pixels) -> None:
        """Start on at most `size` pictures and return at once; whatever else the batch holds is not looked at."""
        self._count = len(part)
        self._pinned[: self._count].copy_(torch.from_numpy(np.ascontiguousarray(part)))
        current = torch.cuda.current_stream(self._pixels.device)
        with torch.cuda.stream(self._copying):
            self._arrived.copy_(self._pinned, non_blocking=True)
        current.wait_stream(self._copying)
        self._pixels.copy_(self._arrived)
        self._graph.replay()
        self._answer.copy_(self._rows, non_blocking=True)
        self._done.record(current)

    def collect(self) -> Embeddings:
        """Wait for the answer and return it: (N, D) float32."""
        self._done.synchronize()
        rows: Embeddings = self._answer[: self._count].numpy().copy()
        return rows


def _compiled(model: torch.nn.Module, pixels: torch.Tensor) -> Model:
    """Return the model compiled for batches of this shape, or as it is where it cannot be compiled."""
    if importlib.util.find_spec("triton") is None:
        log.warning("triton is not installed, so the backbone is not compiled: pip install 'lookalike[gpu]'")
        return model
    compiled: Model = torch.compile(model, dynamic=False)
    try:
        compiled(pixels)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # noqa: BLE001 -- a compiler fails in too many ways to list; the model itself still works
        log.warning("the backbone is not compiled: %s", " ".join(str(error).split())[:200])
        return model
    return compiled


def one_minus_cosine(answer: Embeddings, expected: Embeddings) -> float:
    """Return 1 - cosine of the worst row, in float64."""
    one, two = np.asarray(answer, np.float64), np.asarray(expected, np.float64)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    return float((1 - (one * two).sum(axis=1) / norms).max())
