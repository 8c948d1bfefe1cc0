"""The recipe of the built-in backbone, on a handful of pictures: views, batches, objective, run, weights file."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.backbones.dihedral import POSES, posed
from indexer.backbones.dihedral_network import DihedralNetwork, Shape
from indexer.backbones.engines import prepare_engine
from indexer.backbones.joined_views import FRAME, LOOKS, SIDE, JoinedViews, network_of, parts
from indexer.backbones.onnx_engine import OnnxEngine
from indexer.backbones.torch_engine import TorchEngine
from search.errors import CorruptFile
from training.batches import HALVES, generator, step_batch
from training.export import write_weights
from training.objective import copy_loss
from training.picture_pool import draw_pool, read_pool
from training.placements import WHOLE, Placement, place, pyramid
from training.projection import discriminant_axes, set_head
from training.sprites import drawn_sprites
from training.train_builtin import main
from training.training_run import Recipe, Run, all_views, looks_of_views
from training.views import Batch, two_views

SMALL = Shape(widths=(1, 2, 2, 2), blocks=(1, 1, 1), pooled=4, layout=2, hidden=16, dims=8)
QUICK = Recipe(seed=3, pictures=8, steps=4, rows=8, small=32, large=48, warm_up=1, decay=0.5, ramp=4)
WHITE, BLACK = 255, 0
PREPARATION = replace(BUILTIN_PREPARATION, height=FRAME, width=FRAME)


@pytest.fixture(autouse=True)
def few_sprites(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.sprites.STICKERS", 20)
    monkeypatch.setattr("training.sprites.SCREENS", 10)


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """Eight pictures of 32 pixels, each of four squares of random colours: no two alike."""
    colours = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 3), np.uint8)
    return torch.from_numpy(np.repeat(np.repeat(colours, 16, 1), 16, 2))


def placed(picture: torch.Tensor, **changed: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels (3, 8, 8) and coverage (8, 8) of one (S, S) grey picture at 8 pixels a side."""
    upright = Placement(
        shift=torch.zeros(1, 2), extent=torch.ones(1, 2), angle=torch.zeros(1), aspect=torch.ones(1),
        crop_centre=torch.zeros(1, 2), crop_extent=torch.ones(1, 2), beside=torch.zeros(1, dtype=torch.bool),
    )  # fmt: skip
    windows = changed.pop("windows", torch.tensor([WHOLE]))
    levels = pyramid(picture.expand(1, 3, -1, -1))
    found = place(levels, windows, replace(upright, **changed), 8)
    return found.pixels[0], found.covered[0, 0]


def test_a_picture_that_is_placed_as_it_is_fills_the_view() -> None:
    picture = torch.rand(8, 8)
    pixels, covered = placed(picture)
    torch.testing.assert_close(pixels[0], picture, atol=1e-5, rtol=0)
    assert covered.min() == 1


def test_a_crop_shows_its_part_and_an_inset_lies_where_it_was_put() -> None:
    picture = torch.zeros(16, 16)
    picture[:8, 8:] = 1  # the upper right quarter is white
    crop, _ = placed(picture, crop_centre=torch.tensor([[0.5, -0.5]]), crop_extent=torch.tensor([[0.5, 0.5]]))
    assert crop[0, 1:-1, 1:-1].min() == 1
    _, covered = placed(picture, shift=torch.tensor([[-0.5, 0.5]]), extent=torch.tensor([[0.5, 0.5]]))
    assert covered[4:, :4].min() == 1  # lower left
    assert covered[:4].max() == covered[:, 4:].max() == 0


def test_a_window_makes_a_part_of_a_picture_the_whole() -> None:
    picture = torch.zeros(16, 16)
    picture[:, 8:] = 1
    right, covered = placed(picture, windows=torch.tensor([HALVES[1]]))
    assert right[0, 1:-1, 1:-1].min() == 1
    assert covered.min() == 1


def test_a_picture_turned_by_half_a_right_angle_is_shrunk_until_its_corners_fit() -> None:
    _, covered = placed(torch.ones(8, 8), angle=torch.tensor([math.pi / 4]))
    assert covered[0, 0] == covered[0, -1] == covered[-1, 0] == 0
    assert covered[3:5, 3:5].min() == 1
    assert covered.mean() == pytest.approx(0.5, abs=0.02)  # a square in a square over its corners


