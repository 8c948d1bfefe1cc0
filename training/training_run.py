"""One training run: a network, its optimiser and how far they are; every step is a pure function of what came before.

The learning rate stays level and falls at the end (a warm-up, a plateau, a decay), and the views grow stronger over a
number of steps that is fixed, so that runs of different lengths have the same beginning. Views may be larger once the
decay begins; with equal sizes they are not.
"""

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from indexer.backbones.builtin_facts import MEAN, STD
from indexer.backbones.dihedral_network import DihedralNetwork, Shape
from indexer.backbones.joined_views import FRAME, JoinedViews
from training.batches import generator, step_batch
from training.objective import Loss, copy_loss
from training.placements import WHOLE, pyramid
from training.sprites import Sprites, drawn_sprites
from training.views import edited, two_views

SHAPE: Final = Shape(pooled=96, hidden=512)
LARGEST_GRADIENT: Final = 2.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is; two runs of equal recipes on equal machines give equal weights.

    small, large: pixels on a side of the views. decay: the share of the steps in which the rate falls.
    weakest, strongest: the share of strong views at the beginning, and from step `ramp` on.
    """

    seed: int = 0
    pictures: int = 12_000
    steps: int = 10_000
    rows: int = 160
    small: int = 64
    large: int = 64
    rate: float = 3e-3
    weight_decay: float = 0.05
    warm_up: int = 100
    decay: float = 0.3
    ramp: int = 1_000
    weakest: float = 0.1
    strongest: float = 0.8
    temperature: float = 0.06
    entropy_weight: float = 0.3

    def as_dict(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return asdict(self)

    @property
    def plateau(self) -> int:
        """The step at which the decay begins."""
        return round(self.steps * (1 - self.decay))

    def size(self, step: int) -> int:
        """Pixels on a side of a step's views."""
        return self.small if step < self.plateau else self.large

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        falling = (self.steps - step) / max(1, self.steps - self.plateau)
        return self.rate * min(1.0, (step + 1) / self.warm_up) * min(1.0, falling)

    def strong_share(self, step: int) -> float:
        """The share of strong views in a step."""
        return self.weakest + (self.strongest - self.weakest) * min(1.0, step / self.ramp)

    def same_beginning(self, other: "Recipe") -> bool:
        """Whether runs of the two are the same up to the earlier decay."""
        return asdict(self) | {"steps": 0} == asdict(other) | {"steps": 0}


class Run:
    """A run that can be saved after any step and goes on from there as if nothing had happened."""

    def __init__(self, recipe: Recipe, shape: Shape = SHAPE, device: str = "cpu") -> None:
        self.recipe, self.shape, self.device = recipe, shape, torch.device(device)
        self.step = 0
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.network = DihedralNetwork(shape)
        self.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        matrices = [tensor for name, tensor in self.network.named_parameters() if _decays(name, tensor)]
        others = [tensor for name, tensor in self.network.named_parameters() if not _decays(name, tensor)]
        groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))

    def advance(self, views: tuple[Tensor, Tensor], identities: Tensor) -> Loss:
        """Take one step with the views of its batch, as `step_views` makes them."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        self.network.train()
        pictures = ((torch.cat(views).to(self.device) - MEAN) / STD).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.network.hidden(pictures)
        embeddings = nn.functional.normalize(self.network.head(hidden.float()))
        recipe = self.recipe
        loss = copy_loss(
            embeddings,
            identities.to(self.device),
            temperature=recipe.temperature,
            entropy_weight=recipe.entropy_weight,
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        self.step += 1
        return loss

    def save(self, file: Path) -> None:
        """Write the whole state; the file changes in one rename."""
        state = {
            "recipe": asdict(self.recipe),
            "shape": self.shape.as_dict(),
            "step": self.step,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        unfinished = file.with_suffix(".part")
        with unfinished.open("wb") as opened:
            torch.save(state, opened)
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)

    @classmethod
    def resumed(cls, file: Path, recipe: Recipe, device: str = "cpu") -> "Run":
        """Return the run saved in this file, to go on with this recipe.

        Raises:
            ValueError: it is a run of another recipe, or its decay began before this one's shall.
        """
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        begun = Recipe(**state["recipe"])
        if not recipe.same_beginning(begun):
            raise ValueError(f"{file} is a run of another recipe ({begun}): choose another --folder")
        if recipe.steps != begun.steps and state["step"] > min(recipe.plateau, begun.plateau):
            raise ValueError(f"the decay of {file} has begun: its length stays {begun.steps} steps")
        run = cls(recipe, Shape.from_dict(state["shape"]), device)
        run.network.load_state_dict(state["network"])
        run.optimiser.load_state_dict(state["optimiser"])
        run.step = state["step"]
        return run


def step_views(
    pictures: Tensor, recipe: Recipe, step: int, sprites: dict[int, Sprites]
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Return the two views of each row of a step's batch, and the rows' identities."""
    chosen = step_batch(pictures, recipe.rows, recipe.seed, step)
    size, share = recipe.size(step), recipe.strong_share(step)
    rng = generator(recipe.seed, 2, step)
    return two_views(chosen.batch, size, sprites[size], share, rng), chosen.identities


def looks_of_views(joined: JoinedViews, recipe: Recipe, pictures: Tensor, count: int, views: int) -> Tensor:
    """Return (count, views, numbers) float32: what the last map reads of a weak and of strong views of each picture.

    joined: in evaluation mode; the first of the (N, S, S, 3) uint8 pictures are taken.
    """
    sprites, rng = drawn_sprites(FRAME, recipe.seed), generator(recipe.seed, 3)
    windows = torch.tensor(WHOLE).expand(recipe.rows, 4)
    device = next(joined.parameters()).device
    rows = []
    for start in range(0, count, recipe.rows):
        some = pictures[start : min(start + recipe.rows, count)]
        levels = pyramid(some.permute(0, 3, 1, 2).float() / 255)
        seen = []
        for view in range(views):
            strong = torch.full((len(some),), view > 0)
            frames = edited(levels, windows[: len(some)], strong, FRAME, sprites, rng)
            with torch.inference_mode():
                seen.append(joined.looks(((frames - MEAN) / STD).to(device)).float().cpu())
        rows.append(torch.stack(seen, 1))
    return torch.cat(rows)


def all_views(
    pictures: Tensor, recipe: Recipe, first: int, workers: int = 1
) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
    """Yield the views of every step from this one on, made ahead by so many threads."""
    sprites = {size: drawn_sprites(size, recipe.seed) for size in {recipe.small, recipe.large}}
    ahead: deque[Future[tuple[tuple[Tensor, Tensor], Tensor]]] = deque()
    with ThreadPoolExecutor(workers, "views") as threads:
        for step in range(first, recipe.steps):
            ahead.append(threads.submit(step_views, pictures, recipe, step, sprites))
            if len(ahead) > workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _decays(name: str, tensor: Tensor) -> bool:
    return tensor.ndim > 1 and not name.endswith("gain")
