"""The GPU engine: what of it can be held to account without a GPU, and one test that needs one."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from indexer.backbones import cuda_engine
from indexer.backbones.cuda_engine import CudaEngine, one_minus_cosine
from indexer.backbones.engine import probe
from indexer.backbones.engines import prepare_engine
from indexer.backbones.folding import fold
from indexer.backbones.torch_engine import FromPixels, TorchEngine
from indexer.decoding.preparation import Preparation
from search.errors import OutOfMemory
from tests.perturbed import perturbed_network

SMALL = Preparation("full", 64, 64)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("name", ["test_resnet", "test_nfnet"])
def test_half_precision_of_a_folded_network_stays_within_its_tolerance(
    name: str, dtype: torch.dtype, tolerance: float
) -> None:
    expected = TorchEngine(perturbed_network(name), SMALL).run(probe(64, 64))
    model = FromPixels(fold(perturbed_network(name)), SMALL).eval().in_dtype(dtype)
    with torch.inference_mode():
        answer = model(torch.from_numpy(probe(64, 64)))
    assert answer.dtype == dtype
    assert one_minus_cosine(answer.float().numpy(), expected) <= tolerance


def test_half_precision_does_not_round_the_normalisation() -> None:
    mean_only = FromPixels(torch.nn.Flatten(), Preparation("full", 1, 1, std=(1.0, 1.0, 1.0))).in_dtype(torch.bfloat16)
    levels = torch.tensor([124, 116, 104], dtype=torch.uint8).view(1, 1, 1, 3)
    # Means of .485, .456 and .406 of 255; in bfloat16 they would be 123.5, 116.5 and 103.5, half a level off.
    np.testing.assert_allclose(mean_only(levels).float()[0] * 255, [0.325, -0.28, 0.47], atol=0.003)


def test_one_minus_cosine_is_that_of_the_worst_row_and_nan_is_never_close() -> None:
    expected = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32)
    assert one_minus_cosine(np.array([[3.0, 0.0], [1.0, 1.0]], np.float32), expected) == pytest.approx(1 - 0.5**0.5)
    assert not one_minus_cosine(np.array([[np.nan, 0.0], [0.0, 1.0]], np.float32), expected) <= 1


class StandInStream:
    """What of a CUDA stream or event the engine calls; on the CPU everything happens at once."""

    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: object) -> None:
        pass

    def record(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


@pytest.fixture
def cuda_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the engine's own code run on the CPU: streams do nothing, a replayed graph computes its rows anew."""
    zeros, empty, slot = torch.zeros, torch.empty, cuda_engine._Slot.__init__

    @contextlib.contextmanager
    def nothing(*_: object, **__: object) -> Iterator[None]:
        yield

    class Graph:
        """Records nothing; `_Slot` is given what a replay must do."""

    def initialise(self: Any, graph: Any, pixels: torch.Tensor, rows: torch.Tensor) -> None:
        slot(self, graph, pixels, rows)

        def replay() -> None:
            with torch.inference_mode():
                rows.copy_(recorded[-1](pixels).float())

        graph.replay = replay

    recorded: list[Any] = []

    def compiled(model: Any, pixels: torch.Tensor) -> Any:
        model(pixels)
        recorded.append(model)
        return model

    def unpinned_zeros(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return zeros(*shape, **options)

    def unpinned_empty(*shape: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return empty(*shape, **options)

    monkeypatch.setattr(cuda_engine, "_compiled", compiled)
    monkeypatch.setattr(cuda_engine._Slot, "__init__", initialise)
    monkeypatch.setattr(torch, "zeros", unpinned_zeros)
    monkeypatch.setattr(torch, "empty", unpinned_empty)
    for name, value in {
        **{"Stream": StandInStream, "Event": StandInStream, "CUDAGraph": Graph},
        **dict.fromkeys(("stream", "device", "graph"), nothing),
        "current_stream": StandInStream,
        "mem_get_info": lambda _: (10 << 20, 1 << 30),
        "reset_peak_memory_stats": lambda _: None,
        "memory_allocated": lambda _: 0,
        "max_memory_allocated": lambda _: 8 << 20,
        "empty_cache": lambda: None,
        "get_device_name": lambda _: "a stand-in",
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)


@pytest.mark.usefixtures("cuda_stand_in")
@pytest.mark.parametrize("name", ["test_resnet", "test_nfnet"])
def test_the_engine_itself_answers_every_picture_in_order_and_pads_the_last_batch(name: str) -> None:
    expected = TorchEngine(perturbed_network(name), SMALL)
    engine = CudaEngine(fold(perturbed_network(name)), SMALL, torch.device("cpu"), expected.run(probe(64, 64)))
    assert engine.batch_size == 4 * 4  # 1 MiB a picture, three fifths of 10 MiB: batches of 4
    assert engine.name.endswith("float16, a stand-in")
    pixels = np.random.default_rng(2).integers(0, 256, (11, 64, 64, 3), dtype=np.uint8)
    rows = engine.run(pixels)
    for answer, picture in zip(rows, pixels, strict=True):
        assert one_minus_cosine(answer[None], expected.run(picture[None])) <= 1e-3


@pytest.mark.usefixtures("cuda_stand_in")
def test_a_picture_that_half_precision_cannot_hold_is_done_again_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = TorchEngine(perturbed_network("test_resnet"), SMALL)
    engine = CudaEngine(fold(perturbed_network("test_resnet")), SMALL, torch.device("cpu"), expected.run(probe(64, 64)))
    pixels = np.random.default_rng(2).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    collect = cuda_engine._Slot.collect

    def overflowing(self: Any) -> Any:
        rows = collect(self)
        rows[1, 0] = np.inf
        return rows

    monkeypatch.setattr(cuda_engine._Slot, "collect", overflowing)
    rows = engine.run(pixels)
    np.testing.assert_allclose(rows[1], expected.run(pixels)[1], rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("cuda_stand_in")
@pytest.mark.parametrize("most", [0, 1])
def test_a_gpu_that_is_too_small_is_a_clear_error_and_a_small_one_is_used(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = FromPixels.forward

    def limited(self: FromPixels, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, pixels)

    expected = TorchEngine(perturbed_network("test_resnet"), SMALL).run(probe(64, 64))
    network = fold(perturbed_network("test_resnet"))
    monkeypatch.setattr(FromPixels, "forward", limited)
    if most == 0:
        with pytest.raises(OutOfMemory, match="does not hold the backbone with a single picture"):
            CudaEngine(network, SMALL, torch.device("cpu"), expected)
    else:
        assert CudaEngine(network, SMALL, torch.device("cpu"), expected).batch_size == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["test_resnet", "test_nfnet"])
def test_the_gpu_answers_as_the_cpu_does_in_any_batch(name: str) -> None:
    expected = TorchEngine(perturbed_network(name), SMALL)
    engine = prepare_engine(perturbed_network(name), SMALL, "cuda", backbone=name, weights_sha256="0", weights=None)
    assert isinstance(engine, CudaEngine)
    pixels = np.random.default_rng(2).integers(0, 256, (engine.batch_size + 3, 64, 64, 3), dtype=np.uint8)
    rows = engine.run(pixels)
    assert one_minus_cosine(rows, expected.run(pixels)) <= 1e-2
    np.testing.assert_allclose(engine.run(pixels[-1:])[0], rows[-1], atol=1e-6)
