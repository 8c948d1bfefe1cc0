"""The journey of `finetune`: labelled folders in, a registered backbone out."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file

from indexer.backbones import registry
from indexer.backbones.builtin_facts import BUILTIN
from indexer.backbones.licences import require_accepted
from indexer.backbones.registry import RegisteredModel
from indexer.backbones.timm_models import ImageSize, model_card
from indexer.backbones.torch_engine import FromPixels
from indexer.backbones.weights import weights_sha256
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.preparation import Mode, Preparation
from indexer.devices import choose_device
from indexer.finetuning.base_backbone import BaseBackbone
from indexer.finetuning.checkpoints import RunFolder, RunState, write_report
from indexer.finetuning.confusion import Confusion
from indexer.finetuning.labelled_folders import (
    LabelledFiles,
    LabelledPictures,
    Skipped,
    find_labelled,
    read_labelled,
    require_share,
)
from indexer.finetuning.recipe import Recipe
from indexer.finetuning.training import Progress, Training, TrainingData
from indexer.finetuning.training_pictures import Batches, Pictures, as_augmented, as_embedded
from indexer.finetuning.tuned_network import TunedNetwork
from search.errors import LookalikeError, UsageError
from search.records import displayable

REPORT_NAME: Final = "report.json"
CONFUSION_JSON: Final = "confusion.json"
CONFUSION_CSV: Final = "confusion.csv"
TUNED_NAME: Final = "tuned.safetensors"


@dataclass(frozen=True, slots=True)
class FinetuneRequest:
    """What is wanted. run_folder: where checkpoints and reports go, None for a place beside the registered models.

    accepted: licence that the user agreed to. replacing: a registered model of this name may go. restart: begin anew
    where an interrupted run lies.
    """

    folder: Path
    name: str
    backbone: str
    recipe: Recipe
    weights: Path | None = None
    mode: Mode = "card"
    size: ImageSize = None
    device: str = "auto"
    val_fraction: float = 0.2
    workers: int = 0
    checkers: int = 1
    run_folder: Path | None = None
    accepted: str | None = None
    replacing: bool = False
    restart: bool = False

    @property
    def place(self) -> Path:
        """The run's folder."""
        return self.run_folder or registry.runs_root() / self.name


