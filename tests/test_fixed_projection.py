"""Fewer dims: the same axes everywhere, and cosines nearly as they were."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from api.cli import main
from indexer.backbones.backbones import load_backbone, load_for_space
from indexer.backbones.fixed_projection import axes, projected
from search.embeddings import unit_rows
from search.errors import UsageError
from tests.conftest import painted


def test_the_axes_are_orthonormal_and_stay_what_they_were() -> None:
    found = axes(96, 24)
    np.testing.assert_allclose(found.T @ found, np.eye(24), atol=1e-12)
    np.testing.assert_allclose(
        found[0, :3], [0.10206207261596578, -0.09587062360592118, 0.08598848213649328], atol=1e-9
    )


def test_as_many_dims_as_there_are_leave_embeddings_alone() -> None:
    raw = np.ones((2, 24), np.float32)
    assert projected(raw, 24) is raw


def test_cosines_change_by_as_much_as_so_many_dims_allow() -> None:
    random = np.random.default_rng(0)
    one = random.standard_normal((400, 2048)).astype(np.float32)
    other = (one + random.standard_normal((400, 2048))).astype(np.float32)
    before = (unit_rows(one) * unit_rows(other)).sum(1)
    after = (unit_rows(projected(one, 512)) * unit_rows(projected(other, 512))).sum(1)
    expected = float((1 - before.mean() ** 2) / np.sqrt(512))
    assert 0.6 * expected < float((after - before).std()) < 1.2 * expected


def test_rows_that_are_not_finite_stay_so() -> None:
    raw = np.ones((2, 64), np.float32)
    raw[0, 0] = np.nan
    assert np.isfinite(projected(raw, 32)).all(axis=1).tolist() == [False, True]


@pytest.mark.parametrize("dims", [15, 257])
def test_dims_that_the_backbone_does_not_make_are_refused(dims: int) -> None:
    with pytest.raises(UsageError, match=f"--dims {dims}: builtin makes embeddings of 256 dims; choose 16 to 256"):
        load_backbone("builtin", dims=dims, device="cpu")
    with pytest.raises(ValueError, match="orthonormal"):
        axes(8, 9)


def test_spaces_of_other_dims_are_other_spaces_and_are_found_again() -> None:
    whole, fewer = (load_backbone("builtin", dims=dims, device="cpu").space for dims in (None, 64))
    assert (whole.dims, fewer.dims) == (256, 64)
    assert whole == dataclasses.replace(fewer, dims=256)
    assert whole.fingerprint != fewer.fingerprint
    assert load_for_space(fewer, device="cpu").space == fewer


def run(store: Path, *arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(store), "--progress", "none", "--json", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_a_collection_remembers_its_dims_and_refuses_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, photos = tmp_path / "store", tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        painted(number, (96, 64)).save(photos / f"{number}.png")
    assert run(store, "index", photos, "--dims", "64") == 0
    first = json.loads(capsys.readouterr().out)
    painted(3, (96, 64)).save(photos / "3.png")
    assert run(store, "index", photos) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again["space"], again["indexed"]) == (first["space"], 1)
    assert run(store, "search", photos / "1.png", "-k", "1") == 0
    (match,) = json.loads(capsys.readouterr().out)["matches"]
    assert (match["relation"], round(match["score"], 4)) == ("identical", 1)
    assert run(store, "index", photos, "--dims", "128") == 4
    assert "has embeddings of 64 dims, not 128" in capsys.readouterr().err
    assert run(store, "reembed", "--backbone", "builtin", "--dims", "32") == 0
    assert json.loads(capsys.readouterr().out)["embedded"] == 4
