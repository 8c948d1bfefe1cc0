"""JPEGs on the GPU, with a stand-in on the CPU: what goes there, in which batches, and what happens when it fails."""

import io
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

import api.indexing
from api.console import Session
from api.indexing import IndexRequest, run_index
from indexer import gpu_decoding
from indexer.decode import DecodedImage, DecodeLimits, decode
from indexer.decoder_pool import PreparedImage
from indexer.device_frames import DeviceFrames, Encoded, Header, as_tensor, box_weights, torchvision_decoder
from indexer.gpu_decoding import GpuDecoder, _Queue, _Waiting, decoding_device, plain_header
from indexer.preparation import Preparation, prepare
from search.errors import BadImage, LookalikeError, UsageError
from tests.conftest import painted

LIMITS = DecodeLimits()
PREPARATION = Preparation("full", 32, 24)
UPRIGHT = 0x0112
Files = list[torch.Tensor]
Decode = Callable[[Files], Files]


def jpeg(number: int = 0, size: tuple[int, int] = (160, 120), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    smooth = np.asarray(painted(number, size)).astype(int)
    noise = np.random.default_rng(number).integers(-20, 21, (size[1], size[0], 1))
    picture = Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))
    picture.convert(mode).save(file, "JPEG", **{"quality": 90, **options})
    return file.getvalue()


def turned(orientation: int, size: tuple[int, int] = (160, 120)) -> bytes:
    exif = Image.Exif()
    exif[UPRIGHT] = orientation
    return jpeg(5, size, exif=exif.tobytes())


def without_jfif(data: bytes, *, ids: bytes = b"\1\2\3") -> bytes:
    """Return the JPEG without its JFIF marker, its three components renamed."""
    length = int.from_bytes(data[4:6], "big")
    bare = bytearray(data[:2] + data[4 + length :])
    frame, scan = bare.find(b"\xff\xc0") + 10, bare.find(b"\xff\xda") + 5
    for number, name in enumerate(ids):
        bare[frame + 3 * number] = bare[scan + 2 * number] = name
    return bytes(bare)


def stand_in(files: Files) -> Files:
    """Decode as nvJPEG would: all of them or none."""
    decoded = [simplejpeg.decode_jpeg(file.numpy().tobytes(), "RGB") for file in files]
    return [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in decoded]


class Device:
    """A stand-in that remembers its batches, and does something else from the first that comes after the probes."""

    def __init__(self, preparation: Preparation = PREPARATION) -> None:
        self.batches: list[int] = []
        self.decode: Decode = stand_in
        self.frames = DeviceFrames(self._decode, preparation, "cpu")
        self.batches.clear()

    def _decode(self, files: Files) -> Files:
        self.batches.append(len(files))
        return self.decode(files)


class Others:
    """The decoder behind the GPU: decodes in the calling thread and remembers the names."""

    def __init__(self, preparation: Preparation = PREPARATION) -> None:
        self.names: list[str] = []
        self._preparation = preparation

    def decode(self, data: bytes, name: str) -> PreparedImage:
        self.names.append(name)
        return on_cpu(data, self._preparation)


def on_cpu(data: bytes, preparation: Preparation = PREPARATION) -> PreparedImage:
    image = decode(data, LIMITS)
    kept = {name: getattr(image, name) for name in DecodedImage.__dataclass_fields__ if name != "pixels"}
    return PreparedImage(pixels=prepare(image.pixels, preparation), **kept)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def decoder(device: Device, others: Others) -> Iterator[GpuDecoder]:
    with GpuDecoder(others, device.frames, patience_s=0) as made:
        yield made


def bits_apart(one: bytes, two: bytes) -> int:
    return (int.from_bytes(one, "big") ^ int.from_bytes(two, "big")).bit_count()


