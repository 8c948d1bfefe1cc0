"""The index journey: what is embedded, what is left alone, and what goes to the ledger."""

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from indexer.backbones.backbone import Pixels
from indexer.decoding.decoder_pool import PreparedImage
from indexer.jobs.index_images import IndexOptions
from indexer.sources.sources import FoundFile, UnreadableFile, read_file, resolve, walk
from search.errors import BadImage, LookalikeError, SpaceMismatch, UsageError
from search.finding.snapshot import SnapshotReader
from search.records import Embeddings
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import Draw, make_reachable, painted
from tests.corpus import idat, png
from tests.fakes import FakeBackbone, InProcessDecoder, Remembering
from tests.jobs import index


def files_of(store: Store) -> list[str]:
    target = store.catalogue.collection("default")
    return sorted(uri.rsplit("/", maxsplit=1)[1] for _, uri in store.catalogue.uris(target.id))


def failures_of(store: Store) -> dict[str, str]:
    target = store.catalogue.collection("default")
    return {entry.uri.rsplit("/", maxsplit=1)[1]: entry.reason for entry in store.catalogue.failures(target.id)}


def test_every_picture_of_a_folder_is_indexed_once_and_searchable(store: Store, photos: Path, draw: Draw) -> None:
    for number in range(30):
        draw(f"{number % 3}/{number}.png", number)
    progress = Remembering()
    summary = index(store, photos, progress=progress)
    assert (summary.counts.indexed, summary.counts.seen, summary.counts.failed) == (30, 30, 0)
    assert len(set(progress.uris)) == len(progress.uris) == 30
    assert len(SnapshotReader(store.database, store.blobs, summary.collection).current()) == 30
    assert verify(store, deep=True) == []


def test_a_second_run_embeds_only_new_and_changed_files(local_store: Store, photos: Path, draw: Draw) -> None:
    for number in range(5):
        draw(f"{number}.png", number)
    index(local_store, photos)
    draw("5.png", 5)
    draw("0.png", 100)
    backbone = FakeBackbone()
    summary = index(local_store, photos, backbone=backbone)
    assert backbone.embedded == 2
    assert (summary.counts.indexed, summary.counts.unchanged) == (2, 4)
    assert len(files_of(local_store)) == 6


def test_a_moved_file_keeps_its_id_and_is_not_embedded_again(local_store: Store, photos: Path, draw: Draw) -> None:
    path = draw("a.png", 1)
    draw("b.png", 2)
    first = index(local_store, photos)
    before = dict(local_store.catalogue.uris(first.collection.id))
    (photos / "new").mkdir()
    path.rename(photos / "new" / "c.png")
    backbone = FakeBackbone()
    summary = index(local_store, photos, backbone=backbone)
    after = dict(local_store.catalogue.uris(first.collection.id))
    assert (summary.counts.moved, summary.counts.vanished, backbone.embedded) == (1, 0, 0)
    assert set(before) == set(after)
    assert files_of(local_store) == ["b.png", "c.png"]


def test_a_copy_is_an_image_of_its_own_and_is_not_embedded_again(local_store: Store, photos: Path, draw: Draw) -> None:
    path = draw("a.png", 1)
    index(local_store, photos)
    (photos / "copy.png").write_bytes(path.read_bytes())
    backbone = FakeBackbone()
    summary = index(local_store, photos, backbone=backbone)
    assert (summary.counts.indexed, summary.counts.moved, backbone.embedded) == (1, 0, 0)
    assert files_of(local_store) == ["a.png", "copy.png"]


def test_a_renamed_top_folder_is_moved_as_a_whole(local_store: Store, photos: Path, draw: Draw) -> None:
    for number in range(3):
        draw(f"{number}.png", number)
    index(local_store, photos)
    renamed = photos.rename(photos.parent / "renamed")
    summary = index(local_store, renamed)
    assert (summary.counts.moved, summary.counts.indexed) == (3, 0)
    assert len(files_of(local_store)) == 3


