"""The torch engine behind every real backbone."""

import hashlib
import json

import torch

from indexer.backbone import Pixels
from indexer.preparation import Preparation
from search.errors import UsageError
from search.records import Embeddings, SpaceSpec


class TorchBackbone:
    """A torch module behind the Backbone protocol, on one device. Not thread-safe: one caller at a time."""

    def __init__(
        self, network: torch.nn.Module, space: SpaceSpec, preparation: Preparation, device: torch.device
    ) -> None:
        self.space = space
        self.preparation = preparation
        self.device = device
        # torch's stubs do not know Module.to with a memory format.
        self._network = network.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(preparation.mean, device=device).view(1, 3, 1, 1) * 255
        self._scale = 1 / (torch.tensor(preparation.std, device=device).view(1, 3, 1, 1) * 255)

    def embed(self, pixels: Pixels) -> Embeddings:
        """Return (N, D) float32 raw pooled embeddings of (N, H, W, 3) uint8 prepared pixels."""
        with torch.inference_mode():
            # NHWC pixels seen as NCHW are channels_last already: no copy on the way to the device.
            batch = torch.from_numpy(pixels).to(self.device, non_blocking=True).permute(0, 3, 1, 2)
            pooled = self._network((batch.float() - self._mean) * self._scale)
            rows: Embeddings = pooled.float().cpu().numpy()
            return rows


def choose_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; auto takes a GPU when there is one.

    Raises:
        UsageError: there is no such device.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {wanted!r} cannot be used: {reason}; try --device cpu") from error
    return device


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the sha256 over a network's tensors by name: equal for equal weights, however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # a training counter, not a weight
            continue
        array = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
