"""What the tests of fine-tuning share: tiny backbones, drawn pictures, and runs that can be watched."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from indexer.decoding.preparation import Preparation
from indexer.finetuning.base_backbone import BaseBackbone
from indexer.finetuning.checkpoints import EpochResult, RunFolder
from indexer.finetuning.labelled_folders import LabelledPictures, find_labelled, read_labelled
from indexer.finetuning.recipe import Recipe, recipe_for
from indexer.finetuning.training import Training, TrainingData
from indexer.finetuning.training_pictures import Batches, Pictures, as_augmented, as_embedded
from tests.drawn_classes import draw_classes
from tests.fakes import InProcessDecoder
from tests.perturbed import perturbed_weights

RESNET, NFNET = "test_resnet.r160_in1k", "test_nfnet.r160_in1k"
SMALL = Preparation("card", 64, 64, "bilinear", 0.9)
CPU = torch.device("cpu")


class Watching:
    """A progress that remembers what was told, and interrupts when told to."""

    def __init__(self, stop_in: int | None = None) -> None:
        self.results: list[EpochResult] = []
        self.went_on_after: int | None = None
        self._stop_in = stop_in

    def checking(self, done: int, total: int) -> None:
        pass

    def resumed(self, epochs_done: int) -> None:
        self.went_on_after = epochs_done

    def step(self, epoch: int, done: int, total: int, loss: float, accuracy: float) -> None:
        if epoch == self._stop_in and done == 1:
            raise KeyboardInterrupt

    def ended(self, result: EpochResult, *, best: bool) -> None:
        self.results.append(result)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing by threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> LabelledPictures:
    folder = draw_classes(tmp_path_factory.mktemp("classes") / "drawn", 8)
    return read_labelled(find_labelled(folder), InProcessDecoder(), val_fraction=0.25, seed=0, threads=2)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseBackbone]:
    folder = tmp_path_factory.mktemp("weights")
    return {
        name: BaseBackbone(name, perturbed_weights(name, folder / f"{name}.safetensors"), SMALL)
        for name in (RESNET, NFNET)
    }


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.open({}, restart=False)
    return folder


def recipe(*, whole: bool = False, **changes: Any) -> Recipe:
    return recipe_for(whole=whole, changes={"epochs": 3, "batch_size": 9} | changes)


def training(base: BaseBackbone, pictures: LabelledPictures, chosen: Recipe, workers: int = 0) -> Training:
    torch.manual_seed(99)  # whatever the generator was used for before
    seen, changed = as_embedded(SMALL), as_augmented(SMALL, chosen)
    size, seed = chosen.batch_size, chosen.seed
    data = TrainingData(
        Batches(Pictures(pictures.train, changed, seed), size, workers=workers, shuffle_seed=seed, lasting=True),
        Batches(Pictures(pictures.train, seen, seed), size, workers=workers, shuffle_seed=seed),
        Batches(Pictures(pictures.val, seen, seed), size, workers=workers, shuffle_seed=None),
    )
    return Training(base.with_new_classifier(3, chosen), data, chosen, CPU)
