"""timm's models by name: their canonical names, their preparation, and networks with verified weights.

There is never a silent random network: without weights the answer is an error that names both ways out.
"""

import difflib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch

from indexer.backbones.registry import find, registered_names
from indexer.backbones.timm_library import timm
from indexer.backbones.weights import Tensors, first_difference, from_hub, read_tensors
from indexer.decoding.preparation import Mode, Preparation
from search.errors import BackboneNotFound, UsageError, WeightsMismatch

__all__ = [
    "ImageSize",
    "LoadedNetwork",
    "ModelCard",
    "canonical_name",
    "load_network",
    "model_card",
    "model_names",
    "new_network",
    "pooled_dims",
    "preparation_of",
    "timm",
    "unloaded_network",
]

# None: the size the weights were trained at. "test": timm's test size with its test crop. A number: that many pixels
# with the crop of None.
ImageSize = int | Literal["test"] | None
Use = Literal["embed", "classify", "features"]

SUGGESTIONS: Final = 3
NEAR: Final = 0.7  # of 1; below it names share little but their letters (`nonsense` and `senet154`: 0.5)
SMALLEST_SIZE: Final = 32  # pixels a side: what backbones halve five times; less leaves a deepest map of padding
LARGEST_SIZE: Final = 4_096


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What timm knows of a model. name: canonical, with its tag; parameters: without the classifier."""

    name: str
    dims: int
    parameters: int
    preparation: Preparation
    licence: str | None
    hub_id: str | None


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A network with its weights, on the CPU, in evaluation mode and float32.

    name: canonical. classes: outputs of the classifier in the weights file, 0 without one. classifier: the module
    behind the pooled embedding, None when the file has none. weights: "hub", or the path of the file. class_names: of
    the classifier's outputs in order, where the model was fine-tuned here; else empty.
    """

    name: str
    network: Any
    classes: int
    classifier: torch.nn.Module | None
    licence: str | None
    weights: str
    file: Path
    class_names: tuple[str, ...] = ()


def model_names(pattern: str = "") -> list[str]:
    """Return timm's names of models with pretrained weights that contain `pattern`."""
    names: list[str] = timm.list_models(f"*{pattern}*", pretrained=True)
    return names


def canonical_name(name: str) -> str:
    """Return timm's full name, with its tag, for any way to write a model's name.

    Raises:
        BackboneNotFound: timm has no such model; the message suggests the nearest names.
    """
    if find(name) is not None:
        return name
    short = name.removeprefix("hf_hub:").removeprefix("hf-hub:").removeprefix("timm/")
    if not timm.is_model(short):
        near = difflib.get_close_matches(
            short, [*registered_names(), *timm.list_models(), *timm.list_models(pretrained=True)], SUGGESTIONS, NEAR
        )
        hint = f"did you mean {', '.join(near)}?" if near else "`lookalike backbones` lists some"
        raise BackboneNotFound(f"there is no backbone {name!r}: {hint}")
    # timm maps legacy names while it builds; on the meta device building costs nothing.
    try:
        config: dict[str, Any] = _on_meta(short).pretrained_cfg
    except RuntimeError as error:  # the architecture is known, its tag is not
        tags = ", ".join(timm.list_pretrained(f"{short.split('.', maxsplit=1)[0]}.*")[:SUGGESTIONS])
        raise BackboneNotFound(
            f"there is no backbone {name!r}: {str(error).rstrip('.')}; timm has {tags or 'no weights for it'}"
        ) from error
    tag = config.get("tag")
    return f"{config['architecture']}.{tag}" if tag else str(config["architecture"])


