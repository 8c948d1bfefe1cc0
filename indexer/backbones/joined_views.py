"""The built-in backbone around its network: a frame seen as a whole, without colour, and in five overlapping parts.

A crop shows a part of a picture larger than the picture does. What the network says of the parts brings the two
together (as in R-MAC: Tolias, Sicre and Jégou, "Particular object retrieval with integral max-pooling of CNN
activations", 2016), and the grey look keeps pictures that lost their colour near. The parts lie as the corners and the
middle do, so a turned or mirrored frame has the same ones. All are seen at the size the network was trained for: the
whole is reduced to it, the parts are cut out. One linear map joins the three answers.
"""

import json
from typing import Final

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from indexer.backbones.dihedral import make_plain
from indexer.backbones.dihedral_network import DihedralNetwork, Shape
from indexer.backbones.handcrafted import area_matrix
from search.errors import CorruptFile

SIDE: Final = 64  # pixels on a side of what the network sees
FRAME: Final = 104  # of the frame: a part covers 62 % of its side
LOOKS: Final = 3  # the whole, the grey whole, the mean of the parts
LUMA: Final = (0.299, 0.587, 0.114)
# The one key of a weights file's metadata: safetensors writes several in an order that changes from run to run.
FACTS: Final = "lookalike"


class JoinedViews(nn.Module):
    """Frames of FRAME pixels a side to embeddings."""

    def __init__(self, network: DihedralNetwork, dims: int) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(LOOKS * dims, dims)

    def forward(self, frames: Tensor) -> Tensor:
        """Return (N, dims) float32 of unit length; frames: (N, 3, FRAME, FRAME), normalised."""
        return F.normalize(self.head(self.looks(frames)))

    def looks(self, frames: Tensor) -> Tensor:
        """Return (N, LOOKS * dims): what the network says of the whole, of its grey, and of the parts on average."""
        reduce = area_matrix(FRAME, SIDE).float().to(frames.device)
        whole = reduce @ frames @ reduce.T
        red, green, blue = whole.unbind(1)
        grey = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None].expand_as(whole)
        seen = [self.network(look) for look in (whole, grey, *parts(frames))]
        return torch.cat([seen[0], seen[1], torch.stack(seen[2:]).mean(0)], dim=1)


def parts(frames: Tensor) -> list[Tensor]:
    """Return the four corners and the middle of the frames, (N, 3, SIDE, SIDE) each."""
    far, middle = FRAME - SIDE, (FRAME - SIDE) // 2
    places = [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]
    return [frames[:, :, top : top + SIDE, left : left + SIDE] for top, left in places]


def network_of(blob: bytes) -> JoinedViews:
    """Return the network of a weights file's bytes, ready to embed: float32, on the CPU, its convolutions plain.

    Raises:
        CorruptFile: the bytes are not such a file.
    """
    try:
        shape = Shape.from_dict(json.loads(metadata_of(blob)[FACTS])["shape"])
        joined = JoinedViews(DihedralNetwork(shape), shape.dims)
        tensors = {name: tensor.float() for name, tensor in safetensors.torch.load(blob).items()}
        missing, unknown = joined.load_state_dict(tensors, strict=False)
    except (KeyError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CorruptFile(f"these are no weights of the built-in backbone ({error})") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise CorruptFile(f"weights of the built-in backbone: {missing} are missing, {unknown} are unknown")
    make_plain(joined)
    return joined.eval().requires_grad_(requires_grad=False)


def metadata_of(blob: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file: its header starts with its own length in 8 bytes."""
    length = int.from_bytes(blob[:8], "little")
    metadata: dict[str, str] = json.loads(blob[8 : 8 + length]).get("__metadata__", {})
    return metadata
