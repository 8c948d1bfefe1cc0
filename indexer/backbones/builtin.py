"""The backbone that ships with Lookalike: no download, trained on procedural images only.

Which network it is, the weights say: `load_builtin` finds both by the sha256 that a collection's space names. Files
with FACTS are those of `training/`, networks of `joined_views.py`. The first weights are older: there an
embedding joins the classical statistics of `handcrafted.py` with a small convolutional network that sees the picture
twice, in colour and in grey; one linear map (a linear discriminant analysis) brings both to 256 dims.
Measurements and limits are in `docs/builtin.md` and in the model card `indexer/weights/builtin.md`. Must not import
PIL or timm.
"""

import hashlib
import importlib.resources

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexer.backbones.builtin_facts import DIMS, MEAN, STD, WEIGHTS_FILES, WEIGHTS_SHA256
from indexer.backbones.handcrafted import STATISTICS, HandcraftedStatistics
from indexer.backbones.joined_views import FACTS, metadata_of, network_of
from search.errors import CorruptFile

__all__ = ["DIMS", "MEAN", "STD", "WEIGHTS_SHA256", "BuiltinNetwork", "first_network", "load_builtin"]

NETWORK_DIMS = 192
BATCH_NORM_EPS = 1e-5
LUMA = (0.299, 0.587, 0.114)


class BuiltinNetwork(nn.Module):
    """96x96 pictures to embeddings. Everything is computed in float32; cast neither the module nor its input."""

    mean: Tensor  # (STATISTICS + 2 * NETWORK_DIMS,)
    projection: Tensor  # (STATISTICS + 2 * NETWORK_DIMS, DIMS)

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        joined = STATISTICS + 2 * NETWORK_DIMS
        self.statistics = HandcraftedStatistics()
        self.network = ConvolutionalNetwork(widths)
        self.register_buffer("mean", torch.zeros(joined))
        self.register_buffer("projection", torch.zeros(joined, DIMS))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, DIMS) float32 embeddings of unit length.

        pictures: (N, 3, 96, 96) float32 RGB, normalised by MEAN and STD; the whole frame, reduced by area.
        """
        levels = ((pictures.contiguous() * STD + MEAN) * 255).round().clamp(0, 255)
        red, green, blue = pictures.unbind(1)
        grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        seen = self.network(torch.cat([pictures, grey[:, None].expand_as(pictures)]))
        in_colour, in_grey = seen.chunk(2)
        # The weight 2 of the network's halves is the one the projection was fitted with.
        joined = torch.cat([self.statistics(levels), 2 * in_colour, 2 * in_grey], dim=1)
        return F.normalize((joined - self.mean) @ self.projection)


class ConvolutionalNetwork(nn.Module):
    """A bottleneck residual network of 0.9 million parameters with generalised-mean pooling.

    Batch normalisation is already folded into the convolutions. Parameter names are those of the weights file.
    """

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, widths[0], 5, stride=2)]
        for entering, width, blocks in zip(widths, widths[1:], (1, 2, 2), strict=False):
            layers.append(_convolution(entering, width, 3, stride=2))
            layers += [Bottleneck(width) for _ in range(blocks)]
        pooled = 512
        layers.append(_convolution(widths[-1], pooled, 1))
        self.body = nn.Sequential(*layers)
        self.p = nn.Parameter(torch.tensor(3.0))  # the exponent of the generalised mean
        self.head = nn.Linear(pooled, NETWORK_DIMS)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, NETWORK_DIMS) float32 of unit length; pictures: (N, 3, 96, 96), normalised."""
        maps = self.body(pictures.contiguous(memory_format=torch.channels_last))
        # The floor keeps the power's root away from zero.
        pooled = maps.clamp(min=1e-4).pow(self.p).mean((2, 3)).pow(1 / self.p)
        return F.normalize(self.head(pooled))


class Bottleneck(nn.Module):
    """A residual block: 1x1 to half the width, 3x3, 1x1 back, added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        last = nn.Sequential(nn.Conv2d(half, width, 1))
        self.f = nn.Sequential(_convolution(width, half, 1), _convolution(half, half, 3), last)

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the shape of these, (N, width, H, W)."""
        return F.relu(maps + self.f(maps))


def load_builtin(weights_sha256: str = WEIGHTS_SHA256) -> nn.Module:
    """Return the network with packaged weights, in float32 and evaluation mode, on the CPU.

    Normalised pictures in, (N, DIMS) float32 embeddings of unit length out.

    Raises:
        KeyError: this release ships no such weights (WEIGHTS_FILES).
        CorruptFile: the packaged file is not the one this release was tested with.
    """
    file = importlib.resources.files("indexer").joinpath("weights", WEIGHTS_FILES[weights_sha256])
    blob = file.read_bytes()
    found = hashlib.sha256(blob).hexdigest()
    if found != weights_sha256:
        raise CorruptFile(
            f"the weights of the built-in backbone have sha256 {found}, not {weights_sha256}: install Lookalike again"
        )
    return network_of(blob) if FACTS in metadata_of(blob) else first_network(blob)


def first_network(blob: bytes) -> BuiltinNetwork:
    """Return the network of the first weights; see load_builtin."""
    tensors = {name: tensor.double() for name, tensor in safetensors.torch.load(blob).items()}
    first, second, third, fourth = (int(width) for width in metadata_of(blob)["widths"].split(","))
    model = BuiltinNetwork((first, second, third, fourth))
    model.mean.copy_(tensors.pop("lda.mu"))
    model.projection.copy_(tensors.pop("lda.W"))
    model.network.load_state_dict(_fold_batch_norm(tensors), assign=True)
    return model.eval().requires_grad_(False)


def _convolution(entering: int, leaving: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(entering, leaving, kernel, stride, kernel // 2), nn.ReLU(inplace=True))


def _fold_batch_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return float32 tensors with every batch normalisation `X.1` multiplied into its convolution `X.0`.

    tensors: float64. The kernels come back channels last, the layout the convolutions run fastest in on a CPU.
    """
    folded = {name: tensor.float() for name, tensor in tensors.items() if not name.startswith("body.")}
    for convolution in [name for name in tensors if name.startswith("body.") and name.endswith(".0.weight")]:
        prefix = convolution.removesuffix("0.weight")
        gain, bias, mean, variance = (
            tensors[f"{prefix}1.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / torch.sqrt(variance + BATCH_NORM_EPS)
        kernels = tensors[convolution] * gain[:, None, None, None]
        folded[f"{prefix}0.weight"] = kernels.float().contiguous(memory_format=torch.channels_last)
        folded[f"{prefix}0.bias"] = (bias - mean * gain).float()
    return folded