def model_card(name: str, mode: Mode = "card", size: ImageSize = None) -> ModelCard:
    """Return what timm knows of a model, computed on the meta device: no weights, no memory.

    Raises:
        BackboneNotFound: timm has no such model.
        UsageError: the mode or the size does not fit the model.
    """
    canonical = canonical_name(name)
    network = _on_meta(canonical, num_classes=0)
    config: dict[str, Any] = network.pretrained_cfg
    parameters = sum(tensor.numel() for tensor in network.parameters())
    preparation = preparation_of(config, mode, size)
    dims = pooled_dims(canonical, preparation)
    return ModelCard(canonical, dims, parameters, preparation, config.get("license"), config.get("hf_hub_id"))


def preparation_of(config: dict[str, Any], mode: Mode, size: ImageSize = None) -> Preparation:
    """Return how pictures are prepared for a model. config: timm's pretrained_cfg of it.

    Raises:
        UsageError: the mode or the size does not fit the model.
    """
    name = config["architecture"]
    resolved = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=size == "test")
    if mode == "card" and resolved["crop_mode"] != "center":
        raise UsageError(f"{name} crops by {resolved['crop_mode']!r}, which `card` does not do: use --preprocess full")
    _, height, width = resolved["input_size"]
    if isinstance(size, int):
        if not SMALLEST_SIZE <= size <= LARGEST_SIZE:
            raise UsageError(f"image size {size} cannot be used: choose {SMALLEST_SIZE} to {LARGEST_SIZE} pixels")
        height = width = size
    return Preparation(
        mode=mode,
        height=height,
        width=width,
        interpolation=resolved["interpolation"],
        crop_pct=resolved["crop_pct"] if mode == "card" else 1.0,
        mean=tuple(resolved["mean"]),
        std=tuple(resolved["std"]),
    )


def pooled_dims(name: str, preparation: Preparation) -> int:
    """Return the length of a model's pooled embeddings, by running it on the meta device.

    Raises:
        UsageError: its output is not one row per picture, or pictures of this size do not go through it.
    """
    shape = (1, 3, preparation.height, preparation.width)
    try:
        network = _on_meta(name, num_classes=0, **_size_arguments(name, preparation)).eval()
        with torch.inference_mode():
            output = network(torch.empty(shape, device="meta"))
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{name} cannot take pictures of {preparation.width} x {preparation.height} pixels ({reason}); "
            "choose another --image-size"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:  # noqa: PLR2004 -- (N, D)
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise UsageError(f"{name} has no pooled output ({found}), so it makes no embeddings; choose another backbone")
    return int(output.shape[1])


def load_network(name: str, weights: Path | None, *, use: Use, preparation: Preparation | None = None) -> LoadedNetwork:
    """Return a timm model with weights from a file or else from the hub, every tensor verified.

    use: "embed": without its classifier; "classify": with it; "features": its feature maps (timm's features_only).
    preparation: the size the network is built for, where it has a fixed one.

    Raises:
        BackboneNotFound: timm has no such model.
        WeightsUnavailable: there is no file, or the hub cannot be reached and nothing is cached.
        WeightsMismatch: the file belongs to another model, or holds NaN.
        UsageError: the file is no safetensors file, or has no classifier where one is needed.
    """
    canonical = canonical_name(name)
    registered = find(canonical)
    if weights is None and registered is not None:
        weights = registered.file
    config = timm.get_pretrained_cfg(canonical)
    file = weights if weights is not None else from_hub(canonical, config.hf_hub_id if config else None)
    tensors = read_tensors(file)
    classes = _classes(_on_meta(canonical).pretrained_cfg, tensors)
    arguments = _size_arguments(canonical, preparation) if preparation is not None else {}
    network = _with_weights(canonical, tensors, classes, file, arguments)
    if use == "classify" and not classes:  # asked only now: weights of another model are refused as such
        raise UsageError(f"{file} holds no classifier, so it cannot name classes: pass the weights of a whole {name}")
    licence = network.pretrained_cfg.get("license")
    classifier = network.get_classifier() if classes else None
    if use == "embed" and classes:
        network.reset_classifier(0)
    if use == "features":
        # The strict loading above vouches for the file: timm drops what feature maps do not need.
        architecture, own = _built_as(canonical)
        overlay = own | {"state_dict": dict(tensors), "num_classes": classes}
        network = timm.create_model(architecture, features_only=True, pretrained=True, pretrained_cfg_overlay=overlay)
    return LoadedNetwork(
        name=canonical,
        network=network.eval().requires_grad_(requires_grad=False),
        classes=classes,
        classifier=classifier,
        licence=licence,
        weights="hub" if weights is None else str(weights.absolute()),
        file=file,
        class_names=registered.classes if registered is not None else (),
    )


