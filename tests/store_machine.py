"""The state machine of tests/test_store_machine.py: a store, and the dictionary that it is compared with."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from search import faults
from search.embeddings import unit_rows
from search.errors import GuardRefused, LookalikeError, UsageError
from search.faults import POINTS, UPGRADE_POINTS
from search.finding.generations import Generations
from search.finding.snapshot import Snapshot, SnapshotReader
from search.index.post_transform import PostTransform
from search.moving.backup import back_up
from search.moving.restore import restore
from search.records import TRANSFORMS, Embeddings, SpaceSpec
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.conftest import emptied
from tests.fakes import facts
from tests.fault_worker import OTHER_SPACE, SPACE, reembed, row_of

NAMES = st.sampled_from("abcdefgh")
ALL_CONTENTS = [f"c{number}" for number in range(12)]
CONTENTS = st.sampled_from(ALL_CONTENTS)
RESTING = [point for point in POINTS if not point.startswith(("store.", "repair."))]
Images = dict[str, tuple[int, str]]


def stored(name: str, spec: SpaceSpec) -> Embeddings:
    """Return a content's embedding as a segment keeps it: rounded to float16."""
    rounded: Embeddings = unit_rows(row_of(name, spec).astype(np.float16))[0]
    return rounded


def cosine(transform: PostTransform, one: Embeddings, other: Embeddings) -> float:
    """The formula of tests/test_post_transform.py: what has no direction matches nothing."""
    if transform.is_none:
        return float(one @ other)
    moved = np.stack([one, other]).astype(np.float64) - transform.mean
    turned = moved if transform.matrix is None else moved @ transform.matrix
    return float(turned[0] @ turned[1] / (np.linalg.norm(turned, axis=1).prod() or 1.0))


@cache
def empty_store() -> dict[str, bytes]:
    """Return the files of an empty store on SQLite: its tables are made once and not for every example."""
    with tempfile.TemporaryDirectory() as folder:
        Store.create(Path(folder)).close()
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


