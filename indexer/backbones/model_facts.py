"""Facts about backbones for people who choose one: computed on the meta device, never typed in where they can be.

Only the accuracies of the reference models are data (reference_accuracy.json): nothing here can measure them.
"""

import functools
import importlib.resources
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from indexer.backbones.backbones import BUILTIN_PREPARATION, REFERENCE_MODELS
from indexer.backbones.builtin import load_builtin
from indexer.backbones.builtin_facts import BUILTIN, DIMS, LICENCE
from indexer.backbones.feature_maps import MapShape, map_shapes
from indexer.backbones.model_costs import Costs, costs_of
from indexer.backbones.registry import find, registered_names
from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import canonical_name, model_names, preparation_of, unloaded_network
from indexer.decoding.preparation import Preparation
from search.errors import UsageError

MILLION: Final = 1e6


@dataclass(frozen=True, slots=True)
class SizeFacts:
    """A size of pictures that a card names. costs: None where the network cannot say."""

    height: int
    width: int
    crop_pct: float
    costs: Costs | None

    def as_json(self) -> dict[str, object]:
        """Return the object of `train` and `test`: GMACs, and activations in millions."""
        return {
            "height": self.height,
            "width": self.width,
            "crop_pct": self.crop_pct,
            "gmacs": self.costs and self.costs.gmacs,
            "activations_m": self.costs and self.costs.mega_activations,
        }


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Per cent of the ImageNet-1k validation pictures, at a size in pixels."""

    size: int
    top1: float
    top5: float


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What the card of a model says.

    short_name: the name without its tag, where that means this one. legacy_names: what timm called it once.
    parameters: without the classifier. classes: 0 without one. dims: None when it has no pooled output. preparation: as
    on the card; the whole frame where the card's crop is not from the middle. train: the size it was trained at, its
    default; test: timm's test size. feature_maps: at the train size.
    """

    name: str
    architecture: str
    hub_id: str | None
    licence: str | None
    short_name: str | None
    legacy_names: tuple[str, ...]
    parameters: int
    parameters_with_classifier: int
    classes: int
    dims: int | None
    preparation: Preparation
    crop_mode: str
    train: SizeFacts
    test: SizeFacts
    feature_maps: tuple[MapShape, ...]
    accuracy: tuple[Accuracy, ...]

    def as_json(self) -> dict[str, object]:
        """Return the object of `backbones`."""
        return {
            "name": self.name,
            "architecture": self.architecture,
            "hub_id": self.hub_id,
            "licence": self.licence,
            "short_name": self.short_name,
            "legacy_names": list(self.legacy_names),
            "dims": self.dims,
            "parameters": self.parameters,
            "parameters_with_classifier": self.parameters_with_classifier,
            "classes": self.classes,
            "preparation": self.preparation.as_dict(),
            "crop_mode": self.crop_mode,
            "train": self.train.as_json(),
            "test": self.test.as_json(),
            "feature_maps": [level.as_json() for level in self.feature_maps],
            "accuracy": [asdict(one) for one in self.accuracy],
            "accuracy_source": accuracy_source() if self.accuracy else None,
        }


def shown_names() -> tuple[str, ...]:
    """Return the backbones every release is tested with, and those fine-tuned here."""
    return (BUILTIN, *REFERENCE_MODELS, *registered_names())


def names_containing(pattern: str) -> list[str]:
    """Return the backbones whose canonical or legacy name contains a text, whatever its case; * and ? stand for any."""
    wanted = pattern.casefold()
    legacy = {new for old, new in _legacy_names().items() if wanted in old}
    found = {*model_names(wanted), *(name for name in legacy if "." in name)}
    return [*([BUILTIN] if wanted in BUILTIN else []), *sorted(found)]


def facts_of(name: str) -> ModelFacts:
    """Return the facts of one backbone, without loading weights of a timm model.

    Raises:
        BackboneNotFound: there is no such backbone; the message suggests the nearest names.
    """
    if name == BUILTIN:
        return _builtin_facts()
    canonical = canonical_name(name)
    network = unloaded_network(canonical)
    config: dict[str, Any] = network.pretrained_cfg
    preparation = _preparation(config)
    train, test = _size_facts(network, config)
    with_classifier = _parameters(network)
    dims = _without_classifier(network, preparation)
    return ModelFacts(
        name=canonical,
        architecture=config["architecture"],
        hub_id=config.get("hf_hub_id"),
        licence=config.get("license"),
        # One of the user's own is timm's architecture, but timm's names mean timm's weights.
        short_name=None if find(canonical) is not None else _short_name(config),
        legacy_names=tuple(sorted(old for old, new in _legacy_names().items() if _same(new, canonical))),
        parameters=_parameters(network),
        parameters_with_classifier=with_classifier,
        classes=int(config.get("num_classes") or 0),
        dims=dims,
        preparation=preparation,
        crop_mode=str(config.get("crop_mode") or "center"),
        train=train,
        test=test,
        feature_maps=_maps(canonical, preparation),
        accuracy=_accuracies().get(canonical, ()),
    )


