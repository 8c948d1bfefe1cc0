"""How a network is fine-tuned: the recipe of timm's NFNet cards, as numbers that can be changed and are recorded.

SGD with Nesterov momentum, a cosine schedule with warm-up, adaptive gradient clipping, RandAugment, dropout, stochastic
depth and label smoothing (Brock, De, Smith, Simonyan, "High-Performance Large-Scale Image Recognition Without
Normalization", 2021). Knows no torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from search.errors import UsageError

MOMENTUM: Final = 0.9
# The classifier starts from zero behind embeddings of unit size (tuned_network.py), so one rate fits every backbone;
# with --whole it learns this many times faster than the backbone, which starts from good weights.
HEAD_LR_SCALE: Final = 100.0
LAST_LR_SHARE: Final = 0.01  # the cosine ends here instead of at zero, where the last update would do nothing
NO_RANDAUGMENT: Final = "none"


def _require(name: str, value: float, holds: bool, expected: str) -> None:  # noqa: FBT001
    if not holds:
        raise UsageError(f"--{name.replace('_', '-')} {value} cannot be used: choose a number {expected}")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what comes out of the same pictures and weights.

    whole: train every tensor, not only the new classifier. lr: of the backbone with `whole`, else of the classifier.
    dropout: share of an embedding's numbers hidden from the classifier. stochastic_depth: share of residual branches
    skipped, growing to it with depth. randaugment: timm's words for it, or "none". agc: largest gradient of a unit as a
    share of its weights; 0 is off. warmup: share of all updates. smallest_crop: least share of a picture that is shown.
    augment: False shows pictures as they are later embedded.

    Raises:
        UsageError: a number has a value that cannot be used.
    """

    whole: bool
    epochs: int
    lr: float
    batch_size: int
    weight_decay: float
    dropout: float
    stochastic_depth: float
    randaugment: str
    label_smoothing: float
    agc: float
    warmup: float = 0.1
    smallest_crop: float = 0.35
    flip: bool = True
    augment: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr"):
            _require(name, getattr(self, name), getattr(self, name) > 0, "above 0")
        for name in ("weight_decay", "agc", "seed"):
            _require(name, getattr(self, name), getattr(self, name) >= 0, "0 or more")
        for name in ("dropout", "stochastic_depth", "label_smoothing", "warmup"):
            _require(name, getattr(self, name), 0 <= getattr(self, name) < 1, "0 or more and below 1")
        _require("smallest_crop", self.smallest_crop, 0 < self.smallest_crop <= 1, "above 0 and at most 1")
        if self.randaugment != NO_RANDAUGMENT and not self.randaugment.startswith("rand-"):
            raise UsageError(
                f"--randaugment {self.randaugment!r} is not {NO_RANDAUGMENT} nor timm's words for it, "
                "such as rand-m9-mstd0.5"
            )
        if not self.whole and (self.agc or self.stochastic_depth):
            option = "--agc" if self.agc else "--stochastic-depth"
            raise UsageError(f"{option} acts on the backbone, which only trains with --whole")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        return asdict(self)


_HEAD: Final = Recipe(
    whole=False,
    epochs=10,
    lr=2.0,
    batch_size=32,
    weight_decay=1e-4,
    dropout=0.2,
    stochastic_depth=0.0,
    randaugment="rand-m6-mstd0.5",
    label_smoothing=0.1,
    agc=0.0,
)
_WHOLE: Final = Recipe(
    whole=True,
    epochs=20,
    lr=0.01,
    batch_size=32,
    weight_decay=2e-5,
    dropout=0.2,
    stochastic_depth=0.1,
    randaugment="rand-m9-mstd0.5",
    label_smoothing=0.1,
    agc=0.015,
)


def recipe_for(*, whole: bool, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a mode with some of its numbers changed; None changes nothing.

    Raises:
        UsageError: a number has a value that cannot be used.
    """
    start = _WHOLE if whole else _HEAD
    return Recipe(**start.as_dict() | {name: value for name, value in changes.items() if value is not None})