class StoreMachine(RuleBasedStateMachine):
    """`images` is the truth: key -> (id, content). `ids` are all ids ever seen, with the key each belonged to.

    backup: where the newest one is, with the images and the ids of its moment.
    """

    backup: tuple[Path, Images, set[int]] | None = None

    @initialize()
    def make(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.images: Images = {}
        self.ids: set[int] = set()
        self.places = 0
        root = self.fresh_place("store")
        if "LOOKALIKE_CATALOGUE" in os.environ:
            emptied(os.environ["LOOKALIKE_CATALOGUE"])
        else:
            root.mkdir()
            for name, data in empty_store().items():
                (root / name).write_bytes(data)
        self.open(Store.create(root))

    def fresh_place(self, name: str) -> Path:
        self.places += 1
        return self.folder / f"{name}{self.places}"

    def open(self, store: Store) -> None:
        self.store = store
        known = {found.name: found for found in store.catalogue.collections()}
        self.target = known.get("default") or store.open_collection("default", SPACE)
        self.reader = SnapshotReader(store.database, store.blobs, self.target)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            os.environ.pop("LOOKALIKE_FAULT", None)
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(names=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
    def put(self, names: list[tuple[str, str]]) -> None:
        """Add images, or give the ones there another content; contents may be old or new, and shared."""
        new = [NewImage(key, f"file:///{key}", 1, 1, facts(content)) for key, content in names]
        embeddings = np.concatenate([row_of(content, self.target.space) for _, content in names])
        Committer(self.store.database, self.store.blobs, self.target).commit(Batch(new, embeddings))
        self.learn(dict(names))

    @rule(name=NAMES, place=st.integers(0, 3))
    def move(self, name: str, place: int) -> None:
        """A file is found under another name: the image keeps its id, its key and its embedding."""
        if name not in self.images:
            return
        image_id, content = self.images[name]
        ((_, content_id),) = [
            (known.image_id, known.content_id)
            for known in self.store.catalogue.files(self.target.id, self.uris(image_id)).values()
        ]
        moved = NewImage(name, f"file:///{place}/{name}", 1, 1, content_id, image_id)
        batch = Batch([moved], no_embeddings(self.target.space.dims))
        Committer(self.store.database, self.store.blobs, self.target).commit(batch)
        self.learn({name: content})

    @rule(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
    def remove(self, names: list[str]) -> None:
        ids = [self.images[name][0] for name in names if name in self.images]
        assert remove_images(self.store.database, self.target, ids) == len(ids), "an image could not be removed"
        self.images = {name: image for name, image in self.images.items() if name not in names}

    @rule()
    def publish(self) -> None:
        sequence = self.store.catalogue.collection("default").sequence
        Generations(self.store.database, self.store.blobs, self.target).publish(sequence)

    @rule(age_s=st.sampled_from([-1.0, 3600.0]))
    def compact(self, age_s: float) -> None:
        summary = compact(self.store, older_than_s=age_s)
        assert (summary.damaged, summary.segments_after <= 2) == ([], True), "more than a segment in each space"
        status = collection_status(self.store, self.target)
        assert status.tombstones == 0, f"{status.tombstones} tombstones are left"
        assert status.complete or status.last_job == "running", status.summary

    @rule(age_s=st.sampled_from([-1.0, 3600.0]))
    def sweep(self, age_s: float) -> None:
        self.store.sweep(age_s)

    @rule(ending=st.sampled_from(["", ".tar"]))
    def back_up(self, ending: str) -> None:
        place = self.fresh_place("backup").with_suffix(ending)
        back_up(self.store, place)
        self.backup = (place, dict(self.images), set(self.ids))

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        """Everything since the backup is gone, and the restored store goes on in place of the one there was."""
        assert self.backup is not None
        place, images, ids = self.backup
        self.store.close()
        shutil.rmtree(self.store.root)
        if "LOOKALIKE_CATALOGUE" in os.environ:
            emptied(os.environ["LOOKALIKE_CATALOGUE"])
        root = self.fresh_place("store")
        restore(place, root)
        self.images, self.ids = dict(images), set(ids)
        self.open(Store(root))

    @rule(step=st.sampled_from(["fill", "promote", "there and back", "promote if whole", "roll back if whole"]))
    def change_space(self, step: str) -> None:
        """Another space is filled beside whatever comes next, or searched at once; or after all that came since."""
        if step.endswith("whole"):
            self.go_if_whole(back=step.startswith("roll"))
            return
        before, after = self.target.space, self.other_space()
        reembed(self.store, after, ALL_CONTENTS)
        if step != "fill":
            self.target, missing = SpaceUpgrade(self.store, self.target).promote()
            assert (self.target.space, missing) == (after, 0), "another space was promoted, or not all of it"
        if step == "there and back":
            self.target, missing = SpaceUpgrade(self.store, self.target).rollback()
            assert (self.target.space, missing) == (before, 0), "rolled back elsewhere, or to some images only"

    def go_if_whole(self, *, back: bool) -> None:
        """No image is given up, or nothing changes."""
        upgrade = SpaceUpgrade(self.store, self.target)
        try:
            target, missing = upgrade.rollback() if back else upgrade.promote()
        except (GuardRefused, UsageError):
            now = self.store.catalogue.collection("default").space
            assert now == self.target.space, "what was refused was done"
        else:
            assert (target.space, missing) == (self.other_space(), 0), "it stayed where it was, or lost images"
            self.target = target

    def other_space(self) -> SpaceSpec:
        return OTHER_SPACE if self.target.space == SPACE else SPACE

    @rule(
        point=st.sampled_from(RESTING),
        step=st.sampled_from(["put", "remove", "publish", "compact"]),
        names=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=3, unique_by=lambda pair: pair[0]),
        reopen=st.booleans(),
    )
    def crash(self, point: str, step: str, names: list[tuple[str, str]], reopen: bool) -> None:
        """A step dies somewhere; what it would have done has happened as a whole, or not at all."""
        before = dict(self.images)
        faults._hits.clear()
        os.environ["LOOKALIKE_FAULT"] = f"{point}:1:eio"
        try:
            if step == "put":
                self.put(names)
            elif step == "remove":
                self.remove([name for name, _ in names])
            elif step == "publish":
                self.publish()
            else:
                self.compact(-1.0)
        except (OSError, LookalikeError):
            assert faults._hits[point], "it failed without a fault"
            self.settle(before, step, dict(names))
        finally:
            os.environ.pop("LOOKALIKE_FAULT", None)
        if reopen:
            self.store.close()
            self.open(Store(self.store.root))

    @rule(point=st.sampled_from([*UPGRADE_POINTS, "segment.rename", "generation.row"]), nth=st.integers(1, 2))
    def crash_between_spaces(self, point: str, nth: int) -> None:
        """The collection is in one of both, whole; or, where the point was not passed so often, back where it was."""
        faults._hits.clear()
        os.environ["LOOKALIKE_FAULT"] = f"{point}:{nth}:eio"
        try:
            self.change_space("there and back")
        except (OSError, LookalikeError):
            assert faults._hits[point], "it failed without a fault"
            self.target = self.store.catalogue.collection("default")
        finally:
            os.environ.pop("LOOKALIKE_FAULT", None)

    def settle(self, before: dict[str, tuple[int, str]], step: str, names: dict[str, str]) -> None:
        """Find out which of the two a crashed step did."""
        self.images = before
        living = {key: image_id for image_id, key in self.keys().items()}
        if step == "put" and self.committed(names):
            self.learn(names)
        elif step == "remove" and not living.keys() & names.keys():
            self.images = {name: image for name, image in before.items() if name not in names}

    def committed(self, names: dict[str, str]) -> bool:
        stored_now = {record.key: record.sha256 for record in self.store.catalogue.images(self.target.id)}
        return all(stored_now.get(key) == facts(content).sha256 for key, content in names.items())

    def keys(self) -> dict[int, str]:
        return {record.id: record.key for record in self.store.catalogue.images(self.target.id)}

    def uris(self, image_id: int) -> list[str]:
        return [uri for found, uri in self.store.catalogue.uris(self.target.id) if found == image_id]

    def learn(self, names: dict[str, str]) -> None:
        """Take over what a commit has done; images keep their ids, and new ones get ids that were never used."""
        living = {key: image_id for image_id, key in self.keys().items()}
        for key, content in names.items():
            if key in self.images:
                assert living[key] == self.images[key][0], "an update changed the id"
            else:
                assert living[key] not in self.ids, "an id was used again"
            self.ids.add(living[key])
            self.images[key] = (living[key], content)

    @invariant()
    def every_reader_answers_like_brute_force(self) -> None:
        if not hasattr(self, "store"):
            return
        by_id = dict(sorted(self.images.values()))
        assert self.keys().keys() == by_id.keys(), "an image is missing from the catalogue, or back"
        query = row_of("query", self.target.space)
        embeddings = {one: stored(content, self.target.space) for one, content in by_id.items()}
        fresh = SnapshotReader(self.store.database, self.store.blobs, self.target)
        for reader in (self.reader, fresh):
            snapshot = reader.current()
            assert snapshot.collection.space == self.target.space, "a reader searches another space"
            scores = {one: cosine(snapshot.transform, row, query[0]) for one, row in embeddings.items()}
            found = snapshot.search(query, 5)
            best = sorted(scores.values(), reverse=True)[:5]
            np.testing.assert_allclose(found.scores, best, atol=2e-3)
            assert set(found.ids.tolist()) <= by_id.keys(), "a removed image was named"
            np.testing.assert_allclose([scores[one] for one in found.ids.tolist()], best, atol=2e-3)
            assert len(snapshot) == len(by_id), f"{len(snapshot)} of {len(by_id)} images are searchable"
            self.look_among(snapshot, query, scores)

    def look_among(self, snapshot: Snapshot, query: Embeddings, scores: dict[int, float]) -> None:
        """A filter lets through all images but the nearest one."""
        among = np.array(sorted(sorted(scores, key=lambda one: scores[one])[:-1]), np.int64)
        found = snapshot.search_among(query, 1, among)
        assert set(found.ids.tolist()) <= set(among.tolist()), "an image that the filter leaves out was named"
        # Few candidates of an approximate index may miss the best one; what they are said to score is true.
        best = found.ids.tolist() if not snapshot.is_exact else sorted(among.tolist(), key=lambda one: -scores[one])[:1]
        assert len(found.ids) == min(1, len(among)), "nothing was found"
        np.testing.assert_allclose(found.scores, [scores[one] for one in best], atol=2e-3)

    @rule()
    def look_deep(self) -> None:
        faults_found = verify(self.store, deep=True)
        assert faults_found == [], faults_found


# In one place and one space: what goes wrong there shows sooner.
SettledMachine: type[StoreMachine] = type(
    "SettledMachine",
    (StoreMachine,),
    dict.fromkeys(("back_up", "restore", "change_space", "crash_between_spaces")),
)


class TransformingMachine(StoreMachine):
    """The same with transforms that are chosen at any moment, or refused."""

    @rule(transform=st.sampled_from(TRANSFORMS))
    def choose_transform(self, transform: str) -> None:
        """It is the collection's from now on, or nothing changes."""
        before = self.store.catalogue.collection("default")
        try:
            generations = Generations(self.store.database, self.store.blobs, self.target)
            generations.publish(before.sequence, transform=transform)
        except UsageError as error:
            assert "images" in str(error) or "alike" in str(error), error
            transform = before.transform
        after = self.store.catalogue.collection("default")
        assert after.transform == transform, "another transform than was asked for"
        current = self.reader.current()
        if current.generation is not None and transform == "none":
            assert current.transform.is_none, "an old transform was searched"


class ApproximateMachine(StoreMachine):
    """The same with approximate indexes: so few images are all visited, so that answers must still be exact.

    FEWEST: so that a filter is a matter of the index, and not of comparing all that pass it.
    """

    @initialize()
    def make(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("search.finding.generations.EXACT_ROWS", 2)
        self.patch.setattr("search.index.training.lists_for", lambda rows: max(1, rows // 3))
        self.patch.setattr("search.index.training.FEWEST", 3)
        super().make()

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "patch"):
            self.patch.undo()
