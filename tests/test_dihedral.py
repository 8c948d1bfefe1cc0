"""Convolutions that are indifferent to turns and mirrors: against the definition, pose by pose."""

import pytest
import torch
import torch.nn.functional as F

from indexer.backbones.dihedral import POSES, DihedralConvolution, posed, relative_poses
from indexer.backbones.dihedral_network import DihedralNetwork, Shape

SMALL = Shape(widths=(1, 2, 2, 2), blocks=(1, 1, 1), pooled=3, layout=2, hidden=5, dims=4)


def test_the_eight_poses_of_an_uneven_plane_are_all_different() -> None:
    planes = [posed(torch.arange(9).view(3, 3), pose).flatten().tolist() for pose in range(POSES)]
    assert len({tuple(plane) for plane in planes}) == POSES
    assert planes[0] == list(range(9))


def test_a_pose_taken_away_from_another_gives_the_pose_between_them() -> None:
    plane = torch.arange(16).view(4, 4)
    for g, row in enumerate(relative_poses()):
        assert sorted(row) == list(range(POSES))
        for h, between in enumerate(row):
            assert torch.equal(posed(posed(plane, between), g), posed(plane, h))


def test_each_channel_of_a_first_layer_is_its_base_kernel_in_another_pose() -> None:
    torch.manual_seed(0)
    layer = DihedralConvolution(1, 1, 3, from_picture=True)
    kernels, _ = layer.expanded()
    for pose in range(POSES):
        assert torch.equal(kernels[pose, 0], posed(kernels[0, 0], pose))


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 1), (4, 2)])
def test_fields_of_a_turned_picture_are_turned_fields_in_other_poses(size: int, stride: int) -> None:
    torch.manual_seed(1)
    first, second = DihedralConvolution(2, 3, 3, from_picture=True), DihedralConvolution(3, 2, size, stride=stride)
    picture = torch.randn(1, 2, 8, 8)
    upright = second(F.relu(first(picture))).unflatten(1, (-1, POSES))
    for turn in range(POSES):
        turned = second(F.relu(first(posed(picture, turn)))).unflatten(1, (-1, POSES))
        for pose in range(POSES):
            expected = posed(upright[:, :, relative_poses()[turn][pose]], turn)
            torch.testing.assert_close(turned[:, :, pose], expected, atol=1e-5, rtol=1e-4)


def test_kernels_have_no_mean_and_keep_the_variance_of_what_comes_in() -> None:
    torch.manual_seed(2)
    kernels, _ = DihedralConvolution(4, 3, 3).expanded()
    torch.testing.assert_close(kernels.sum((1, 2, 3)), torch.zeros(3 * POSES), atol=1e-4, rtol=0)
    torch.testing.assert_close(kernels.square().sum((1, 2, 3)), torch.ones(3 * POSES), atol=1e-3, rtol=0)


@pytest.mark.parametrize("side", [32, 48])
def test_a_turned_or_mirrored_picture_has_the_embedding_of_the_upright_one_and_another_has_not(side: int) -> None:
    torch.manual_seed(3)
    network = DihedralNetwork(SMALL).eval()
    pictures = torch.randn(2, 3, side, side)
    with torch.inference_mode():
        upright = network(pictures)
        for pose in range(1, POSES):
            torch.testing.assert_close(network(posed(pictures, pose)), upright, atol=1e-5, rtol=1e-4)
        moved = network(pictures.roll(side // 4, -1))
    assert upright.shape == (2, SMALL.dims)
    assert (upright[0] - upright[1]).abs().max() > 1e-3
    assert (moved - upright).abs().max() > 1e-3
