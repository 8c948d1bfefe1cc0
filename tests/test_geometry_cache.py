"""Keypoints as bytes, and their cache: bounded, least recently used out, damaged ones made again."""

import threading
from pathlib import Path

import numpy as np
import pytest

from search.errors import CorruptFile
from search.geometry.keypoint_cache import SUFFIX, KeypointCache
from search.geometry.keypoints import STORED, Keypoints, extract
from search.geometry.stored_keypoints import from_bytes, to_bytes
from tests.drawn_pictures import textured

PICTURE = extract(textured(1))
BYTES = len(to_bytes(PICTURE))


def name(number: int) -> str:
    return f"{number:02x}" * 32


def cache_of(folder: Path, pictures: int) -> KeypointCache:
    """Return a cache with room for so many pictures on disk, and none in memory."""
    return KeypointCache(folder, pictures * BYTES, in_memory=0)


def same(one: Keypoints | None, other: Keypoints) -> bool:
    return one is not None and to_bytes(one) == to_bytes(other)


def stored(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"*{SUFFIX}"))


def test_keypoints_survive_as_bytes_to_the_bit() -> None:
    restored = from_bytes(to_bytes(PICTURE))
    assert (restored.width, restored.height, len(restored)) == (400, 300, len(PICTURE))
    for field in ("shares", "diameters", "turns", "descriptors", "thumbnail"):
        np.testing.assert_array_equal(getattr(restored, field), getattr(PICTURE, field), strict=True)


def test_a_picture_costs_at_most_67_kilobytes_and_a_blank_one_its_thumbnail() -> None:
    square = extract(textured(1, 900, 900))
    assert len(to_bytes(square)) == 28 + 136 * len(square) + square.thumbnail.size
    assert 28 + 136 * STORED.keypoints + STORED.thumbnail_area < 67_000
    assert len(to_bytes(extract(np.zeros((300, 400), np.uint8)))) == 28 + 128 * 96


@pytest.mark.parametrize("at", [0, 5, 9, 25, 40, -1])
def test_a_flipped_bit_anywhere_is_noticed(at: int) -> None:
    damaged = bytearray(to_bytes(PICTURE))
    damaged[at] ^= 4
    with pytest.raises(CorruptFile):
        from_bytes(bytes(damaged))


@pytest.mark.parametrize("length", [0, 10, 27, 200, BYTES - 1])
def test_a_file_that_ends_early_is_noticed(length: int) -> None:
    with pytest.raises(CorruptFile):
        from_bytes(to_bytes(PICTURE)[:length])


def test_keypoints_are_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Keypoints:
        made.append(1)
        return PICTURE

    for _ in range(3):
        assert same(cache_of(tmp_path, 9).get(name(1), make), PICTURE)
    assert len(made) == 1


def test_pictures_used_last_are_not_read_again(tmp_path: Path) -> None:
    cache = KeypointCache(tmp_path, 20 * BYTES, in_memory=2)
    for number in (1, 2, 3):
        cache.keep(name(number), PICTURE)
    for path in stored(tmp_path):
        path.unlink()
    assert [cache.find(name(number)) is not None for number in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize("damage", [b"", b"short", b"\0" * BYTES])
def test_a_damaged_file_is_removed_and_made_again(tmp_path: Path, damage: bytes) -> None:
    cache = cache_of(tmp_path, 9)
    cache.keep(name(1), PICTURE)
    stored(tmp_path)[0].write_bytes(damage)
    assert cache.find(name(1)) is None
    assert stored(tmp_path) == []
    assert same(cache.get(name(1), lambda: PICTURE), PICTURE)
    assert same(cache_of(tmp_path, 9).find(name(1)), PICTURE)


def test_the_folder_stays_within_its_bound_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, 16)
    for number in range(60):
        cache.keep(name(number), PICTURE)
        assert cache.find(name(0)) is not None
        assert sum(path.stat().st_size for path in stored(tmp_path)) <= 16 * BYTES
    kept = {path.stem for path in stored(tmp_path)}
    assert {name(0), name(59), name(58)} <= kept
    assert name(1) not in kept


def test_a_bound_that_holds_no_picture_stores_none(tmp_path: Path) -> None:
    assert same(cache_of(tmp_path, 1).get(name(1), lambda: PICTURE), PICTURE)
    assert stored(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    cache = cache_of(tmp_path / "file", 9)
    assert same(cache.get(name(1), lambda: PICTURE), PICTURE)
    assert cache.find(name(1)) is None


def test_writers_at_once_leave_whole_files(tmp_path: Path) -> None:
    def work() -> None:
        cache = cache_of(tmp_path, 16)
        for number in range(20):
            assert same(cache.get(name(number), lambda: PICTURE), PICTURE)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(same(from_bytes(path.read_bytes()), PICTURE) for path in stored(tmp_path))
    assert not list(tmp_path.rglob("*.partial"))