def agree(found: PreparedImage, expected: PreparedImage, *, bits: int = 6) -> None:
    """Check all facts but the pixel hash; bits: by which the perceptual hashes may differ, of 256."""
    apart = np.abs(found.pixels.astype(int) - expected.pixels)
    assert found.pixels.shape == expected.pixels.shape
    assert apart.max() <= 2
    assert apart.mean() <= 0.05
    assert (found.format, found.width, found.height) == (expected.format, expected.width, expected.height)
    assert bits_apart(found.perceptual_hash, expected.perceptual_hash) <= bits
    assert found.contrast == pytest.approx(expected.contrast, abs=0.5)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (jpeg(), Header(160, 120, 1)),
        (jpeg(progressive=True), Header(160, 120, 1)),
        (jpeg(mode="L"), Header(160, 120, 1)),
        (turned(6), Header(160, 120, 6)),
        (jpeg() + bytes(4_000), Header(160, 120, 1)),
        (jpeg(size=(64, 64)), Header(64, 64, 1)),
        (without_jfif(jpeg()), Header(160, 120, 1)),
    ],
    ids=["baseline", "progressive", "grey", "turned", "padded", "smallest", "bare"],
)
def test_plain_jpegs_are_for_the_gpu(data: bytes, header: Header) -> None:
    assert plain_header(data, LIMITS) == header


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\xff\xd8\xff\xe0 cut \xff\xd9",
        jpeg()[:-2000],
        jpeg() + bytes(5_000),
        jpeg(mode="CMYK"),
        jpeg(keep_rgb=True),
        without_jfif(jpeg(), ids=b"RGB"),
        jpeg(size=(160, 63)),
        jpeg(size=(64 * 201, 64)),
    ],
    ids=["empty", "gif", "junk", "truncated", "trailing", "cmyk", "adobe rgb", "named rgb", "small", "strip"],
)
def test_everything_else_is_for_the_children(data: bytes) -> None:
    assert plain_header(data, LIMITS) is None


def test_the_limit_of_pixels_is_checked_before_a_file_reaches_the_gpu(
    device: Device, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    with GpuDecoder(others, device.frames, limits=DecodeLimits(max_pixels=160 * 120 - 1)) as decoder:
        decoder.decode(jpeg(), "too large")
    monkeypatch.setattr(gpu_decoding, "LARGEST_PIXELS", 160 * 120 - 1)
    assert plain_header(jpeg(), LIMITS) is None
    assert (device.batches, others.names) == ([], ["too large"])


@pytest.mark.parametrize(
    "preparation",
    [
        Preparation("full", 64, 48),
        Preparation("full", 120, 160, "bilinear"),
        Preparation("card", 64, 64, crop_pct=0.9),
        Preparation("card", 48, 64, "bilinear", crop_pct=0.875),
    ],
    ids=lambda p: f"{p.mode} {p.height}x{p.width} {p.interpolation}",
)
def test_the_gpu_prepares_as_the_cpu_does(preparation: Preparation) -> None:
    device, others = Device(preparation), Others(preparation)
    with GpuDecoder(others, device.frames, patience_s=0) as decoder:
        for size in ((160, 120), (333, 500), (64, 400), (70, 90)):
            for options in ({}, {"progressive": True, "subsampling": 0}, {"mode": "L"}):
                data = jpeg(3, size, **options)
                found = decoder.decode(data, "a.jpg")
                agree(found, on_cpu(data, preparation))
                assert found.pixels.flags.c_contiguous
                assert not found.pixels.flags.writeable
    assert others.names == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(160, 120), (90, 130)])
def test_turned_photographs_are_turned_on_the_device(
    decoder: GpuDecoder, others: Others, orientation: int, size: tuple[int, int]
) -> None:
    data = turned(orientation, size)
    agree(decoder.decode(data, "turned.jpg"), on_cpu(data))
    assert others.names == []


@pytest.mark.parametrize("length", [64, 65, 100, 640, 4_001])
def test_each_luma_sample_is_the_mean_of_the_stretch_it_covers(length: int) -> None:
    weights = box_weights(length, "cpu")
    assert weights.shape == (64, length)
    assert torch.allclose(weights.sum(dim=1), torch.ones(64))
    ramp = torch.arange(length, dtype=torch.float32) + 0.5
    assert torch.allclose(weights @ ramp, (torch.arange(64) + 0.5) * length / 64, rtol=1e-4)


def test_only_an_equal_file_has_an_equal_pixel_hash(decoder: GpuDecoder) -> None:
    plain, commented = jpeg(1), jpeg(1, comment=b"the same pixels")
    hashes = [decoder.decode(data, "a.jpg").pixel_hash for data in (plain, plain, commented)]
    assert len(hashes[0]) == 16
    assert hashes[0] == hashes[1] != hashes[2]
    assert on_cpu(plain).pixel_hash not in hashes


def test_pictures_that_come_together_are_one_batch_and_each_caller_gets_its_own(device: Device, others: Others) -> None:
    files = [jpeg(number, (160 + number, 120)) for number in range(6)]
    with (
        GpuDecoder(others, device.frames, pictures_at_once=6, patience_s=600) as decoder,
        ThreadPoolExecutor(6) as threads,
    ):
        found = list(threads.map(decoder.decode, files, "abcdef"))
    assert device.batches == [6]
    for image, data in zip(found, files, strict=True):
        agree(image, on_cpu(data))


