"""One way to a backbone by name: the built-in one, or any model of timm."""

from pathlib import Path
from typing import Literal

import torch

from indexer.builtin import DIMS, MEAN, STD, WEIGHTS_SHA256, load_builtin
from indexer.preparation import Preparation
from indexer.torch_backbone import TorchBackbone, choose_device, weights_sha256
from search.errors import SpaceMismatch, UsageError, WeightsUnavailable
from search.records import SpaceSpec

BUILTIN = "builtin"
REFERENCE_MODELS = (
    "nf_resnet50.ra2_in1k",
    "nfnet_l0.ra2_in1k",
    "eca_nfnet_l0.ra2_in1k",
    "resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k_384",
    "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k",
    "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k",
    "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k",
    "resnext101_32x16d.fb_ssl_yfcc100m_ft_in1k",
)
# The whole frame by area, which Pillow's HAMMING comes nearest to: what the built-in network was trained on.
BUILTIN_PREPARATION = Preparation(
    mode="full",
    height=96,
    width=96,
    interpolation="hamming",
    crop_pct=1.0,
    mean=(MEAN, MEAN, MEAN),
    std=(STD, STD, STD),
)


def load_backbone(
    name: str,
    *,
    weights: Path | None = None,
    mode: Literal["full", "card"] = "full",
    size: int | Literal["test"] | None = None,
    device: str = "auto",
) -> TorchBackbone:
    """Return a backbone ready to embed.

    name: `builtin`, or any timm model. weights: a safetensors file instead of the hub's weights. size: pixels a side,
    "test" for timm's test size, None for the size the weights were trained at.

    Raises:
        BackboneNotFound: there is no such backbone.
        WeightsUnavailable: no weights are at hand; the message names both ways to get them.
        WeightsMismatch: the weights file belongs to another backbone.
        UsageError: the device, the weights file or the mode cannot be used.
    """
    chosen = choose_device(device)
    if name != BUILTIN:
        return _load_timm(name, weights, mode, size, chosen)
    if weights is not None or size is not None:
        option = "--weights" if weights is not None else "--image-size"
        raise UsageError(f"{option} has no use with the backbone `builtin`: it ships with its weights, for one size")
    # The hash of the file: some of its tensors are computed at load and may differ in the last bit between machines.
    space = SpaceSpec(
        BUILTIN, WEIGHTS_SHA256, BUILTIN_PREPARATION.as_json(), DIMS, licence="apache-2.0", weights="builtin"
    )
    return TorchBackbone(load_builtin(), space, BUILTIN_PREPARATION, chosen)


def _load_timm(
    name: str,
    weights: Path | None,
    mode: Literal["full", "card"],
    size: int | Literal["test"] | None,
    device: torch.device,
) -> TorchBackbone:
    from indexer.timm_models import load_network, model_card

    card = model_card(name, mode, size)
    loaded = load_network(card.name, weights, use="embed", preparation=card.preparation)
    space = SpaceSpec(
        backbone=loaded.name,
        weights_sha256=weights_sha256(loaded.network),
        preparation=card.preparation.as_json(),
        dims=card.dims,
        licence=loaded.licence,
        weights=loaded.weights,
    )
    return TorchBackbone(loaded.network, space, card.preparation, device)


def load_for_space(space: SpaceSpec, *, weights: Path | None = None, device: str = "auto") -> TorchBackbone:
    """Return the backbone whose embeddings belong to this space.

    weights: where the weights are now; None looks where they were when the collection was made.

    Raises:
        SpaceMismatch: the weights found are not those of the collection.
        WeightsUnavailable: the weights are not where they were.
    """
    preparation = Preparation.from_json(space.preparation)
    remembered = None if space.weights in ("builtin", "hub") else Path(space.weights)
    if weights is None and remembered is not None and not remembered.exists():
        raise WeightsUnavailable(
            f"the weights of {space.backbone} are not at {remembered} any more; pass --weights FILE"
        )
    file = weights or remembered
    loaded = load_backbone(space.backbone, weights=file, mode=preparation.mode, device=device)
    if loaded.space.fingerprint != space.fingerprint:
        raise SpaceMismatch(
            f"the weights of {space.backbone} found ({loaded.space.weights_sha256[:8]}) are not those the collection "
            f"was made with ({space.weights_sha256[:8]}); pass the right ones with --weights FILE"
        )
    return loaded
