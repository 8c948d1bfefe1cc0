"""One way to a backbone by name: the built-in one, any model of timm, or one that was fine-tuned here.

torch and timm are imported only where they are needed: a collection whose model file is at hand is searched without.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from indexer.backbones.builtin_facts import BUILTIN, DIMS, LICENCE, MEAN, STD, WEIGHTS_FILES, WEIGHTS_SHA256
from indexer.backbones.engine_cache import cached_engine, engine_choice, fingerprint
from indexer.backbones.fixed_projection import require_dims
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.backbones.registry import find
from indexer.decoding.preparation import Preparation
from indexer.devices import CPU, choose_device
from search.errors import SpaceMismatch, UsageError, WeightsUnavailable
from search.records import AVERAGE, POOLINGS, Pooling, SpaceSpec

if TYPE_CHECKING:
    from indexer.backbones.engine import Engine
    from indexer.backbones.labelling import Labeller
    from indexer.backbones.timm_models import ImageSize

__all__ = [
    "BUILTIN",
    "BUILTIN_PREPARATION",
    "REFERENCE_MODELS",
    "load_backbone",
    "load_for_space",
    "pooling_in",
    "refuse_for_builtin",
]

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
BUILTIN_BATCH = 64
# The whole frame, at the size the weights were trained for.
BUILTIN_PREPARATION = Preparation(
    mode="full",
    height=104,
    width=104,
    interpolation="bilinear",
    crop_pct=1.0,
    mean=(MEAN, MEAN, MEAN),
    std=(STD, STD, STD),
)


def load_backbone(  # noqa: PLR0913 -- all that makes a space, and where it is computed
    name: str,
    *,
    weights: Path | None = None,
    mode: Literal["full", "card"] = "full",
    size: "ImageSize" = None,
    dct_scaling: bool = False,
    pooling: Pooling = AVERAGE,
    dims: int | None = None,
    device: str = "auto",
) -> PreparedBackbone:
    """Return a backbone ready to embed.

    name: `builtin`, or any timm model. weights: a safetensors file instead of the hub's weights. size: pixels a side,
    "test" for timm's test size, None for the size the weights were trained at. dct_scaling: see Preparation.
    pooling: of the network's last map. dims: fewer than the network's, by a fixed projection; None for all.

    Raises:
        BackboneNotFound: there is no such backbone.
        WeightsUnavailable: no weights are at hand; the message names both ways to get them.
        WeightsMismatch: the weights file belongs to another backbone, or holds NaN.
        OutOfMemory: the device does not hold the backbone.
        UsageError: the device, the weights file, the mode, the size, the pooling or the dims cannot be used.
    """
    chosen = choose_device(device)
    if name == BUILTIN:
        refuse_for_builtin(weights=weights, mode=mode, size=size, pooling=pooling)
        require_dims(DIMS if dims is None else dims, DIMS, name)
        return _with(dims, _builtin(replace(BUILTIN_PREPARATION, dct_scaling=dct_scaling), chosen, WEIGHTS_SHA256))
    from indexer.backbones.timm_models import model_card

    card = model_card(name, mode, size)
    require_dims(card.dims if dims is None else dims, card.dims, card.name)
    return _with(dims, _timm(card.name, replace(card.preparation, dct_scaling=dct_scaling), weights, chosen, pooling))


def load_for_space(space: SpaceSpec, *, weights: Path | None = None, device: str = "auto") -> PreparedBackbone:
    """Return the backbone whose embeddings belong to this space.

    weights: where the weights are now; None looks where they were when the collection was made.

    Raises:
        SpaceMismatch: the weights found are not those of the collection.
        UsageError: the embeddings of the space were imported.
        WeightsUnavailable: the weights are not where they were.
    """
    if space.is_imported:
        raise UsageError(
            f"the embeddings of the space {space.backbone!r} were imported, so no backbone here makes more of them; "
            "search by --id or --key, or move the collection to a backbone with `lookalike reembed`"
        )
    chosen = choose_device(device)
    preparation = Preparation.from_json(space.preparation)
    if space.backbone == BUILTIN:
        refuse_for_builtin(weights=weights)
        return _with(space.dims, _builtin(preparation, chosen, space.weights_sha256))
    remembered = None if space.weights in ("builtin", "hub") else Path(space.weights)
    if remembered is not None and not remembered.exists():
        remembered = _own_weights(space.backbone) or remembered
    if weights is None and chosen == CPU and engine_choice() == "auto":
        # Its name is a fingerprint of the space's weights, so it cannot belong to others.
        engine = cached_engine(
            fingerprint(space.backbone, space.weights_sha256, space.preparation, space.pooling), remembered
        )
        if engine is not None:
            labeller = partial(_labeller, space, remembered)
            return PreparedBackbone(space, preparation, engine, labeller)
    if weights is None and remembered is not None and not remembered.exists():
        raise WeightsUnavailable(
            f"the weights of {space.backbone} are not at {remembered} any more; pass --weights FILE"
        )
    loaded = _timm(space.backbone, preparation, weights or remembered, chosen, pooling_in(space))
    return _fitting(_with(space.dims, loaded), space)


def refuse_for_builtin(
    *,
    weights: Path | None = None,
    mode: Literal["full", "card"] | None = None,
    size: "ImageSize" = None,
    pooling: str | None = None,
) -> None:
    """Refuse what the built-in backbone would have to ignore. mode: what the user asked for, None for nothing.

    Raises:
        UsageError: an option has no use with it; the message names the option.
    """
    given = {"--weights": weights is not None, "--image-size": size is not None, "--preprocess card": mode == "card"}
    given |= {"--pool": pooling not in (None, AVERAGE)}
    for option in (option for option, is_given in given.items() if is_given):
        raise UsageError(
            f"{option} has no use with the backbone `builtin`: its weights ship with the package, for whole pictures "
            f"of {BUILTIN_PREPARATION.width} pixels a side"
        )


def _with(dims: int | None, loaded: PreparedBackbone) -> PreparedBackbone:
    """Return a backbone whose space has so many dims, or all of them."""
    if dims is not None:
        loaded.space = replace(loaded.space, dims=dims)
    return loaded


def _fitting(loaded: PreparedBackbone, space: SpaceSpec) -> PreparedBackbone:
    if loaded.space.fingerprint != space.fingerprint:
        raise SpaceMismatch(
            f"the weights of {space.backbone} found ({loaded.space.weights_sha256[:8]}) are not those the collection "
            f"was made with ({space.weights_sha256[:8]}); pass the right ones with --weights FILE"
        )
    return loaded


def builtin_space(preparation: Preparation = BUILTIN_PREPARATION, weights_sha256: str = WEIGHTS_SHA256) -> SpaceSpec:
    """Return the space of the built-in backbone, without loading it."""
    # The hash of the file: some of its tensors are computed at load and may differ in the last bit between machines.
    return SpaceSpec(BUILTIN, weights_sha256, preparation.as_json(), DIMS, licence=LICENCE, weights="builtin")


def _builtin(preparation: Preparation, device: str, weights_sha256: str) -> PreparedBackbone:
    """Raises:
    SpaceMismatch: this release does not ship these weights.
    """
    if weights_sha256 not in WEIGHTS_FILES:
        raise SpaceMismatch(
            f"the collection was made with weights of the built-in backbone ({weights_sha256[:8]}) that this release "
            "does not have; install one that has, or embed the collection anew: lookalike reembed --backbone builtin"
        )
    space = builtin_space(preparation, weights_sha256)
    return PreparedBackbone(space, preparation, _builtin_engine(space, preparation, device))


def _builtin_engine(space: SpaceSpec, preparation: Preparation, device: str) -> "Engine":
    if device == CPU and engine_choice() == "auto":
        engine = cached_engine(fingerprint(BUILTIN, space.weights_sha256, space.preparation), None)
        if engine is not None:
            return engine
    from indexer.backbones.builtin import BuiltinNetwork, load_builtin
    from indexer.backbones.engines import prepare_engine
    from indexer.backbones.torch_engine import TorchEngine

    network = load_builtin(space.weights_sha256)
    # The Fourier transforms of the first network cannot be exported; on a GPU decoding takes the time, not this.
    if isinstance(network, BuiltinNetwork) or device != CPU:
        return TorchEngine(network, preparation, device=device, batch_size=BUILTIN_BATCH)
    return prepare_engine(
        network, preparation, device, backbone=BUILTIN, weights_sha256=space.weights_sha256, weights=None
    )


def pooling_in(space: SpaceSpec) -> Pooling:
    """Return the pooling of a space.

    Raises:
        UsageError: a later release knows it.
    """
    for pooling in POOLINGS:
        if space.pooling == pooling:
            return pooling
    raise UsageError(f"this release cannot pool by {space.pooling!r}, which the collection was made with: upgrade it")


def _timm(name: str, preparation: Preparation, weights: Path | None, device: str, pooling: Pooling) -> PreparedBackbone:
    from indexer.backbones.engines import prepare_engine
    from indexer.backbones.pooling import pooled_by
    from indexer.backbones.timm_models import load_network, pooled_dims
    from indexer.backbones.weights import weights_sha256

    weights = weights or _own_weights(name)
    dims = pooled_dims(name, preparation)
    loaded = load_network(name, weights, use="embed", preparation=preparation)
    space = SpaceSpec(
        backbone=loaded.name,
        weights_sha256=weights_sha256(loaded.network),
        preparation=preparation.as_json(),
        dims=dims,
        pooling=pooling,
        licence=loaded.licence,
        weights=loaded.weights,
    )
    sha256 = space.weights_sha256
    network = pooled_by(loaded.network, pooling, loaded.name)
    named = {"backbone": space.backbone, "weights_sha256": sha256, "pooling": pooling}
    engine = prepare_engine(network, preparation, device, weights=weights, **named)
    return PreparedBackbone(space, preparation, engine, partial(_labeller, space, weights))


def _own_weights(name: str) -> Path | None:
    """Return the weights of a backbone that was fine-tuned here, wherever the registry lies now."""
    registered = find(name)
    return None if registered is None else registered.file


def _labeller(space: SpaceSpec, weights: Path | None) -> "Labeller":
    """Return the labeller of a space.

    Raises:
        SpaceMismatch: the weights that lie there now are others: their classifier knows nothing of these embeddings.
        UsageError: they hold no classifier, or one that is not linear, or the space is pooled otherwise.
    """
    if space.pooling != AVERAGE:
        raise UsageError(
            f"the classifier of {space.backbone} knows embeddings that were averaged, not pooled by {space.pooling}: "
            "index with --no-labels, or without --pool"
        )
    from indexer.backbones.classification import linear_labeller
    from indexer.backbones.timm_models import load_network
    from indexer.backbones.weights import weights_sha256

    loaded = load_network(space.backbone, weights, use="embed", preparation=Preparation.from_json(space.preparation))
    if weights_sha256(loaded.network) != space.weights_sha256:
        raise SpaceMismatch(
            f"the weights of {space.backbone} at {loaded.file} are not those the collection was made with any more, so "
            "they cannot label it; put the right ones back, or index with --no-labels"
        )
    return linear_labeller(loaded)