def _with_weights(name: str, tensors: Tensors, classes: int, file: Path, arguments: dict[str, Any]) -> Any:
    """Build the network with as many classes as the file has, so that timm loads it strictly."""
    architecture, own = _built_as(name)
    overlay = own | {"state_dict": dict(tensors), "num_classes": classes}
    try:
        network = timm.create_model(
            architecture, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes, **arguments
        )
    except (RuntimeError, KeyError, AttributeError) as error:
        difference = first_difference(_on_meta(name, num_classes=classes).state_dict(), tensors)
        reason = difference or " ".join(str(error).split())[:200]
        raise WeightsMismatch(f"{file} does not hold the weights of {name}: {reason}") from error
    network.pretrained_cfg = {key: value for key, value in network.pretrained_cfg.items() if key != "state_dict"}
    return network


def _classes(config: dict[str, Any], tensors: Tensors) -> int:
    """Return how many classes the classifier in a file tells apart, 0 when it has none."""
    heads = config.get("classifier") or ()
    for head in (heads,) if isinstance(heads, str) else heads:
        if f"{head}.weight" in tensors:
            return int(tensors[f"{head}.weight"].shape[0])
    return 0


def _size_arguments(name: str, preparation: Preparation) -> dict[str, Any]:
    """Return what timm must be told to build a model of fixed size for another one."""
    architecture, own = _built_as(name)
    config = timm.get_pretrained_cfg(architecture)
    size = (preparation.height, preparation.width)
    if config is None or not config.fixed_input_size or tuple(own.get("input_size", config.input_size))[1:] == size:
        return {}
    return {"img_size": size}


def _built_as(name: str) -> tuple[str, dict[str, Any]]:
    """Return timm's name of the network behind a model, and what a fine-tuned one has otherwise than timm's card."""
    registered = find(name)
    if registered is None:
        return name, {}
    preparation = registered.preparation
    own = {
        "num_classes": len(registered.classes),
        "license": registered.licence,
        "hf_hub_id": None,
        "input_size": (3, preparation.height, preparation.width),
        "test_input_size": None,
        "test_crop_pct": None,
        "interpolation": preparation.interpolation,
        "mean": preparation.mean,
        "std": preparation.std,
    }
    return registered.architecture, own | ({"crop_pct": preparation.crop_pct} if preparation.mode == "card" else {})


def unloaded_network(name: str, preparation: Preparation | None = None, **arguments: Any) -> Any:
    """Return a model on the meta device, in evaluation mode: shapes without weights, 236 M parameters without memory.

    preparation: the size it is built for, where it has a fixed one. arguments: timm's own, such as features_only.
    """
    size = {} if preparation is None else _size_arguments(name, preparation)
    return _on_meta(name, **size, **arguments).eval()


def new_network(name: str, preparation: Preparation, **arguments: Any) -> Any:
    """Return a model on the CPU with timm's random first weights, for those who put others in their place at once."""
    architecture, own = _built_as(name)
    size = _size_arguments(name, preparation)
    return timm.create_model(architecture, pretrained=False, pretrained_cfg_overlay=own, **size, **arguments)


def _on_meta(name: str, **arguments: Any) -> Any:
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        architecture, own = _built_as(name)
        return timm.create_model(architecture, pretrained=False, pretrained_cfg_overlay=own, **arguments)
