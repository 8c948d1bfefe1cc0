"""Feature maps are those of timm's features_only, and the two things about them that mislead."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from indexer.backbones.feature_maps import FeatureMap, MapShape, as_npz, feature_maps, map_shapes
from indexer.backbones.feature_pictures import CHANNELS, as_png, coloured, liveliest
from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import load_network, model_card
from indexer.decoding.preparation import Preparation, prepare
from search.errors import LookalikeError, UsageError
from tests.conftest import painted
from tests.perturbed import perturbed_weights

RESNET, NFNET, VIT = "test_resnet.r160_in1k", "test_nfnet.r160_in1k", "test_vit.r160_in1k"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: perturbed_weights(name, folder / f"{name}.safetensors") for name in (RESNET, NFNET, VIT)}


def maps_of(name: str, file: Path) -> list[FeatureMap]:
    preparation = model_card(name).preparation
    loaded = load_network(name, file, use="features", preparation=preparation)
    return feature_maps(loaded, preparation, prepare(np.asarray(painted(3, (300, 200))), preparation))


def timms(name: str, file: Path, **arguments: object) -> tuple[torch.nn.Module, torch.Tensor]:
    """timm's own network and the picture through timm's own transform."""
    overlay = {"file": str(file)}
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **arguments).eval()
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    return network, timm.data.create_transform(**config, is_training=False)(painted(3, (300, 200)))[None]


@pytest.mark.parametrize("name", [RESNET, NFNET, VIT])
def test_maps_are_those_of_timm(name: str, weights: dict[str, Path]) -> None:
    network, picture = timms(name, weights[name], features_only=True)
    with torch.no_grad():
        expected = network(picture)
    found = maps_of(name, weights[name])
    assert [one.shape for one in found] == list(map_shapes(name, model_card(name).preparation))
    for one, values in zip(found, expected, strict=True):
        assert one.values.dtype == np.float32
        assert one.values.shape == (one.shape.channels, one.shape.height, one.shape.width)
        np.testing.assert_allclose(one.values, values[0].numpy(), atol=1e-4 * float(values.abs().max()))


def test_trap_a_pooling_the_last_map_is_the_embedding_of_a_resnet_and_not_of_a_pre_activation_net(
    weights: dict[str, Path],
) -> None:
    for name, same in ((RESNET, True), (NFNET, False)):
        network, picture = timms(name, weights[name])
        with torch.no_grad():
            features = network.forward_features(picture)  # type: ignore[operator]
            embedding = network.forward_head(features, pre_logits=True)[0].numpy()  # type: ignore[operator]
        pooled = maps_of(name, weights[name])[-1].values.mean(axis=(1, 2))
        assert np.allclose(pooled, embedding, atol=1e-4 * np.abs(embedding).max()) is same


def test_trap_b_maps_of_a_pre_activation_net_have_values_below_zero(weights: dict[str, Path]) -> None:
    assert all(one.values.min() < -0.1 for one in maps_of(NFNET, weights[NFNET]))
    assert all(one.values.min() >= 0 for one in maps_of(RESNET, weights[RESNET]))


def test_another_size_gives_maps_of_another_size() -> None:
    half = map_shapes(RESNET, Preparation("full", 80, 160))
    assert [(one.height, one.width) for one in half] == [(40, 80), (20, 40), (10, 20), (5, 10), (3, 5)]


def test_a_model_without_feature_maps_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("features_only not implemented\nfor it")

    monkeypatch.setattr("indexer.backbones.feature_maps.unloaded_network", refuse)
    with pytest.raises(UsageError, match=r"no feature maps from some_net \(features_only not implemented for it\)"):
        map_shapes("some_net", Preparation("full", 224, 224))


def test_a_size_that_does_not_go_through_is_refused() -> None:
    with pytest.raises(UsageError, match="inception_v3 has no feature maps of 32 x 32 pixels .*--image-size"):
        map_shapes("inception_v3", Preparation("full", 32, 32))


def test_a_network_that_answers_nan_is_refused(weights: dict[str, Path]) -> None:
    preparation = model_card(RESNET).preparation
    loaded = load_network(RESNET, weights[RESNET], use="features", preparation=preparation)
    with torch.no_grad():
        loaded.network.conv1[0].weight.fill_(torch.nan)
    with pytest.raises(LookalikeError, match="stride_2 of test_resnet.r160_in1k holds NaN"):
        feature_maps(loaded, preparation, np.zeros((160, 160, 3), np.uint8))


def made(values: np.ndarray, name: str = "stride_8") -> FeatureMap:
    channels, height, width = values.shape
    return FeatureMap(MapShape(name, 8, channels, height, width, "layer2"), values.astype(np.float32))


def test_an_npz_holds_each_level_the_pixels_and_the_facts() -> None:
    values = np.random.default_rng(1).normal(size=(3, 4, 5))
    pixels = np.full((32, 40, 3), 7, np.uint8)
    with np.load(io.BytesIO(as_npz([made(values)], pixels, {"backbone": "x"})), allow_pickle=False) as stored:
        assert set(stored) == {"stride_8", "pixels", "metadata"}
        np.testing.assert_array_equal(stored["stride_8"], values.astype(np.float32))
        np.testing.assert_array_equal(stored["pixels"], pixels)
        metadata = json.loads(str(stored["metadata"]))
    assert metadata["backbone"] == "x"
    assert metadata["levels"][0] == {
        "name": "stride_8", "stride": 8, "channels": 3, "height": 4, "width": 5, "module": "layer2",
    }  # fmt: skip


def test_the_picture_has_a_row_for_the_photo_and_one_for_each_level() -> None:
    rng = np.random.default_rng(1)
    levels = [made(rng.normal(size=(9, 4, 5))), made(rng.normal(size=(2, 1, 1)))]  # fewer channels than columns
    sheets = [
        Image.open(io.BytesIO(as_png(levels[:count], np.zeros((32, 40, 3), np.uint8), "title \n " * 50)))
        for count in (1, 2)
    ]
    assert {sheet.mode for sheet in sheets} == {"RGB"}
    assert sheets[0].width == sheets[1].width
    assert sheets[1].height > sheets[0].height
    colours = {colour for _, colour in sheets[0].getcolors(1 << 20) or []}
    assert (68, 1, 84) in colours
    assert (253, 231, 37) in colours


def test_low_values_are_dark_high_ones_yellow_and_a_flat_map_is_dark() -> None:
    ramp = coloured(np.linspace(-5, 5, 300, dtype=np.float32).reshape(1, 300))
    assert tuple(ramp[0, 0]) == (68, 1, 84)
    assert tuple(ramp[0, -1]) == (253, 231, 37)
    brightness = ramp[0].astype(int).sum(axis=1)
    assert (np.diff(brightness) >= -1).all()
    assert (coloured(np.full((2, 2), 3.0, np.float32)) == (68, 1, 84)).all()


def test_the_channels_shown_are_those_that_vary_most() -> None:
    values = np.zeros((10, 4, 4), np.float32)
    for channel, height in ((7, 3.0), (2, 2.0), (5, 1.0)):
        values[channel, 0, 0] = height
    assert liveliest(values)[:3] == [7, 2, 5]
    assert len(liveliest(values)) == CHANNELS
