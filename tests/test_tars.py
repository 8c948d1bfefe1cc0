"""Archives as sources: what is read of them, how often, and what damage costs."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from indexer.decoding.decoder_pool import PreparedImage
from indexer.jobs.index_images import IndexOptions
from indexer.sources import tars
from indexer.sources.found import Visit
from indexer.sources.member_contents import MemberContent
from indexer.sources.sources import FoundFile, UnreadableFile, Walk, count, resolve
from search.errors import BadImage
from search.storing.store import Store
from search.upkeep.repairing import repairs
from search.upkeep.verification import verify
from tests.conftest import painted
from tests.fakes import FakeBackbone, InProcessDecoder
from tests.jobs import index, ledger, stored


def picture(number: int) -> bytes:
    file = io.BytesIO()
    painted(number).save(file, "PNG")
    return file.getvalue()


def packed(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def samples(numbers: range) -> dict[str, bytes]:
    return {f"{number:04}.png": picture(number) for number in numbers}


def uris(store: Store) -> list[str]:
    return sorted(uri for _, uri in store.catalogue.uris(store.catalogue.collection("default").id))


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("a.tar.bz2", "w:bz2")])
def test_every_picture_of_an_archive_is_an_image_named_inside_it(
    store: Store, photos: Path, name: str, mode: str
) -> None:
    archive = packed(photos / name, samples(range(5)) | {"notes.md": b"words"}, mode)
    summary = index(store, archive)
    assert (summary.counts.indexed, summary.counts.ignored, summary.counts.failed) == (5, 1, 0)
    assert uris(store) == [f"file://{archive}!/{number:04}.png" for number in range(5)]
    (image, *_) = store.catalogue.images(summary.collection.id)
    assert "path" not in image.as_json()
    assert verify(store, deep=True) == []


def test_what_lies_beside_a_picture_in_an_archive_is_its_metadata(local_store: Store, photos: Path) -> None:
    described = {
        "d/1.cls": b"7",
        "d/1.png": picture(1),
        "d/1.json": json.dumps({"title": "one", "rank": 3}).encode(),
        "d/1.txt": b"a caption\n",
        "d/2.png": picture(2),
    }
    archive = packed(photos / "a.tar", described)
    index(local_store, archive)
    uri = f"file://{archive}!/d/"
    assert stored(local_store) == {
        f"{uri}1.png": {"__key__": "d/1", "cls": 7, "title": "one", "rank": 3, "txt": "a caption"},
        f"{uri}2.png": {},
    }


APART = {
    "d/1.json": b'{"title": "one"}',
    "d/2.png": picture(2),
    "d/2.cls": b"2",
    "d/3.json": b"[",
    "d/1.png": picture(1),
    "d/2.txt": b"two",
    "d/3.png": picture(3),
    "d/about.json": b"[]",
    "d/4.png": picture(4),
}


def test_members_of_a_sample_are_joined_wherever_they_lie_in_a_plain_local_archive(
    local_store: Store, photos: Path
) -> None:
    archive = packed(photos / "a.tar", APART)
    summary = index(local_store, archive)
    uri = f"file://{archive}!/d/"
    assert stored(local_store) == {
        f"{uri}1.png": {"__key__": "d/1", "title": "one"},
        f"{uri}2.png": {"__key__": "d/2", "cls": 2, "txt": "two"},
        f"{uri}3.png": {},
        f"{uri}4.png": {},
    }
    assert ledger(local_store) == {f"{uri}3.json": "bad_metadata"}
    assert "metadata_apart" not in summary.as_json()


def test_samples_whose_members_lie_apart_in_a_packed_archive_are_counted(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar.gz", APART, "w:gz")
    summary = index(local_store, archive)
    assert summary.as_json()["metadata_apart"] == {f"file://{archive}": 3}
    assert stored(local_store)[f"file://{archive}!/d/2.png"] == {"__key__": "d/2", "cls": 2}
    together = packed(photos / "b.tar.gz", dict(sorted(APART.items())), "w:gz")
    assert "metadata_apart" not in index(local_store, together).as_json()


def test_what_lies_apart_beyond_a_limit_of_memory_is_counted_and_not_joined(
    local_store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.sources.samples._MOST_APART", 1)
    archive = packed(photos / "a.tar", APART)
    assert index(local_store, archive).apart == {f"file://{archive}": 2}
    assert stored(local_store)[f"file://{archive}!/d/1.png"] == {"__key__": "d/1", "title": "one"}


def test_a_broken_json_member_costs_no_picture(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar", {"1.json": b"{", "1.png": picture(1)})
    assert index(local_store, archive).counts.indexed == 1
    assert ledger(local_store) == {f"file://{archive}!/1.json": "bad_metadata"}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_an_unchanged_archive_is_not_opened_again(
    local_store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str
) -> None:
    bad = {"9.png": b"\x89PNG\r\n\x1a\n cut"}
    archive = packed(photos / name, samples(range(4)) | bad, mode)
    index(local_store, archive)

    def never(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(tars, "_opened", never)
    again = index(local_store, archive).counts
    assert (again.unchanged, again.indexed, again.vanished, again.failures.total()) == (4, 0, 0, 1)


def test_a_changed_archive_is_read_again_and_only_new_members_are_embedded(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar.gz", samples(range(4)), "w:gz")
    index(local_store, archive)
    packed(archive, samples(range(1, 6)), "w:gz")
    backbone = FakeBackbone()
    summary = index(local_store, archive, backbone=backbone)
    assert backbone.embedded == 2
    assert (summary.counts.indexed, summary.counts.unchanged, summary.counts.vanished) == (2, 3, 1)


def test_an_archive_whose_images_are_not_all_there_any_more_is_read_again(local_store: Store, photos: Path) -> None:
    from search.storing.commits import Committer

    archive = packed(photos / "a.tar", samples(range(3)))
    target = index(local_store, archive).collection
    first = next(local_store.catalogue.uris(target.id))[0]
    Committer(local_store.database, local_store.blobs, target).remove([first])
    assert index(local_store, archive).counts.indexed == 1


def test_an_archive_some_of_whose_embeddings_were_lost_is_read_again(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar", samples(range(6)))
    index(local_store, archive)
    (segment,) = (local_store.root / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    repairs(local_store, verify(local_store, deep=True), apply=True)
    lost = len(ledger(local_store))
    assert lost > 0
    counts = index(local_store, archive).counts
    assert (counts.indexed, counts.unchanged, counts.failed) == (lost, 6 - lost, 0)
    assert ledger(local_store) == {}
    assert verify(local_store, deep=True) == []
    assert index(local_store, archive).counts.unchanged == 6


def test_a_retry_opens_an_archive_that_has_not_changed(local_store: Store, photos: Path) -> None:
    class Rejects(InProcessDecoder):
        def decode(self, data: bytes, name: str) -> PreparedImage:
            if name.endswith("0001.png"):
                raise BadImage("corrupt", "an older decoder could not read it")
            return super().decode(data, name)

    archive = packed(photos / "a.tar", samples(range(3)))
    index(local_store, archive, decoder=Rejects())
    assert index(local_store, archive).counts.failed == 1
    assert index(local_store, archive, options=IndexOptions(retry=True)).counts.indexed == 1
    assert ledger(local_store) == {}


def test_an_archive_with_a_failure_that_may_pass_is_read_again(local_store: Store, photos: Path) -> None:
    class Stalls(InProcessDecoder):
        def decode(self, data: bytes, name: str) -> PreparedImage:
            if name.endswith("0001.png"):
                raise BadImage("decoder_timeout", "no answer")
            return super().decode(data, name)

    archive = packed(photos / "a.tar", samples(range(3)))
    assert index(local_store, archive, decoder=Stalls()).counts.failed == 1
    again = index(local_store, archive).counts
    assert (again.indexed, again.unchanged, again.failed) == (1, 2, 0)


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_a_cut_archive_costs_only_what_is_cut_off(
    local_store: Store, photos: Path, name: str, mode: str, share: float
) -> None:
    whole = packed(photos / "whole.tar", samples(range(20))).read_bytes()
    data = gzip.compress(whole) if mode == "w:gz" else whole
    archive = photos / name
    archive.write_bytes(data[: int(len(data) * share)])
    counts = index(local_store, archive).counts
    assert ledger(local_store)[f"file://{archive}"] == "damaged_archive"
    assert 20 * share - 3 <= counts.indexed <= 20 * share + 1
    archive.write_bytes(data)
    assert index(local_store, archive).counts.failed == 0
    assert len(uris(local_store)) == 20
    assert ledger(local_store) == {}


def test_a_broken_header_is_no_silent_end(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar", samples(range(6)))
    data = bytearray(archive.read_bytes())
    at = data.index(b"0003.png")
    data[at + 148 : at + 156] = b"\xff" * 8  # its checksum
    archive.write_bytes(data)
    assert index(local_store, archive).counts.indexed == 3
    assert ledger(local_store) == {f"file://{archive}": "damaged_archive"}


def test_vanished_members_are_not_guessed_from_a_damaged_archive(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar", samples(range(10)))
    index(local_store, archive)
    archive.write_bytes(archive.read_bytes()[:3000])
    summary = index(local_store, archive, options=IndexOptions(prune=True, max_fraction=1.0))
    assert (summary.counts.vanished, summary.counts.removed) == (0, 0)
    assert len(uris(local_store)) == 10


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz")])
def test_a_member_larger_than_the_limit_is_in_the_ledger_and_never_in_memory(
    local_store: Store, photos: Path, name: str, mode: str
) -> None:
    archive = packed(photos / name, {"1.png": picture(1), "large.png": b"\0" * 50_000, "3.png": picture(3)}, mode)
    summary = index(local_store, archive, options=IndexOptions(batch_size=8, max_file_bytes=40_000))
    assert summary.counts.indexed == 2
    assert ledger(local_store) == {f"file://{archive}!/large.png": "file_too_large"}


def test_an_empty_file_and_a_text_named_tar_are_damaged_archives(photos: Path) -> None:
    for name, data in (("empty.tar", b""), ("text.tar", b"no archive " * 100), ("text.tar.gz", b"no archive" * 99)):
        (photos / name).write_bytes(data)
        (only,) = Walk(resolve([str(photos / name)]))
        assert isinstance(only, UnreadableFile)
        assert only.reason == "damaged_archive"


def test_an_archive_that_is_merely_met_is_ignored_and_one_matched_by_a_glob_is_read(
    local_store: Store, photos: Path
) -> None:
    packed(photos / "a.tar", samples(range(2)))
    packed(photos / "b.tar", samples(range(2, 5)))
    assert index(local_store, photos).counts.ignored == 2
    assert index(local_store, photos / "*.tar").counts.indexed == 5


def test_a_folder_walk_takes_no_member_of_an_archive_for_vanished_while_the_archive_is_there(
    local_store: Store, photos: Path
) -> None:
    archive = packed(photos / "a.tar", samples(range(3)))
    index(local_store, archive)
    assert index(local_store, photos).counts.vanished == 0
    archive.unlink()
    assert index(local_store, photos).counts.vanished == 3


def test_a_copy_of_a_member_is_no_move(local_store: Store, photos: Path) -> None:
    index(local_store, packed(photos / "a.tar", samples(range(2))))
    (photos / "copy.png").write_bytes(picture(1))
    counts = index(local_store, photos / "copy.png").counts
    assert (counts.indexed, counts.moved) == (1, 0)


def test_labels_wanted_later_read_an_unchanged_archive_once_more(local_store: Store, photos: Path) -> None:
    archive = packed(photos / "a.tar", samples(range(3)))
    index(local_store, archive)
    labelling = IndexOptions(batch_size=8, labeller=FakeBackbone().labeller())
    assert index(local_store, archive, options=labelling).counts.labelled == 3
    again = index(local_store, archive, options=labelling).counts
    assert (again.labelled, again.unchanged) == (0, 3)


def test_excluded_members_are_passed_over_and_come_back_without_the_option(local_store: Store, photos: Path) -> None:
    archive = packed(
        photos / "a.tar", {f"x/{name}": data for name, data in samples(range(2)).items()} | samples(range(2, 5))
    )
    assert index(local_store, archive, exclude=["x"]).counts.indexed == 3
    assert index(local_store, archive).counts.indexed == 2


def test_streamed_pictures_leave_in_pieces_and_headers_are_forgotten(photos: Path) -> None:
    archive = packed(photos / "a.tar", {f"{number}.png": os.urandom(300_000) for number in range(60)})
    (source,) = resolve([str(archive)])
    visit = Visit(source.uri)
    found = list(tars.walk_tar(source, visit, tars.stamp_of_archive(source.path), 1 << 20))
    assert len(found) == visit.images == 60
    assert visit.whole
    # A plain archive gives up headers only: no picture is in memory before it is wanted.
    contents = [one.origin.content for one in found if isinstance(one, FoundFile) and one.origin is not None]
    assert all(isinstance(content, MemberContent) for content in contents)
    assert list(count([source])) == [60]
