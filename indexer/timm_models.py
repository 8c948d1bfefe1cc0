"""timm's models as backbones; the only module that imports timm.

Weights come from the Hugging Face hub or from a safetensors file. There is never a silent random network: without
weights the answer is an error that names both ways out.
"""

import difflib
import socket
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from indexer.preparation import Preparation
from indexer.torch_backbone import TorchBackbone, weights_sha256
from search.errors import BackboneNotFound, UsageError, WeightsMismatch, WeightsUnavailable
from search.records import SpaceSpec


def _declare_torchvision_operators() -> None:
    """Let `import torchvision` succeed beside a CPU build of torch.

    PyPI's torchvision is built for CUDA; without its binary extension two operators it registers fakes for do not
    exist, and importing it (and so timm) dies with "operator torchvision::nms does not exist".
    """
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _KEEP_ALIVE.append(library)


_KEEP_ALIVE: list[torch.library.Library] = []
try:
    import timm
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    _declare_torchvision_operators()
    import timm

import timm.data  # noqa: E402
from timm.models import PretrainedCfg  # noqa: E402

__all__ = ["ModelCard", "canonical_name", "load_timm", "model_card", "model_names", "timm"]

Mode = Literal["full", "card"]
WEIGHTS_NAME = "model.safetensors"
SUGGESTIONS = 3


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What timm knows of a model. name: canonical, with its tag; parameters: without the classifier."""

    name: str
    dims: int
    parameters: int
    preparation: Preparation
    licence: str | None
    hub_id: str | None


def model_names(pattern: str = "") -> list[str]:
    """Return timm's names of models with pretrained weights that contain `pattern`."""
    names: list[str] = timm.list_models(f"*{pattern}*", pretrained=True)
    return names


def canonical_name(name: str) -> str:
    """Return timm's full name, with its tag, for any way to write a model's name.

    Raises:
        BackboneNotFound: timm has no such model; the message suggests the nearest names.
    """
    short = name.removeprefix("hf_hub:").removeprefix("hf-hub:").removeprefix("timm/")
    if not timm.is_model(short):
        near = difflib.get_close_matches(
            short, [*timm.list_models(), *timm.list_models(pretrained=True)], SUGGESTIONS, 0.5
        )
        hint = f"did you mean {', '.join(near)}?" if near else "`lookalike backbones` lists some"
        raise BackboneNotFound(f"there is no backbone {name!r}: {hint}")
    # timm maps legacy names while it builds; on the meta device building costs nothing.
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            config: dict[str, Any] = timm.create_model(short, pretrained=False).pretrained_cfg
    except RuntimeError as error:  # the architecture is known, its tag is not
        tags = ", ".join(timm.list_pretrained(f"{short.split('.', maxsplit=1)[0]}.*")[:SUGGESTIONS])
        raise BackboneNotFound(
            f"there is no backbone {name!r}: {error}; timm has {tags or 'no weights for it'}"
        ) from error
    tag = config.get("tag")
    return f"{config['architecture']}.{tag}" if tag else str(config["architecture"])


def model_card(name: str, mode: Mode = "card") -> ModelCard:
    """Return what timm knows of a model, computed on the meta device: no weights, no memory.

    Raises:
        BackboneNotFound: timm has no such model.
        UsageError: the mode does not fit the model.
    """
    canonical = canonical_name(name)
    network: Any
    with torch.device("meta"):
        network = timm.create_model(canonical, pretrained=False, num_classes=0)
    config: dict[str, Any] = network.pretrained_cfg
    parameters = sum(tensor.numel() for tensor in network.parameters())
    preparation = _preparation(network, canonical, mode)
    return ModelCard(canonical, _dims(network), parameters, preparation, config.get("license"), config.get("hf_hub_id"))


