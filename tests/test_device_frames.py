"""Frames made on a device agree with the CPU's, or the device is refused at the start."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from indexer.decoding.device_frames import DeviceFrames, as_tensor, box_weights, probes, torchvision_decoder
from indexer.decoding.gpu_decoding import GpuDecoder
from indexer.decoding.preparation import Preparation
from search.errors import UsageError
from tests.gpu_stand_ins import PREPARATION, Decode, Files, Others, jpeg, on_cpu, stand_in


@pytest.mark.parametrize("length", [64, 65, 70, 100, 639, 4_001])
def test_the_weights_of_the_luma_are_those_of_pillows_box_filter(length: int) -> None:
    weights = box_weights(length, "cpu")
    line = np.random.default_rng(length).random((1, length), np.float32)
    expected = np.asarray(Image.fromarray(line).resize((64, 1), Image.Resampling.BOX))[0]
    assert np.allclose(weights.numpy() @ line[0], expected, atol=1e-5)


def failing(error: Exception) -> Decode:
    def decode_batch(_: Files) -> Files:
        raise error

    return decode_batch


def brighter(files: Files) -> Files:
    return [(pixels.int() + 4).clamp(max=255).byte() for pixels in stand_in(files)]


@pytest.mark.parametrize(
    ("decode_batch", "said"),
    [
        (failing(RuntimeError("Couldn't load the image extension.\nat ...")), "Couldn't load the image extension."),
        (failing(AttributeError("no decode_jpegs_cuda")), "no decode_jpegs_cuda"),
        (failing(NotImplementedError()), "NotImplementedError"),
        (brighter, "a baseline JPEG differs by 4.00 levels from the CPU's, 1.0 are allowed"),
        (lambda files: [pixels[:, 1:] for pixels in stand_in(files)], "it has another size there"),
        (lambda _: [], "not enough values"),
    ],
    ids=["no extension", "no operator", "silent", "brighter", "another size", "nothing"],
)
def test_a_gpu_that_is_not_within_the_tolerance_is_refused_at_the_start(decode_batch: Decode, said: str) -> None:
    with pytest.raises(UsageError, match=said) as refusal:
        DeviceFrames(decode_batch, PREPARATION, "cpu")
    assert str(refusal.value).startswith("--decode gpu: ")
    assert str(refusal.value).endswith("use --decode cpu")


@pytest.mark.parametrize("kind", ["baseline", "progressive", "grey", "turned"])
def test_every_kind_of_picture_is_tried_before_it_is_trusted(kind: str) -> None:
    data, _ = probes()[kind]

    def decode_batch(files: Files) -> Files:
        if torch.equal(files[0], as_tensor(data)):
            raise RuntimeError("NVJPEG_STATUS_JPEG_NOT_SUPPORTED")
        return stand_in(files)

    with pytest.raises(UsageError, match=f"a {kind} JPEG cannot be decoded on cpu .NVJPEG_STATUS"):
        DeviceFrames(decode_batch, PREPARATION, "cpu")


@pytest.mark.parametrize(
    ("preparation", "said"),
    [
        (Preparation("full", 32, 32, dct_scaling=True), "--dct-scaling"),
        (Preparation("full", 32, 32, "lanczos"), "'lanczos'"),
    ],
)
def test_what_only_the_cpu_can_do_is_refused(preparation: Preparation, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        DeviceFrames(stand_in, preparation, "cpu")


def test_a_torchvision_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.io", None)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UsageError, match="--decode gpu needs torchvision with nvJPEG: "):
        torchvision_decoder("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_nvjpeg_is_within_the_tolerance() -> None:
    frames = DeviceFrames(torchvision_decoder("cuda"), PREPARATION, "cuda")
    others = Others()
    files = [jpeg(number, (1200, 900)) for number in range(70)]
    with GpuDecoder(others, frames) as decoder, ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(decoder.decode, files, map(str, range(70))))
    for image, data in zip(found, files, strict=True):
        assert np.abs(image.pixels.astype(int) - on_cpu(data).pixels).mean() <= 1
    assert others.names == []
