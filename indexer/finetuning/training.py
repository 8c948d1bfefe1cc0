"""The epochs of a fine-tuning run: learn, check, keep the best, write where it stands.

Everything random in an epoch derives from the recipe's seed and the epoch's number, so a run that was interrupted and
taken up again comes to the same end; on a CPU with the same number of threads, to the last bit.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import torch
from torch import nn

from indexer.backbones.timm_library import timm, training_parts
from indexer.finetuning.checkpoints import EpochResult, RunFolder, RunState
from indexer.finetuning.labelled_folders import Labelled
from indexer.finetuning.recipe import HEAD_LR_SCALE, LAST_LR_SHARE, MOMENTUM, Recipe
from indexer.finetuning.training_pictures import Batch, Batches, Order
from indexer.finetuning.tuned_network import TunedNetwork
from search.errors import LookalikeError, UsageError

CENTRED_ON: Final = 1_024  # pictures that the classifier's input is centred on
REMEMBERED_BYTES: Final = 1 << 30  # embeddings of a frozen backbone kept between epochs
LOOK_EVERY: Final = 10  # updates; reading a loss makes a GPU wait
_EPOCH_SEEDS: Final = 1_000_003


class Diverged(LookalikeError):
    """The loss is no number any more."""


class Progress(Protocol):
    """Who is told how far it is."""

    def checking(self, done: int, total: int) -> None:
        """Files checked before training, and files in all."""
        ...

    def resumed(self, epochs_done: int) -> None:
        """An interrupted run goes on after this many epochs."""
        ...

    def step(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        """Batches of an epoch done and in all; loss and accuracy (0..1) of the epoch so far, while learning."""
        ...

    def ended(self, result: EpochResult, *, best: bool) -> None:
        """An epoch is over, and what it came to is on the disk."""
        ...


@dataclass(slots=True)
class Tally:
    """Sums over batches, on the device until they are read."""

    device: torch.device
    pictures: int = 0
    _loss: torch.Tensor = field(init=False)
    _right: torch.Tensor = field(init=False)

    def __post_init__(self) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=self.device)
        self._right = torch.zeros((), dtype=torch.int64, device=self.device)

    def add(self, loss: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Count a batch. loss: its mean. logits: (N, classes). labels: (N,)."""
        self.pictures += len(labels)
        self._loss += loss.detach().double() * len(labels)
        self._right += (logits.detach().argmax(1) == labels).sum()

    def loss(self) -> float:
        """Return the mean loss of a picture."""
        return float(self._loss) / max(self.pictures, 1)

    def accuracy(self) -> float:
        """Return the share of right answers."""
        return int(self._right) / max(self.pictures, 1)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """train: shown to be learnt from. known: the same pictures shown as they are embedded. val: to check with."""

    train: Batches
    known: Batches
    val: Batches