def test_views_of_one_seed_are_the_same_and_stay_in_range(pictures: torch.Tensor) -> None:
    sprites = drawn_sprites(32, seed=1)
    batch = Batch(pictures, torch.tensor(WHOLE).repeat(8, 1))
    first, again = (two_views(batch, 32, sprites, 1.0, generator(5)) for _ in range(2))
    other = two_views(batch, 32, sprites, 1.0, generator(6))
    for view in first:
        assert view.shape == (8, 3, 32, 32)
        assert 0 <= view.min() <= view.max() <= 1
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))
    assert not torch.equal(first[0], first[1])


def test_a_weak_view_is_nearer_to_its_picture_than_a_strong_one(pictures: torch.Tensor) -> None:
    sprites = drawn_sprites(32, seed=1)
    batch = Batch(pictures.repeat(8, 1, 1, 1), torch.tensor(WHOLE).repeat(64, 1))
    original = batch.pictures.permute(0, 3, 1, 2) / 255
    weak, _ = two_views(batch, 32, sprites, 0.0, generator(1))
    _, strong = two_views(batch, 32, sprites, 1.0, generator(1))
    assert (weak - original).abs().mean() < 0.5 * (strong - original).abs().mean()


def test_a_pass_shows_each_picture_once_and_halves_are_pictures_of_their_own() -> None:
    numbered = torch.arange(64, dtype=torch.uint8).view(64, 1, 1, 1).expand(64, 2, 2, 3)
    steps = [step_batch(numbered, 16, seed=7, step=step) for step in range(4)]
    shown = torch.cat([step.batch.pictures[4:, 0, 0, 0] for step in steps])  # the first four rows are two pictures
    assert len(set(shown.tolist())) == len(shown) == 48
    assert len(set(steps[0].identities.tolist())) == 16
    first, second = steps[0].batch.windows[:2]
    assert torch.equal(steps[0].batch.pictures[0], steps[0].batch.pictures[1])
    assert torch.equal(first[:2], -second[:2])
    assert first[:2].abs().sum() == 0.5
    assert not torch.equal(steps[0].identities, step_batch(numbered, 16, seed=8, step=0).identities)


def test_more_rows_than_pictures_are_refused(pictures: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="8 pictures are fewer than the 9 of a batch"):
        step_batch(pictures, 9, seed=0, step=0)


def test_the_loss_is_infonce_over_the_batch_and_the_nearest_of_another_picture() -> None:
    axes = torch.eye(3)
    embeddings = torch.stack([axes[0], axes[1], axes[0], axes[2]])  # pictures 0 and 1, then their second views
    loss = copy_loss(embeddings, torch.tensor([4, 9]), temperature=1.0, entropy_weight=0.0)
    alike = -1 + math.log(math.e + 2)  # score 1 with its own, 0 with two others
    apart = math.log(1 + 2)
    assert loss.total.item() == pytest.approx((2 * alike + 2 * apart) / 4, abs=1e-5)
    assert loss.entropy.item() == pytest.approx(-math.log(math.sqrt(2)), abs=1e-5)
    assert loss.found.item() == pytest.approx(0.5)


def test_rows_of_the_same_picture_are_no_negatives_of_each_other() -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(6, 4, generator=generator(1)), dim=1)
    doubled = torch.cat([embeddings[[0, 0]], embeddings[[1]], embeddings[[0, 0]], embeddings[[2]]])
    together = copy_loss(doubled, torch.tensor([1, 1, 2]), temperature=1.0, entropy_weight=1.0)
    apart = copy_loss(doubled, torch.tensor([1, 3, 2]), temperature=1.0, entropy_weight=1.0)
    assert together.total < apart.total


def test_the_entropy_term_is_lower_when_embeddings_are_spread() -> None:
    spread, crowded = torch.eye(4), torch.nn.functional.normalize(torch.eye(4) + 3, dim=1)
    losses = [copy_loss(rows, torch.tensor([0, 1]), temperature=1.0, entropy_weight=1.0) for rows in (spread, crowded)]
    assert losses[0].entropy < losses[1].entropy


def test_runs_of_different_lengths_have_the_same_beginning() -> None:
    short, long = Recipe(steps=100), Recipe(steps=1000)
    assert [short.rate_at(step) for step in range(70)] == [long.rate_at(step) for step in range(70)]
    assert short.strong_share(69) == long.strong_share(69)
    assert short.size(69) == long.size(699) == short.small
    assert short.size(70) == short.large
    assert short.rate_at(99) == pytest.approx(short.rate / 30)
    assert short.same_beginning(long)
    assert not short.same_beginning(replace(long, seed=1))


def advanced(run: Run, pictures: torch.Tensor, steps: int) -> list[float]:
    views = all_views(pictures, run.recipe, run.step)
    return [run.advance(*next(views)).total.item() for _ in range(steps)]


