"""The registry of backbones of one's own: names, whole folders, and what is refused."""

import json
from pathlib import Path

import pytest

from indexer.backbones import registry
from indexer.backbones.registry import RegisteredModel, find, register, registered_names
from indexer.decoding.preparation import Preparation
from search.errors import CorruptFile, GuardRefused, LookalikeError, UsageError

MODEL = RegisteredModel(
    name="mine",
    architecture="test_resnet.r160_in1k",
    classes=("cat", "dog"),
    preparation=Preparation("card", 64, 64, "bicubic", 0.9),
    licence="cc-by-nc-4.0",
    base="test_resnet.r160_in1k",
    base_sha256="0" * 64,
    weights_sha256="1" * 64,
    recipe={"epochs": 3},
    metrics={"accuracy": 0.5},
    made="2026-01-01T00:00:00+00:00",
)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOOKALIKE_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"tensors")
    return tmp_path / "weights"


def test_what_was_registered_is_found_again(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "confusion.csv").write_text("a,b\n")
    made = register(MODEL, weights, [tmp_path / "confusion.csv"])
    found = find("mine")
    assert found is not None
    assert found == made
    assert found.file.read_bytes() == b"tensors"
    assert len(found.file_sha256) == 64
    assert (found.folder / "confusion.csv").read_text() == "a,b\n"
    assert registered_names() == ["mine"]


@pytest.mark.parametrize("name", ["yours", "", "../mine", "a/b", ".runs", "hf_hub:timm/eca_nfnet_l0", "mine\n"])
def test_no_other_text_finds_a_model(name: str, weights: Path) -> None:
    register(MODEL, weights)
    assert find(name) is None


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", ".a", "-a", "ä", "a" * 101])
def test_names_of_other_letters_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="letters, digits"):
        registry.require_free(name, replacing=False)


@pytest.mark.parametrize("name", ["builtin", "Builtin", "resnet50", "eca_nfnet_l0.ra2_in1k", "resnet50.mine"])
def test_the_names_of_other_backbones_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name of a backbone already"):
        registry.require_free(name, replacing=True)


def test_a_model_is_replaced_only_when_asked(weights: Path) -> None:
    register(MODEL, weights)
    weights.write_bytes(b"others")
    with pytest.raises(GuardRefused, match="--replace"):
        register(MODEL, weights)
    assert MODEL.file.read_bytes() == b"tensors"
    register(MODEL, weights, replacing=True)
    assert MODEL.file.read_bytes() == b"others"


def test_a_failed_registration_leaves_the_old_model_and_no_half_one(weights: Path, root: Path) -> None:
    register(MODEL, weights)
    with pytest.raises(LookalikeError, match="cannot register mine"):
        register(MODEL, weights, [root / "no such report"], replacing=True)
    assert [entry.name for entry in root.iterdir()] == ["mine"]
    assert find("mine") is not None


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"format": 1}'])
def test_a_damaged_description_is_named(text: str, weights: Path) -> None:
    place = register(MODEL, weights).folder / "model.json"
    place.write_text(text)
    with pytest.raises(CorruptFile, match=r"model\.json does not describe a model"):
        find("mine")


def test_a_model_of_a_newer_release_is_refused(weights: Path) -> None:
    place = register(MODEL, weights).folder / "model.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"format": 2}))
    with pytest.raises(LookalikeError, match="newer release"):
        find("mine")
