"""What `backbones` says of a model is what its card says; the oracle is written out here, from timm's tables."""

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from indexer.backbones.backbones import REFERENCE_MODELS, load_backbone
from indexer.backbones.feature_maps import map_shapes
from indexer.backbones.model_facts import accuracy_source, facts_of, names_containing, shown_names
from indexer.backbones.timm_models import canonical_name, model_card, unloaded_network
from indexer.decoding.preparation import Preparation
from search.errors import BackboneNotFound
from tests.perturbed import perturbed_weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NF_MAPS = [(64, 112), (256, 56), (512, 28), (1536, 14), (2304, 7)]
RESNEXT_MAPS = [(64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7)]
BIT = "resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k_384"


@dataclass(frozen=True)
class Card:
    """One row of the table of facts. parameters: in millions, with the classifier and without.

    train and test: pixels, crop, GMACs, millions of activations. maps: channels and side at strides 2 to 32.
    accuracy: pixels, top-1, top-5.
    """

    legacy: str
    parameters: tuple[float, float]
    train: tuple[int, float, float, float]
    test: tuple[int, float, float, float]
    dims: int
    maps: list[tuple[int, int]]
    accuracy: list[tuple[int, float, float]]
    interpolation: str = "bicubic"
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    licence: str = "apache-2.0"


def resnext(legacy: str, parameters: tuple[float, float], costs: tuple[float, float], top1: float, top5: float) -> Card:
    size = (224, 0.875, *costs)
    return Card(
        legacy, parameters, size, size, 2048, RESNEXT_MAPS, [(224, top1, top5)], "bilinear", licence="cc-by-nc-4.0"
    )


CARDS = {
    "nf_resnet50.ra2_in1k": Card(
        legacy="nf_resnet50",
        parameters=(25.56, 23.51),
        train=(256, 0.94, 5.46, 14.52),
        test=(288, 0.94, 6.88, 18.37),
        dims=2048,
        maps=[(64, 128), (256, 64), (512, 32), (1024, 16), (2048, 8)],
        accuracy=[(256, 80.236, 95.104), (288, 80.658, 95.350)],
    ),
    "nfnet_l0.ra2_in1k": Card(
        legacy="nfnet_l0",
        parameters=(35.07, 32.77),
        train=(224, 0.9, 4.36, 10.47),
        test=(288, 1.0, 7.13, 17.29),
        dims=2304,
        maps=NF_MAPS,
        accuracy=[(224, 81.870, 96.034), (288, 82.766, 96.494)],
    ),
    "eca_nfnet_l0.ra2_in1k": Card(
        legacy="eca_nfnet_l0",
        parameters=(24.14, 21.84),
        train=(224, 0.9, 4.35, 10.47),
        test=(288, 1.0, 7.12, 17.29),
        dims=2304,
        maps=NF_MAPS,
        accuracy=[(224, 81.762, 95.994), (288, 82.590, 96.486)],
    ),
    BIT: Card(
        legacy="resnetv2_152x2_bit_teacher_384",
        parameters=(236.34, 232.24),
        train=(384, 1.0, 136.16, 132.56),
        test=(384, 1.0, 136.16, 132.56),
        dims=4096,
        maps=[(128, 192), (512, 96), (1024, 48), (2048, 24), (4096, 12)],
        accuracy=[(384, 83.858, 97.130)],
        normalisation=HALF,
    ),
    "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k": resnext(
        "ssl_resnext50_32x4d", (25.03, 22.98), (4.26, 14.40), 80.316, 95.386
    ),
    "resnext101_32x4d.fb_ssl_yfcc100m_ft_in1k": resnext(
        "ssl_resnext101_32x4d", (44.18, 42.13), (8.01, 21.23), 80.936, 95.732
    ),
    "resnext101_32x8d.fb_ssl_yfcc100m_ft_in1k": resnext(
        "ssl_resnext101_32x8d", (88.79, 86.74), (16.48, 31.21), 81.620, 96.036
    ),
    "resnext101_32x16d.fb_ssl_yfcc100m_ft_in1k": resnext(
        "ssl_resnext101_32x16d", (194.03, 191.98), (36.27, 51.18), 81.856, 96.084
    ),
}


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a name was looked up on the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", REFERENCE_MODELS)
def test_the_facts_of_a_reference_model_are_those_of_its_card(name: str) -> None:
    card = CARDS[name]
    for written in (name, card.legacy, f"timm/{name}", f"hf_hub:timm/{name}", f"hf-hub:timm/{card.legacy}"):
        assert canonical_name(written) == name
    facts = facts_of(card.legacy)
    assert (facts.name, facts.hub_id, facts.licence) == (name, f"timm/{name}", card.licence)
    assert card.legacy in (facts.short_name, *facts.legacy_names)
    millions = (round(facts.parameters_with_classifier / 1e6, 2), round(facts.parameters / 1e6, 2))
    assert (millions, facts.dims, facts.classes) == (card.parameters, card.dims, 1000)
    for size, expected in ((facts.train, card.train), (facts.test, card.test)):
        assert size.costs is not None
        assert (size.height, size.crop_pct, size.costs.gmacs, size.costs.mega_activations) == expected
    assert (facts.preparation.interpolation, facts.crop_mode) == (card.interpolation, "center")
    assert (facts.preparation.mean, facts.preparation.std) == card.normalisation
    assert [level.stride for level in facts.feature_maps] == [2, 4, 8, 16, 32]
    assert [(level.channels, level.height) for level in facts.feature_maps] == card.maps
    assert [(one.size, one.top1, one.top5) for one in facts.accuracy] == card.accuracy
    assert "results-imagenet.csv" in accuracy_source()


