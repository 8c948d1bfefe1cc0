"""What one dedup saw of pictures is not looked at again by the next, and groups are as if it had been."""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from api.workspace import Workspace
from indexer.stored_pictures import StoredFilePictures
from search.duplicates.answer_file import BATCH, FOLDER, AnswerFile, prune
from search.duplicates.answer_values import as_numbers, of_numbers
from search.duplicates.answers import Question
from search.duplicates.find_duplicates import Looking, find_duplicates
from search.duplicates.measuring import KeeperPictures, Measured
from search.duplicates.report import DuplicateReport, DuplicateRequest
from search.embeddings import unit_rows
from search.finding.snapshot import SnapshotReader
from search.geometry.answer_version import answers_version
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.keypoints import Keypoints, extract
from search.geometry.pixel_edits import PictureFile
from search.geometry.verification import reversed_roles
from search.geometry.verify import prepare, verify
from search.records import Collection, ImageRecord
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from search.upkeep.compaction import compact
from tests.drawn_pictures import Pixels, resized, textured
from tests.fakes import FAKE_DIMS, InProcessDecoder, facts, new_image
from tests.jobs import index

ONE, OTHER = b"1" * 32, b"2" * 32
PAIR = Question("pair", ONE, OTHER)


class Recording:
    """Looks at pictures as another does, and remembers which."""

    def __init__(self, eyes: KeeperPictures) -> None:
        self._eyes = eyes
        self.seen: list[tuple[str, str]] = []

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        self._remember("keypoints", images)
        yield from self._eyes.keypoints(images)

    def file(self, image: ImageRecord) -> PictureFile | None:
        self._remember("file", [image])
        return self._eyes.file(image)

    def whole(self, image: ImageRecord) -> Pixels | None:
        self._remember("whole", [image])
        return self._eyes.whole(image)

    def measured(self, images: Sequence[ImageRecord]) -> Sequence[Measured | None]:
        self._remember("measured", images)
        return self._eyes.measured(images)

    def _remember(self, what: str, images: Sequence[ImageRecord]) -> None:
        self.seen += [(what, image.uri.rsplit("/", 1)[1]) for image in images]

    @property
    def names(self) -> set[str]:
        return {name for _, name in self.seen}


class Album:
    """A folder of pictures that is indexed and looked through for duplicates as often as asked."""

    def __init__(self, store: Store, photos: Path, scratch: Path) -> None:
        self.store, self.photos, self.folder = store, photos, store.root / FOLDER
        self._scratch = scratch

    def save(self, name: str, pixels: Pixels, quality: int = 90) -> None:
        place = self.photos / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".jpg":
            Image.fromarray(pixels).save(place, quality=quality)
        else:
            Image.fromarray(pixels).save(place)

    def dedup(self, version: str = "1", *, kept: bool = True) -> tuple[DuplicateReport, Recording]:
        """Find duplicates, and return who was asked to look at pictures. kept: with what earlier runs answered."""
        index(self.store, self.photos)
        target = self.store.catalogue.collection("default")
        snapshot = SnapshotReader(self.store.database, self.store.blobs, target).current()
        cache = KeypointCache(self._scratch, 1 << 24)
        eyes = Recording(StoredFilePictures(InProcessDecoder(), cache, remote=False, threads=1))  # type: ignore[arg-type]
        request = DuplicateRequest(None, -1.0)
        if not kept:
            return find_duplicates(snapshot, self.store.catalogue, request, (), Looking(eyes)), eyes
        with AnswerFile(self.folder, version) as answers:
            return find_duplicates(snapshot, self.store.catalogue, request, (), Looking(eyes, 1, answers)), eyes


@pytest.fixture
def album(local_store: Store, photos: Path, tmp_path: Path) -> Album:
    """Two pictures with copies, and one without."""
    made = Album(local_store, photos, tmp_path / "keypoints")
    made.save("a.png", textured(1))
    made.save("a-small.jpg", resized(textured(1), 300, 225))
    made.save("a-crop.jpg", textured(1)[30:270, 40:360])
    made.save("a-grey.png", np.repeat(textured(1).mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2))
    made.save("b.png", textured(2))
    made.save("b-again.jpg", textured(2), quality=60)
    made.save("c.png", textured(3))
    return made


def groups(report: DuplicateReport) -> list[object]:
    """Return everything that is said about the groups."""
    return [[group.as_json(), *(member.edits for member in group.members)] for group in report.groups]


def test_the_second_run_looks_at_nothing_and_finds_the_same(album: Album) -> None:
    first, eyes = album.dedup()
    assert len(first.groups) == 2 and first.looked_at > 0 and first.known == 0 and eyes.seen
    again, eyes = album.dedup()
    assert (eyes.seen, again.looked_at, again.known) == ([], 0, first.looked_at)
    assert groups(again) == groups(first) == groups(album.dedup(kept=False)[0])


