"""Weights files and models that cannot be used: a clear error before anything is written."""

import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from api.cli import main
from indexer.backbones.backbones import load_backbone
from indexer.backbones.timm_models import load_network, model_card, pooled_dims
from indexer.backbones.weights import conversion, first_difference, read_tensors, weights_sha256
from indexer.decoding.preparation import Preparation
from indexer.devices import choose_device
from search.errors import UsageError, WeightsMismatch, WeightsUnavailable
from tests.perturbed import perturbed_network, perturbed_weights

TINY = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perturbed_weights(TINY, tmp_path_factory.mktemp("weights") / "tiny.safetensors")


def shapes(**sizes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    return {name.replace("__", "."): torch.zeros(size) for name, size in sizes.items()}


@pytest.mark.parametrize(
    ("expected", "found", "said"),
    [
        (shapes(a__weight=(2, 3)), shapes(a__weight=(2, 3)), None),
        (shapes(a=(1,), b=(2,)), shapes(b=(2,)), "a (1,) is missing"),
        (shapes(a=(1,), b=(2, 3)), shapes(a=(1,), b=(3, 2)), "b is (3, 2) in the file and (2, 3) in the model"),
        (shapes(a=(1,)), shapes(a=(1,), c=(4,)), "c (4,) is in the file and not in the model"),
        (shapes(a=(1,), n__num_batches_tracked=()), shapes(a=(1,)), None),
    ],
)
def test_the_first_difference_is_named_with_both_shapes(
    expected: dict[str, torch.Tensor], found: dict[str, torch.Tensor], said: str | None
) -> None:
    assert first_difference(expected, found) == said


def test_weights_of_another_width_are_refused_by_their_first_tensor(tiny: Path, tmp_path: Path) -> None:
    tensors = load_file(tiny)
    first = next(key for key in perturbed_network("test_resnet", head=True).state_dict())
    tensors[first] = torch.zeros(5, *tensors[first].shape[1:])
    save_file(tensors, tmp_path / "wide.safetensors")
    with pytest.raises(WeightsMismatch, match=rf"{first} is \(5, .*\) in the file and \(\d+, .*\) in the model"):
        load_backbone(TINY, weights=tmp_path / "wide.safetensors", device="cpu")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_hold_nan_are_refused_by_the_tensor_that_holds_it(
    value: float, tiny: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny)
    key = next(key for key in tensors if key.startswith("layer3") and key.endswith("weight"))
    tensors[key].view(-1)[7] = value
    save_file(tensors, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsMismatch, match=f"holds NaN or infinity in {key}"):
        load_backbone(TINY, weights=tmp_path / "nan.safetensors", device="cpu")


@pytest.mark.parametrize("kept", [0, 4, 100, 50_000])
def test_a_file_cut_short_says_so(kept: int, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "short.safetensors").write_bytes(tiny.read_bytes()[:kept])
    with pytest.raises(UsageError, match="not a safetensors file, or it is cut short .*: download or convert"):
        read_tensors(tmp_path / "short.safetensors")


@pytest.mark.parametrize("name", ["weights.pth", "weights.bin", "weights.safetensors"])
def test_no_pickle_is_ever_loaded_whatever_it_is_called(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(UsageError, match="pickled checkpoints can run code and are never loaded"):
        read_tensors(tmp_path / name)


def test_the_conversion_that_the_error_names_works_and_runs_no_code(tmp_path: Path) -> None:
    network = perturbed_network(TINY, head=True)
    pickled = tmp_path / "it's a checkpoint.pth"
    torch.save({"epoch": 3, "model": network.state_dict()}, pickled)
    command = conversion(pickled)
    subprocess.run(command, shell=True, check=True)
    loaded = load_network(TINY, tmp_path / "it's a checkpoint.safetensors", use="classify")
    assert weights_sha256(loaded.network) == weights_sha256(network)

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, (f"open({str(tmp_path / 'pwned')!r}, 'w')",))

    torch.save({"state_dict": Evil()}, pickled)
    assert subprocess.run(command, shell=True, check=False, capture_output=True).returncode != 0
    assert not (tmp_path / "pwned").exists()


def test_the_conversion_never_writes_over_a_file_that_is_there(tmp_path: Path) -> None:
    pickled = tmp_path / "weights.safetensors"  # a pickle under a wrong name
    pickled.write_bytes(b"PK")
    assert conversion(pickled).endswith("weights.converted.safetensors")


def test_weights_of_another_model_are_refused_as_such_for_classifying_too(tiny: Path) -> None:
    with pytest.raises(WeightsMismatch, match=r"does not hold the weights of test_nfnet\.r160_in1k: .* is missing"):
        load_network("test_nfnet", tiny, use="classify")


def test_a_classifier_of_other_classes_is_dropped_for_embedding_and_kept_for_classifying(
    tiny: Path, tmp_path: Path
) -> None:
    tensors = load_file(tiny)
    tensors["fc.weight"], tensors["fc.bias"] = torch.ones(7, tensors["fc.weight"].shape[1]), torch.zeros(7)
    save_file(tensors, tmp_path / "seven.safetensors")
    seven = load_network(TINY, tmp_path / "seven.safetensors", use="classify")
    assert seven.classes == 7
    assert seven.network(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    embedded = load_network(TINY, tmp_path / "seven.safetensors", use="embed")
    assert weights_sha256(embedded.network) == weights_sha256(load_network(TINY, tiny, use="embed").network)


def test_classifying_without_a_classifier_is_refused(tmp_path: Path) -> None:
    headless = perturbed_weights(TINY, tmp_path / "headless.safetensors", head=False)
    with pytest.raises(UsageError, match="holds no classifier, so it cannot name classes"):
        load_network(TINY, headless, use="classify")


def test_a_model_without_pooled_output_is_refused_before_its_weights_are_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    maps = torch.nn.Conv2d(3, 8, 4, stride=4)
    maps.pretrained_cfg = perturbed_network("test_resnet").pretrained_cfg
    monkeypatch.setattr("indexer.backbones.timm_models._on_meta", lambda *_, **__: maps.to("meta"))
    with pytest.raises(UsageError, match=r"has no pooled output \(\(1, 8, 40, 40\)\), so it makes no embeddings"):
        model_card(TINY)


@pytest.mark.parametrize("size", [0, 8, 31, 5000])
def test_a_frame_smaller_than_the_stride_of_a_network_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"image size {size} cannot be used: choose 32 to 4096 pixels"):
        model_card("eca_nfnet_l0", "card", size)


@pytest.mark.parametrize("name", ["test_vit.r160_in1k", "xcit_nano_12_p16_224.fb_in1k"])
def test_a_frame_that_does_not_go_through_a_network_is_refused_with_its_reason(name: str) -> None:
    odd = Preparation("full", 100, 100)
    with pytest.raises(UsageError, match=r"cannot take pictures of 100 x 100 pixels \(.*\); choose another"):
        pooled_dims(name, odd)


@pytest.mark.parametrize("device", ["cuda", "cuda:3", "mps", "meta", "warp"])
def test_a_device_that_is_not_there_is_refused_with_a_way_out(device: str) -> None:
    with pytest.raises(UsageError, match=rf"device '{device}' cannot be used"):
        choose_device(device)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--backbone", "eca_nfnet_l9"],
        ["--backbone", TINY, "--weights", "short.safetensors"],
        ["--backbone", "ssl_resnext50_32x4d"],
        ["--backbone", "builtin", "--image-size", "224"],
        ["--backbone", TINY, "--decode", "gpu"],
    ],
    ids=" ".join,
)
def test_nothing_is_written_when_a_backbone_is_refused(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "short.safetensors").write_bytes(b"\x10")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as refused:
        main(["--store", "store", "index", ".", *arguments])
    assert refused.value.code in (1, 2, 4)
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1, told
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_file_is_named() -> None:
    with pytest.raises(WeightsUnavailable, match="no weights file /no/such"):
        read_tensors(Path("/no/such.safetensors"))
