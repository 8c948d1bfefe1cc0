"""From one space to another and back, while others search and index."""

import multiprocessing
import os
import signal
import tarfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from api.queries import QueryRequest
from api.workspace import Workspace
from indexer.backbones.backbone import Pixels
from indexer.jobs.index_images import IndexOptions
from indexer.jobs.reembed_images import Filled, ReembedJob, ReembedOptions
from indexer.query_embedder import QueryEmbedder
from indexer.sources import tars
from indexer.sources.stored_files import StoredFiles
from search.conditions.where import parse
from search.errors import GuardRefused, SpaceMismatch, StoreUnavailable, UsageError
from search.faults import UPGRADE_POINTS
from search.finding.snapshot import Snapshot, SnapshotReader
from search.records import Collection, Embeddings
from search.spaces.space_comparison import compare_spaces
from search.spaces.space_upgrade import SpaceUpgrade, upgrade_as_json
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.store import Store
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.conftest import Draw, painted
from tests.fakes import FAKE_PREPARATION, ColourLabeller, FakeBackbone, InProcessDecoder, new_image
from tests.jobs import index
from tests.stored_rows import add

IMAGES = 12
NEW_DIMS = 3

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.test_space_upgrade"])


class MeanColour(FakeBackbone):
    """Another space, of other dims: the mean colour of the picture."""

    def __init__(self) -> None:
        super().__init__("mean")
        self.space = type(self.space)("mean", "1" * 64, FAKE_PREPARATION.as_json(), NEW_DIMS)

    def embed(self, pixels: Pixels) -> Embeddings:
        self.embedded += len(pixels)
        means: Embeddings = pixels.reshape(len(pixels), -1, 3).astype(np.float32).mean(axis=1) - 127.5
        return means


@pytest.fixture
def album(store: Store, draw: Draw, photos: Path) -> Store:
    """A collection of twelve pictures and a copy of the first."""
    for number in range(IMAGES):
        draw(f"{number}.png", number)
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    index(store, photos)
    return store


def target_of(store: Store) -> Collection:
    return store.catalogue.collection("default")


def reembed(store: Store, backbone: FakeBackbone | None = None, options: ReembedOptions | None = None) -> Filled:
    """Fill the space of the mean colours, or of another backbone."""
    chosen = backbone or MeanColour()
    upgrade = SpaceUpgrade(store, target_of(store))
    begun = upgrade.begin(chosen.space)
    filled = ReembedJob(upgrade, begun.to_space_id, chosen, StoredFiles().read).run(
        InProcessDecoder(), options or ReembedOptions(batch_size=4, commit_rows=8)
    )
    upgrade.finish(begun, filled.as_json())
    return filled


