"""Facts about backbones for people who choose one: computed, never typed in."""

from dataclasses import dataclass

from indexer.backbones import BUILTIN, BUILTIN_PREPARATION, REFERENCE_MODELS
from indexer.builtin import DIMS, load_builtin
from indexer.preparation import Preparation


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """parameters: without the classifier. preparation: as on the model card."""

    name: str
    dims: int
    parameters: int
    preparation: Preparation
    licence: str | None

    def as_json(self) -> dict[str, object]:
        """Return the object of `backbones`."""
        return {
            "name": self.name,
            "dims": self.dims,
            "parameters": self.parameters,
            "preparation": self.preparation.as_dict(),
            "licence": self.licence,
        }


def shown_names() -> tuple[str, ...]:
    """Return the backbones every release is tested with."""
    return (BUILTIN, *REFERENCE_MODELS)


def facts_of(name: str) -> ModelFacts:
    """Return the facts of one backbone, without loading weights of a timm model.

    Raises:
        BackboneNotFound: there is no such backbone.
    """
    if name == BUILTIN:
        parameters = sum(tensor.numel() for tensor in load_builtin().parameters())
        return ModelFacts(BUILTIN, DIMS, parameters, BUILTIN_PREPARATION, "apache-2.0")
    from indexer.timm_models import model_card

    card = model_card(name)
    return ModelFacts(card.name, card.dims, card.parameters, card.preparation, card.licence)
