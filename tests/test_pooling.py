"""Generalised-mean pooling: values worked out by hand, the right map of real networks, and spaces of their own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from api.cli import main
from indexer.backbones.backbones import load_backbone, load_for_space
from indexer.backbones.onnx_engine import OnnxEngine
from indexer.backbones.pooling import POWERS, GeneralisedMean, pooled_by
from indexer.backbones.torch_engine import FromPixels, TorchEngine
from search.errors import UsageError
from search.records import POOLINGS, Pooling
from tests.conftest import painted
from tests.perturbed import perturbed_network, perturbed_weights

NAMES = ["test_resnet", "test_nfnet", "test_efficientnet"]
MAP = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 2.0]]]])


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    file = tmp_path_factory.mktemp("weights") / f"{request.param}.safetensors"
    return request.param, perturbed_weights(request.param, file)


def test_every_pooling_but_the_average_is_a_power() -> None:
    assert set(POWERS) == set(POOLINGS) - {"avg"}


def test_the_root_of_the_mean_of_the_powers() -> None:
    # (1 + 8 + 27 + 216) / 4 = 63; (0 + 0 + 0 + 8) / 4 = 2. (1 + 16 + 81 + 1296) / 4 = 348.5; 16 / 4 = 4.
    for power, expected in ((3, [63 ** (1 / 3), 2 ** (1 / 3)]), (4, [348.5**0.25, 2**0.5])):
        found = GeneralisedMean(power)(MAP)
        assert found.shape == (1, 2, 1, 1)
        np.testing.assert_allclose(found.flatten(), expected, rtol=1e-6)


def test_the_first_power_is_the_average() -> None:
    values = torch.rand(3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(GeneralisedMean(1)(values), values.mean((2, 3), keepdim=True))


def test_what_lies_below_zero_counts_as_nothing() -> None:
    below = torch.tensor([[[[-5.0, 0.0], [0.0, 2.0]]]])
    torch.testing.assert_close(GeneralisedMean(3)(below), GeneralisedMean(3)(below.clamp(min=0)))
    assert GeneralisedMean(4)(torch.full((1, 1, 2, 2), -3.0)).item() == pytest.approx(1e-6)


def test_powers_of_large_values_have_room_in_half_precision() -> None:
    found = GeneralisedMean(4)(torch.full((1, 1, 7, 7), 300.0, dtype=torch.float16))  # 300^4 is 8 * 10^9
    assert found.item() == pytest.approx(300, rel=1e-3)


@pytest.mark.parametrize("pooling", ["gem3", "gem4"])
def test_what_is_pooled_is_the_map_behind_the_last_activation(model: tuple[str, Path], pooling: Pooling) -> None:
    name, file = model
    loaded = load_backbone(name, weights=file, pooling=pooling, device="cpu")
    assert isinstance(loaded.engine, OnnxEngine)
    shape = (3, loaded.preparation.height, loaded.preparation.width, 3)
    pictures = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
    network = perturbed_network(name, head=True)
    network.forward = network.forward_features
    with torch.inference_mode():
        maps = FromPixels(network, loaded.preparation)(torch.from_numpy(pictures)).double().clamp(min=1e-6)
    expected = maps.pow(POWERS[pooling]).mean((2, 3)).pow(1 / POWERS[pooling]).numpy()
    assert np.abs(loaded.embed(pictures) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_each_pooling_is_a_space_of_its_own_and_is_found_again(model: tuple[str, Path]) -> None:
    name, file = model
    made = {pooling: load_backbone(name, weights=file, pooling=pooling, device="cpu") for pooling in POOLINGS}
    assert len({one.space.fingerprint for one in made.values()}) == 3
    assert len({one.space.weights_sha256 for one in made.values()}) == 1, "the same tensors"
    picture = np.random.default_rng(1).integers(0, 256, (1, *_size(made["avg"].preparation), 3), dtype=np.uint8)
    rows = {pooling: one.embed(picture) for pooling, one in made.items()}
    for pooling, one in made.items():
        again = load_for_space(one.space, device="cpu")
        assert again.space == one.space
        np.testing.assert_allclose(again.embed(picture), rows[pooling], atol=1e-6)
    assert np.abs(rows["avg"] - rows["gem3"]).max() > 0.01
    assert (rows["gem4"] >= rows["gem3"] - 1e-5).all(), "higher powers lie nearer to the maximum"


def _size(preparation: object) -> tuple[int, int]:
    return getattr(preparation, "height"), getattr(preparation, "width")  # noqa: B009


def test_torch_pools_as_onnx_runtime_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = perturbed_weights("test_nfnet", tmp_path / "w.safetensors")
    onnx = load_backbone("test_nfnet", weights=file, pooling="gem3", device="cpu")
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch")
    torch_made = load_for_space(onnx.space, device="cpu")
    assert isinstance(torch_made.engine, TorchEngine)
    picture = np.random.default_rng(2).integers(0, 256, (2, *_size(onnx.preparation), 3), dtype=np.uint8)
    np.testing.assert_allclose(torch_made.embed(picture), onnx.embed(picture), rtol=1e-3, atol=1e-4)


def test_a_network_that_averages_no_map_is_refused() -> None:
    with pytest.raises(UsageError, match="--pool gem3 has no use with test_vit"):
        pooled_by(perturbed_network("test_vit"), "gem3", "test_vit")


def test_labels_need_the_average_that_the_classifier_knows(tmp_path: Path) -> None:
    file = perturbed_weights("test_resnet", tmp_path / "w.safetensors")
    loaded = load_backbone("test_resnet", weights=file, pooling="gem3", device="cpu")
    with pytest.raises(UsageError, match="not pooled by gem3"):
        loaded.labeller()
    assert loaded.labeller_if_any() is None


def run(store: Path, *arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(store), "--progress", "none", "--json", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_a_collection_remembers_its_pooling_and_refuses_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, file = tmp_path / "store", perturbed_weights("test_resnet", tmp_path / "w.safetensors")
    (tmp_path / "photos").mkdir()
    for number in range(3):
        painted(number, (96, 64)).save(tmp_path / "photos" / f"{number}.png")
    options = ("--backbone", "test_resnet", "--weights", file)
    assert run(store, "index", tmp_path / "photos", *options, "--pool", "gem3") == 0
    first = json.loads(capsys.readouterr().out)
    assert run(store, "index", tmp_path / "photos") == 0
    assert json.loads(capsys.readouterr().out)["space"] == first["space"]
    assert run(store, "search", tmp_path / "photos" / "1.png", "-k", "1") == 0
    (match,) = json.loads(capsys.readouterr().out)["matches"]
    assert (match["relation"], round(match["score"], 5)) == ("identical", 1)
    assert run(store, "index", tmp_path / "photos", "--pool", "avg") == 4
    assert "was made with --pool gem3, not with --pool avg" in capsys.readouterr().err
    assert run(store, "reembed", *options, "--pool", "gem4") == 0
    assert json.loads(capsys.readouterr().out)["embedded"] == 3


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--pool", "gem3"), "--pool has no use with the backbone `builtin`"),
        (("--pool", "max"), "--pool 'max' is not one of avg, gem3, gem4"),
    ],
)
def test_a_pooling_that_cannot_be_is_refused(
    arguments: tuple[str, str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "store", "index", tmp_path, *arguments) == 2
    assert complaint in capsys.readouterr().err
