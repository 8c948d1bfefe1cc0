"""Naming what a picture shows: a backbone's own classifier, on its pixels or on embeddings that exist already."""

from collections.abc import Sequence
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray

from indexer.backbones.class_names import class_names
from indexer.backbones.engine import Engine
from indexer.backbones.engines import prepare_engine
from indexer.backbones.labelling import Label
from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import LoadedNetwork
from indexer.backbones.weights import weights_sha256
from indexer.decoding.preparation import Preparation
from indexer.devices import CPU
from search.errors import UsageError
from search.records import Embeddings

TOP: Final = 5
Logits = NDArray[np.float32]
# Layers that multiply by a matrix and add a bias, and nothing else: a subclass may normalise on the way.
_LINEAR: Final = (torch.nn.Linear, timm.layers.Linear)


def classifier_engine(loaded: LoadedNetwork, preparation: Preparation, device: str = CPU) -> Engine:
    """Return what answers prepared pixels (N, H, W, 3) uint8 with logits (N, C) float32.

    loaded: with use="classify"; its network must not be used otherwise.

    Raises:
        WeightsMismatch: the network answers with NaN or infinity.
        OutOfMemory: the device does not hold it.
    """
    weights = None if loaded.weights == "hub" else loaded.file
    sha256 = weights_sha256(loaded.network)
    return prepare_engine(
        loaded.network, preparation, device, backbone=loaded.name, weights_sha256=sha256, weights=weights
    )


def top_labels(logits: Logits, names: Sequence[str], k: int = TOP) -> list[tuple[Label, ...]]:
    """Return the k most probable labels of each row, highest first, ties by class number.

    logits: (N, C); the probabilities are their softmax over all C classes, in float64. A row that holds NaN or
    infinity has no labels. names: of the C classes.
    """
    found = []
    for row, probabilities in zip(logits, _softmax(logits), strict=True):
        # By logit: where the softmax rounds to 0 or 1, the order is still known.
        best = np.argsort(-row, kind="stable")[: k if np.isfinite(row).all() else 0]
        found.append(tuple(Label(names[number], float(probabilities[number])) for number in best))
    return found


class LinearLabeller:
    """Labels from raw pooled embeddings: the last, linear layer of a classifier, without the network before it."""

    def __init__(
        self, weight: NDArray[np.float32], bias: NDArray[np.float32], names: Sequence[str], k: int = TOP
    ) -> None:
        """weight: (C, D). bias: (C,). names: of the C classes. k: labels per row.

        Raises:
            UsageError: the three do not fit together.
        """
        if weight.ndim != 2 or not len(weight) == len(bias) == len(names):  # noqa: PLR2004 -- (C, D)
            raise UsageError(
                f"a classifier of {weight.shape} needs as many biases ({len(bias)}) and names ({len(names)})"
            )
        self._weight = weight.astype(np.float32)
        self._bias = bias.astype(np.float32)
        self._names = tuple(names)
        self._k = k

    def labels(self, raw: Embeddings) -> list[tuple[Label, ...]]:
        """Return the most probable labels of each row, highest first; none for a row with NaN or infinity.

        raw: (N, D) float32 pooled embeddings as the backbone gives them, not scaled to length 1.

        Raises:
            UsageError: the embeddings have other dims than the classifier.
        """
        if raw.shape[1] != self._weight.shape[1]:
            raise UsageError(f"embeddings of {raw.shape[1]} dims do not fit a classifier of {self._weight.shape[1]}")
        with np.errstate(invalid="ignore", over="ignore"):
            return top_labels(raw @ self._weight.T + self._bias, self._names, self._k)


def linear_labeller(loaded: LoadedNetwork, names: Sequence[str] = ()) -> LinearLabeller:
    """Return the labeller of a network's own classifier.

    loaded: with its classifier, whatever its use. names: of the classes; () takes the model's own, or ImageNet's.

    Raises:
        UsageError: the classifier is not linear on the pooled embedding, there is none, or nobody named its classes.
    """
    named = tuple(names) or class_names(loaded)
    layer = _linear_layer(loaded.classifier)
    # timm states the dims of what reaches the classifier.
    if layer is None or getattr(loaded.network, "head_hidden_size", layer.weight.shape[1]) != layer.weight.shape[1]:
        raise UsageError(
            f"the classifier of {loaded.name} is not one linear layer on its embedding, so stored embeddings cannot be "
            "labelled with it: choose another backbone, or use `lookalike classify`"
        )
    weight = layer.weight.detach().float().cpu().flatten(1).numpy()
    bias = layer.bias.detach().float().cpu().numpy() if layer.bias is not None else np.zeros(len(weight), np.float32)
    return LinearLabeller(weight, bias, named)


def _linear_layer(layer: torch.nn.Module | None) -> torch.nn.Linear | torch.nn.Conv2d | None:
    """Return the layer when it is linear on a pooled embedding. A convolution is one on a 1 x 1 map, as BiT has it."""
    if type(layer) in _LINEAR:
        return cast("torch.nn.Linear", layer)
    if type(layer) is torch.nn.Conv2d and layer.kernel_size == (1, 1) and layer.groups == 1:
        return layer
    return None


def _softmax(logits: Logits) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf))
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares
