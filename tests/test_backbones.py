"""timm's models as backbones: exact to the model card, and never a silent random network."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from indexer.backbones.backbones import BUILTIN_PREPARATION, REFERENCE_MODELS, load_backbone, load_for_space
from indexer.backbones.builtin_facts import FIRST_WEIGHTS_SHA256, WEIGHTS_FILES
from indexer.backbones.model_facts import facts_of
from indexer.backbones.timm_models import canonical_name, model_names, timm
from indexer.backbones.weights import weights_sha256
from indexer.decoding.preparation import Preparation, prepare
from search.errors import BackboneNotFound, SpaceMismatch, UsageError, WeightsMismatch, WeightsUnavailable
from tests.conftest import painted
from tests.perturbed import perturbed_weights

TINY = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perturbed_weights(TINY, tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("name", [TINY, "test_nfnet.r160_in1k", "test_vit.r160_in1k", "eca_nfnet_l0"])
def test_card_embeddings_equal_the_loop_of_the_model_card(name: str, tmp_path: Path) -> None:
    file = perturbed_weights(name, tmp_path / "weights.safetensors")
    card = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(card), is_training=False)
    pictures = [painted(number, size) for number, size in enumerate([(300, 200), (200, 333), (64, 64)])]
    with torch.no_grad():
        expected = card(torch.stack([transform(picture) for picture in pictures])).numpy()
    ours = load_backbone(name, weights=file, mode="card", device="cpu")
    pixels = np.stack([prepare(np.asarray(picture), ours.preparation) for picture in pictures])
    assert ours.space.dims == expected.shape[1]
    # uint8 before normalisation on both sides, so only float32 rounding differs.
    np.testing.assert_allclose(ours.embed(pixels), expected, atol=2e-4 * np.abs(expected).max())
    assert np.std(expected) > 0, "dead branches: this test would prove nothing"


def test_a_file_without_a_classifier_gives_the_same_space(tiny: Path, tmp_path: Path) -> None:
    kept = {key: tensor for key, tensor in load_file(tiny).items() if not key.startswith("fc.")}
    save_file(kept, tmp_path / "headless.safetensors")
    with_head = load_backbone(TINY, weights=tiny, device="cpu").space
    assert load_backbone(TINY, weights=tmp_path / "headless.safetensors", device="cpu").space.fingerprint == (
        with_head.fingerprint
    )


def test_other_weights_or_another_preparation_are_another_space(tiny: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny)
    tensors["conv1.0.weight" if "conv1.0.weight" in tensors else "conv1.weight"] += 1e-3
    save_file(tensors, tmp_path / "other.safetensors")
    spaces = {
        load_backbone(TINY, weights=tiny, device="cpu").space.fingerprint,
        load_backbone(TINY, weights=tiny, mode="card", device="cpu").space.fingerprint,
        load_backbone(TINY, weights=tmp_path / "other.safetensors", device="cpu").space.fingerprint,
    }
    assert len(spaces) == 3


def test_without_weights_the_error_names_both_ways_out() -> None:
    with pytest.raises(WeightsUnavailable, match=r"connect to the Hugging Face hub once .*--weights FILE\.safetensors"):
        load_backbone("resnet18.a1_in1k", device="cpu")


def test_a_weights_file_of_another_model_is_refused_by_its_first_difference(tiny: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"of resnet18\.a1_in1k: conv1\.weight \(64, 3, 7, 7\) is missing"):
        load_backbone("resnet18.a1_in1k", weights=tiny, device="cpu")


def test_a_file_with_a_missing_tensor_is_never_filled_with_random_numbers(tiny: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny)
    lost = next(key for key in tensors if key.startswith("layer2") and key.endswith("weight"))
    del tensors[lost]
    save_file(tensors, tmp_path / "holey.safetensors")
    with pytest.raises(WeightsMismatch, match=lost):
        load_backbone(TINY, weights=tmp_path / "holey.safetensors", device="cpu")


def test_a_pickle_is_refused_with_a_way_to_convert_it(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(
        UsageError, match=r"never loaded. Convert it once with: .*weights_only=True.*weights\.safetensors"
    ):
        load_backbone(TINY, weights=tmp_path / "weights.pth", device="cpu")


def test_a_missing_weights_file_is_named() -> None:
    with pytest.raises(WeightsUnavailable, match="no weights file /no/such"):
        load_backbone(TINY, weights=Path("/no/such.safetensors"), device="cpu")


def test_an_unknown_backbone_suggests_near_names() -> None:
    with pytest.raises(BackboneNotFound, match="did you mean .*eca_nfnet_l1"):
        load_backbone("eca_nfnet_l9", device="cpu")
    with pytest.raises(BackboneNotFound, match="'resent50': did you mean resnet50"):
        load_backbone("resent50", device="cpu")


def test_a_name_that_resembles_none_suggests_none() -> None:
    with pytest.raises(BackboneNotFound, match="'nonsense': `lookalike backbones` lists some"):
        load_backbone("nonsense", device="cpu")


@pytest.mark.parametrize(
    ("option", "given"),
    [("--weights", {"weights": Path("x")}), ("--image-size", {"size": 96}), ("--preprocess card", {"mode": "card"})],
)
def test_what_builtin_would_have_to_ignore_is_refused(option: str, given: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{option} has no use with the backbone `builtin`"):
        load_backbone("builtin", device="cpu", **given)


@pytest.mark.parametrize(
    "way", ["eca_nfnet_l0", "eca_nfnet_l0.ra2_in1k", "hf_hub:timm/eca_nfnet_l0", "timm/eca_nfnet_l0"]
)
def test_every_way_to_write_a_name_is_the_same_backbone(way: str) -> None:
    assert canonical_name(way) == "eca_nfnet_l0.ra2_in1k"


def test_a_legacy_name_is_its_present_one() -> None:
    assert canonical_name("ssl_resnext50_32x4d") == "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k"


def test_a_collection_finds_its_backbone_again_and_refuses_other_weights(tiny: Path, tmp_path: Path) -> None:
    space = load_backbone(TINY, weights=tiny, device="cpu").space
    assert load_for_space(space, device="cpu").space == space
    tensors = load_file(tiny)
    tensors["fc.weight"] += 1  # the classifier is no part of the space
    first = next(key for key in tensors if key.endswith("conv1.weight"))
    tensors[first] += 1
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(SpaceMismatch, match="not those the collection was made with"):
        load_for_space(space, weights=tmp_path / "other.safetensors", device="cpu")
    gone = dataclasses.replace(space, weights=str(tmp_path / "gone.safetensors"))
    with pytest.raises(WeightsUnavailable, match=r"not at .*gone\.safetensors any more; pass --weights"):
        load_for_space(gone, device="cpu")
    assert load_for_space(gone, weights=tiny, device="cpu").space.fingerprint == space.fingerprint


def test_the_hash_of_weights_does_not_depend_on_how_they_lie_in_memory() -> None:
    network = torch.nn.Conv2d(8, 8, 3)
    before = weights_sha256(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert weights_sha256(network) == before


def test_facts_need_no_weights_and_match_the_card() -> None:
    facts = facts_of("eca_nfnet_l0")
    assert (facts.dims, round(facts.parameters / 1e6, 2), facts.licence) == (2304, 21.84, "apache-2.0")
    assert (facts.preparation.crop_pct, facts.preparation.interpolation) == (0.9, "bicubic")


@pytest.mark.parametrize("name", REFERENCE_MODELS)
def test_every_reference_model_is_known_to_timm(name: str) -> None:
    assert canonical_name(name) == name
    assert name in model_names(name)


def test_the_builtin_backbone_needs_no_file_and_no_hub() -> None:
    backbone = load_backbone("builtin", device="cpu")
    pixels = prepare(np.asarray(painted(1, (300, 200))), backbone.preparation)
    embedding = backbone.embed(np.stack([pixels, pixels]))
    assert embedding.shape == (2, 256)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)
    assert Preparation.from_json(backbone.space.preparation) == BUILTIN_PREPARATION


def test_full_shows_the_whole_frame_and_card_the_middle() -> None:
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, :20] = 255  # a white strip at the left edge
    full = prepare(half, Preparation("full", 50, 50, "bilinear"))
    card = prepare(half, Preparation("card", 50, 50, "bilinear"))
    assert full[:, 0].min() > 200
    assert card.max() == 0
    assert Image.fromarray(full).size == (50, 50)


def test_a_collection_of_builtin_weights_that_do_not_ship_is_told_to_embed_anew() -> None:
    space = dataclasses.replace(load_backbone("builtin", device="cpu").space, weights_sha256="f" * 64)
    with pytest.raises(SpaceMismatch, match=r"\(ffffffff\).*lookalike reembed --backbone builtin"):
        load_for_space(space, device="cpu")


@pytest.mark.parametrize("sha256", WEIGHTS_FILES)
def test_every_builtin_weights_that_ship_serve_the_collections_made_with_them(sha256: str) -> None:
    side = 96 if sha256 == FIRST_WEIGHTS_SHA256 else BUILTIN_PREPARATION.width
    preparation = dataclasses.replace(BUILTIN_PREPARATION, width=side, height=side).as_json()
    newest = load_backbone("builtin", device="cpu").space
    space = dataclasses.replace(newest, weights_sha256=sha256, preparation=preparation)
    backbone = load_for_space(space, device="cpu")
    assert backbone.space == space
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    assert backbone.embed(pixels).shape == (2, 256)