def test_a_batch_is_never_larger_than_asked_nor_than_the_memory_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_decoding, "PIXELS_AT_ONCE", 100)
    queue = _Queue(pictures_at_once=3, patience_s=0)
    for side in (5, 5, 5, 5, 9, 20, 1):
        queue.put(_Waiting(Encoded(torch.empty(0), Header(side, side, 1))))
    batches = [[item.encoded.header.width for item in queue.take()] for _ in range(4)]
    assert batches == [[5, 5, 5], [5], [9], [20]]


def test_a_file_that_the_gpu_refuses_is_decoded_by_the_children_and_its_batch_on_the_gpu(
    device: Device, others: Others
) -> None:
    files = {str(number): jpeg(number) for number in range(8)}
    refused = as_tensor(files["5"])

    def decode_batch(batch: Files) -> Files:
        if any(torch.equal(file, refused) for file in batch):
            raise RuntimeError("Error while decoding JPEG images: 5\nat a line of C++")
        return stand_in(batch)

    device.decode = decode_batch
    with (
        GpuDecoder(others, device.frames, pictures_at_once=8, patience_s=600) as decoder,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(decoder.decode, files.values(), files))
    assert others.names == ["5"]
    assert sorted(device.batches) == [1, 1, 2, 2, 4, 4, 8]
    for image, data in zip(found, files.values(), strict=True):
        agree(image, on_cpu(data))


@pytest.mark.parametrize(
    "answer",
    [torch.zeros((3, 120, 161), dtype=torch.uint8), torch.zeros((3, 120, 160), dtype=torch.uint8, device="meta")],
    ids=["of another size", "that cannot be resized"],
)
def test_an_answer_that_is_no_good_is_replaced_by_the_childrens(
    decoder: GpuDecoder, device: Device, others: Others, answer: torch.Tensor
) -> None:
    device.decode = lambda _: [answer]
    agree(decoder.decode(jpeg(), "a.jpg"), on_cpu(jpeg()), bits=0)
    assert others.names == ["a.jpg"]


def test_what_is_no_plain_jpeg_never_reaches_the_device(decoder: GpuDecoder, device: Device, others: Others) -> None:
    file = io.BytesIO()
    painted(1, (100, 80)).save(file, "PNG")
    assert decoder.decode(file.getvalue(), "a.png").format == "png"
    with pytest.raises(BadImage) as bad:
        decoder.decode(jpeg()[:-1500], "cut.jpg")
    assert bad.value.reason == "truncated"
    assert (device.batches, others.names) == ([], ["a.png", "cut.jpg"])


def test_closing_lets_the_batch_at_work_end_and_refuses_those_who_wait(device: Device, others: Others) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def decode_batch(batch: Files) -> Files:
        entered.set()
        assert go_on.wait(60)
        return stand_in(batch)

    device.decode = decode_batch
    decoder = GpuDecoder(others, device.frames, pictures_at_once=1)
    with ThreadPoolExecutor(3) as threads:
        at_work = threads.submit(decoder.decode, jpeg(1), "1")
        assert entered.wait(60)
        waits = threads.submit(decoder.decode, jpeg(2), "2")
        closing = threads.submit(decoder.close)
        assert isinstance(waits.exception(60), LookalikeError)
        go_on.set()
        agree(at_work.result(60), on_cpu(jpeg(1)))
        closing.result(60)
    decoder.close()
    with pytest.raises(LookalikeError, match="the GPU decoder is closed"):
        decoder.decode(jpeg(), "late")
    assert others.names == []


def test_a_mistake_of_our_own_reaches_all_who_wait_and_who_come_later(device: Device, others: Others) -> None:
    def decode_batch(_: Files) -> Files:
        raise KeyError("colour")

    device.decode = decode_batch
    with (
        GpuDecoder(others, device.frames, pictures_at_once=2, patience_s=600) as decoder,
        ThreadPoolExecutor(2) as threads,
    ):
        asked = [threads.submit(decoder.decode, jpeg(number), str(number)) for number in range(2)]
        for answer in asked:
            assert "decoding on the GPU has ended: 'colour'" in str(answer.exception(60))
        with pytest.raises(LookalikeError, match="has ended: 'colour'"):
            decoder.decode(jpeg(), "late")
    assert others.names == []