def test_the_loss_falls_when_the_same_batch_is_learned_again(pictures: torch.Tensor) -> None:
    run = Run(replace(QUICK, decay=0.0, steps=40), SMALL)
    views, identities = next(all_views(pictures, run.recipe, 0))
    losses = [run.advance(views, identities).total.item() for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0]


def test_a_run_that_was_interrupted_ends_bit_for_bit_as_one_that_was_not(
    pictures: torch.Tensor, tmp_path: Path
) -> None:
    whole = Run(QUICK, SMALL)
    losses = advanced(whole, pictures, 4)
    interrupted = Run(QUICK, SMALL)
    advanced(interrupted, pictures, 2)
    interrupted.save(tmp_path / "run.pt")
    resumed = Run.resumed(tmp_path / "run.pt", QUICK)
    assert resumed.step == 2
    assert advanced(resumed, pictures, 2) == losses[2:]
    for (name, expected), found in zip(
        whole.network.state_dict().items(), resumed.network.state_dict().values(), strict=True
    ):
        assert torch.equal(found, expected), name


def test_a_run_is_not_taken_up_with_another_recipe_or_another_length_once_it_decays(
    pictures: torch.Tensor, tmp_path: Path
) -> None:
    file = tmp_path / "run.pt"
    run = Run(QUICK, SMALL)
    advanced(run, pictures, 1)
    run.save(file)
    assert Run.resumed(file, replace(QUICK, steps=6)).step == 1
    with pytest.raises(ValueError, match="another recipe"):
        Run.resumed(file, replace(QUICK, seed=4))
    advanced(run, pictures, 2)
    run.save(file)
    with pytest.raises(ValueError, match="its length stays 4 steps"):
        Run.resumed(file, replace(QUICK, steps=6))


def test_the_pool_draws_only_what_is_missing_and_leaves_out_what_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []

    def drawn(count: int, seed: int) -> list[NDArray[np.uint8]]:
        seeds.append(seed)
        half = np.full((4, 8, 3), WHITE, np.uint8)
        striped = np.concatenate([half, np.zeros_like(half)])
        return [np.full((8, 8, 3), BLACK, np.uint8), *[striped] * (count - 1)]

    monkeypatch.setattr("training.picture_pool.procedural_images", drawn)
    monkeypatch.setattr("training.picture_pool.BLOCK", 4)
    assert list(draw_pool(tmp_path, 6, seed=1, workers=1)) == [0, 4, 6]
    assert list(draw_pool(tmp_path, 10, seed=1, workers=1)) == [4, 8, 10]  # of 6 the last block was a smaller one
    assert list(draw_pool(tmp_path, 10, seed=1, workers=1)) == [10]
    assert len(seeds) == 4
    assert len(set(seeds)) == 3
    assert read_pool(tmp_path, 10, seed=1).shape == (7, 8, 8, 3)


def test_the_first_axis_is_the_one_on_which_pictures_differ_more_than_views_do() -> None:
    rng = generator(9)
    pictures, views = torch.randn(200, 1, 3, generator=rng), torch.randn(200, 4, 3, generator=rng)
    # The first number varies within pictures alone, the second between them alone, the third both ways.
    hidden = pictures * torch.tensor([0.0, 1, 1]) + views * torch.tensor([1.0, 0.01, 1]) + 5
    mean, axes = discriminant_axes(hidden, 2, shrinkage=1e-3)
    torch.testing.assert_close(mean, torch.full((3,), 5.0, dtype=torch.float64), atol=0.2, rtol=0)
    first = axes[:, 0] / axes[:, 0].norm()
    assert first[1].abs() > 0.99
    apart = ((hidden - 5).double() @ axes).mean(1).std(0)
    assert apart[0] > apart[1]
    with pytest.raises(ValueError, match="2 pictures of 3 numbers do not determine 2 axes"):
        discriminant_axes(hidden[:2], 2)


