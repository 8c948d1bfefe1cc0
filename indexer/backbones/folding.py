"""What a network computes anew for every picture although it never changes, computed once.

- Weight standardisation becomes a plain convolution (Qiao et al., "Micro-Batch Training with Batch-Channel
  Normalization and Weight Standardization", 2019; scaled: Brock et al., "Characterizing signal propagation to close
  the performance gap in unnormalized ResNets", 2021).
- The scalars of normaliser-free residual blocks (beta, alpha, skip gain, attention gain) go into the weights beside
  them.
- A BatchNorm behind a convolution goes into that convolution.

All in float64. The folded network answers as the first one did, up to the rounding of float32; what cannot be folded
(GroupNorm, LayerNorm, a network that torch.fx cannot trace) is left as it is.
"""

import logging
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from indexer.backbones.timm_library import timm

log = logging.getLogger(__name__)

_layers: Final = timm.layers
_SCALED: Final = (_layers.ScaledStdConv2d, _layers.ScaledStdConv2dSame)
_STANDARDISED: Final = (*_SCALED, _layers.StdConv2d, _layers.StdConv2dSame)
# Attention whose output is x * gate(...): a factor on the output is a factor on the gate, one number per channel.
_GATED: Final = (_layers.EcaModule, _layers.SEModule)


def fold(network: nn.Module) -> nn.Module:
    """Return the network with all that is constant folded; it is changed in place and must not be used otherwise.

    network: in evaluation mode, on the CPU, float32.
    """
    network.double()
    with torch.no_grad():
        _fold_weight_standardisation(network)
        _fold_scalars(network)
        _fold_batch_norms(network)
    return network.float().eval().requires_grad_(requires_grad=False)


def _fold_weight_standardisation(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, _STANDARDISED):
            setattr(module, name, _plain_convolution(child))
        else:
            _fold_weight_standardisation(child)


def _plain_convolution(standardised: Any) -> nn.Conv2d:
    """Return the convolution that a weight-standardised one amounts to."""
    rows: Tensor = standardised.weight.flatten(1)
    variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
    rows = (rows - mean) / torch.sqrt(variance + standardised.eps)
    if isinstance(standardised, _SCALED):
        rows = rows * (standardised.gain.flatten(1) * standardised.scale)
    kind = _layers.Conv2dSame if getattr(standardised, "same_pad", False) else nn.Conv2d
    plain: nn.Conv2d = kind(
        standardised.in_channels,
        standardised.out_channels,
        standardised.kernel_size,
        stride=standardised.stride,
        padding=standardised.padding,
        dilation=standardised.dilation,
        groups=standardised.groups,
        bias=standardised.bias is not None,
        device="meta",
        dtype=torch.float64,
    )
    plain.weight = nn.Parameter(rows.view_as(standardised.weight))
    plain.bias = None if standardised.bias is None else nn.Parameter(standardised.bias.clone())
    return plain


class _ScaledGate(nn.Module):
    def __init__(self, gate: nn.Module, factor: float) -> None:
        super().__init__()
        self.gate, self.factor = gate, factor

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x) * self.factor  # type: ignore[no-any-return]


class _FoldedBlock(nn.Module):
    """A timm NormFreeBlock whose scalars are folded: act -> (shortcut) -> residual branch -> sum."""

    def __init__(self, act: nn.Module, shortcut: nn.Module | None, residual: nn.Sequential) -> None:
        super().__init__()
        self.act, self.shortcut, self.residual = act, shortcut, residual

    def forward(self, x: Tensor) -> Tensor:
        out = self.act(x)
        shortcut = x if self.shortcut is None else self.shortcut(out)
        return self.residual(out) + shortcut  # type: ignore[no-any-return]


def _fold_scalars(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, timm.models.nfnet.NormFreeBlock) and _gates_are_known(child):
            setattr(module, name, _folded_block(child))
        else:
            _fold_scalars(child)


def _gates_are_known(block: Any) -> bool:
    return all(attention is None or isinstance(attention, _GATED) for attention in (block.attn, block.attn_last))


def _folded_block(block: Any) -> _FoldedBlock:
    """See NormFreeBlock.forward of timm: out = residual(beta * act(x)) * skip gain * alpha + shortcut."""
    block.conv1.weight.mul_(block.beta)
    if block.downsample is not None:  # average pooling, then a convolution: both linear
        block.downsample.conv.weight.mul_(block.beta)
    if block.attn is not None:
        block.attn.gate = _ScaledGate(block.attn.gate, block.attn_gain)
    factor = block.alpha * (1.0 if block.skipinit_gain is None else block.skipinit_gain.item())
    if block.attn_last is not None:
        block.attn_last.gate = _ScaledGate(block.attn_last.gate, factor * block.attn_gain)
    else:
        block.conv3.weight.mul_(factor)
        if block.conv3.bias is not None:
            block.conv3.bias.mul_(factor)
    steps = [block.conv1, block.act2, block.conv2, block.act2b, block.conv2b, block.attn]
    steps += [block.act3, block.conv3, block.attn_last]
    return _FoldedBlock(block.act1, block.downsample, nn.Sequential(*(step for step in steps if step is not None)))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        opaque = (*_layers.get_notrace_modules(), _layers.BatchNormAct2d)
        return isinstance(module, opaque) or super().is_leaf_module(module, name)


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold every BatchNorm that is the only reader of a convolution; the graph is only read, never run."""
    try:
        graph = _Tracer(autowrap_functions=tuple(_layers.get_notrace_functions())).trace(network)
    except Exception as error:  # noqa: BLE001 -- control flow on tensors, in too many ways to list
        log.debug("BatchNorms stay: torch.fx cannot trace %s (%s)", type(network).__name__, error)
        return
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        found = _convolution_and_norm(node, network)
        if found is None or calls.count(node.target) > 1 or calls.count(node.args[0].target) > 1:
            continue
        convolution, norm = found
        network.set_submodule(node.args[0].target, fuse_conv_bn_eval(convolution, norm))
        network.set_submodule(node.target, _rest_of(norm))


def _convolution_and_norm(node: fx.Node, network: nn.Module) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    source = node.args[0] if node.op == "call_module" and node.args else None
    if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
        return None
    norm, convolution = network.get_submodule(str(node.target)), network.get_submodule(str(source.target))
    if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        return None
    if type(convolution) not in (nn.Conv2d, _layers.Conv2dSame):  # some other layer that computes its weight
        return None
    return (convolution, norm) if norm.track_running_stats else None


def _rest_of(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what a norm does beyond normalising: timm's BatchNormAct2d ends with an activation."""
    return nn.Sequential(norm.drop, norm.act) if isinstance(norm, _layers.BatchNormAct2d) else nn.Identity()
