"""JPEGs on the GPU, with a stand-in on the CPU: what goes there, in which batches, and what happens when it fails."""

import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from api.console import Session
from api.indexing import IndexRequest, run_index
from indexer.decoding import device_frames, gpu_decoding
from indexer.decoding.decode import DecodeLimits
from indexer.decoding.device_frames import Encoded, Header, as_tensor
from indexer.decoding.gpu_decoding import GpuDecoder, _Queue, _Waiting, decoding_device, plain_header
from indexer.decoding.preparation import Preparation
from search.errors import BadImage, LookalikeError, UsageError
from tests.conftest import painted
from tests.gpu_stand_ins import (
    LIMITS,
    Device,
    Files,
    Others,
    agree,
    jpeg,
    on_cpu,
    stand_in,
    turned,
    without_jfif,
)


@pytest.fixture(scope="module")
def checked() -> Device:
    """A device that has passed its probes."""
    return Device()


@pytest.fixture
def device(checked: Device) -> Device:
    checked.batches.clear()
    checked.decode = stand_in
    return checked


@pytest.fixture
def others() -> Others:
    return Others()


@pytest.fixture
def decoder(device: Device, others: Others) -> Iterator[GpuDecoder]:
    with GpuDecoder(others, device.frames, patience_s=0) as made:
        yield made


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


def test_an_answer_of_another_size_is_replaced_by_the_childrens(
    decoder: GpuDecoder, device: Device, others: Others
) -> None:
    device.decode = lambda _: [torch.zeros((3, 120, 161), dtype=torch.uint8)]
    agree(decoder.decode(jpeg(), "a.jpg"), on_cpu(jpeg()), bits=0)
    assert others.names == ["a.jpg"]


def test_a_picture_that_the_gpu_cannot_resize_is_left_to_the_children(
    decoder: GpuDecoder, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resized(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(device_frames, "resized", resized)
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


def test_where_jpegs_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoding_device("cpu", "auto", dct_scaling=True) is None
    with pytest.raises(UsageError, match="--decode 'tpu' is not one of cpu, gpu"):
        decoding_device("tpu", "auto", dct_scaling=False)
    with pytest.raises(UsageError, match="needs a CUDA device, and --device cpu gives none"):
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

    monkeypatch.setattr("indexer.decoding.gpu_decoding.decoding_device", lambda *_, **__: "cpu")
    monkeypatch.setattr("indexer.decoding.device_frames.torchvision_decoder", lambda _: counting)
    request = IndexRequest([str(photos)], device="cpu", workers=1, decode="gpu")
    summary, _ = run_index(session(tmp_path / "store"), request)
    assert (summary.counts.indexed, summary.counts.failed) == (6, 1)
    assert sum(batches) == 4 + 5  # the probes, and the whole JPEGs
    monkeypatch.undo()
    again, _ = run_index(session(tmp_path / "store"), IndexRequest([str(photos)], device="cpu", workers=1))
    assert (again.counts.unchanged, again.counts.failed) == (6, 1)