def accuracy_source() -> str:
    """Return where the accuracies come from."""
    return str(_accuracy_file()["source"])


def _builtin_facts() -> ModelFacts:
    network = load_builtin()
    side = BUILTIN_PREPARATION.height
    size = SizeFacts(side, side, BUILTIN_PREPARATION.crop_pct, costs_of(network.eval(), side, side))
    parameters = _parameters(network)
    return ModelFacts(
        name=BUILTIN,
        architecture=BUILTIN,
        hub_id=None,
        licence=LICENCE,
        short_name=None,
        legacy_names=(),
        parameters=parameters,
        parameters_with_classifier=parameters,
        classes=0,
        dims=DIMS,
        preparation=BUILTIN_PREPARATION,
        crop_mode="center",
        train=size,
        test=size,
        feature_maps=(),
        accuracy=(),
    )


def _preparation(config: dict[str, Any]) -> Preparation:
    return preparation_of(config, "card" if (config.get("crop_mode") or "center") == "center" else "full")


def _parameters(network: Any) -> int:
    return sum(tensor.numel() for tensor in network.parameters())


def _without_classifier(network: Any, preparation: Preparation) -> int | None:
    """Take a network's classifier away; return the dims of what it answers then, None where that is no embedding."""
    network.reset_classifier(0)
    with torch.inference_mode(), torch.device("meta"):
        try:
            output = network(torch.empty((1, 3, preparation.height, preparation.width)))
        except (RuntimeError, AssertionError, ValueError, TypeError):
            return None
    return int(output.shape[1]) if isinstance(output, torch.Tensor) and output.ndim == 2 else None  # noqa: PLR2004


def _maps(name: str, preparation: Preparation) -> tuple[MapShape, ...]:
    try:
        return map_shapes(name, preparation)
    except UsageError:
        return ()


def _size_facts(network: Any, config: dict[str, Any]) -> tuple[SizeFacts, SizeFacts]:
    """Return the sizes for training and for testing."""
    sizes: list[SizeFacts] = []
    costs: dict[tuple[int, int], Costs | None] = {}
    for use_test_size in (False, True):
        resolved = timm.data.resolve_data_config(pretrained_cfg=config, use_test_size=use_test_size)
        _, height, width = resolved["input_size"]
        if (height, width) not in costs:
            costs[height, width] = _costs(network, height, width)
        sizes.append(SizeFacts(height, width, resolved["crop_pct"], costs[height, width]))
    return sizes[0], sizes[1]


def _costs(network: Any, height: int, width: int) -> Costs | None:
    try:
        return costs_of(network, height, width)
    except (RuntimeError, AssertionError, ValueError, TypeError):  # built for one size, and this is another
        return None


def _short_name(config: dict[str, Any]) -> str | None:
    architecture: str = config["architecture"]
    meant = timm.get_pretrained_cfg(architecture)
    return architecture if config.get("tag") and meant is not None and meant.tag == config["tag"] else None


@functools.cache
def _legacy_names() -> dict[str, str]:
    """Return timm's names of old with the present ones."""
    deprecated: dict[str, str | None] = timm.models.get_deprecated_models()
    return {old: new for old, new in deprecated.items() if new is not None}


def _same(present: str, canonical: str) -> bool:
    """Tell whether timm's present name, which may lack its tag, is a canonical one."""
    untagged = canonical.split(".", maxsplit=1)[0]
    return present == canonical or (present == untagged and canonical_name(present) == canonical)


def _accuracies() -> dict[str, tuple[Accuracy, ...]]:
    models: dict[str, Iterable[dict[str, Any]]] = _accuracy_file()["models"]
    return {name: tuple(Accuracy(**one) for one in rows) for name, rows in models.items()}


@functools.cache
def _accuracy_file() -> dict[str, Any]:
    text = importlib.resources.files("indexer").joinpath("reference_accuracy.json").read_text("utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