def failing(error: Exception) -> Decode:
    def decode_batch(_: Files) -> Files:
        raise error

    return decode_batch


def brighter(files: Files) -> Files:
    return [(pixels.int() + 4).clamp(max=255).byte() for pixels in stand_in(files)]


@pytest.mark.parametrize(
    ("decode_batch", "said"),
    [
        (failing(RuntimeError("Couldn't load the image extension.\nat ...")), "Couldn't load the image extension.)"),
        (failing(AttributeError("no decode_jpegs_cuda")), "no decode_jpegs_cuda"),
        (failing(NotImplementedError()), "NotImplementedError"),
        (brighter, r"a baseline JPEG differs by 3\.\d\d levels from the CPU's, 1.0 are allowed"),
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


def test_every_kind_of_probe_is_tried() -> None:
    device = Device()
    sideways = Header(480, 640, 1)

    def ignoring_progressive(files: Files) -> Files:
        kinds = [plain_header(file.numpy().tobytes(), LIMITS) for file in files]
        assert sideways not in kinds
        return [pixels * 0 if b"\xff\xc2" in file.numpy().tobytes() else pixels for file, pixels in together(files)]

    def together(files: Files) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return zip(files, stand_in(files), strict=True)

    device.decode = ignoring_progressive
    with pytest.raises(UsageError, match="a progressive JPEG differs"):
        DeviceFrames(device._decode, PREPARATION, "cpu")


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


def test_where_jpegs_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoding_device("cpu", "auto", dct_scaling=True) is None
    with pytest.raises(UsageError, match="--decode 'tpu' is not one of cpu, gpu"):
        decoding_device("tpu", "auto", dct_scaling=False)
    with pytest.raises(UsageError, match="needs a CUDA device, and --device cpu is none"):
        decoding_device("gpu", "cpu", dct_scaling=False)
    with pytest.raises(UsageError, match="--dct-scaling"):
        decoding_device("gpu", "cuda", dct_scaling=True)
    monkeypatch.setattr(gpu_decoding, "choose_device", lambda wanted: wanted)
    assert decoding_device("gpu", "cuda:1", dct_scaling=False) == "cuda:1"


def session(store: Path) -> Session:
    return Session(store=store, collection="default", json=True, progress="none")


def test_without_a_gpu_the_command_refuses_and_leaves_no_store(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with pytest.raises(UsageError, match="needs a CUDA device"):
        run_index(session(tmp_path / "store"), IndexRequest([str(tmp_path)], device="cpu", decode="gpu"))
    assert not (tmp_path / "store").exists()


def test_a_folder_indexed_by_the_gpu_is_indexed_and_unchanged_for_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(5):
        (photos / f"{number}.jpg").write_bytes(jpeg(number))
    (photos / "cut.jpg").write_bytes(jpeg(9)[:-1500])
    painted(7, (90, 70)).save(photos / "7.png")
    batches: list[int] = []

    def counting(files: Files) -> Files:
        batches.append(len(files))
        return stand_in(files)

    monkeypatch.setattr(api.indexing, "decoding_device", lambda *_, **__: "cpu")
    monkeypatch.setattr(api.indexing, "torchvision_decoder", lambda _: counting)
    request = IndexRequest([str(photos)], device="cpu", workers=1, decode="gpu")
    summary, _ = run_index(session(tmp_path / "store"), request)
    assert (summary.counts.indexed, summary.counts.failed) == (6, 1)
    assert sum(batches) == 4 + 5  # the probes, and the whole JPEGs
    monkeypatch.undo()
    again, _ = run_index(session(tmp_path / "store"), IndexRequest([str(photos)], device="cpu", workers=1))
    assert (again.counts.unchanged, again.counts.failed) == (6, 1)


@pytest.mark.gpu
def test_nvjpeg_is_within_the_tolerance() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    frames = DeviceFrames(torchvision_decoder("cuda"), PREPARATION, "cuda")
    others = Others()
    files = [jpeg(number, (1200, 900)) for number in range(70)]
    with GpuDecoder(others, frames) as decoder, ThreadPoolExecutor(os.cpu_count()) as threads:
        found = list(threads.map(decoder.decode, files, map(str, range(70))))
    for image, data in zip(found, files, strict=True):
        assert np.abs(image.pixels.astype(int) - on_cpu(data).pixels).mean() <= 1
    assert others.names == []
