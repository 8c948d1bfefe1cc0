"""Notebooks and scripts."""

from pathlib import Path

import pytest

import lookalike
from bench.sample_collection import build
from search.errors import CollectionNotFound, StoreNotFound, UsageError
from tests.conftest import Draw


def test_the_three_journeys_from_a_script(tmp_path: Path, photos: Path, draw: Draw) -> None:
    paths = [draw(f"{number}.png", number, size=(200, 150)) for number in range(3)]
    (photos / "copy.png").write_bytes(paths[0].read_bytes())
    with lookalike.open(tmp_path / "store") as album:
        assert album.index(photos, progress=False).counts.indexed == 4
        best = album.search(paths[1], k=1)[0]
        assert (best.relation, best.image.uri) == ("identical", paths[1].as_uri())
        assert album.search(id=best.image.id, k=1)[0].image == best.image
        assert album.search(key=best.image.key, k=1)[0].image == best.image
        (group,) = album.dedup().groups
        assert {group.keeper.uri, group.members[0].image.uri} == {paths[0].as_uri(), (photos / "copy.png").as_uri()}


def test_every_photograph_finds_itself_first_with_a_score_of_one(tmp_path: Path) -> None:
    sample = build(tmp_path / "sample").photos
    paths = sorted(path for path in sample.rglob("*") if path.is_file() and path.suffix != ".txt")
    with lookalike.open(tmp_path / "store") as album:
        assert album.index(sample, progress=False).counts.failed == 0
        for path in paths:
            best = album.search(path, k=1)[0]
            assert best.relation == "identical"
            assert best.score == pytest.approx(1.0, abs=1e-3)


def test_nothing_indexed_yet_is_a_clear_error(tmp_path: Path, photos: Path, draw: Draw) -> None:
    with lookalike.open(tmp_path / "store") as album, pytest.raises(StoreNotFound, match="lookalike index"):
        album.search(id=1)
    with lookalike.open(tmp_path / "store") as album:
        album.index(draw("a.png", 1), progress=False)
    with lookalike.open(tmp_path / "store", collection="other") as other, pytest.raises(CollectionNotFound):
        other.dedup()


def test_exactly_one_query_is_wanted(tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as album, pytest.raises(ValueError, match="exactly one"):
        album.search("a.jpg", id=3)


def test_wrong_values_are_clear_errors(tmp_path: Path, draw: Draw) -> None:
    path = draw("a.png", 1)
    with lookalike.open(tmp_path / "store") as album:
        album.index(path, progress=False)
        for k in (0, -3, 5000):
            with pytest.raises(UsageError, match=f"k is {k}"):
                album.search(path, k=k)
        with pytest.raises(UsageError, match="threshold is nan"):
            album.dedup(float("nan"))
        with pytest.raises(UsageError, match=r"/nope\.jpg: No such file"):
            album.search("/nope.jpg")