def test_a_new_image_is_looked_at_beside_others_and_they_are_not_beside_each_other(album: Album) -> None:
    first, _ = album.dedup()
    album.save("b-small.jpg", resized(textured(2), 200, 150))
    again, _ = album.dedup()
    fresh, _ = album.dedup(kept=False)
    assert 0 < again.looked_at < 7  # there are six others
    assert again.looked_at + again.known == fresh.looked_at
    assert groups(again) == groups(fresh) != groups(first)


def test_a_file_that_changed_is_looked_at_again_and_moved_ones_are_not(album: Album) -> None:
    album.dedup()
    (album.photos / "a-small.jpg").rename(album.photos / "moved.jpg")
    assert album.dedup()[1].seen == []
    album.save("b-again.jpg", textured(4))
    report, eyes = album.dedup()
    assert "b-again.jpg" in eyes.names and len(report.groups) == 1
    assert groups(report) == groups(album.dedup(kept=False)[0])


def test_another_version_of_the_code_looks_again(album: Album) -> None:
    first, _ = album.dedup("1")
    assert album.dedup("2")[0].looked_at == first.looked_at
    assert album.dedup("1")[0].looked_at == 0


def test_the_version_names_the_release_of_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers_version()
    monkeypatch.setattr("cv2.__version__", "99.0")
    assert answers_version() != before


@pytest.mark.parametrize(("name", "keypoints_are_known"), [("a-small.jpg", True), ("b-again.jpg", False)])
def test_what_could_not_be_read_is_looked_at_when_it_can(album: Album, name: str, keypoints_are_known: bool) -> None:  # noqa: FBT001
    index(album.store, album.photos)
    if keypoints_are_known:
        album.dedup(kept=False)
    hidden = (album.photos / name).rename(album.photos.with_name("hidden"))
    without, _ = album.dedup()
    hidden.rename(album.photos / name)
    again, eyes = album.dedup()
    assert name in eyes.names
    assert groups(again) == groups(album.dedup(kept=False)[0]) != groups(without)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for place in range(4096, len(data), 97):  # beyond the page that tells what tables there are
        data[place] ^= 1
    path.write_bytes(data)


