"""The parts of the fine-tuning recipe against their formulas."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from indexer.finetuning.base_backbone import BaseBackbone
from indexer.finetuning.recipe import HEAD_LR_SCALE, recipe_for
from indexer.finetuning.training import clip_gradients, make_optimizer, make_schedule
from indexer.finetuning.training_pictures import as_augmented
from search.errors import UsageError
from tests.finetuning_jobs import NFNET, SMALL, bases, one_thread, pictures, recipe, run

__all__ = ["bases", "one_thread", "pictures", "run"]  # fixtures


def test_the_defaults_are_those_of_the_nfnet_card() -> None:
    whole = recipe_for(whole=True, changes={})
    assert (whole.agc, whole.randaugment) == (0.015, "rand-m9-mstd0.5")
    assert min(whole.dropout, whole.stochastic_depth, whole.label_smoothing, whole.warmup) > 0
    assert recipe_for(whole=False, changes={"epochs": None}).agc == 0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"lr": -1.0}, "--lr -1"),
        ({"lr": math.nan}, "--lr nan"),
        ({"batch_size": 0}, "--batch-size 0"),
        ({"dropout": 1.0}, "--dropout 1"),
        ({"label_smoothing": 1.5}, "--label-smoothing 1.5"),
        ({"smallest_crop": 0.0}, "--smallest-crop 0"),
        ({"seed": -1}, "--seed -1"),
        ({"randaugment": "strong"}, "--randaugment 'strong' is not none nor timm's words"),
        ({"agc": 0.01}, "--agc acts on the backbone, which only trains with --whole"),
        ({"stochastic_depth": 0.1}, "--stochastic-depth acts on the backbone"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_option(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        recipe(**changes)


def test_randaugment_that_timm_does_not_understand_is_refused() -> None:
    with pytest.raises(UsageError, match="rand-q9"):
        as_augmented(SMALL, recipe(randaugment="rand-q9"))


def test_the_schedule_warms_up_linearly_and_falls_as_a_cosine() -> None:
    chosen = recipe(lr=1.0, warmup=0.1)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make_schedule(optimizer, 100, chosen)
    rates = []
    for update in range(1, 101):
        schedule.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10)
    cosine = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 90)) / 2 for step in range(91)]
    np.testing.assert_allclose(rates[9:], cosine, atol=1e-12)


def test_the_optimizer_is_sgd_with_nesterov_and_vectors_do_not_decay(bases: dict[str, BaseBackbone]) -> None:
    chosen = recipe(whole=True, lr=0.02, weight_decay=0.1)
    network = bases[NFNET].with_new_classifier(3, chosen)
    optimizer = make_optimizer(network, chosen)
    assert all(group["nesterov"] and group["momentum"] == 0.9 for group in optimizer.param_groups)
    head = {id(parameter) for parameter in network.head.parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0)
            assert group["lr_scale"] == (HEAD_LR_SCALE if id(parameter) in head else 1.0)
    learning = sum(len(group["params"]) for group in optimizer.param_groups)
    assert learning == len(list(network.network.parameters()))


def test_gradients_are_clipped_to_a_share_of_each_units_weights_and_the_head_is_left_alone(
    bases: dict[str, BaseBackbone],
) -> None:
    network = bases[NFNET].with_new_classifier(3, recipe(whole=True))
    torch.manual_seed(0)
    before = {}
    for name, parameter in network.named_parameters():
        parameter.grad = torch.randn_like(parameter) * 10 ** float(torch.randint(-4, 2, ()))
        before[name] = parameter.grad.clone()
    clip_gradients(network, 0.015)
    clipped = 0
    for name, parameter in network.named_parameters():
        axes = tuple(range(1, parameter.ndim)) if parameter.ndim > 1 else tuple(range(parameter.ndim))
        weight = parameter.detach().square().sum(axes, keepdim=parameter.ndim > 1).sqrt().clamp(min=1e-3)
        gradient = before[name].square().sum(axes, keepdim=parameter.ndim > 1).sqrt()
        too_long = gradient >= 0.015 * weight
        expected = torch.where(too_long, before[name] * 0.015 * weight / gradient.clamp(min=1e-6), before[name])
        if name.startswith("network.head.fc"):
            expected = before[name]
        else:
            clipped += int(too_long.sum())
        torch.testing.assert_close(parameter.grad, expected)
    assert clipped > 100
