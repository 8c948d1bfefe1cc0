"""The models themselves on the command line: `backbones`, `embed`, `classify`, `feature-maps`. No store is made."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from api.cli import main
from indexer.backbones.backbones import REFERENCE_MODELS
from indexer.backbones.registry import RegisteredModel, register
from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import model_card
from tests.conftest import Draw, painted
from tests.perturbed import perturbed_weights

TINY = "test_resnet.r160_in1k"
NON_COMMERCIAL = "ssl_resnext50_32x4d"
Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The options that choose a small network with weights."""
    file = perturbed_weights(TINY, tmp_path_factory.mktemp("weights") / "tiny.safetensors")
    return ("--backbone", "test_resnet", "--weights", str(file))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch")
    monkeypatch.setenv("LOOKALIKE_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("LOOKALIKE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("LOOKALIKE_ACCEPT_LICENSE", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command with --json; return its exit code and its one JSON object."""

    def call(*arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
        code = exit_code(*arguments, "--json")
        assert not (tmp_path / "store").exists(), "these commands need no store, and make none"
        return code, json.loads(capsys.readouterr().out)

    return call


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments), "--progress", "none"])
    return int(stop.value.code or 0)


@pytest.fixture
def three(draw: Draw, photos: Path) -> list[Path]:
    """A picture, a file that is none, and another picture."""
    bad = photos / "bad.jpg"
    bad.write_text("no picture")
    return [draw("first.png", 1, (200, 160)), bad, draw("last.jpg", 2, (160, 200))]


# --- backbones ------------------------------------------------------------------------------------
def test_the_table_fits_100_columns_and_names_every_licence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    widest = [max(REFERENCE_MODELS, key=len), "ssl_resnext50_32x4d", "eca_nfnet_l0"]
    monkeypatch.setattr("indexer.backbones.model_facts.shown_names", lambda: ("builtin", *widest))
    assert exit_code("backbones") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0].split(".")[0] for line in lines[1:5]] == [
        "builtin", "resnetv2_152x2_bit", "resnext50_32x4d", "eca_nfnet_l0",
    ]  # fmt: skip
    assert max(map(len, lines)) <= 100
    assert [line.split()[-1] for line in lines[1:5]] == ["apache-2.0", "apache-2.0", "cc-by-nc-4.0", "apache-2.0"]
    assert "224/288   82.6" in lines[4]


def test_a_card_fits_80_columns_and_says_what_the_hub_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("backbones", "hf_hub:timm/eca_nfnet_l0") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for text in ("21.84 M", "24.14 M", "4.35 GMACs, 10.47 M", "288 x 288, crop 1.0, 7.12", "2304 x 7 x 7", "82.59 %"):
        assert text in shown


def test_a_card_as_json_is_complete(run: Run) -> None:
    code, shape = run("backbones", "ssl_resnext101_32x16d")
    (card,) = shape["backbones"]
    assert code == 0
    assert card["name"] == "resnext101_32x16d.fb_ssl_yfcc100m_ft_in1k"
    assert (card["licence"], card["train"]["gmacs"], card["accuracy"][0]["top1"]) == ("cc-by-nc-4.0", 36.27, 81.856)
    assert card["feature_maps"][4]["channels"] == 2048


def test_names_are_searched(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("backbones", "--search", "eca_nfnet_l0") == (0, {"names": ["eca_nfnet_l0.ra2_in1k"]})
    assert exit_code("backbones", "--search", "resnet") == 0
    assert "more: ask for a longer text" in capsys.readouterr().out
    assert exit_code("backbones", "--search", "no such text") == 2


# --- embed ----------------------------------------------------------------------------------------
def test_embed_equals_the_loop_of_the_model_card(
    run: Run, tiny: tuple[str, ...], three: list[Path], tmp_path: Path
) -> None:
    first, _, last = three
    names = [last, first, last]
    assert run("embed", *names, "-o", tmp_path / "e.npy", "--batch-size", 2, *tiny) == (
        0,
        {"output": str(tmp_path / "e.npy"), "rows": 3, "dims": 96, "backbone": TINY, "skipped": []},
    )
    rows = np.load(tmp_path / "e.npy")
    network = timm.create_model(
        "test_resnet", pretrained=True, pretrained_cfg_overlay={"file": tiny[3]}, num_classes=0
    ).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    for row, path in zip(rows, names, strict=True):
        with Image.open(path) as picture:
            expected = network(transform(picture.convert("RGB"))[None])[0].detach().numpy()
        np.testing.assert_allclose(row, expected, atol=5e-2 * np.abs(expected).max())  # JPEG decoders differ a little
    assert (rows.dtype, rows.shape) == (np.float32, (3, 96))
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)
    assert abs(np.linalg.norm(rows[0]) - 1) > 0.01, "raw, not of length 1"


def test_many_pictures_keep_their_order_over_batches_and_decoding_children(
    run: Run, draw: Draw, tmp_path: Path
) -> None:
    paths = [draw(f"{number}.png", number, (100 + 40 * (number % 3), 100)) for number in range(23)]
    for order, name in ((paths, "a.npy"), (paths[::-1], "b.npy")):
        code, shape = run("embed", *order, "-o", tmp_path / name, "--batch-size", 4)
        assert (code, shape["rows"]) == (0, 23)
    forward, backward = (np.load(tmp_path / name) for name in ("a.npy", "b.npy"))
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-5)
    assert len(np.unique(forward.round(3), axis=0)) == 23, "no two pictures are alike"


def test_one_bad_picture_is_named_and_nothing_is_written(run: Run, three: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "e.npy"
    output.write_text("older")
    code, shape = run("embed", *three, tmp_path / "photos" / "bad.jpg", "-o", output)
    assert code == 1
    assert "2 of 4 pictures cannot be used" in shape["error"]["message"]
    assert "bad.jpg: not_an_image" in shape["error"]["message"]
    assert "--skip-bad" in shape["error"]["message"]
    assert output.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npy", "photos"]


def test_skip_bad_leaves_bad_pictures_out_and_says_so(
    run: Run, three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shape = run("embed", *three, "-o", tmp_path / "e.npy", "--skip-bad")
    assert (code, shape["rows"]) == (0, 2)
    assert [(Path(one["path"]).name, one["reason"]) for one in shape["skipped"]] == [("bad.jpg", "not_an_image")]
    assert np.load(tmp_path / "e.npy").shape == (2, 256)
    assert exit_code("embed", *three, "-o", tmp_path / "e.npy", "--skip-bad") == 0
    assert "left out: " in capsys.readouterr().err
    assert run("embed", three[1], "-o", tmp_path / "none.npy", "--skip-bad")[0] == 1
    assert not (tmp_path / "none.npy").exists()


def test_the_image_size_is_a_choice(run: Run, tiny: tuple[str, ...], three: list[Path], tmp_path: Path) -> None:
    for size, name in ((96, "a.npy"), ("test", "b.npy")):
        assert run("embed", three[0], "-o", tmp_path / name, "--image-size", size, *tiny)[0] == 0
    small, test = (np.load(tmp_path / name) for name in ("a.npy", "b.npy"))
    assert not np.allclose(small, test)


# --- classify -------------------------------------------------------------------------------------
def test_classify_names_pictures_with_probabilities(run: Run, tiny: tuple[str, ...], three: list[Path]) -> None:
    code, shape = run("classify", three[0], three[2], "-k", 3, *tiny)
    assert code == 0
    assert set(shape) == {"images"}
    assert [image["path"] for image in shape["images"]] == [str(three[0]), str(three[2])]
    for image in shape["images"]:
        assert [set(label) for label in image["labels"]] == [{"label", "probability"}] * 3
        shares = [label["probability"] for label in image["labels"]]
        assert shares == sorted(shares, reverse=True)


def test_a_bad_picture_costs_only_itself(
    run: Run, tiny: tuple[str, ...], three: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, shape = run("classify", *three, *tiny)
    assert (code, len(shape["images"]), shape["failed"][0]["reason"]) == (3, 2, "not_an_image")
    assert run("classify", three[1], *tiny)[0] == 1
    assert exit_code("classify", *three, *tiny) == 3
    shown = capsys.readouterr()
    assert shown.out.count(" %  ") == 10
    assert "bad.jpg" in shown.err


def test_a_fine_tuned_model_has_a_card_and_names_its_own_classes(run: Run, three: list[Path], tmp_path: Path) -> None:
    torch.manual_seed(7)
    network = timm.create_model("test_resnet", num_classes=3)
    save_file(network.state_dict(), tmp_path / "pets.safetensors")
    register(
        RegisteredModel(
            name="pets",
            architecture=TINY,
            classes=("cat", "dog", "hare"),
            preparation=model_card(TINY).preparation,
            licence="apache-2.0",
            base=TINY,
            base_sha256="0" * 64,
            weights_sha256="0" * 64,
            recipe={},
            metrics={},
            made="2026-11-01T00:00:00Z",
        ),
        tmp_path / "pets.safetensors",
    )
    (card,) = run("backbones", "pets")[1]["backbones"]
    assert (card["name"], card["classes"], card["dims"], card["accuracy"]) == ("pets", 3, 96, [])
    _, shape = run("classify", three[0], "--backbone", "pets")
    assert {label["label"] for label in shape["images"][0]["labels"]} == {"cat", "dog", "hare"}


def test_classes_may_have_names_of_ones_own(run: Run, tiny: tuple[str, ...], three: list[Path], tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class {number}" for number in range(1000)))
    _, shape = run("classify", three[0], "--classes", names, *tiny)
    assert all(label["label"].startswith("class ") for label in shape["images"][0]["labels"])


# --- feature-maps ---------------------------------------------------------------------------------
def test_feature_maps_are_saved_as_numbers(run: Run, tiny: tuple[str, ...], three: list[Path], tmp_path: Path) -> None:
    code, shape = run("feature-maps", three[0], "-o", tmp_path / "maps.npz", *tiny)
    assert code == 0
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as stored:
        assert stored["stride_2"].shape == (32, 80, 80)
        assert stored["stride_32"].shape == (96, 5, 5)
        assert stored["stride_32"].dtype == np.float32
        metadata = json.loads(str(stored["metadata"]))
    assert (metadata["backbone"], metadata["levels"]) == (TINY, shape["levels"])


def test_feature_maps_are_drawn(
    tiny: tuple[str, ...], three: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("feature-maps", three[0], "-o", tmp_path / "maps.png", *tiny) == 0
    with Image.open(tmp_path / "maps.png") as sheet:
        assert sheet.width > 1000
    assert "stride_32" in capsys.readouterr().out


# --- refusals -------------------------------------------------------------------------------------
@pytest.mark.parametrize("command", ["embed", "classify", "feature-maps"])
def test_non_commercial_weights_ask_for_consent_first(
    command: str, run: Run, draw: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = draw("a.png", 1)
    output = () if command == "classify" else ("-o", tmp_path / "out.npz")
    wish = (command, picture, *output, "--backbone", NON_COMMERCIAL)
    code, shape = run(*wish)
    assert (code, shape["error"]["kind"]) == (4, "LicenceNotAccepted")
    assert "--accept-license cc-by-nc-4.0" in shape["error"]["message"]
    for consent in (("--accept-license", "cc-by-nc-4.0"), ()):
        if not consent:
            monkeypatch.setenv("LOOKALIKE_ACCEPT_LICENSE", "cc-by-nc-4.0")
        code, shape = run(*wish, *consent)
        assert (code, shape["error"]["kind"]) == (1, "WeightsUnavailable"), "asked for weights after the consent"
    assert list(tmp_path.glob("out*")) == []


@pytest.mark.parametrize("command", [("embed", "-o", "OUT.npy"), ("classify",), ("feature-maps", "-o", "OUT.npz")])
def test_a_pipe_under_a_pictures_name_is_refused(command: tuple[str, ...], run: Run, pipe: Path) -> None:
    name, *options = (one.replace("OUT", str(pipe.with_suffix(""))) for one in command)
    code, shape = run(name, pipe, *options)
    assert code == 2
    assert "is no regular file" in shape["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("embed", "PHOTOS", "-o", "OUT.npy"), 2, "is a folder: name its pictures"),
        (("embed", "PHOTOS/none.jpg", "-o", "OUT.npy"), 2, "none.jpg: No such file"),
        (("embed", "PHOTOS/a.png", "-o", "OUT/deep/e.npy"), 2, "there is no folder"),
        (("embed", "PHOTOS/a.png", "-o", "PHOTOS"), 2, "is a folder; name a file"),
        (("embed", "PHOTOS/a.png", "-o", "OUT.npy", "--image-size", "big"), 2, "'big' is neither a number"),
        (("embed", "PHOTOS/a.png", "-o", "OUT.npy", "--image-size", "96"), 2, "builtin"),
        (("embed", "PHOTOS/a.png", "-o", "OUT.npy", "--preprocess", "card"), 2, "--preprocess card has no use with"),
        (("embed", "PHOTOS/a.png", "-o", "OUT.npy", "--backbone", "eca_nfnet_l9"), 2, "did you mean eca_nfnet_l"),
        (("classify", "PHOTOS/a.png", "--backbone", "builtin"), 2, "names no classes"),
        (("classify", "PHOTOS/a.png", "--backbone", "eca_nfnet_l0"), 1, "--weights FILE.safetensors"),
        (("feature-maps", "PHOTOS/a.png", "-o", "OUT.npz", "--backbone", "builtin"), 2, "has no feature maps"),
        (("feature-maps", "PHOTOS/a.png", "-o", "OUT.jpg"), 2, "as .npz (numbers) or .png"),
        (("backbones", "eca_nfnet_l0", "--search", "x"), 2, "give one of"),
    ],
)
def test_a_refusal_says_what_to_do_and_writes_nothing(
    arguments: tuple[str, ...], code: int, says: str, run: Run, photos: Path, tmp_path: Path
) -> None:
    painted(1, (100, 100)).save(photos / "a.png")
    given = [one.replace("PHOTOS", str(photos)).replace("OUT", str(tmp_path / "out")) for one in arguments]
    found, shape = run(*given)
    assert found == code
    assert says in shape["error"]["message"]
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


@pytest.mark.parametrize("overwritten", ["picture", "weights"])
def test_no_output_is_written_over_what_it_is_made_from(
    overwritten: str, tiny: tuple[str, ...], draw: Draw, run: Run
) -> None:
    picture = draw("mine.jpg", 1)
    target = picture if overwritten == "picture" else Path(tiny[-1])
    before = target.read_bytes()
    code, answer = run("embed", picture, "-o", target, *tiny)
    assert code == 2
    assert "would overwrite what it is made from; name another file" in answer["error"]["message"]
    assert target.read_bytes() == before
