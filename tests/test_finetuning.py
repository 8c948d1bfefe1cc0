"""Fine-tuning: how pictures are shown, what learns and what does not."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from indexer.backbones.backbones import REFERENCE_MODELS
from indexer.backbones.timm_models import new_network, unloaded_network
from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.preparation import prepare
from indexer.finetuning.base_backbone import BaseBackbone
from indexer.finetuning.checkpoints import RunFolder
from indexer.finetuning.labelled_folders import LabelledPictures, find_labelled, read_labelled
from indexer.finetuning.training import clip_gradients, make_optimizer
from indexer.finetuning.training_pictures import Batches, Pictures, as_augmented, as_embedded
from indexer.finetuning.tuned_network import TunedNetwork
from search.errors import UsageError
from tests.drawn_classes import draw_classes
from tests.fakes import InProcessDecoder
from tests.finetuning_jobs import NFNET, RESNET, SMALL, Watching, bases, one_thread, pictures, recipe, run, training

__all__ = ["bases", "one_thread", "pictures", "run"]  # fixtures

FAMILIES = ("nfnet_l0", "eca_nfnet_l0", "nf_resnet50", "resnext50_32x4d")
BIGGEST = ("resnetv2_152x2_bit", "resnext101_32x16d")


# --- pictures -------------------------------------------------------------------------------------


def test_pictures_are_checked_exactly_as_they_are_later_embedded(pictures: LabelledPictures) -> None:
    (batch,) = Batches(Pictures(pictures.val, as_embedded(SMALL), 0), 99, workers=0, shuffle_seed=None).of_epoch(0)
    for pixels, one in zip(batch.pixels, pictures.val, strict=True):
        decoded = decode(Path(one.path).read_bytes(), DecodeLimits()).pixels
        np.testing.assert_array_equal(pixels.numpy(), prepare(decoded, SMALL))
    assert batch.labels.tolist() == [one.label for one in pictures.val]


def test_augmentation_depends_on_seed_epoch_and_picture_alone(pictures: LabelledPictures) -> None:
    shown = Pictures(pictures.train, as_augmented(SMALL, recipe()), 0)
    passes = Batches(shown, 5, workers=0, shuffle_seed=0)
    before = torch.get_rng_state()
    first = torch.cat([batch.pixels for batch in passes.of_epoch(1)])
    assert torch.equal(torch.get_rng_state(), before), "dropout must not feel how pictures are shown"
    with_workers = Batches(shown, 5, workers=2, shuffle_seed=0)
    assert torch.equal(torch.cat([batch.pixels for batch in with_workers.of_epoch(1)]), first)
    others = torch.cat([batch.pixels for batch in passes.of_epoch(2)])
    assert not torch.equal(others, first)


def test_a_picture_that_changes_while_training_is_left_out_and_named(
    tmp_path: Path, bases: dict[str, BaseBackbone], run: RunFolder
) -> None:
    folder = draw_classes(tmp_path / "drawn", 4)
    found = read_labelled(find_labelled(folder), InProcessDecoder(), val_fraction=0.25, seed=0, threads=1)
    changed = Path(found.train[0].path)
    Image.new("RGB", (80, 80)).save(changed)
    job = training(bases[RESNET], found, recipe(epochs=1))
    job.run(run, Watching())
    assert {one.path for one in job.lost} == {str(changed)}


# --- what learns ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [RESNET, NFNET])
def test_a_new_head_learns_the_classes_and_leaves_every_tensor_of_the_backbone_as_it_is(
    name: str, bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    job = training(bases[name], pictures, recipe(epochs=4))
    state = job.run(run, Watching())
    assert state.best is not None
    assert state.best.accuracy >= 0.9
    before, after = bases[name]._tensors, job.network.plain_tensors()
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    assert len(after) == len(before) + 2


def test_without_augmentation_a_frozen_backbone_sees_each_picture_once(
    bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    job = training(bases[RESNET], pictures, recipe(epochs=20, augment=False))
    seen = 0

    def count(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        nonlocal seen
        seen += len(inputs[0])

    job.network.network.register_forward_pre_hook(count)
    state = job.run(run, Watching())
    assert seen <= 2 * len(pictures.train) + len(pictures.val)
    assert state.best is not None
    assert state.best.accuracy >= 0.9


@pytest.mark.parametrize("name", [RESNET, NFNET])
def test_the_whole_network_learns_with_whole_and_batch_statistics_stay(
    name: str, bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    job = training(bases[name], pictures, recipe(whole=True, epochs=3))
    job.run(run, Watching())
    after = job.network.plain_tensors()
    for key, tensor in bases[name]._tensors.items():
        statistics = "running_" in key or "num_batches" in key
        assert torch.equal(after[key], tensor) == statistics, key


def test_what_is_saved_is_a_plain_network_with_the_same_answers(
    bases: dict[str, BaseBackbone], pictures: LabelledPictures, run: RunFolder
) -> None:
    job = training(bases[NFNET], pictures, recipe(augment=False))
    job.run(run, Watching())
    assert float(job.network.centre.abs().max()) > 0
    plain = bases[NFNET].plain(job.network.plain_tensors(), 3)
    pixels = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (SMALL.mean, SMALL.std))
    with torch.no_grad():
        ours = job.network.learning(False)(pixels)
        theirs = plain((pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_stochastic_depth_and_dropout_act_while_learning_only(bases: dict[str, BaseBackbone]) -> None:
    chosen = recipe(whole=True, stochastic_depth=0.5, dropout=0.0)
    network = bases[NFNET].with_new_classifier(3, chosen)
    nn.init.normal_(network.head.weight)
    pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert not torch.equal(network.learning()(pixels), network(pixels))
        assert torch.equal(network.learning(False)(pixels), network(pixels))
        hidden = bases[RESNET].with_new_classifier(3, recipe(dropout=0.5))
        nn.init.normal_(hidden.head.weight)
        assert not torch.equal(hidden.learning()(pixels), hidden(pixels))
        assert torch.equal(hidden.learning(False)(pixels), hidden(pixels))


def one_step(name: str) -> None:
    chosen = recipe(whole=True, lr=0.001)
    network = TunedNetwork(
        new_network(name, SMALL, num_classes=3, drop_path_rate=0.1), SMALL, whole=True, dropout=0.2
    ).learning()
    nn.init.normal_(network.head.weight, std=0.1)
    optimizer = make_optimizer(network, chosen)
    before = [parameter.detach().clone() for parameter in network.backbone_parameters()]
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    loss = nn.functional.cross_entropy(network(pixels), torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    clip_gradients(network, chosen.agc)
    optimizer.step()
    assert math.isfinite(loss.item())
    after = network.backbone_parameters()
    moved = sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    # Fresh networks end their residual branches with zeros, so that not every tensor has a gradient at first.
    assert moved > len(before) / 4


@pytest.mark.parametrize("name", FAMILIES)
def test_a_step_of_the_whole_network_runs_for_each_family(name: str) -> None:
    one_step(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", BIGGEST)
def test_a_step_of_the_whole_network_runs_for_the_biggest(name: str) -> None:
    one_step(name)


@pytest.mark.parametrize("name", REFERENCE_MODELS)
def test_every_reference_model_takes_a_new_classifier_and_shows_its_embedding(name: str) -> None:
    headless = set(unloaded_network(name, SMALL, num_classes=0).state_dict())
    network = TunedNetwork(unloaded_network(name, SMALL, num_classes=3), SMALL, whole=False, dropout=0.1).to("meta")
    head = {f"{name}" for name in network.network.state_dict() if name not in headless}
    assert {f"network.{key}" for key in head} == network._head_names()
    with torch.no_grad():
        pixels = torch.empty((2, 64, 64, 3), dtype=torch.uint8, device="meta")
        embeddings = network.embed(pixels)
        assert embeddings.shape == (2, network.head.weight.shape[1])
        assert network(pixels).shape == network.classify(embeddings).shape == (2, 3)


def test_a_model_without_branches_to_skip_says_how_to_go_on(bases: dict[str, BaseBackbone]) -> None:
    base = bases[RESNET]
    lacking = object.__new__(BaseBackbone)
    lacking.__dict__.update(base.__dict__ | {"name": "vgg11", "architecture": "vgg11"})
    with pytest.raises(UsageError, match="no branches to skip: pass --stochastic-depth 0"):
        lacking.with_new_classifier(3, recipe(whole=True))