def test_eca_nfnet_is_prepared_as_its_card_says_and_as_timm_tests_it() -> None:
    card = model_card("hf_hub:timm/eca_nfnet_l0", "card", 288).preparation
    assert (card.height, card.width, card.crop_pct) == (288, 288, 0.9)
    test = model_card("hf_hub:timm/eca_nfnet_l0", "card", "test").preparation
    assert (test.height, test.width, test.crop_pct) == (288, 288, 1.0)
    assert card != test


# --- the traps of these models --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("nf_resnet50.ra2_in1k", "stages.3"),
        ("nfnet_l0.ra2_in1k", "final_conv"),
        ("eca_nfnet_l0.ra2_in1k", "final_conv"),
        (BIT, "stages.3"),
    ],
)
def test_trap_a_the_last_map_of_a_pre_activation_net_is_taken_before_its_last_activation(
    name: str, module: str
) -> None:
    assert map_shapes(name, Preparation("full", 64, 64))[-1].module == module
    network = unloaded_network(name)
    after = [part for part, _ in network.named_children()]
    assert after[after.index(module.split(".", maxsplit=1)[0]) + 1] in ("final_act", "final_conv", "norm")


# Trap b, maps with values below zero, is in test_feature_maps.py.


def test_trap_c_the_test_size_comes_only_when_asked_for() -> None:
    assert model_card("eca_nfnet_l0").preparation.height == 224
    assert model_card("eca_nfnet_l0", "card", "test").preparation.height == 288


def test_trap_d_a_legacy_name_never_keys_a_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch")
    weights = perturbed_weights("test_resnet", tmp_path / "weights.safetensors")
    assert load_backbone("timm/test_resnet", weights=weights, device="cpu").space.backbone == "test_resnet.r160_in1k"
    assert all(name in CARDS for name in map(canonical_name, (card.legacy for card in CARDS.values())))


def test_trap_e_236_million_parameters_take_no_memory() -> None:
    assert {tensor.device.type for tensor in unloaded_network(BIT).state_dict().values()} == {"meta"}
    facts_of("test_resnet")  # what is loaded once is not counted
    before = resident_bytes()
    assert facts_of(BIT).parameters_with_classifier > 236e6
    assert resident_bytes() - before < 100e6, "the weights alone would be 945 MB"


def test_trap_f_bit_has_its_own_mean_and_std() -> None:
    preparation = model_card(BIT).preparation
    assert (preparation.mean, preparation.std) == HALF


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("no /proc here")
    return int(statm.read_text().split()[1]) * 4096


# --- any other model ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "gmacs", "activations"),
    [
        ("resnet50", 4.11, 11.11),
        ("efficientnet_b0", 0.40, 6.75),
        ("convnext_tiny", 4.47, 13.44),
        ("vit_base_patch16_224", 17.58, 23.90),
        ("swin_tiny_patch4_window7_224", 4.51, 17.06),
    ],
)
def test_costs_of_other_kinds_of_models_are_those_of_timms_tables(name: str, gmacs: float, activations: float) -> None:
    costs = facts_of(name).train.costs
    assert costs is not None
    assert (costs.gmacs, costs.mega_activations) == (gmacs, activations)


def test_a_transformer_has_maps_of_one_stride_with_names_of_their_own() -> None:
    shapes = map_shapes("test_vit.r160_in1k", Preparation("full", 160, 160))
    assert [level.name for level in shapes] == ["stride_16", "stride_16_2", "stride_16_3"]
    assert {(level.channels, level.height, level.width) for level in shapes} == {(64, 10, 10)}


def test_maps_with_channels_last_are_told_channels_first() -> None:
    shapes = facts_of("swin_tiny_patch4_window7_224").feature_maps
    assert [(level.channels, level.height) for level in shapes] == [(96, 56), (192, 28), (384, 14), (768, 7)]


def test_the_builtin_backbone_has_a_card_too() -> None:
    facts = facts_of("builtin")
    assert (facts.dims, facts.licence, facts.feature_maps, facts.train.height) == (256, "apache-2.0", (), 104)
    assert facts.train.costs is not None
    assert facts.train.costs.macs > 1e8


def test_the_builtin_and_the_eight_are_shown_and_then_those_made_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOOKALIKE_MODELS", str(tmp_path))
    assert shown_names() == ("builtin", *REFERENCE_MODELS)
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "model.json").write_text("{}")
    assert shown_names() == ("builtin", *REFERENCE_MODELS, "pets")


def test_names_are_found_by_a_part_of_the_present_or_the_legacy_one() -> None:
    assert names_containing("ECA_nfnet_l0") == ["eca_nfnet_l0.ra2_in1k"]
    assert "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k" in names_containing("ssl_resnext50")
    assert names_containing("built") == ["builtin"]
    assert names_containing("no such model") == []


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(BackboneNotFound, match="did you mean .*nf_resnet50"):
        facts_of("nf_resnet51")


def test_facts_leave_torch_as_it_was() -> None:
    facts_of("test_resnet")
    assert torch.get_default_device().type == "cpu"
    assert torch.is_grad_enabled()