def test_a_copy_of_a_file_whose_disk_is_not_plugged_in_is_no_move(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, laptop = tmp_path / "media" / "disk", tmp_path / "laptop"
    for folder in (disk, laptop):
        folder.mkdir(parents=True)
    painted(1).save(disk / "a.png")
    monkeypatch.setattr("indexer.jobs.movements.REMOVABLE", (tmp_path / "media",))
    index(local_store, disk)
    (laptop / "a.png").write_bytes((disk / "a.png").read_bytes())
    disk.rename(tmp_path / "unplugged")
    summary = index(local_store, laptop)
    assert (summary.counts.indexed, summary.counts.moved) == (1, 0)
    assert len(files_of(local_store)) == 2


def test_vanished_files_are_counted_and_stay_searchable(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    draw("b.png", 2)
    index(local_store, photos)
    (photos / "b.png").unlink()
    assert index(local_store, photos).counts.vanished == 1
    assert files_of(local_store) == ["a.png", "b.png"]


def test_bad_files_go_to_the_ledger_and_cost_no_other_file(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("good.png", 1)
    whole = draw("whole.jpg", 2, size=(200, 150)).read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.jpg").write_text("not a picture at all, just words")
    (photos / "notes.txt").write_text("ignored")
    (photos / "bomb.png").write_bytes(png(idat(1, 1), header=(30_000, 30_000, 8, 2)))
    summary = index(local_store, photos)
    assert failures_of(local_store) == {
        "bomb.png": "too_many_pixels",
        "cut.jpg": "truncated",
        "empty.jpg": "empty",
        "text.jpg": "not_an_image",
    }
    assert (summary.counts.indexed, summary.counts.ignored, summary.counts.seen) == (2, 1, 6)


def test_a_named_file_that_is_no_image_is_in_the_ledger(local_store: Store, photos: Path) -> None:
    notes = photos / "notes.txt"
    notes.write_text("words")
    assert index(local_store, notes).counts.failures == {"unsupported_format": 1}


def test_a_mended_file_leaves_the_ledger(local_store: Store, photos: Path, draw: Draw) -> None:
    (photos / "a.png").write_bytes(b"")
    (photos / "gone.png").write_bytes(b"")
    index(local_store, photos)
    draw("a.png", 1)
    (photos / "gone.png").unlink()
    assert index(local_store, photos).counts.failed == 0
    assert failures_of(local_store) == {}


def test_a_picture_of_one_pixel_is_indexed(local_store: Store, draw: Draw, photos: Path) -> None:
    draw("one.png", 1, size=(1, 1))
    assert index(local_store, photos).counts.indexed == 1


def test_an_extension_does_not_decide_what_a_file_is(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1).rename(photos / "without-extension")
    draw("b.png", 2).rename(photos / "really-a-png.heic")
    assert index(local_store, photos).counts.indexed == 2


def test_links_are_not_followed_and_a_loop_does_no_harm(local_store: Store, photos: Path, draw: Draw) -> None:
    path = draw("a.png", 1)
    (photos / "link.png").symlink_to(path)
    (photos / "loop").symlink_to(photos)
    (photos / "self").symlink_to(photos / "self")
    summary = index(local_store, photos)
    assert (summary.counts.indexed, summary.counts.ignored) == (1, 3)


def test_a_named_link_that_leads_nowhere_is_one_clear_error(photos: Path) -> None:
    (photos / "self").symlink_to(photos / "self")
    with pytest.raises(UsageError, match=r"self: .*(links|loop)"):
        resolve([str(photos / "self")])


def test_a_missing_path_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="/no/such/folder: No such file"):
        resolve(["/no/such/folder"])


def test_a_source_given_twice_or_inside_another_is_walked_once(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("inside/a.png", 1)
    (photos.parent / "alias").symlink_to(photos)
    summary = index(
        local_store, photos, photos, photos / "inside", photos / "inside" / "a.png", photos.parent / "alias"
    )
    assert (summary.counts.seen, summary.counts.indexed) == (1, 1)


def test_a_glob_names_the_files_it_matches(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    draw("deep/down/b.png", 2)
    draw("b.jpg", 3)
    index(local_store, photos / "**" / "*.png")
    assert files_of(local_store) == ["a.png", "b.png"]
    with pytest.raises(UsageError, match="name a folder, a file or a glob that exists"):
        resolve([str(photos / "*.tiff")])


def test_a_name_that_is_not_utf8_is_indexed_under_its_bytes(local_store: Store, photos: Path) -> None:
    painted(1).save(photos / os.fsdecode(b"caf\xe9.png"))
    index(local_store, photos)
    assert files_of(local_store) == ["caf%E9.png"]
    assert index(local_store, photos).counts.unchanged == 1
    (image,) = local_store.catalogue.images(local_store.catalogue.collection("default").id)
    assert str(image.as_json()["path"]).endswith("caf\N{REPLACEMENT CHARACTER}.png")


def test_a_fifo_is_ignored_and_does_not_block(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    os.mkfifo(photos / "pipe.jpg")
    assert index(local_store, photos).counts.indexed == 1


def test_a_file_removed_while_it_waits_is_in_the_ledger_as_vanished(
    local_store: Store, photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = draw("a.png", 1)
    draw("b.png", 2)

    def slow(found: FoundFile, max_bytes: int) -> bytes:
        path.unlink(missing_ok=True)
        return read_file(found, max_bytes)

    monkeypatch.setattr("indexer.jobs.pipeline.read_file", slow)
    summary = index(local_store, photos)
    assert summary.counts.failures == {"vanished": 1}
    assert summary.counts.indexed == 1


def test_files_and_folders_without_permission_are_in_the_ledger(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "closed").mkdir(parents=True)
    (folder / "a.png").write_bytes(b"x")
    (folder / "a.png").chmod(0)
    (folder / "closed").chmod(0)
    make_reachable(tmp_path)
    mine, theirs = multiprocessing.get_context("forkserver").Pipe()
    process = multiprocessing.get_context("forkserver").Process(target=walk_as_another_user, args=(theirs, folder))
    process.start()
    reasons = mine.recv()
    process.join()
    (folder / "closed").chmod(0o755)
    assert reasons == [("a.png", "permission_denied"), ("closed", "permission_denied")]


def walk_as_another_user(answer: Connection, folder: Path) -> None:
    """Root may read everything, so root's tests walk as nobody."""
    sources = resolve([str(folder)])
    if os.geteuid() == 0:
        os.setuid(65534)
    reasons = []
    for found in walk(sources):
        if isinstance(found, UnreadableFile):
            reasons.append((Path(found.uri).name, found.reason))
        elif isinstance(found, FoundFile):
            with pytest.raises(BadImage) as caught:
                read_file(found, 10)
            reasons.append((Path(found.uri).name, caught.value.reason))
    answer.send(sorted(reasons))


def test_an_empty_folder_is_no_error(local_store: Store, photos: Path) -> None:
    assert index(local_store, photos).counts.seen == 0


def test_a_collection_refuses_another_space_and_names_both(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    index(local_store, photos)
    with pytest.raises(SpaceMismatch, match=r"holds embeddings of fake .* not of other"):
        index(local_store, photos, backbone=FakeBackbone("other"))


def test_a_picture_the_backbone_cannot_embed_is_in_the_ledger(local_store: Store, photos: Path, draw: Draw) -> None:
    class Broken(FakeBackbone):
        def embed(self, pixels: Pixels) -> Embeddings:
            answers = super().embed(pixels)
            answers[0] = float("nan")
            return answers

    draw("a.png", 1)
    draw("b.png", 2)
    summary = index(local_store, photos, backbone=Broken(), options=IndexOptions(batch_size=2))
    assert summary.counts.failures == {"invalid_embedding": 1}
    assert summary.counts.indexed == 1


def test_a_commit_never_holds_more_rows_than_allowed(local_store: Store, photos: Path, draw: Draw) -> None:
    for number in range(20):
        draw(f"{number}.png", number)
    progress = Remembering()
    index(local_store, photos, progress=progress, options=IndexOptions(batch_size=4, commit_rows=8))
    assert max(progress.batches) <= 8
    assert sum(progress.batches) == 20


def test_interrupting_keeps_what_was_embedded(local_store: Store, photos: Path, draw: Draw) -> None:
    class Interrupted(FakeBackbone):
        def embed(self, pixels: Pixels) -> Embeddings:
            if self.embedded >= 8:
                raise KeyboardInterrupt
            return super().embed(pixels)

    for number in range(20):
        draw(f"{number}.png", number)
    with pytest.raises(KeyboardInterrupt):
        index(local_store, photos, backbone=Interrupted(), options=IndexOptions(batch_size=4))
    assert len(files_of(local_store)) == 8
    backbone = FakeBackbone()
    index(local_store, photos, backbone=backbone)
    assert backbone.embedded == 12


def test_the_store_itself_is_never_indexed(photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    with Store.create(photos / "store") as inside:
        (photos / "store" / "b.png").write_bytes((photos / "a.png").read_bytes())
        assert index(inside, photos).counts.indexed == 1


class Deadly(InProcessDecoder):
    """A decoder over which every file dies but those whose uri contains `good`."""

    def decode(self, data: bytes, name: str) -> PreparedImage:
        if "good" not in name:
            raise BadImage("decoder_crashed", "two decoding children died over it")
        return super().decode(data, name)


def test_when_every_file_kills_its_decoder_the_job_stops_and_says_so(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    for number in range(80):
        draw(f"{number}.png", number)
    with pytest.raises(LookalikeError, match="something is wrong with this machine"):
        index(local_store, photos, decoder=Deadly())


def test_many_deadly_files_beside_a_good_one_cost_only_themselves(local_store: Store, photos: Path, draw: Draw) -> None:
    draw("0 good.png", 0)
    for number in range(1, 80):
        draw(f"{number}.png", number)
    one_by_one = IndexOptions(decoders=1)  # else dozens fail at once while the good one is still being decoded
    summary = index(local_store, photos, decoder=Deadly(), options=one_by_one)
    assert (summary.counts.indexed, summary.counts.failures) == (1, {"decoder_crashed": 79})
    for _ in range(2):  # known by now: tried once more, then left alone; neither stops a job
        (photos / "0 good.png").touch()
        assert index(local_store, photos, decoder=Deadly(), options=one_by_one).counts.failed == 79


def test_a_file_that_killed_its_decoder_twice_is_left_alone_until_it_changes(
    local_store: Store, photos: Path, draw: Draw
) -> None:
    draw("good.png", 1)
    path = draw("bad.png", 2)
    for attempts in (1, 2, 2):
        assert index(local_store, photos, decoder=Deadly()).counts.failures == {"decoder_crashed": 1}
        (entry,) = local_store.catalogue.failures(local_store.catalogue.collection("default").id)
        assert entry.attempts == attempts
    os.utime(path, ns=(1, 1))
    index(local_store, photos)
    assert failures_of(local_store) == {}


def test_a_file_that_was_given_up_is_tried_again_when_asked_to(local_store: Store, photos: Path, draw: Draw) -> None:
    class Deadly(InProcessDecoder):
        def decode(self, data: bytes, name: str) -> PreparedImage:
            raise BadImage("decoder_crashed", "two decoding children died over it")

    draw("a.png", 1)
    for _ in range(2):
        index(local_store, photos, decoder=Deadly())
    assert index(local_store, photos).counts.failed == 1, "it is left alone although it could be decoded now"
    assert index(local_store, photos, options=IndexOptions(retry=True)).counts.indexed == 1
    assert failures_of(local_store) == {}
