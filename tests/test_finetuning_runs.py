"""Fine-tuning runs: checkpoints, runs that go on, and runs that must stop."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from indexer.finetuning.base_backbone import BaseBackbone
from indexer.finetuning.checkpoints import BEST_NAME, LAST_NAME, EpochResult, RunFolder, RunState
from indexer.finetuning.labelled_folders import LabelledPictures
from indexer.finetuning.training import Diverged
from search.errors import GuardRefused, LookalikeError
from tests.finetuning_jobs import (
    NFNET,
    RESNET,
    Watching,
    bases,
    one_thread,
    pictures,
    recipe,
    run,
    training,
)

__all__ = ["bases", "one_thread", "pictures", "run"]  # fixtures


def numbers(results: list[EpochResult] | tuple[EpochResult, ...]) -> list[EpochResult]:
    return [dataclasses.replace(result, seconds=0.0) for result in results]


@pytest.mark.parametrize("changes", [{}, {"augment": False}, {"whole": True}])
def test_an_interrupted_run_comes_to_the_end_it_would_have_come_to(
    changes: dict[str, Any], bases: dict[str, BaseBackbone], pictures: LabelledPictures, tmp_path: Path
) -> None:
    chosen = recipe(**changes)
    folders = [RunFolder(tmp_path / name) for name in ("whole", "broken")]
    for folder in folders:
        folder.open({}, restart=False)
    straight = training(bases[NFNET], pictures, chosen)
    expected = straight.run(folders[0], Watching())
    with pytest.raises(KeyboardInterrupt):
        training(bases[NFNET], pictures, chosen).run(folders[1], Watching(stop_in=2))
    again, watching = training(bases[NFNET], pictures, chosen), Watching()
    found = again.run(folders[1], watching)
    assert watching.went_on_after == 1
    assert numbers(found.history) == numbers(expected.history)
    ours, theirs = again.network.plain_tensors(), straight.network.plain_tensors()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_best_epoch_is_kept_and_not_the_last(
    bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads: list[torch.Tensor] = []

    def ended(self: Watching, result: EpochResult, *, best: bool) -> None:
        heads.append(job.network.head.weight.detach().clone())

    real, scores = RunState.after, iter([0.2, 0.9, 0.9])
    monkeypatch.setattr(Watching, "ended", ended)
    monkeypatch.setattr(
        RunState,
        "after",
        lambda self, result: real(self, dataclasses.replace(result, accuracy=next(scores), val_loss=1.0)),
    )
    job = training(bases[RESNET], pictures, recipe(augment=False))
    state = job.run(run, Watching())
    assert state.best is not None
    assert state.best.epoch == 2
    assert torch.equal(job.network.head.weight, heads[1])
    assert not torch.equal(heads[1], heads[2])


def test_a_checkpoint_is_one_file_of_tensors_with_the_state_in_its_header(
    bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    training(bases[RESNET], pictures, recipe(epochs=1)).run(run, Watching())
    assert sorted(path.name for path in run.folder.iterdir()) == [BEST_NAME, LAST_NAME, "run.json"]
    found = load_file(run.folder / LAST_NAME)
    momentum = {f"momentum network.fc.{kind}" for kind in ("weight", "bias")}
    assert set(found) == {"centre", "shrink", "network.fc.weight", "network.fc.bias"} | momentum
    with safe_open(run.folder / LAST_NAME, framework="pt") as stored:
        assert '"history": [{"epoch": 1,' in stored.metadata()["state"]


def test_a_loss_that_is_no_number_stops_the_run_and_names_the_remedy(
    bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    chosen = recipe(whole=True, lr=1e30, agc=0.0, batch_size=99)  # one update an epoch: its loss is still a number
    with pytest.raises(Diverged, match=r"no number any more in epoch \d: learn slower with --lr 1e\+29"):
        training(bases[NFNET], pictures, chosen).run(run, Watching())
    if run.unfinished:
        assert all(bool(tensor.isfinite().all()) for tensor in load_file(run.folder / LAST_NAME).values())


def cut(place: Path) -> None:
    place.write_bytes(place.read_bytes()[:-100])


def other_network(place: Path) -> None:
    place.write_bytes(place.with_name("other").read_bytes())


@pytest.mark.parametrize("damage", [cut, other_network])
def test_a_damaged_checkpoint_is_named_with_a_way_out(
    damage: Callable[[Path], None], bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    with pytest.raises(KeyboardInterrupt):
        training(bases[NFNET], pictures, recipe(augment=False)).run(run, Watching(stop_in=2))
    (run.folder / LAST_NAME).rename(run.folder / "other")
    with pytest.raises(KeyboardInterrupt):
        training(bases[RESNET], pictures, recipe(augment=False)).run(run, Watching(stop_in=2))
    damage(run.folder / LAST_NAME)
    with pytest.raises(LookalikeError, match="--restart"):
        training(bases[RESNET], pictures, recipe(augment=False)).run(run, Watching())


def test_a_run_of_other_settings_is_not_taken_up_and_not_thrown_away(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.open({"pictures": "a", "recipe": {"lr": 1}}, restart=False)
    (tmp_path / LAST_NAME).write_bytes(b"an epoch")
    folder.open({"pictures": "a", "recipe": {"lr": 1}}, restart=False)
    with pytest.raises(GuardRefused, match=r"\(recipe differ\).*--restart"):
        folder.open({"pictures": "a", "recipe": {"lr": 2}}, restart=False)
    assert folder.unfinished
    folder.open({"pictures": "a", "recipe": {"lr": 2}}, restart=True)
    assert not folder.unfinished
