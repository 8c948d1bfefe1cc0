"""Six images with labels, as the tests of conditions know them and as a store holds them."""

import hashlib
from dataclasses import dataclass

import numpy as np

from search.commits import Batch, Committer, NewImage
from search.embeddings import unit_rows
from search.generations import Generations
from search.records import Collection, ContentFacts, Label, shown_path, uri_of_path
from search.store import Store
from search.where import parse
from tests.fakes import FAKE_DIMS, FakeBackbone

TABBY, TIGER, CRANE = "tabby, tabby cat", "tiger, Panthera tigris", "crane"
UMLAUT = "Größe, Äpfel"


@dataclass(frozen=True)
class Row:
    """An image as the tests know it. labels None: nobody asked for them."""

    key: str
    uri: str
    width: int
    height: int
    bytes: int
    format: str
    labels: tuple[str, ...] | None

    @property
    def path(self) -> str | None:
        return shown_path(self.uri)


ROWS = (
    Row("a", uri_of_path("/photos/a b.jpg"), 100, 50, 1000, "jpeg", (TABBY, TIGER)),
    Row("b", uri_of_path("/photos/100%/x_y.PNG"), 2000, 1000, 2**40, "png", (TIGER,)),
    Row("c", uri_of_path("/Größe/ä.jpg"), 100, 100, 1000, "jpeg", (UMLAUT, CRANE)),
    Row("d", "s3://bucket/12.tar!/20.jpg", 640, 480, 1000, "webp", None),
    Row("e", uri_of_path('/photos/say "hi"\n.jpg'), 641, 480, 0, "jpeg", None),
    # The same content as a, so the same labels.
    Row("f", uri_of_path("/copies/a b.jpg"), 100, 50, 1000, "jpeg", (TABBY, TIGER)),
)


def facts(row: Row) -> ContentFacts:
    same = "a" if row.key == "f" else row.key
    sha256 = hashlib.sha256(same.encode()).digest()
    return ContentFacts(sha256, row.bytes, row.format, row.width, row.height, bytes(16), bytes(32), 50.0)


def new(row: Row) -> NewImage:
    labels = None if row.labels is None else tuple(Label(name, 0.5) for name in row.labels)
    return NewImage(row.key, row.uri, row.bytes, 1, facts(row), labels=labels)


def filled(store: Store) -> Collection:
    """Half of the rows are in a generation, half in the delta; row N has id N + 1."""
    target = store.open_collection("default", FakeBackbone().space)
    committer = Committer(store.database, store.blobs, target)
    embeddings = unit_rows(np.random.default_rng(0).normal(size=(len(ROWS), FAKE_DIMS)))
    embeddings[5] = embeddings[0]
    sequence = committer.commit(Batch([new(row) for row in ROWS[:3]], embeddings[:3]))
    Generations(store.database, store.blobs, target).publish(sequence)
    committer.commit(Batch([new(row) for row in ROWS[3:]], embeddings[3:]))
    return store.catalogue.collection("default")


def keys(store: Store, target: Collection, text: str) -> str:
    ids = store.catalogue.matching(target, parse(text)).tolist()
    return "".join(ROWS[image_id - 1].key for image_id in ids)
