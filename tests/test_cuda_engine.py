"""The GPU engine: what of it can be held to account without a GPU, and one test that needs one."""

import numpy as np
import pytest
import torch

from indexer.cuda_engine import CudaEngine, one_minus_cosine
from indexer.engine import probe
from indexer.engines import prepare_engine
from indexer.folding import fold
from indexer.preparation import Preparation
from indexer.torch_engine import FromPixels, TorchEngine
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