def test_the_fitted_head_takes_the_place_of_the_trained_one(pictures: torch.Tensor) -> None:
    run = Run(replace(QUICK, rows=3), SMALL)
    joined = JoinedViews(run.network, SMALL.dims).eval()
    looks = looks_of_views(joined, run.recipe, pictures.repeat(2, 1, 1, 1), 13, 3)
    assert looks.shape == (13, 3, LOOKS * SMALL.dims)
    set_head(joined.head, looks)
    mean, axes = discriminant_axes(looks, SMALL.dims)
    expected = torch.nn.functional.normalize((looks[:, 0].double() - mean) @ axes)
    found = torch.nn.functional.normalize(joined.head(looks[:, 0]).double())
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_a_run_that_ran_out_of_minutes_is_taken_up_and_writes_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def colours(count: int, seed: int) -> list[NDArray[np.uint8]]:
        return list(np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8))

    monkeypatch.setattr("training.picture_pool.procedural_images", colours)
    monkeypatch.setattr("training.train_builtin.Recipe", lambda **changed: replace(QUICK, **changed))
    monkeypatch.setattr("training.train_builtin.SHAPE", SMALL)

    def train(folder: str, minutes: str) -> int:
        arguments = ["--folder", str(tmp_path / folder), "--out", str(tmp_path / f"{folder}.safetensors")]
        arguments += ["--minutes", minutes, "--steps", "3", "--pictures", "12", "--threads", "1"]
        return main([*arguments, "--device", "cpu", "--view-threads", "1", "--resume"])

    threads = torch.get_num_threads()
    try:
        assert train("whole", "5") == 0
        assert [train("parts", "0"), train("parts", "0"), train("parts", "5")] == [3, 3, 0]
    finally:
        torch.set_num_threads(threads)
    assert "going on after step 2" in capsys.readouterr().out
    assert (tmp_path / "parts.safetensors").read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    with pytest.raises(SystemExit, match="another recipe"):
        main(["--folder", str(tmp_path / "whole"), "--pictures", "12", "--seed", "9", "--resume"])


def test_the_parts_of_a_frame_are_its_corners_and_its_middle() -> None:
    frame = torch.zeros(1, 3, FRAME, FRAME)
    frame[:, :, 0, 0], frame[:, :, -1, 0], frame[:, :, FRAME // 2, FRAME // 2] = 1, 2, 4
    sums = [part[0, 0].sum().item() for part in parts(frame)]
    assert sums == [1 + 4, 4, 2 + 4, 4, 4]  # every corner part reaches over the middle
    assert {part.shape for part in parts(frame)} == {(1, 3, SIDE, SIDE)}


def test_a_turned_or_mirrored_frame_has_the_embedding_of_the_upright_one() -> None:
    torch.manual_seed(5)
    joined, frames = JoinedViews(DihedralNetwork(SMALL), SMALL.dims).eval(), torch.randn(2, 3, FRAME, FRAME)
    with torch.inference_mode():
        upright = joined(frames)
        for pose in range(1, POSES):
            torch.testing.assert_close(joined(posed(frames, pose)), upright, atol=1e-5, rtol=1e-4)
    assert (upright[0] - upright[1]).abs().max() > 1e-3


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, JoinedViews]:
    torch.manual_seed(4)
    network = JoinedViews(DihedralNetwork(SMALL), SMALL.dims)
    network(torch.randn(16, 3, FRAME, FRAME))  # the normalisations have seen something
    write_weights(network.eval(), SMALL, tmp_path / "w.safetensors", {"recipe": "test"})
    return tmp_path / "w.safetensors", network


def test_written_weights_answer_as_the_trained_network_to_half_precision(
    weights: tuple[Path, JoinedViews],
) -> None:
    file, network = weights
    pictures = torch.randn(3, 3, FRAME, FRAME)
    with torch.inference_mode():
        cosines = (network_of(file.read_bytes())(pictures) * network(pictures)).sum(1)
    assert cosines.min() > 0.9999


def test_written_weights_go_through_the_same_preparation_as_any_backbone(
    weights: tuple[Path, JoinedViews], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", str(tmp_path / "cache"))
    blob = weights[0].read_bytes()
    engine = prepare_engine(network_of(blob), PREPARATION, "cpu", backbone="builtin", weights_sha256="0", weights=None)
    assert isinstance(engine, OnnxEngine)
    pixels = np.random.default_rng(1).integers(0, 256, (3, FRAME, FRAME, 3), np.uint8)
    expected = TorchEngine(network_of(blob), PREPARATION).run(pixels)
    np.testing.assert_allclose(engine.run(pixels), expected, atol=1e-5)


def test_other_files_are_no_weights(weights: tuple[Path, JoinedViews], tmp_path: Path) -> None:
    other = replace(SMALL, hidden=17)
    write_weights(JoinedViews(DihedralNetwork(other), other.dims), SMALL, tmp_path / "other.safetensors", {})
    for blob in (b"", weights[0].read_bytes()[:100], (tmp_path / "other.safetensors").read_bytes()):
        with pytest.raises(CorruptFile, match="no weights of the built-in backbone"):
            network_of(blob)
