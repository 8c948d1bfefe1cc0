"""Engines: ONNX Runtime where it can, folded torch where it cannot, always checked against timm's own answer."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from indexer.backbones import engines
from indexer.backbones.backbones import load_backbone, load_for_space
from indexer.backbones.engine import TOLERANCE, EngineUnsound, probe, require_sound
from indexer.backbones.engine_cache import FOLDER, cached_engine, fingerprint, place
from indexer.backbones.engines import prepare_engine
from indexer.backbones.onnx_engine import EXPECTED, OnnxEngine
from indexer.backbones.torch_engine import TorchEngine
from indexer.decoding.preparation import Preparation
from search.embeddings import unit_rows
from search.errors import SpaceMismatch, UsageError, WeightsMismatch
from tests.perturbed import perturbed_network, perturbed_weights

TINY = "test_resnet.r160_in1k"
SMALL = Preparation("full", 32, 48)
NAMES = ["test_resnet", "test_nfnet", "test_efficientnet", "test_convnext"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pictures(count: int, preparation: Preparation = SMALL) -> Any:
    shape = (count, preparation.height, preparation.width, 3)
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def prepared(network: nn.Module, weights: Path | None = None, sha256: str = "0") -> Any:
    return prepare_engine(network, SMALL, "cpu", backbone="a", weights_sha256=sha256, weights=weights)


def model_file(folder: Path) -> Path:
    (file,) = folder.rglob("*.onnx")
    return file


@pytest.mark.parametrize("name", NAMES)
def test_onnx_runtime_answers_as_timm_does(name: str) -> None:
    expected = TorchEngine(perturbed_network(name), SMALL).run(pictures(5))
    engine = prepared(perturbed_network(name))
    assert isinstance(engine, OnnxEngine)
    found = engine.run(pictures(5))
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("kind", ["onnx", "torch"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 37])
def test_a_picture_has_the_same_embedding_in_any_batch_and_place(
    kind: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch" if kind == "torch" else "auto")
    engine = prepared(perturbed_network("test_nfnet"))
    alone = unit_rows(engine.run(pictures(1)))
    for place_in_batch in {0, count // 2, count - 1}:
        batch = np.roll(pictures(count), place_in_batch, axis=0)
        batch[place_in_batch] = pictures(1)[0]
        row = unit_rows(engine.run(batch))[place_in_batch]
        assert np.abs(row - alone[0]).max() <= 1e-6


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_rows(threads: int, cache: Path) -> None:
    one = prepared(perturbed_network("test_resnet")).run(pictures(11))
    other = OnnxEngine(model_file(cache), threads=threads)
    np.testing.assert_allclose(other.run(pictures(11)), one, atol=1e-6)
    assert other.batch_size >= 2 * threads


def test_the_probe_picture_is_the_same_always_and_everywhere() -> None:
    picture = probe(40, 60)
    assert picture.shape == (1, 40, 60, 3)
    assert int(picture.astype(int).sum()) == 920748
    assert picture[0, 0, 0].tolist() == [0, 0, 0]


def test_a_model_file_is_kept_beside_its_weights_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "w" / "weights.safetensors"
    weights.parent.mkdir()
    first = prepared(perturbed_network("test_resnet"), weights)
    file = model_file(tmp_path / "w" / FOLDER)
    assert file.stem == fingerprint("a", "0", SMALL.as_json())
    monkeypatch.setattr(engines, "_exported", None)  # a second export would fail
    again = prepared(perturbed_network("test_resnet"), weights)
    assert np.array_equal(again.run(pictures(2)), first.run(pictures(2)))


def test_other_backbones_weights_and_preparations_have_model_files_of_their_own() -> None:
    other = Preparation("card", 32, 48)
    names = {
        fingerprint("a", "0", SMALL.as_json()),
        fingerprint("a", "1", SMALL.as_json()),
        fingerprint("a", "0", other.as_json()),
    }
    assert len(names) == 3


def test_where_the_weights_lie_in_a_folder_nobody_may_write_the_cache_folder_serves(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.backbones.engine_cache._writable", lambda folder: cache in folder.parents)
    weights = tmp_path / "weights.safetensors"
    assert place("abc", weights) == cache / "engines" / "abc.onnx"
    prepared(perturbed_network("test_resnet"), weights)
    assert model_file(cache).stem == fingerprint("a", "0", SMALL.as_json())
    assert cached_engine(model_file(cache).stem, weights) is not None


def test_without_any_writable_folder_torch_embeds_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("indexer.backbones.engine_cache._writable", lambda folder: False)
    assert isinstance(prepared(perturbed_network("test_resnet")), TorchEngine)
    assert "set LOOKALIKE_CACHE to one that can" in caplog.text


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _strip(file: Path) -> None:
    model = onnx.load(file)
    del model.metadata_props[:]
    onnx.save(model, file)


def _change_a_weight(file: Path) -> None:
    model = onnx.load(file)
    largest = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.frombuffer(largest.raw_data, np.float32).copy()
    values[:: max(1, values.size // 50)] += 1
    largest.raw_data = values.tobytes()
    onnx.save(model, file)


@pytest.mark.parametrize("damage", [_truncate, _empty, _strip, _change_a_weight])
def test_a_damaged_model_file_is_noticed_removed_and_made_again(
    damage: Any, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = prepared(perturbed_network("test_resnet")).run(pictures(2))
    file = model_file(cache)
    damage(file)
    with pytest.raises(EngineUnsound):
        OnnxEngine(file)
    assert cached_engine(file.stem, None) is None
    assert not file.exists()
    assert "it is made again" in caplog.text
    assert np.array_equal(prepared(perturbed_network("test_resnet")).run(pictures(2)), expected)


def test_a_failed_export_leaves_no_file_and_embeds_with_torch(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Unsupported: aten::strange")

    monkeypatch.setattr(torch.onnx, "export", fail)
    engine = prepared(perturbed_network("test_resnet"))
    assert isinstance(engine, TorchEngine)
    assert "torch cannot export this network (RuntimeError: Unsupported: aten::strange)" in caplog.text
    assert not [*cache.rglob("*.onnx*")]


def test_a_graph_that_answers_wrong_is_never_used(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The export is right; the answer it is held against is that of another network."""
    other = TorchEngine(perturbed_network("test_resnet"), SMALL).run(probe(32, 48)) + 0.01
    monkeypatch.setattr(engines, "_answer", lambda *_: other)
    engine = prepared(perturbed_network("test_resnet"))
    assert isinstance(engine, TorchEngine)
    assert not [*cache.rglob("*.onnx")]


