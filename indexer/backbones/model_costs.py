"""What one picture costs a network: multiplications and activations, counted without running it on real numbers.

Counts as the tables of timm's results do (fvcore's FlopCountAnalysis and ActivationCountAnalysis, on which timm's
benchmark.py stands), so that a number here can be held against the one on a model card. That includes their habits: a
weight that is standardised anew for every picture is paid for, activation functions and pooling are free, and attention
is counted whole, with both of its matrix products, however torch fuses it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

BILLION: Final = 1e9
MILLION: Final = 1e6
_AFFINE_NORM, _PLAIN_NORM = 5, 4  # operations per input element, as fvcore counts a normalisation
_AFFINE_FIXED_NORM, _PLAIN_FIXED_NORM = 2, 1  # BatchNorm in evaluation mode: a scale and a shift
_BATCH_NORM_TRAINS: Final = 5  # position of `training` among the arguments of native_batch_norm


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one picture. macs: multiply-accumulates; activations: elements that convolutions and products put out."""

    macs: int
    activations: int

    @property
    def gmacs(self) -> float:
        """Billions of multiply-accumulates, to the two digits of model cards."""
        return round(self.macs / BILLION, 2)

    @property
    def mega_activations(self) -> float:
        """Millions of activations, to the two digits of model cards."""
        return round(self.activations / MILLION, 2)


def costs_of(network: Any, height: int, width: int) -> Costs:
    """Return what a picture of this size costs. network: in evaluation mode; on the meta device this takes no memory.

    Raises:
        RuntimeError, AssertionError, ValueError, TypeError: pictures of this size do not go through it.
    """
    device = next(network.parameters()).device
    # Inference mode hides composite operations (conv2d, linear) from the counter; no_grad takes them apart.
    with torch.no_grad(), _Counter() as counter:
        network(torch.zeros((1, 3, height, width), device=device))
    return Costs(counter.macs, counter.activations)


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation that reaches a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.macs = 0
        self.activations = 0

    def __torch_dispatch__(  # noqa: PLW3201 -- torch's name
        self, operation: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        result = operation(*args, **given)
        packet = operation.overloadpacket
        if packet in flop_registry:
            self.macs += flop_registry[packet](*args, **given, out_val=result) // 2  # torch counts two per MAC
            self.activations += result.numel() if isinstance(result, torch.Tensor) else result[0].numel()
        elif packet in _NORMS:
            self.macs += math.prod(args[0].shape) * _NORMS[packet](args)
        return result


def _batch_norm(args: tuple[Any, ...]) -> int:
    affine = args[1] is not None
    if args[_BATCH_NORM_TRAINS]:
        return _norm(affine=affine)
    return _AFFINE_FIXED_NORM if affine else _PLAIN_FIXED_NORM


def _norm(*, affine: bool) -> int:
    return _AFFINE_NORM if affine else _PLAIN_NORM


_NORMS: Final[dict[Any, Callable[[tuple[Any, ...]], int]]] = {
    torch.ops.aten.native_batch_norm: _batch_norm,
    torch.ops.aten.native_group_norm: lambda args: _norm(affine=args[1] is not None),
    torch.ops.aten.native_layer_norm: lambda args: _norm(affine=args[2] is not None),
}