class Training:
    """One run. The network ends as the best epoch left it."""

    def __init__(self, network: TunedNetwork, data: TrainingData, recipe: Recipe, device: torch.device) -> None:
        training_parts()
        self.network = network.to(device)
        if device.type == "cuda":
            network.network.to(memory_format=torch.channels_last)
        self.lost: set[Labelled] = set()
        self._data = data
        self._recipe = recipe
        self._device = device
        self._remembered: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self.optimizer = make_optimizer(network, recipe)
        self._updates = recipe.epochs * len(data.train)
        self.scheduler = make_schedule(self.optimizer, self._updates, recipe)
        self._loss = timm.loss.LabelSmoothingCrossEntropy(recipe.label_smoothing)

    def run(self, folder: RunFolder, progress: Progress) -> RunState:
        """Train from where the folder's run stands to the end; every epoch is on the disk before the next begins.

        Raises:
            Diverged: the loss is no number any more; the epochs before are kept.
            LookalikeError: the folder cannot be written, or its checkpoint is damaged.
        """
        state = RunState()
        if folder.unfinished:
            state = folder.resume(self.network, self.optimizer)
            progress.resumed(state.epochs_done)
        else:
            self._centre()
        while state.epochs_done < self._recipe.epochs:
            began = time.monotonic()
            tally = self._learn(state.epochs_done, progress)
            checked = self.check()
            self._require_number(checked.loss(), state.epochs_done)  # the last update may have been the one too many
            lr = float(self.optimizer.param_groups[0]["lr"])
            state = state.after(
                EpochResult(
                    epoch=state.epochs_done + 1,
                    loss=tally.loss(),
                    val_loss=checked.loss(),
                    accuracy=checked.accuracy(),
                    lr=lr,
                    seconds=time.monotonic() - began,
                )
            )
            folder.save(self.network, self.optimizer, state)
            progress.ended(state.history[-1], best=state.best == state.history[-1])
        folder.load_best(self.network)
        return state

    def check(self) -> Tally:
        """Return how well the pictures kept for checking are recognised now."""
        self.network.learning(False)
        tally = Tally(self._device)
        with torch.inference_mode():
            for given, labels in self._inputs(self._data.val, epoch=0, augmented=False):
                logits = self._logits(given)
                tally.add(nn.functional.cross_entropy(logits, labels), logits, labels)
        return tally

    def _learn(self, epoch: int, progress: Progress) -> Tally:
        torch.manual_seed(self._recipe.seed * _EPOCH_SEEDS + epoch)  # dropout and stochastic depth
        self.network.learning()
        tally, batches = Tally(self._device), len(self._data.train)
        shown = self._inputs(self._data.train, epoch=epoch, augmented=self._recipe.augment)
        for done, (given, labels) in enumerate(shown, start=1):
            self.scheduler.step_update(epoch * batches + done)
            logits = self._logits(given)
            loss = self._loss(logits, labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            clip_gradients(self.network, self._recipe.agc)
            self.optimizer.step()
            tally.add(loss, logits, labels)
            if done % LOOK_EVERY == 0 or done == batches or self._device.type == "cpu":
                self._require_number(tally.loss(), epoch)
                progress.step(epoch + 1, done, batches, tally.loss(), tally.accuracy())
        if not tally.pictures:
            raise UsageError("none of the pictures to learn from can be read any more: run the same command again")
        return tally

    def _require_number(self, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise Diverged(
                f"the loss is no number any more in epoch {epoch + 1}: learn slower with --lr "
                f"{self._recipe.lr / 10:g}, longer with --warmup 0.2, or clip harder with --whole --agc 0.005, "
                "and --restart"
            )

    def _logits(self, given: torch.Tensor) -> torch.Tensor:
        """given: (N, H, W, 3) uint8 pictures, or (N, D) embeddings of a frozen backbone."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            answer: torch.Tensor = self.network(given) if given.dtype == torch.uint8 else self.network.classify(given)
        return answer.float()

    def _inputs(self, batches: Batches, *, epoch: int, augmented: bool) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield what the network is given and the labels, on the device.

        Pictures that look the same in every epoch pass a frozen backbone once; after that their embeddings do.
        """
        size = len(batches.pictures) * len(self.network.centre) * torch.float32.itemsize
        if augmented or self._recipe.whole or size > REMEMBERED_BYTES:
            yield from self._pictures(batches, epoch)
            return
        embeddings, labels = self._embedded(batches)
        order = Order(len(labels), self._recipe.batch_size, shuffle_seed=self._recipe.seed)
        order.epoch = epoch
        for batch in order:
            numbers = torch.tensor([number for _, number in batch], device=self._device)
            yield embeddings[numbers], labels[numbers]

    def _embedded(self, batches: Batches) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, D) embeddings and (N,) labels of a pass, remembered after the first."""
        if id(batches) not in self._remembered:
            learning = self.network.head.training
            self.network.learning(False)
            found = [(self._embed(pixels), labels) for pixels, labels in self._pictures(batches, 0)]
            self._remembered[id(batches)] = _joined(found)
            self.network.learning(learning)
        return self._remembered[id(batches)]

    def _pictures(self, batches: Batches, epoch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in batches.of_epoch(epoch):
            self.lost.update(batches.pictures[number] for number in batch.lost)
            if len(batch.labels):
                yield self._on_device(batch)

    def _on_device(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        return batch.pixels.to(self._device, non_blocking=True), batch.labels.to(self._device, non_blocking=True)

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            return self.network.embed(pixels)

    def _centre(self) -> None:
        self.network.learning(False)
        found: list[tuple[torch.Tensor, torch.Tensor]] = []
        for pixels, labels in self._pictures(self._data.known, 0):
            found.append((self._embed(pixels), labels))
            if sum(len(labels) for _, labels in found) >= CENTRED_ON:
                break
        self.network.centre_on(_joined(found)[0])


def _joined(found: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    if not found:
        raise UsageError("none of the pictures can be read any more: run the same command again")
    return torch.cat([first for first, _ in found]), torch.cat([second for _, second in found])


def make_optimizer(network: TunedNetwork, recipe: Recipe) -> Any:
    """Return SGD with Nesterov momentum over what learns; biases, gains and other vectors do not decay."""
    training_parts()
    own = {id(parameter) for parameter in network.head.parameters()}
    groups = []
    for in_head in (False, True):
        for decays in (True, False):
            chosen = [
                parameter
                for _, parameter in network.named_learning()
                if (id(parameter) in own) == in_head and (parameter.ndim > 1) == decays
            ]
            if chosen:
                scale = HEAD_LR_SCALE if in_head and recipe.whole else 1.0
                decay = recipe.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "lr_scale": scale})
    # timm's "sgd" is the one with Nesterov momentum.
    return timm.optim.create_optimizer_v2(groups, opt="sgd", lr=recipe.lr, momentum=MOMENTUM)


def make_schedule(optimizer: Any, updates: int, recipe: Recipe) -> Any:
    """Return timm's cosine with linear warm-up: of update number n, counted from 1, is `step_update(n)` the rate."""
    training_parts()
    warmup = min(round(recipe.warmup * updates), updates - 1)
    return timm.scheduler.CosineLRScheduler(
        optimizer,
        t_initial=updates - warmup,
        lr_min=LAST_LR_SHARE * recipe.lr,
        warmup_t=warmup,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def clip_gradients(network: TunedNetwork, factor: float) -> None:
    """Clip the gradients of each unit of the backbone to a share of its weights; never those of the classifier.

    As in the NFNet paper, section 4.1. factor: 0 clips nothing.
    """
    if factor:
        timm.utils.adaptive_clip_grad(network.backbone_parameters(), clip_factor=factor)