def test_a_fold_that_changes_answers_is_undone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil(network: nn.Module) -> nn.Module:
        with torch.no_grad():
            next(network.parameters()).add_(0.1)
        return network

    expected = TorchEngine(perturbed_network("test_resnet"), SMALL).run(pictures(2))
    monkeypatch.setattr(engines, "fold", spoil)
    found = prepared(perturbed_network("test_resnet")).run(pictures(2))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert "folding changed its answers" in caplog.text


def test_weights_that_answer_nan_are_refused() -> None:
    network = perturbed_network("test_resnet")
    with torch.no_grad():
        next(network.parameters()).fill_(float("inf"))
    with pytest.raises(WeightsMismatch, match="NaN or infinity"):
        prepared(network)


@pytest.mark.parametrize(("off", "sound"), [(0.5, True), (2.0, False), (float("nan"), False)])
def test_the_probe_allows_rounding_and_nothing_more(off: float, sound: bool) -> None:
    expected = np.array([[1.0, -4.0, 2.0]], np.float32)

    class Off:
        name, batch_size = "an engine", 1

        def run(self, pixels: Any) -> Any:
            return expected + np.float32(off * TOLERANCE * 4)

    if sound:
        require_sound(Off(), probe(8, 8), expected)
    else:
        with pytest.raises(EngineUnsound, match="an engine differs from timm by"):
            require_sound(Off(), probe(8, 8), expected)


