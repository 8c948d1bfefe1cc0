"""`index --watch`: bursts, half-written files, and what goes."""

import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.jobs.index_images import IndexJob, IndexOptions
from indexer.jobs.summary import IndexSummary
from indexer.sources.sources import Source, resolve
from indexer.sources.watching import Burst, Watcher
from search.errors import LookalikeError, UsageError
from search.storing.store import Store
from tests.conftest import Draw, painted
from tests.fakes import FakeBackbone, InProcessDecoder, Remembering
from tests.jobs import index, ledger, stored


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexer.sources.watching.QUIET_S", 0.4)


class Session:
    """A watched folder and a store; `next` indexes the next burst."""

    def __init__(self, store: Store, photos: Path, bursts: Iterator[Burst]) -> None:
        self._store = store
        self._bursts = bursts
        self.photos = photos

    def next(self, *, prune: bool = False) -> IndexSummary:
        burst = next(self._bursts)
        backbone = FakeBackbone()
        target = self._store.open_collection("default", backbone.space)
        job = IndexJob(self._store, target, backbone, burst.sources, Remembering(), burst.part)
        return job.run(InProcessDecoder(), IndexOptions(batch_size=8, prune=prune))


@pytest.fixture
def session(local_store: Store, photos: Path, draw: Draw) -> Iterator[Session]:
    for number in range(40):
        draw(f"{number}.png", number)
    with Watcher(resolve([str(photos)], ["skip*"]), photos / "store") as watcher:
        index(local_store, photos)
        yield Session(local_store, photos, watcher.bursts())


def test_a_burst_of_new_files_is_one_batch(session: Session) -> None:
    pictures = []
    for number in range(200):
        file = io.BytesIO()
        painted(1000 + number, (8, 8)).save(file, "PNG")
        pictures.append(file.getvalue())
    (session.photos / "new").mkdir()
    for number, data in enumerate(pictures):  # nothing but writing: a pause would rightly end the burst
        (session.photos / "new" / f"{number}.png").write_bytes(data)
    counts = session.next().counts
    assert (counts.indexed, counts.failed) == (200, 0)


def test_what_nobody_wants_is_no_news(session: Session, local_store: Store, draw: Draw) -> None:
    draw("skipped.png", 1)
    draw(".hidden.png", 2)
    draw("store/x.png", 3)
    (session.photos / "notes.txt").write_text("words")
    draw("wanted.png", 99)
    counts = session.next().counts
    assert (counts.indexed, counts.ignored, counts.seen) == (1, 1, 1)


def test_a_half_written_file_is_tried_again_when_it_is_whole(session: Session, local_store: Store) -> None:
    file = io.BytesIO()
    painted(77, (200, 200)).save(file, "JPEG")
    data = file.getvalue()
    (session.photos / "x.jpg").write_bytes(data[: len(data) // 2])
    assert session.next().counts.failures == {"truncated": 1}
    assert len(ledger(local_store)) == 1
    (session.photos / "x.jpg").write_bytes(data)
    assert session.next().counts.indexed == 1
    assert ledger(local_store) == {}


def test_a_moved_file_is_moved_and_a_deleted_one_is_removed_with_prune(session: Session, local_store: Store) -> None:
    (session.photos / "1.png").rename(session.photos / "moved.png")
    assert session.next(prune=True).counts.moved == 1
    (session.photos / "2.png").unlink()
    counts = session.next(prune=True).counts
    assert (counts.vanished, counts.removed) == (1, 1)
    (session.photos / "3.png").unlink()
    counts = session.next().counts
    assert (counts.vanished, counts.removed) == (1, 0)
    assert len(stored(local_store)) == 39


def test_a_folder_that_is_moved_away_vanishes_as_a_whole_and_the_guard_holds(
    session: Session, local_store: Store, tmp_path: Path
) -> None:
    session.photos.rename(tmp_path / "elsewhere")
    summary = session.next(prune=True)
    assert (summary.counts.vanished, summary.counts.removed) == (40, 0)
    assert summary.refused is not None
    assert len(stored(local_store)) == 40


def test_other_entries_of_the_ledger_stay(session: Session, local_store: Store, draw: Draw) -> None:
    (session.photos / "bad.png").write_bytes(b"")
    session.next()
    draw("good.png", 500)
    session.next()
    assert list(ledger(local_store).values()) == ["empty"]
    (session.photos / "bad.png").unlink()
    session.next()
    assert ledger(local_store) == {}


def test_a_changed_sidecar_reaches_its_picture(session: Session, local_store: Store) -> None:
    (session.photos / "5.json").write_text('{"n": 1}')
    session.next()
    assert stored(local_store)[(session.photos / "5.png").as_uri()] == {"n": 1}
    (session.photos / "6.png.json").write_text('{"n": 2}')
    session.next()
    assert stored(local_store)[(session.photos / "6.png").as_uri()] == {"n": 2}


def test_only_local_folders_can_be_watched(photos: Path, draw: Draw) -> None:
    picture = draw("a.png", 1)
    with pytest.raises(UsageError, match="--watch needs a local folder"):
        Watcher(resolve([str(picture)]), photos)


def test_a_system_that_cannot_watch_says_what_to_raise(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", refuse)
    with (
        Watcher([Source(str(photos), "folder", named=True, uri=photos.as_uri())], photos / "s") as watcher,
        pytest.raises(LookalikeError, match="max_user_watches"),
    ):
        next(watcher.bursts())


def test_a_file_that_is_written_slowly_is_waited_for(session: Session) -> None:
    painted(321, (300, 300)).save(session.photos / "other.bmp")
    data = (session.photos / "other.bmp").read_bytes()

    def write() -> None:
        with (session.photos / "slow.bmp").open("wb") as file:
            for at in range(0, len(data), len(data) // 6):
                file.write(data[at : at + len(data) // 6])
                file.flush()
                time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    summary = session.next()
    writer.join()
    assert (summary.counts.indexed, summary.counts.failed) == (2, 0)
