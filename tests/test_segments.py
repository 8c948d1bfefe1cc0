"""Segments: what is written is what is read, and damage is found."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from search.blobs.blobs import LocalBlobs
from search.blobs.checksums import BLOCK_BYTES, StreamedChecksums, block_checksums
from search.blobs.segments import HEADER, Segment, write_segment
from search.embeddings import unit_rows, usable_rows
from search.errors import CorruptFile, StoreUnavailable
from search.index.exact import ExactIndex


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path)


def test_rows_come_back_in_the_order_asked_with_length_one(blobs: LocalBlobs) -> None:
    rows = unit_rows(np.random.default_rng(1).normal(size=(100, 7)))
    segment = Segment(blobs, write_segment(blobs, rows), dims=7)
    np.testing.assert_allclose(segment.read([5, 0, 5]), rows[[5, 0, 5]], atol=1e-3)
    np.testing.assert_allclose(segment.read(list(range(99, -1, -1))), rows[::-1], atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(segment.read_all(), axis=1), 1.0, atol=1e-6)


def test_every_flipped_bit_is_found_before_the_row_is_used(blobs: LocalBlobs) -> None:
    record = write_segment(blobs, unit_rows(np.random.default_rng(2).normal(size=(40, 8))))
    path = blobs.path(record.name)
    good = path.read_bytes()
    for bit in np.random.default_rng(3).integers(0, 8 * len(good), 200).tolist():
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(bad)
        with pytest.raises(CorruptFile, match="damaged"):
            Segment(blobs, record, dims=8).read_all()


def test_only_the_damaged_block_is_lost(blobs: LocalBlobs) -> None:
    rows = unit_rows(np.random.default_rng(4).normal(size=(2000, 64)))  # 256 kB: four blocks
    record = write_segment(blobs, rows)
    path = blobs.path(record.name)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    segment = Segment(blobs, record, dims=64)
    np.testing.assert_allclose(segment.read([0, 1]), rows[:2], atol=1e-3)
    with pytest.raises(CorruptFile, match="block 3"):
        segment.read([1999])


def test_rows_on_both_sides_of_a_damaged_block_are_read_together(blobs: LocalBlobs) -> None:
    dims = 1024
    rows = unit_rows(np.random.default_rng(5).normal(size=(4 * BLOCK_BYTES // (2 * dims), dims)))
    record = write_segment(blobs, rows)
    path = blobs.path(record.name)
    data = bytearray(path.read_bytes())
    data[2 * BLOCK_BYTES + 100] ^= 255
    path.write_bytes(data)
    around = np.concatenate([np.arange(40), np.arange(len(rows) - 24, len(rows))])
    segment = Segment(blobs, record, dims)
    np.testing.assert_allclose(segment.stored(around), rows[around], atol=1e-3)
    np.testing.assert_allclose(segment.read(around), rows[around], atol=1e-3)
    with pytest.raises(CorruptFile, match="block 2"):
        segment.stored(np.arange(len(rows)))


def test_a_truncated_or_missing_segment_is_named(blobs: LocalBlobs) -> None:
    record = write_segment(blobs, unit_rows(np.ones((3, 4))))
    path = blobs.path(record.name)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptFile, match="has .* bytes, the catalogue recorded"):
        Segment(blobs, record, dims=4)
    path.unlink()
    with pytest.raises(CorruptFile, match="is missing"):
        Segment(blobs, record, dims=4)


def test_a_row_outside_the_segment_is_refused(blobs: LocalBlobs) -> None:
    segment = Segment(blobs, write_segment(blobs, unit_rows(np.ones((3, 4)))), dims=4)
    with pytest.raises(CorruptFile, match="row 3 of 3"):
        segment.read([3])


def test_the_header_is_part_of_the_format() -> None:
    assert HEADER.size == 64


@pytest.mark.parametrize("point", ["segment.write", "segment.fsync", "segment.rename", "segment.folder"])
def test_a_full_disk_is_an_error_that_leaves_no_partial_file(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("search.faults._hits", __import__("collections").Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    with pytest.raises(StoreUnavailable, match="No space left"):
        write_segment(blobs, unit_rows(np.ones((3, 4))))
    assert not list(blobs.path("segments").glob("*.partial"))


@pytest.mark.parametrize("action", ["short", "cut"])
@pytest.mark.parametrize("point", ["segment.write", "segment.fsync"])
def test_a_file_that_ends_early_never_gets_a_name(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch, point: str, action: str
) -> None:
    monkeypatch.setattr("search.faults._hits", __import__("collections").Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:{action}")
    with pytest.raises(StoreUnavailable, match="short write" if action == "short" else r"\d+ of \d+ bytes arrived"):
        write_segment(blobs, unit_rows(np.ones((3, 4))))
    assert blobs.names("segments") == []


def test_a_fault_of_an_unknown_kind_is_refused(blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", "segment.write:1:explode")
    with pytest.raises(ValueError, match="asks for 'explode', choose of kill, eio, enospc, short, cut, delay"):
        write_segment(blobs, unit_rows(np.ones((3, 4))))


def test_old_unnamed_files_are_swept_and_young_or_named_ones_stay(blobs: LocalBlobs) -> None:
    named, orphan = (write_segment(blobs, unit_rows(np.ones((1, 4)))).name for _ in range(2))
    assert blobs.sweep("segments", frozenset({named}), older_than_s=3600) == []
    assert blobs.sweep("segments", frozenset({named}), older_than_s=-1) == [orphan]
    assert blobs.path(named).exists()


def test_a_row_that_cannot_be_scaled_is_zero_and_not_usable() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    expected = np.array([[0.6, 0.8], [0, 0], [0, 0], [0, 0]], np.float32)
    np.testing.assert_allclose(unit_rows(rows), expected)
    assert usable_rows(rows).tolist() == [True, False, False, False]


def test_bytes_and_names_are_made_durable_in_the_order_that_survives_a_power_cut(
    blobs: LocalBlobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A kill cannot show a missing fsync (the system keeps the pages), so the calls themselves are watched.
    calls: list[tuple[str, str, int]] = []
    fsync, rename = os.fsync, Path.rename

    def watched_fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        calls.append(("fsync", "folder" if path.is_dir() else path.suffix, path.stat().st_size))
        fsync(handle)

    def watched_rename(path: Path, target: Path) -> Path:
        calls.append(("rename", f"{path.suffix} to {target.suffix}", path.stat().st_size))
        return rename(path, target)

    monkeypatch.setattr("os.fsync", watched_fsync)
    monkeypatch.setattr(Path, "rename", watched_rename)
    record = write_segment(blobs, unit_rows(np.ones((3, 4))))
    assert calls[0] == ("fsync", ".partial", record.size_bytes), "all bytes are durable before they get their name"
    assert calls[1] == ("rename", ".partial to .lks", record.size_bytes)
    assert [call[:2] for call in calls[2:]] == [("fsync", "folder")]


def test_damage_in_any_block_of_a_long_read_is_found(blobs: LocalBlobs) -> None:
    record = write_segment(blobs, unit_rows(np.random.default_rng(4).normal(size=(2000, 64))))
    path = blobs.path(record.name)
    good = path.read_bytes()
    for block in range(4):
        bad = bytearray(good)
        bad[block * BLOCK_BYTES + 100] ^= 1
        path.write_bytes(bad)
        with pytest.raises(CorruptFile, match=f"block {block} "):
            Segment(blobs, record, dims=64).read_all()


@pytest.mark.parametrize("sizes", [[], [0], [1, 2, 3], [70_000, 1], [65_536, 65_536], [10, 200_000, 5, 65_531]])
def test_streamed_checksums_are_those_of_the_whole(sizes: list[int]) -> None:
    pieces = [np.random.default_rng(size).bytes(size) for size in sizes]
    whole, sums = b"".join(pieces), StreamedChecksums()
    for piece in pieces:
        sums.update(piece)
    assert (sums.size, sums.blocks()) == (len(whole), block_checksums(whole))
    assert sums.sha256.digest() == hashlib.sha256(whole).digest()


@pytest.mark.parametrize("parts", [[], [1], [3, 5], [4096, 4096, 17]])
def test_an_index_written_in_parts_is_the_one_faiss_would_write_at_once(parts: list[int]) -> None:
    rows = [unit_rows(np.random.default_rng(n).standard_normal((n, 24), np.float32)) for n in parts]
    everything = np.concatenate([np.empty((0, 24), np.float32), *rows])
    assert b"".join(ExactIndex.streamed(rows, len(everything), 24)) == ExactIndex.build(everything).dump()
