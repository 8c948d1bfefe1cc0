"""A store against a dictionary: whatever is done to it in whatever order, a search answers as brute force would.

Steps that fail at a fault point, and readers that stay open all the time, are part of it.
"""

import os
import shutil
import tempfile
import traceback
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from search import faults
from search.embeddings import unit_rows
from search.errors import LookalikeError
from search.faults import POINTS
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import Embeddings
from search.storing.commits import Batch, Committer, NewImage, no_embeddings
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.conftest import dropped, emptied, new_database
from tests.endurance import endure
from tests.fakes import facts
from tests.fault_worker import DIMS, SPACE, row_of

NAMES = st.sampled_from("abcdefgh")
CONTENTS = st.sampled_from([f"c{number}" for number in range(12)])
RESTING = [point for point in POINTS if not point.startswith(("store.", "repair."))]


def stored(name: str) -> Embeddings:
    """Return a content's embedding as a segment keeps it: rounded to float16."""
    rounded: Embeddings = unit_rows(row_of(name).astype(np.float16))[0]
    return rounded


class StoreMachine(RuleBasedStateMachine):
    """`images` is the truth: key -> (id, content). `ids` are all ids ever seen, with the key each belonged to."""

    @initialize()
    def make(self) -> None:
        memory = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.images: dict[str, tuple[int, str]] = {}
        self.ids: set[int] = set()
        if "LOOKALIKE_CATALOGUE" in os.environ:
            emptied(os.environ["LOOKALIKE_CATALOGUE"])
        self.store = Store.create(self.folder / "store")
        self.target = self.store.open_collection("default", SPACE)
        self.open_reader()

    def open_reader(self) -> None:
        self.reader = SnapshotReader(self.store.database, self.store.blobs, self.target)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            os.environ.pop("LOOKALIKE_FAULT", None)
            self.store.close()
            shutil.rmtree(self.folder)

    @rule(names=st.lists(st.tuples(NAMES, CONTENTS), min_size=1, max_size=4, unique_by=lambda pair: pair[0]))
    def put(self, names: list[tuple[str, str]]) -> None:
        """Add images, or give the ones there another content; contents may be old or new, and shared."""
        new = [NewImage(key, f"file:///{key}", 1, 1, facts(content)) for key, content in names]
        embeddings = np.concatenate([row_of(content) for _, content in names])
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
        batch = Batch([moved], no_embeddings(DIMS))
        Committer(self.store.database, self.store.blobs, self.target).commit(batch)
        self.learn({name: content})

    @rule(names=st.lists(NAMES, min_size=1, max_size=4, unique=True))
    def remove(self, names: list[str]) -> None:
        ids = [self.images[name][0] for name in names if name in self.images]
        assert remove_images(self.store.database, self.target, ids) == len(ids)
        self.images = {name: image for name, image in self.images.items() if name not in names}

    @rule()
    def publish(self) -> None:
        sequence = self.store.catalogue.collection("default").sequence
        Generations(self.store.database, self.store.blobs, self.target).publish(sequence)

    @rule(age_s=st.sampled_from([-1.0, 3600.0]))
    def compact(self, age_s: float) -> None:
        summary = compact(self.store, older_than_s=age_s)
        assert (summary.damaged, summary.segments_after <= 1) == ([], True)
        status = collection_status(self.store, self.target)
        assert (status.tombstones, status.complete or status.last_job == "running") == (0, True)

    @rule(age_s=st.sampled_from([-1.0, 3600.0]))
    def sweep(self, age_s: float) -> None:
        self.store.sweep(age_s)

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
            self.settle(before, step, dict(names))
        finally:
            os.environ.pop("LOOKALIKE_FAULT", None)
        if reopen:
            self.store.close()
            self.store = Store(self.folder / "store")
            self.open_reader()

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
        assert self.keys().keys() == by_id.keys()
        query = row_of("query")
        scores = {image_id: float(stored(content) @ query[0]) for image_id, content in by_id.items()}
        fresh = SnapshotReader(self.store.database, self.store.blobs, self.target)
        for reader in (self.reader, fresh):
            found = reader.current().search(query, 5)
            best = sorted(scores.values(), reverse=True)[:5]
            np.testing.assert_allclose(found.scores, best, atol=2e-3)
            assert set(found.ids.tolist()) <= by_id.keys(), "a removed image was named"
            np.testing.assert_allclose([scores[one] for one in found.ids.tolist()], best, atol=2e-3)
            assert len(reader.current()) == len(by_id)

    @rule()
    def look_deep(self) -> None:
        assert verify(self.store, deep=True) == []


ORDINARY = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_store_answers_like_a_dictionary_whatever_is_done_to_it() -> None:
    run_state_machine_as_test(StoreMachine, settings=ORDINARY)


@pytest.mark.usefixtures("on_postgresql")
def test_a_store_on_postgresql_does_so_too() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(ORDINARY, max_examples=5))


def long_examples(server: str | None, seeds: range) -> list[str]:
    """Run an example of 50 steps for each seed, on SQLite or in a database of its own; return why it failed."""
    catalogue = None if server is None else new_database(server)
    if catalogue is not None:
        os.environ["LOOKALIKE_CATALOGUE"] = catalogue
    long = settings(
        ORDINARY,
        max_examples=len(seeds),
        stateful_step_count=50,
        derandomize=False,
        print_blob=True,
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seed(seeds.start)(type("SeededMachine", (StoreMachine,), {})), settings=long)
    except Exception as error:  # noqa: BLE001 -- whatever it was, the next examples are to be run
        return [f"seed {seeds.start}: {''.join(traceback.format_exception(error))}"]
    finally:
        if catalogue is not None:
            dropped(catalogue)
    return []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_store_answers_like_a_dictionary_for_a_long_time(pytestconfig: pytest.Config) -> None:
    assert endure(pytestconfig, "state machine", 2_000, partial(long_examples, None), piece=10) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_store_on_postgresql_does_so_too_for_a_long_time(postgresql: str, pytestconfig: pytest.Config) -> None:
    run = partial(long_examples, postgresql)
    assert endure(pytestconfig, "state machine on PostgreSQL", 400, run, piece=10) == []