def test_an_engine_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE", "warp")
    with pytest.raises(UsageError, match="LOOKALIKE_ENGINE is 'warp', choose auto or torch"):
        prepared(perturbed_network("test_resnet"))


def test_a_collection_with_a_model_file_needs_no_weights_no_torch_and_no_timm(tmp_path: Path) -> None:
    weights = perturbed_weights(TINY, tmp_path / "tiny.safetensors")
    made = load_backbone(TINY, weights=weights, device="cpu")
    expected = made.embed(pictures(1, made.preparation))
    weights.unlink()
    np.save(tmp_path / "expected.npy", expected)
    program = f"""
import sys
import numpy as np
from indexer.backbones.backbones import load_for_space
from search.records import SpaceSpec
backbone = load_for_space(SpaceSpec(**{_fields(made.space)!r}), device="auto")
shape = (1, backbone.preparation.height, backbone.preparation.width, 3)
picture = np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)
assert np.array_equal(backbone.embed(picture), np.load({str(tmp_path / "expected.npy")!r}))
assert not {{"torch", "timm", "huggingface_hub"}} & set(sys.modules), "a heavy library was imported"
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def _fields(space: Any) -> dict[str, Any]:
    return {name: getattr(space, name) for name in space.__dataclass_fields__}


def test_weights_named_by_the_user_are_looked_at_even_when_a_model_file_is_there(tmp_path: Path) -> None:
    weights = perturbed_weights(TINY, tmp_path / "tiny.safetensors")
    space = load_backbone(TINY, weights=weights, device="cpu").space
    assert load_for_space(space, weights=weights, device="cpu").space == space
    with pytest.raises(UsageError, match="not a safetensors file"):
        (tmp_path / "other.safetensors").write_bytes(b"nothing")
        load_for_space(space, weights=tmp_path / "other.safetensors", device="cpu")


def test_the_expected_answer_travels_in_the_model_file(cache: Path) -> None:
    prepared(perturbed_network("test_resnet"))
    properties = {entry.key for entry in onnx.load(model_file(cache)).metadata_props}
    assert properties == {EXPECTED}


def test_making_a_model_file_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "indexer.backbones.engines")
    prepared(perturbed_network("test_resnet"))
    prepared(perturbed_network("test_resnet"))
    assert caplog.text.count("preparing the backbone for ONNX Runtime, once") == 1


def test_zeros_in_front_of_a_max_pooling_stay_zeros() -> None:
    """ONNX Runtime would fuse them into the pooling, where padding counts as minus infinity."""

    class Stem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pad, self.pool = nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.pool(self.pad(-1 - x.abs())).mean(3).flatten(1)  # type: ignore[no-any-return]

    expected = TorchEngine(Stem(), SMALL).run(pictures(2))
    engine = prepared(Stem().eval())
    assert isinstance(engine, OnnxEngine)
    np.testing.assert_allclose(engine.run(pictures(2)), expected, rtol=1e-5)


def test_labels_come_only_from_the_weights_that_made_the_collection(tmp_path: Path) -> None:
    weights = perturbed_weights(TINY, tmp_path / "tiny.safetensors")
    space = load_backbone(TINY, weights=weights, device="cpu").space
    assert load_for_space(space, device="cpu").labeller() is not None
    tensors = load_file(weights)
    first = next(key for key in tensors if key.endswith("conv1.weight"))
    save_file({**tensors, first: tensors[first] * 1.5}, weights)
    again = load_for_space(space, device="cpu")  # the model file is right, whatever lies beside it now
    with pytest.raises(SpaceMismatch, match="are not those the collection was made with any more"):
        again.labeller()