@dataclass(frozen=True, slots=True)
class FinetuneSummary:
    """What came out. confusion: of the finished network, on the pictures kept for checking."""

    model: RegisteredModel
    run_folder: Path
    state: RunState
    confusion: Confusion
    trained_on: int
    skipped: tuple[Skipped, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the object of `finetune`."""
        best = self.state.best
        return {
            "name": self.model.name,
            "model": displayable(self.model.folder),
            "run": displayable(self.run_folder),
            "backbone": self.model.base,
            "architecture": self.model.architecture,
            "licence": self.model.licence,
            "preparation": self.model.preparation.as_dict(),
            "weights_sha256": self.model.weights_sha256,
            "classes": list(self.model.classes),
            "images": {"train": self.trained_on, "val": int(self.confusion.counts.sum())},
            "skipped": [one.as_json() for one in self.skipped],
            "epochs": self.state.epochs_done,
            "best_epoch": None if best is None else best.epoch,
            "accuracy": self.confusion.accuracy,
            "by_class": [asdict(report) for report in self.confusion.by_class()],
            "mistakes": [asdict(mistake) for mistake in self.confusion.mistakes(20)],
            "history": [asdict(result) for result in self.state.history],
            "recipe": dict(self.model.recipe),
        }


def finetune(request: FinetuneRequest, progress: Progress) -> FinetuneSummary:
    """Train a new classifier on labelled folders and register the result as a backbone; go on where a run stopped.

    Raises:
        UsageError: an option, a name or the folder's classes cannot be used; nothing was written.
        GuardRefused: a model of this name is there, or an unfinished run of something else.
        LicenceNotAccepted: the weights ask for consent.
        LookalikeError: by name, whatever else stopped it.
        KeyboardInterrupt: every finished epoch is on the disk.
    """
    registry.require_free(request.name, replacing=request.replacing)
    device = torch.device(choose_device(request.device))
    require_share(request.val_fraction)
    files = find_labelled(request.folder)  # a mistake in it is told before weights are fetched
    base = _base(request)
    as_augmented(base.preparation, request.recipe)  # a mistake in it is told before minutes of checking
    pictures = _pictures(files, request, base.preparation, progress)
    network = base.with_new_classifier(len(pictures.classes), request.recipe)
    folder = RunFolder(request.place)
    folder.open(_settings(request.recipe, base, pictures), restart=request.restart)
    data = _data(pictures, base.preparation, request)
    training = Training(network, data, request.recipe, device)
    state = training.run(folder, progress)
    tuned = _Tuned(network, base, pictures.classes, device)
    confusion = tuned.confusion(data.val)
    lost = sorted({displayable(Path(one.path)) for one in training.lost})
    skipped = (*pictures.skipped, *(Skipped(path, "vanished", "changed or gone while training") for path in lost))
    model = _register(request, tuned, state, confusion, folder)
    summary = FinetuneSummary(model, folder.folder, state, confusion, len(pictures.train), skipped)
    write_report(folder.folder / REPORT_NAME, json.dumps(summary.as_json(), indent=2) + "\n")
    folder.clear()
    return summary


def _base(request: FinetuneRequest) -> BaseBackbone:
    if request.backbone == BUILTIN:
        raise UsageError("the backbone `builtin` cannot be fine-tuned: choose a timm model with --backbone")
    card = model_card(request.backbone, request.mode, request.size)
    require_accepted(card.licence, request.accepted, card.name)
    return BaseBackbone(card.name, request.weights, card.preparation)


def _pictures(
    files: LabelledFiles, request: FinetuneRequest, preparation: Preparation, progress: Progress
) -> LabelledPictures:
    with DecoderPool(preparation, children=request.checkers) as pool:
        return read_labelled(
            files,
            pool,
            val_fraction=request.val_fraction,
            seed=request.recipe.seed,
            threads=request.checkers,
            checked=progress.checking,
        )


def _settings(recipe: Recipe, base: BaseBackbone, pictures: LabelledPictures) -> dict[str, Any]:
    return {
        "backbone": base.name,
        "weights_sha256": base.sha256,
        "preparation": base.preparation.as_dict(),
        "recipe": recipe.as_dict(),
        "classes": list(pictures.classes),
        "pictures": pictures.digest(),
    }


def _data(pictures: LabelledPictures, preparation: Preparation, request: FinetuneRequest) -> TrainingData:
    recipe, workers = request.recipe, request.workers
    embedded, augmented = as_embedded(preparation), as_augmented(preparation, recipe)
    size, seed = recipe.batch_size, recipe.seed
    return TrainingData(
        train=Batches(
            Pictures(pictures.train, augmented, seed), size, workers=workers, shuffle_seed=seed, lasting=True
        ),
        known=Batches(Pictures(pictures.train, embedded, seed), size, workers=workers, shuffle_seed=seed),
        val=Batches(Pictures(pictures.val, embedded, seed), size, workers=workers, shuffle_seed=None),
    )


class _Tuned:
    """The finished network as everyone will load it: timm's own, with centring folded in."""

    def __init__(
        self, network: TunedNetwork, base: BaseBackbone, classes: tuple[str, ...], device: torch.device
    ) -> None:
        self.base = base
        self.classes = classes
        self.tensors = network.plain_tensors()
        self._plain = base.plain(self.tensors, len(classes))
        self._device = device

    def confusion(self, val: Batches) -> Confusion:
        """Return what it takes for what, in float32."""
        model = FromPixels(self._plain, self.base.preparation).eval().to(self._device)
        actual: list[torch.Tensor] = []
        predicted: list[torch.Tensor] = []
        with torch.inference_mode():
            for batch in val.of_epoch(0):
                if len(batch.labels):
                    actual.append(batch.labels)
                    predicted.append(model(batch.pixels.to(self._device)).argmax(1).cpu())
        if not actual:
            raise LookalikeError("none of the pictures to check with can be read any more: run the same command again")
        known, found = (np.asarray(torch.cat(parts)) for parts in (actual, predicted))
        return Confusion.of(self.classes, known, found)

    def sha256(self) -> str:
        """Return the hash of its tensors without the classifier, as a space has it."""
        self._plain.cpu().reset_classifier(0)
        return weights_sha256(self._plain)


def _register(
    request: FinetuneRequest, tuned: _Tuned, state: RunState, confusion: Confusion, folder: RunFolder
) -> RegisteredModel:
    reports = {
        CONFUSION_JSON: json.dumps(confusion.as_json(), indent=2) + "\n",
        CONFUSION_CSV: confusion.as_csv(),
    }
    for name, text in reports.items():
        write_report(folder.folder / name, text)
    best = state.best
    model = RegisteredModel(
        name=request.name,
        architecture=tuned.base.architecture,
        classes=tuned.classes,
        preparation=tuned.base.preparation,
        licence=tuned.base.licence,
        base=tuned.base.name,
        base_sha256=tuned.base.sha256,
        weights_sha256=tuned.sha256(),
        recipe=request.recipe.as_dict(),
        metrics={
            "accuracy": confusion.accuracy,
            "val_images": int(confusion.counts.sum()),
            "val_loss": None if best is None else best.val_loss,
            "best_epoch": None if best is None else best.epoch,
        },
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    file = folder.folder / TUNED_NAME
    try:
        save_file(tuned.tensors, file, {"format": "pt"})
        files = [folder.folder / name for name in reports]
        return registry.register(model, file, files, replacing=request.replacing)
    finally:
        file.unlink(missing_ok=True)