def load_timm(name: str, weights: Path | None, mode: Mode, device: torch.device) -> TorchBackbone:
    """Return a timm model without its classifier, with weights from a file or else from the hub.

    Raises:
        BackboneNotFound: timm has no such model.
        WeightsUnavailable: there is no file, or the hub cannot be reached and nothing is cached.
        WeightsMismatch: the file belongs to another model.
        UsageError: the file is no safetensors file, or the mode does not fit the model.
    """
    canonical = canonical_name(name)
    config = timm.get_pretrained_cfg(canonical)
    file = weights if weights is not None else _from_hub(canonical, config)
    network = _network(canonical, config, file)
    preparation = _preparation(network, canonical, mode)
    space = SpaceSpec(
        backbone=canonical,
        weights_sha256=weights_sha256(network),
        preparation=preparation.as_json(),
        dims=_dims(network),
        licence=network.pretrained_cfg.get("license"),
        weights="hub" if weights is None else str(weights.absolute()),
    )
    return TorchBackbone(network, space, preparation, device)


def _from_hub(name: str, config: PretrainedCfg | None) -> Path:
    """Return the model's safetensors file from the hub's cache, else from the hub."""
    repository = config.hf_hub_id if config is not None else None
    ways_out = (
        "connect to the Hugging Face hub once (the file is cached), or pass --weights FILE.safetensors with the "
        f"weights of {name}"
    )
    if repository is None:
        raise WeightsUnavailable(f"timm has no hub weights for {name}; pass --weights FILE.safetensors")
    try:
        return Path(hf_hub_download(repository, WEIGHTS_NAME, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        if not constants.HF_HUB_OFFLINE:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
        return Path(hf_hub_download(repository, WEIGHTS_NAME))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise WeightsUnavailable(f"no weights for {name}: the hub cannot be reached; {ways_out}") from error
        raise WeightsUnavailable(f"{repository} holds no {WEIGHTS_NAME}; pass --weights FILE.safetensors") from error
    except (OSError, HfHubHTTPError) as error:
        raise WeightsUnavailable(f"no weights for {name}: the hub cannot be reached; {ways_out}") from error


def _network(name: str, config: PretrainedCfg | None, file: Path) -> Any:
    """Build the network without its classifier and load every one of its tensors from the file."""
    heads = _classifiers(config)
    keys = _tensor_names(file)
    try:
        if config is not None and any(key.startswith(f"{head}.") for key in keys for head in heads):
            # With the classifier timm loads strictly; without it timm would leave missing tensors random.
            network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)})
            network.reset_classifier(0)
        else:
            network = timm.create_model(name, pretrained=False, num_classes=0)
            network.load_state_dict(_tensors(file), strict=True)
    except RuntimeError as error:
        raise WeightsMismatch(f"{file} does not hold the weights of {name}: {_first_difference(error)}") from error
    return network


def _classifiers(config: PretrainedCfg | None) -> tuple[str, ...]:
    classifier = config.classifier if config is not None else None
    if classifier is None:
        return ()
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def _first_difference(error: RuntimeError) -> str:
    """Return torch's account of the first mismatching tensors, without its preamble."""
    lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
    text = lines[0]
    return text if len(text) <= MESSAGE_CHARACTERS else text[:MESSAGE_CHARACTERS] + " ..."


MESSAGE_CHARACTERS = 200


def _tensor_names(file: Path) -> list[str]:
    try:
        with safe_open(file, framework="pt") as stored:
            return list(stored.keys())
    except FileNotFoundError as error:
        raise WeightsUnavailable(f"there is no weights file {file}; check the path given to --weights") from error
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{file} is not a safetensors file ({error}); convert a trusted checkpoint with "
            "safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'weights.safetensors')"
        ) from error


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    with safe_open(file, framework="pt") as stored:
        return {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 -- not a mapping


def _dims(network: Any) -> int:
    return int(getattr(network, "head_hidden_size", None) or network.num_features)


def _preparation(network: Any, name: str, mode: Mode) -> Preparation:
    config = timm.data.resolve_model_data_config(network)
    if mode == "card" and config["crop_mode"] != "center":
        raise UsageError(f"{name} crops by {config['crop_mode']!r}, which `card` does not do: use --preprocess full")
    _, height, width = config["input_size"]
    return Preparation(
        mode=mode,
        height=height,
        width=width,
        interpolation=config["interpolation"],
        crop_pct=config["crop_pct"] if mode == "card" else 1.0,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
