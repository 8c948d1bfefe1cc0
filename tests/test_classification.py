"""Labels are those of timm's own loop, whether they come from pixels or from embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from indexer.backbones.backbones import load_backbone
from indexer.backbones.class_names import class_names, imagenet_names, read_class_names
from indexer.backbones.classification import LinearLabeller, classifier_engine, linear_labeller, top_labels
from indexer.backbones.timm_library import timm
from indexer.backbones.timm_models import LoadedNetwork, load_network, model_card
from indexer.decoding.preparation import prepare
from search.errors import UsageError
from tests.conftest import painted
from tests.perturbed import perturbed_weights

RESNET, NFNET, VIT = "test_resnet.r160_in1k", "test_nfnet.r160_in1k", "test_vit.r160_in1k"
PICTURES = [painted(number, size) for number, size in enumerate([(300, 200), (200, 333), (64, 64)])]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("weights")
    return {name: perturbed_weights(name, folder / f"{name}.safetensors") for name in (RESNET, NFNET, VIT)}


def timms_top5(name: str, file: Path) -> list[list[tuple[str, float]]]:
    """What the loop on the model card prints, with timm's own names."""
    network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)
    with torch.no_grad():
        logits = network(torch.stack([transform(picture) for picture in PICTURES]))
    probabilities, numbers = torch.topk(logits.double().softmax(dim=1), 5)
    info = timm.data.ImageNetInfo("imagenet-1k")
    return [
        [(info.index_to_description(int(number)), float(share)) for number, share in zip(row, shares, strict=True)]
        for row, shares in zip(numbers, probabilities, strict=True)
    ]


@pytest.mark.parametrize("name", [RESNET, NFNET, VIT])
def test_labels_of_pictures_are_those_of_the_model_card_in_its_order(name: str, weights: dict[str, Path]) -> None:
    preparation = model_card(name).preparation
    loaded = load_network(name, weights[name], use="classify", preparation=preparation)
    pixels = np.stack([prepare(np.asarray(picture), preparation) for picture in PICTURES])
    found = top_labels(classifier_engine(loaded, preparation).run(pixels), class_names(loaded))
    for labels, expected in zip(found, timms_top5(name, weights[name]), strict=True):
        assert [label.label for label in labels] == [text for text, _ in expected]
        np.testing.assert_allclose([label.probability for label in labels], [share for _, share in expected], rtol=1e-4)


