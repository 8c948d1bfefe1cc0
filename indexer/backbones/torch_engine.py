"""Torch as an engine: the folded network where ONNX Runtime cannot go, and what every other engine is held against."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import torch

from indexer.backbones.backbone import Pixels
from indexer.backbones.fixed_batches import is_out_of_memory
from indexer.decoding.preparation import Preparation
from indexer.devices import CPU, usable_cores
from search.errors import OutOfMemory
from search.records import Embeddings

Run = Callable[[Pixels], Embeddings]

CPU_BATCH: Final = 16
PART: Final = 16  # pictures a thread takes at once: with more, activations leave the processor's cache


class FromPixels(torch.nn.Module):
    """A network behind the normalisation of its preparation: (N, H, W, 3) uint8 in, (N, D) float32 out."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, network: torch.nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.network = network
        self.dtype = torch.float32  # of the network; pixels are normalised in float32 whatever it is
        # Levels are normalised without dividing by 255 first: one operation less on every pixel.
        self.register_buffer("mean", torch.tensor(preparation.mean).view(1, 3, 1, 1) * 255)
        self.register_buffer("scale", 1 / (torch.tensor(preparation.std).view(1, 3, 1, 1) * 255))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return (N, D) in the number type of the network."""
        # NHWC pixels seen as NCHW are channels_last already: no copy.
        levels = pixels.permute(0, 3, 1, 2).float()
        return self.network(((levels - self.mean) * self.scale).to(self.dtype))  # type: ignore[no-any-return]

    def in_dtype(self, dtype: torch.dtype) -> "FromPixels":
        """Cast the network, not the normalisation: half precision would round the mean by up to half a level."""
        self.network.to(dtype)
        self.dtype = dtype
        return self


class TorchEngine:
    """A network as it is, in float32. batch_size: pictures at once that it likes best.

    On the CPU one picture is shared by all threads; of several, each thread takes its own: small networks are
    faster so, since nobody waits for the slowest at the end of every layer.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        preparation: Preparation,
        *,
        device: str = CPU,
        batch_size: int = CPU_BATCH,
    ) -> None:
        model = FromPixels(network, preparation).eval()
        self._model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device
        self._threads = usable_cores() if device == CPU else 1
        self._workers: ThreadPoolExecutor | None = None
        self.batch_size = batch_size if device != CPU else max(batch_size, 2 * self._threads)

    @property
    def name(self) -> str:
        """Library, version, number type, device."""
        return f"torch {torch.__version__}, float32, {self._device}"

    def run(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 of (N, H, W, 3) uint8 prepared pixels.

        Raises:
            OutOfMemory: not even one picture fits.
        """
        if self._threads == 1 or len(pixels) == 1:
            if self._device == CPU:
                torch.set_num_threads(self._threads)
            return in_batches(self._run, pixels, len(pixels))[0]
        if self._workers is None:
            # torch keeps this number for each thread: these must not divide their pictures further.
            self._workers = ThreadPoolExecutor(self._threads, "torch", torch.set_num_threads, (1,))
        parts = np.array_split(pixels, max(min(self._threads, len(pixels)), math.ceil(len(pixels) / PART)))
        rows = self._workers.map(lambda part: in_batches(self._run, part, len(part))[0], parts)
        return np.concatenate(list(rows))

    def _run(self, pixels: Pixels) -> Embeddings:
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
            rows: Embeddings = self._model(batch).float().cpu().numpy()
            return rows


def in_batches(run: Run, pixels: Pixels, size: int) -> tuple[Embeddings, int]:
    """Return run's rows of all pixels, `size` at a time, and the size that fitted: out of memory, it is halved.

    Raises:
        OutOfMemory: not even one picture fits.
    """
    rows: list[Embeddings] = []
    done = 0
    while done < len(pixels):
        try:
            rows.append(run(pixels[done : done + size]))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if size == 1:
                height, width = pixels.shape[1:3]
                raise OutOfMemory(
                    f"memory ran out on a single picture of {width} x {height} pixels: choose a smaller backbone or "
                    "--image-size, or --device cpu"
                ) from error
            size = max(1, size // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        done += len(rows[-1])
    return np.concatenate(rows), size