def test_pictures_inside_archives_are_read_again_in_one_pass_each(
    local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, mode in (("a.tar", "w"), ("b.tar.gz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as tar:  # type: ignore[call-overload]
            for number in range(IMAGES):
                painted(number + 100 * len(name), (32, 32)).save(tmp_path / "one.png")
                tar.add(tmp_path / "one.png", f"{number}.png")
    index(local_store, tmp_path / "a.tar", tmp_path / "b.tar.gz")
    opened, names = tars._opened, []

    def noted(path: str, *arguments: Any, **options: Any) -> Any:
        names.append(Path(path).name)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(tars, "_opened", noted)
    upgrade = SpaceUpgrade(local_store, target_of(local_store))
    begun = upgrade.begin(MeanColour().space)
    job = ReembedJob(upgrade, begun.to_space_id, MeanColour(), StoredFiles(in_order=True).read)
    filled = job.run(InProcessDecoder(), ReembedOptions(decoders=3, batch_size=4))
    assert (filled.embedded, filled.reasons) == (2 * IMAGES, {})
    assert names == ["a.tar", "b.tar.gz"]


def promote(store: Store, *, allow_missing: bool = False) -> int:
    return SpaceUpgrade(store, target_of(store)).promote(allow_missing=allow_missing)[1]


def rollback(store: Store, *, allow_missing: bool = False) -> int:
    return SpaceUpgrade(store, target_of(store)).rollback(allow_missing=allow_missing)[1]


def reader_of(store: Store) -> SnapshotReader:
    return SnapshotReader(store.database, store.blobs, target_of(store))


def test_every_content_is_embedded_once_and_searches_switch_with_promote_and_back_with_rollback(album: Store) -> None:
    reader = reader_of(album)
    old_ids, old_rows = reader.current().rows()
    backbone = MeanColour()
    filled = reembed(album, backbone)
    assert (filled.embedded, backbone.embedded, filled.failed) == (IMAGES, IMAGES, [])
    assert reader.current().rows()[1].shape[1] == old_rows.shape[1], "the shadow space was searched before promote"
    assert promote(album) == 0
    snapshot = reader.current()
    ids, rows = snapshot.rows()
    assert ids.tolist() == old_ids.tolist()
    assert rows.shape == (IMAGES + 1, NEW_DIMS)
    assert snapshot.generation is not None
    assert len(snapshot.delta.ids) == 0
    assert verify(album, deep=True) == []
    assert rollback(album) == 0
    np.testing.assert_array_equal(reader.current().rows()[1], old_rows)
    assert verify(album, deep=True) == []


def test_a_second_run_embeds_only_what_is_new(album: Store, draw: Draw, photos: Path) -> None:
    reembed(album)
    draw("new.png", 77)
    index(album, photos)
    with pytest.raises(GuardRefused, match="1 images of 'default' have no embedding in mean-.*reembed --backbone mean"):
        promote(album)
    backbone = MeanColour()
    assert reembed(album, backbone).embedded == backbone.embedded == 1
    promote(album)
    assert len(reader_of(album).current()) == IMAGES + 2


def test_files_that_are_gone_changed_or_broken_are_named(album: Store, draw: Draw, photos: Path) -> None:
    (photos / "1.png").unlink()
    draw("2.png", 99)
    (photos / "0.png").unlink()
    filled = reembed(album)
    named = {Path(one.uri).name: one.reason for one in filled.failed}
    assert named == {"1.png": "vanished", "2.png": "changed"}, "0.png has a copy that can be read"
    assert filled.reasons == {"vanished": 1, "changed": 1}
    with pytest.raises(GuardRefused, match="2 images"):
        promote(album)
    assert promote(album, allow_missing=True) == 2
    assert len(reader_of(album).current()) == IMAGES - 1
    status = collection_status(album, target_of(album))
    assert (status.images, status.searchable) == (IMAGES + 1, IMAGES - 1)


def test_what_promote_left_out_is_found_again_once_it_is_embedded(album: Store, photos: Path) -> None:
    kept = (photos / "1.png").read_bytes()
    (photos / "1.png").unlink()
    reembed(album)
    promote(album, allow_missing=True)
    reader = reader_of(album)
    assert len(reader.current()) == IMAGES
    (photos / "1.png").write_bytes(kept)
    target, backbone = target_of(album), MeanColour()
    ReembedJob(SpaceUpgrade(album, target), target.space_id, backbone, StoredFiles().read).run(
        InProcessDecoder(), ReembedOptions()
    )
    assert backbone.embedded == 1
    assert len(reader.current()) == IMAGES + 1


def test_rollback_names_what_was_indexed_since(album: Store, draw: Draw, photos: Path) -> None:
    reembed(album)
    promote(album)
    draw("later.png", 50)
    index(album, photos, backbone=MeanColour())
    with pytest.raises(GuardRefused, match="1 images of 'default' have no embedding in fake-"):
        rollback(album)
    assert rollback(album, allow_missing=True) == 1
    assert len(reader_of(album).current()) == IMAGES + 1


def test_there_must_be_something_to_promote_or_to_roll_back(album: Store) -> None:
    upgrade = SpaceUpgrade(album, target_of(album))
    for look in (upgrade.promote, upgrade.after_promote):
        with pytest.raises(UsageError, match="lookalike reembed` fills one"):
            look()
    for look in (upgrade.rollback, upgrade.after_rollback):
        with pytest.raises(UsageError, match="was not promoted"):
            look()
    with pytest.raises(UsageError, match="in the space fake-.* already"):
        upgrade.begin(FakeBackbone().space)
    upgrade.begin(MeanColour().space)
    for look in (upgrade.promote, upgrade.after_promote):
        with pytest.raises(GuardRefused, match="not filled yet"):
            look()


def test_a_space_on_its_way_back_is_over_once_the_collection_was_rolled_back_to_it(album: Store) -> None:
    reembed(album)
    promote(album)
    reembed(album, FakeBackbone())
    rollback(album)
    assert upgrade_as_json(album, target_of(album)) is None
    with pytest.raises(UsageError, match="no space to promote"):
        promote(album)


def test_rollback_returns_to_where_promote_came_from(album: Store) -> None:
    reembed(album)
    promote(album)
    reembed(album, FakeBackbone("third"))
    rollback(album)
    promote(album)
    assert target_of(album).space.backbone == "third"
    rollback(album)
    assert target_of(album).space.backbone == "fake"


def test_another_backbone_abandons_the_space_that_was_on_its_way(album: Store) -> None:
    upgrade = SpaceUpgrade(album, target_of(album))
    first = upgrade.begin(MeanColour().space)
    second = upgrade.begin(FakeBackbone("second").space)
    assert second.id != first.id
    with pytest.raises(UsageError, match="begun meanwhile"):
        upgrade.finish(first, {})
    assert upgrade.begin(FakeBackbone("second").space).id == second.id
    assert upgrade_as_json(album, target_of(album)) == {
        "state": "filling",
        "from_space": FakeBackbone().space.name,
        "to_space": FakeBackbone("second").space.name,
        "missing": IMAGES + 1,
    }


def test_an_indexing_job_that_began_before_promote_cannot_commit_after_it(album: Store) -> None:
    target = target_of(album)
    committer = Committer(album.database, album.blobs, target)
    reembed(album)
    promote(album)
    before = len(reader_of(album).current())
    with pytest.raises(SpaceMismatch, match="promoted or rolled back to another space while"):
        committer.commit(Batch([new_image("late.png", 1)], no_embeddings(target.space.dims)))
    assert len(reader_of(album).current()) == before


class Searching(threading.Thread):
    """A reader with connections of its own, as another process has them. wrong: what no single space could answer."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root
        self.stop = threading.Event()
        self.spaces: list[int] = []
        self.wrong: list[tuple[int, tuple[int, ...]]] = []

    def run(self) -> None:
        with Store(self.root) as store:
            reader = reader_of(store)
            while not self.stop.is_set():
                self.look(reader.current())

    def look(self, snapshot: Snapshot) -> None:
        ids, rows = snapshot.rows()
        best = snapshot.search(rows[:1], 1)
        space = snapshot.collection.space
        if len(ids) != IMAGES + 1 or rows.shape[1] != space.dims or best.scores[0] < 0.99:
            self.wrong.append((snapshot.collection.space_id, rows.shape))
        self.spaces.append(snapshot.collection.space_id)

    def wait_for(self, space_id: int) -> None:
        before = len(self.spaces)
        while space_id not in self.spaces[before:] and self.is_alive() and not self.wrong:
            time.sleep(0.001)


def test_every_answer_of_a_concurrent_reader_belongs_to_one_space(album: Store) -> None:
    reembed(album)
    readers = [Searching(album.root) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for switch in (promote, rollback, reembed, promote, rollback):
            switch(album)
            for reader in readers:
                reader.wait_for(target_of(album).space_id)
    finally:
        for reader in readers:
            reader.stop.set()
            reader.join()
    for reader in readers:
        assert reader.wrong == []
        assert len(set(reader.spaces)) == 2, "it met one space only, or died"


def test_a_picture_is_embedded_again_when_the_collection_was_promoted_since_it_was_looked_up(
    album: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = {"fake": FakeBackbone(), "mean": MeanColour()}

    def embedder(_workspace: Workspace, target: Collection) -> QueryEmbedder:
        return QueryEmbedder(backbones[target.space.backbone], InProcessDecoder())

    monkeypatch.setattr(Workspace, "_load_embedder", embedder)
    with Workspace(album.root) as workspace:
        looked_up = workspace.collection("default")
        reembed(album)
        promote(album)
        found = workspace.search_by_picture(looked_up, (photos / "3.png").read_bytes(), "3.png", QueryRequest(k=1))
        assert (Path(found.matches[0].image.uri).name, round(found.matches[0].score, 3)) == ("3.png", 1.0)


def test_what_is_embedded_between_index_and_flip_is_found(
    album: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = (photos / "1.png").read_bytes()
    (photos / "1.png").unlink()
    reembed(album)
    upgrade = SpaceUpgrade(album, target_of(album))

    def fill_before_the_flip(point: str) -> None:
        if point == "promote.flip" and not (photos / "1.png").exists():
            (photos / "1.png").write_bytes(kept)
            newest = upgrade.newest()
            assert newest is not None
            ReembedJob(upgrade, newest.to_space_id, MeanColour(), StoredFiles().read).run(
                InProcessDecoder(), ReembedOptions()
            )

    monkeypatch.setattr("search.spaces.space_upgrade.fault", fill_before_the_flip)
    assert upgrade.promote(allow_missing=True)[1] == 0
    assert len(reader_of(album).current()) == IMAGES + 1


NAMING = IndexOptions(batch_size=8, labeller=ColourLabeller())


def labels_shown(store: Store) -> dict[str, int]:
    """Return how many labels each image has, by file name; facets and filters must say what answers say."""
    target = target_of(store)
    found = {Path(one.uri).name: len(one.labels) for one in store.catalogue.images(target.id)}
    labelled = sum(count > 0 for count in found.values())
    facets = {one.label: one.images for one in store.catalogue.labels.counts(target)}
    assert facets == (dict.fromkeys(ColourLabeller.NAMES, labelled) if labelled else {})
    assert store.catalogue.matching(target, parse('label = "green"')).size == labelled
    return found


def test_labels_stay_through_promote_to_a_backbone_that_names_nothing_and_through_rollback(
    album: Store, draw: Draw, photos: Path
) -> None:
    album.open_collection("default", FakeBackbone().space, labels=True)
    index(album, photos, options=NAMING)
    before = labels_shown(album)
    assert set(before.values()) == {3}
    reembed(album)
    promote(album)
    assert labels_shown(album) == before
    assert target_of(album).labels, "that labels are wanted is remembered"
    assert collection_status(album, target_of(album)).labels_of == FakeBackbone().space.name
    draw("later.png", 77)
    index(album, photos, backbone=MeanColour())
    assert labels_shown(album) == before | {"later.png": 0}
    rollback(album, allow_missing=True)
    assert labels_shown(album) == before | {"later.png": 0}
    assert collection_status(album, target_of(album)).labels_of is None
    (photos / "later.png").touch()
    index(album, photos, options=NAMING)
    assert labels_shown(album) == before | {"later.png": 3}
    assert verify(album, deep=True) == []


def test_labels_of_the_new_backbone_are_shown_from_promote_on(album: Store) -> None:
    album.open_collection("default", FakeBackbone().space, labels=True)
    reembed(album, FakeBackbone("named"), ReembedOptions(labeller=ColourLabeller()))
    assert set(labels_shown(album).values()) == {0}
    promote(album)
    assert set(labels_shown(album).values()) == {3}
    assert target_of(album).labels_from is None
    rollback(album)
    assert set(labels_shown(album).values()) == {3}, "the old backbone has named nothing that would be better"


def test_new_labels_are_shown_once_all_of_them_are_there(album: Store, photos: Path) -> None:
    album.open_collection("default", FakeBackbone().space, labels=True)
    index(album, photos, options=NAMING)
    other = FakeBackbone("named")
    reembed(album, other)  # its embeddings alone
    promote(album)
    old = target_of(album).labels_from
    assert old is not None
    index(album, photos / "0.png", backbone=other, options=NAMING)
    assert target_of(album).labels_from == old, "most images have no new labels yet"
    assert set(labels_shown(album).values()) == {3}
    index(album, photos, backbone=other, options=NAMING)
    assert target_of(album).labels_from is None
    assert set(labels_shown(album).values()) == {3}


def test_equal_spaces_agree_and_the_report_counts_pairs_once(local_store: Store) -> None:
    target = add(local_store, 0, 30)
    report = compare_spaces(local_store, target, target, samples=7)
    assert (report.images, report.queries, report.overlap) == (30, 7, 1.0)
    assert (report.lost, report.gained) == (0, 0)


def test_the_comparison_agrees_with_brute_force(album: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.spaces.space_comparison.BLOCK_ROWS", 5)
    monkeypatch.setattr("search.spaces.space_comparison.default_threshold", lambda space: 0.5)
    reembed(album)
    upgrade = SpaceUpgrade(album, target_of(album))
    newest = upgrade.newest()
    assert newest is not None
    old, new = target_of(album), upgrade.in_space(newest.to_space_id)
    report = compare_spaces(album, old, new, samples=100)
    _, before = reader_of(album).current().rows()
    promote(album)
    _, after = reader_of(album).current().rows()
    scores = [rows @ rows.T - 9 * np.eye(len(rows)) for rows in (before, after)]
    nearest = [np.argsort(-one, axis=1, kind="stable")[:, :10] for one in scores]
    shared = [len(set(a) & set(b)) for a, b in zip(*(one.tolist() for one in nearest), strict=True)]
    assert report.overlap == pytest.approx(np.mean(shared) / 10)
    upper = np.triu(np.ones_like(scores[0], bool), 1)
    was, becomes = ((one >= 0.5) & upper for one in scores)
    counted = (int((was & becomes).sum()), int((was & ~becomes).sum()), int((becomes & ~was).sum()))
    assert (report.kept, report.lost, report.gained) == counted
    assert report.kept >= 1, "the copy is a pair in both"
    assert report.lost + report.gained > 0


def fill_there(root: str, fault: str) -> None:
    os.environ["LOOKALIKE_FAULT"] = fault
    with Store(Path(root)) as store:
        reembed(store)
        promote(store)


@pytest.mark.parametrize("point", [*UPGRADE_POINTS, "segment.rename", "generation.row"])
def test_a_kill_anywhere_leaves_one_whole_space_and_the_same_commands_go_on(tmp_path: Path, point: str) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(IMAGES):
        painted(number, (16, 12)).save(tmp_path / "photos" / f"{number}.png")
    with Store.create(tmp_path / "store") as store:
        index(store, tmp_path / "photos")
    process = context.Process(target=fill_there, args=(str(tmp_path / "store"), f"{point}:1:kill"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{point} was not reached"
    with Store(tmp_path / "store") as store:
        assert len(reader_of(store).current()) == IMAGES
        assert verify(store, deep=True) == []
        backbone = MeanColour()
        if point != "promote.done":
            reembed(store, backbone)
            promote(store)
        assert backbone.embedded <= {"segment.rename": 12, "reembed.rows": 12, "reembed.done": 4}.get(point, 0)
        assert reader_of(store).current().rows()[1].shape == (IMAGES, NEW_DIMS)
        assert verify(store, deep=True) == []


def test_a_full_disk_says_so_and_the_old_space_goes_on(album: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.faults._hits", {"segment.write": 0})
    monkeypatch.setenv("LOOKALIKE_FAULT", "segment.write:1:enospc")
    with pytest.raises(StoreUnavailable, match="No space left"):
        reembed(album)
    monkeypatch.delenv("LOOKALIKE_FAULT")
    assert len(reader_of(album).current()) == IMAGES + 1
    assert reembed(album).embedded == IMAGES


def test_an_interrupt_keeps_what_was_embedded(album: Store) -> None:
    class Interrupted(MeanColour):
        def embed(self, pixels: Pixels) -> Embeddings:
            if self.embedded >= 8:
                raise KeyboardInterrupt
            return super().embed(pixels)

    with pytest.raises(KeyboardInterrupt):
        reembed(album, Interrupted())
    backbone = MeanColour()
    reembed(album, backbone)
    assert backbone.embedded == IMAGES - 8