def overwrite(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def spoil_rows(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("update answer set answer = cast(replace(cast(answer as text), 'yes', 'no') as blob)")


def drop_table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("drop table answer")
        connection.execute("create table answer (something_else text)")


@pytest.mark.parametrize("damage", [flip, spoil_rows])
def test_groups_are_the_same_whatever_happened_to_the_file(album: Album, damage: Callable[[Path], None]) -> None:
    first, _ = album.dedup()
    [path] = album.folder.iterdir()  # and no journal
    damage(path)
    again, _ = album.dedup()
    assert again.looked_at > 0
    assert groups(again) == groups(first)


@pytest.mark.parametrize("damage", [flip, overwrite, cut, spoil_rows, drop_table])
def test_a_damaged_file_is_never_trusted_and_made_again(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    names = [number.to_bytes(32, "big") for number in range(500)]
    right = {name: b"yes " + name.hex().encode() for name in names}

    def keep_all() -> Path:
        with AnswerFile(tmp_path, "1") as answers:
            for name in names:
                answers.keep(Question("pair", ONE, name), right[name])
            return answers.path

    path = keep_all()
    damage(path)
    with AnswerFile(tmp_path, "1") as answers:
        found = answers.find_all("pair", ONE, names)
        assert all(found[name] == right[name] for name in found)
        assert len(found) < len(names)
    assert str(path) in caplog.text
    keep_all()
    with AnswerFile(tmp_path, "1") as answers:
        assert answers.find_all("pair", ONE, names) == right


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(
    album: Album, caplog: pytest.LogCaptureFixture
) -> None:
    album.folder.write_text("a file where the folder should be")
    first, _ = album.dedup()
    assert len(first.groups) == 2
    assert "pictures are looked at again" in caplog.text
    assert album.dedup()[0].looked_at == first.looked_at


def test_groups_are_the_same_with_and_without_what_was_kept_as_albums_grow(
    local_store: Store, photos: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    album = Album(local_store, photos, tmp_path / "keypoints")
    for number in range(4):
        for _ in range(3):
            picture, side = textured(int(rng.integers(3))), int(rng.integers(60))
            shrunk = resized(picture[side:, side:], int(rng.integers(150, 300)), int(rng.integers(120, 225)))
            album.save(f"{number}-{side}.jpg", shrunk, int(rng.integers(50, 95)))
        assert groups(album.dedup()[0]) == groups(album.dedup(kept=False)[0])


def test_a_kill_loses_no_more_than_a_batch(tmp_path: Path) -> None:
    killed = AnswerFile(tmp_path, "1")  # and never closed
    for number in range(BATCH + 5):
        killed.keep(Question("pair", ONE, number.to_bytes(32, "big")), b"1")
    with AnswerFile(tmp_path, "1") as answers:
        names = [number.to_bytes(32, "big") for number in range(BATCH + 5)]
        assert set(answers.find_all("pair", ONE, names)) >= set(names[:BATCH])
    killed.close()


def test_ctrl_c_keeps_what_was_answered(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), AnswerFile(tmp_path, "1") as answers:
        answers.keep(PAIR, b"1")
        raise KeyboardInterrupt
    with AnswerFile(tmp_path, "1") as answers:
        assert answers.find(PAIR) == b"1"


def test_the_order_of_two_contents_matters_and_so_does_all_else_that_was_asked(tmp_path: Path) -> None:
    with AnswerFile(tmp_path, "1") as answers:
        answers.keep(PAIR, b"1")
        others = (Question("pair", OTHER, ONE), PAIR._replace(about=b"x"), PAIR._replace(kind="edits"))
        assert [answers.find(one) for one in others] == [None] * 3
        assert answers.find(PAIR) == b"1"
        for one in others:
            answers.keep(one, one.kind.encode() + one.one)
    with AnswerFile(tmp_path, "1") as answers:
        assert [answers.find(one) for one in (PAIR, *others)] == [
            b"1",
            *(one.kind.encode() + one.one for one in others),
        ]


def test_two_runs_at_once_keep_what_both_answered(tmp_path: Path) -> None:
    with AnswerFile(tmp_path, "1") as one, AnswerFile(tmp_path, "1") as other:
        one.keep(PAIR, b"1")
        other.keep(PAIR._replace(one=OTHER), b"2")
    with AnswerFile(tmp_path, "1") as answers:
        assert (answers.find(PAIR), answers.find(PAIR._replace(one=OTHER))) == (b"1", b"2")


def test_compacting_forgets_contents_that_went(store: Store, target: Collection) -> None:
    images = [new_image(name, facts(name)) for name in ("here", "there")]
    here, there, gone = (facts(name).sha256 for name in ("here", "there", "gone"))
    Committer(store.database, store.blobs, target).commit(Batch(images, unit_rows(np.eye(2, FAKE_DIMS))))
    kept, dropped = Question("pair", here, there), (Question("pair", here, gone), Question("file", gone))
    with AnswerFile(store.root / FOLDER, "1") as answers:
        for question in (kept, *dropped):
            answers.keep(question, b"1")
    compact(store)
    with AnswerFile(store.root / FOLDER, "1") as answers:
        assert [answers.find(question) for question in (kept, *dropped)] == [b"1", None, None]


def test_the_file_of_a_version_that_nobody_wrote_for_long_is_removed(tmp_path: Path) -> None:
    for version, days in (("old", 8), ("recent", 6)):
        with AnswerFile(tmp_path, version) as answers:
            answers.keep(PAIR, b"1")
        then = time.time() - days * 86_400
        os.utime(answers.path, (then, then))
    with AnswerFile(tmp_path, "new"):
        assert len(list(tmp_path.iterdir())) == 2  # "recent" and "new"
    with AnswerFile(tmp_path, "recent") as answers:
        assert answers.find(PAIR) == b"1"


def test_pruning_asks_about_both_contents(tmp_path: Path) -> None:
    with AnswerFile(tmp_path, "1") as answers:
        answers.keep(PAIR, b"1")
        answers.keep(Question("file", ONE), b"2")
    assert prune(tmp_path, lambda names: set(names) - {OTHER}) == 1
    with AnswerFile(tmp_path, "1") as answers:
        assert (answers.find(PAIR), answers.find(Question("file", ONE))) == (None, b"2")


def test_an_answer_comes_back_as_it_was_to_the_bit() -> None:
    picture = textured(1)
    found = verify(prepare(picture), extract(np.ascontiguousarray(picture[20:280, 50:330])))
    assert found.answer == "yes"
    kept = as_numbers(reversed_roles(found))
    back = of_numbers(kept)
    assert back.model is not None and found.model is not None
    assert as_numbers(back) == kept
    assert as_numbers(replace(back, answer="no")).keys() == {"answer", "reason", "sizes", "matches"}


def test_a_workspace_keeps_answers_in_its_store(local_store: Store, photos: Path, tmp_path: Path) -> None:
    album = Album(local_store, photos, tmp_path / "keypoints")
    album.save("b.png", textured(2))
    album.save("b-again.jpg", textured(2), quality=60)
    index(local_store, photos)
    with Workspace(local_store.root) as workspace:
        target = workspace.collection("default")
        first, again = (workspace.duplicates.find(target, DuplicateRequest(None, -1.0)) for _ in range(2))
    assert (first.looked_at, again.looked_at, again.known) == (1, 0, 1)
    assert groups(again) == groups(first)