@pytest.mark.parametrize("name", [RESNET, NFNET, VIT])
def test_labels_of_stored_embeddings_are_those_of_the_pictures(
    name: str, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch")
    backbone = load_backbone(name, weights=weights[name], mode="card", device="cpu")
    pixels = np.stack([prepare(np.asarray(picture), backbone.preparation) for picture in PICTURES])
    labeller = linear_labeller(load_network(name, weights[name], use="embed", preparation=backbone.preparation))
    found = labeller.labels(backbone.embed(pixels))
    for labels, expected in zip(found, timms_top5(name, weights[name]), strict=True):
        assert [label.label for label in labels] == [text for text, _ in expected]
        np.testing.assert_allclose([label.probability for label in labels], [share for _, share in expected], rtol=1e-4)


def network_of(module: torch.nn.Module, classes: int, names: tuple[str, ...] = ()) -> LoadedNetwork:
    classifier = module.get_classifier()  # type: ignore[operator]
    return LoadedNetwork("made", module.eval(), classes, classifier, None, "hub", Path("made.safetensors"), names)


def test_the_classifier_of_bit_is_a_convolution_and_labels_embeddings_all_the_same() -> None:
    torch.manual_seed(7)
    kind = timm.models.resnetv2.ResNetV2
    arguments = {"stem_type": "fixed", "conv_layer": timm.layers.StdConv2d}
    network = kind(layers=(1, 1, 1, 1), channels=(128, 128, 128, 256), stem_chs=32, num_classes=7, **arguments).eval()
    torch.nn.init.normal_(network.head.fc.weight)  # fresh ones of BiT are zero
    torch.nn.init.normal_(network.head.fc.bias)
    pictures = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        expected = network(pictures).softmax(dim=1).numpy()
        raw = network.forward_head(network.forward_features(pictures), pre_logits=True).numpy()
    assert isinstance(network.get_classifier(), torch.nn.Conv2d)
    labeller = linear_labeller(network_of(network, 7, tuple("abcdefg")))
    for labels, shares in zip(labeller.labels(raw), expected, strict=True):
        assert "".join(label.label for label in labels) == "".join(
            "abcdefg"[number] for number in np.argsort(-shares)[:5]
        )
        np.testing.assert_allclose([label.probability for label in labels], np.sort(shares)[::-1][:5], rtol=1e-4)


@pytest.mark.parametrize("name", timm.list_models("test_*", pretrained=True))
def test_every_kind_of_network_has_a_labeller_that_agrees_with_it_or_none(name: str) -> None:
    torch.manual_seed(7)
    network = timm.create_model(name, pretrained=False).eval()
    side = network.pretrained_cfg["input_size"][-1]
    pictures = torch.rand(2, 3, side, side)
    with torch.no_grad():
        expected = network(pictures).double().softmax(dim=1).numpy()
        labeller = linear_labeller(network_of(network, 1000))
        network.reset_classifier(0)
        raw = network(pictures).numpy()
    names = imagenet_names(1000, name)
    for labels, shares in zip(labeller.labels(raw), expected, strict=True):
        by_name = dict(zip(names, shares, strict=True))
        np.testing.assert_allclose(
            [label.probability for label in labels], [by_name[label.label] for label in labels], rtol=1e-4
        )
        np.testing.assert_allclose([label.probability for label in labels], np.sort(shares)[::-1][:5], rtol=1e-4)


def test_a_classifier_that_is_no_single_linear_layer_labels_no_embeddings() -> None:
    levit = timm.create_model("levit_128s", pretrained=False, num_classes=5)  # BatchNorm before each of two heads
    with pytest.raises(UsageError, match="not one linear layer on its embedding"):
        linear_labeller(network_of(levit, 5, tuple("abcde")))


def test_probabilities_are_a_softmax_over_all_classes_highest_first_and_ties_by_class() -> None:
    (labels,) = top_labels(np.log(np.array([[1, 4, 2, 2, 1]], np.float32)), "abcde", 3)
    assert [label.label for label in labels] == ["b", "c", "d"]
    np.testing.assert_allclose([label.probability for label in labels], [0.4, 0.2, 0.2], rtol=1e-6)


def test_huge_logits_do_not_overflow_and_keep_their_order() -> None:
    (labels,) = top_labels(np.array([[3e38, -3e38, 2.9e38]], np.float32), "abc")
    assert [(label.label, label.probability) for label in labels] == [("a", 1.0), ("c", 0.0), ("b", 0.0)]


def test_a_row_with_nan_has_no_labels_and_spoils_no_other() -> None:
    labeller = LinearLabeller(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), ("a", "b"))
    nothing, labels = labeller.labels(np.array([[np.nan, 0], [0, 9]], np.float32))
    assert nothing == ()
    assert labels[0].label == "b"


def test_embeddings_of_other_dims_are_refused() -> None:
    labeller = LinearLabeller(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), ("a", "b"))
    with pytest.raises(UsageError, match="3 dims do not fit a classifier of 2"):
        labeller.labels(np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("classes", [1000, 11221, 11821, 21841, 21842, 21843])
def test_every_imagenet_of_timm_names_each_class_once(classes: int) -> None:
    names = imagenet_names(classes, "a backbone")
    assert len(names) == len(set(names)) == classes
    assert any(name.split(", ")[0] == "tabby" for name in names)


def test_the_two_cranes_are_told_apart_and_both_found_as_crane() -> None:
    cranes = [name for name in imagenet_names(1000, "a backbone") if name.startswith("crane")]
    assert cranes == ["crane, n02012849", "crane, n03126707"]


def test_outputs_without_names_are_refused_with_a_way_out() -> None:
    with pytest.raises(UsageError, match=r"512 outputs of vit_clip are no ImageNet classes.*--classes"):
        imagenet_names(512, "vit_clip")


@pytest.mark.parametrize(
    ("text", "says"), [("a\nb\n", "2 lines"), ("a\nb\na\n", "'a' twice"), ("a\n\nb", "empty line"), ("\udcff", "UTF-8")]
)
def test_a_file_of_class_names_names_each_class_once(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("a dog\n a cat \nb\n", "utf-8")
    assert read_class_names(file, 3) == ("a dog", "a cat", "b")
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=says):
        read_class_names(file, 3)
