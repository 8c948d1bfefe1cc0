"""Six images with labels, as the tests of conditions know them and as a store holds them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import update

from search.conditions.where import parse
from search.database.tables import image
from search.embeddings import unit_rows
from search.finding.generations import Generations
from search.records import Collection, ContentFacts, Label, shown_path, uri_of_path
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone

TABBY, TIGER, CRANE = "tabby, tabby cat", "tiger, Panthera tigris", "crane"
UMLAUT = "Größe, Äpfel"


@dataclass(frozen=True)
class Row:
    """An image as the tests know it. labels None: nobody asked for them. taken_at: of the content."""

    key: str
    uri: str
    width: int
    height: int
    bytes: int
    format: str
    labels: tuple[str, ...] | None
    taken_at: str | None = None
    metadata: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> str | None:
        return shown_path(self.uri)


PLACE = {"city": "Köln", "geo": {"lat": 50.9375, "lon": 6.9603}}
ROWS = (
    Row(
        *("a", uri_of_path("/photos/a b.jpg"), 100, 50, 1000, "jpeg", (TABBY, TIGER)),
        taken_at="2024-01-31T23:59:59",
        metadata={"camera": "X100", "rating": 3, "place": PLACE, "seen": True, "shot by": "Ann", "none": None},
    ),
    Row(
        *("b", uri_of_path("/photos/100%/x_y.PNG"), 2000, 1000, 2**40, "png", (TIGER,)),
        taken_at="2024-02-01T00:00:00",
        metadata={"camera": "x100", "rating": 3.5, "place": "Köln", "seen": False, 'say "hi"\\n': "odd", "größe": 7},
    ),
    Row(
        *("c", uri_of_path("/Größe/ä.jpg"), 100, 100, 1000, "jpeg", (UMLAUT, CRANE)),
        taken_at="2023-12-31T12:30:00",
        metadata={"camera": 100, "rating": "3", "place": [PLACE, "city"], "seen": "true", "day": "2024-03-01"},
    ),
    Row(
        *("d", "s3://bucket/12.tar!/20.jpg", 640, 480, 1000, "webp", None),
        metadata={"rating": -1e300, "tags": ["x"], "camera": "Äß 😀_100%", "place": {"city": {"name": "Köln"}}},
    ),
    Row(*("e", uri_of_path('/photos/say "hi"\n.jpg'), 641, 480, 0, "jpeg", None), taken_at="0987-06-05T04:03:02"),
    # The same content as a, so the same labels and the same date.
    Row(
        *("f", uri_of_path("/copies/a b.jpg"), 100, 50, 1000, "jpeg", (TABBY, TIGER)),
        taken_at="2024-01-31T23:59:59",
        metadata={"rating": 2**53, "camera": "", "0": "zero", "place": {"0": "no", "city": "köln"}},
    ),
)


def facts(row: Row) -> ContentFacts:
    same = "a" if row.key == "f" else row.key
    sha256 = hashlib.sha256(same.encode()).digest()
    return ContentFacts(sha256, row.bytes, row.format, row.width, row.height, bytes(16), bytes(32), 50.0, row.taken_at)


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
    with store.database.writing() as connection:
        for number, row in enumerate(ROWS, start=1):
            connection.execute(update(image).where(image.c.id == number).values(metadata=dict(row.metadata)))
    return store.catalogue.collection("default")


def keys(store: Store, target: Collection, text: str) -> str:
    ids = store.catalogue.matching(target, parse(text)).tolist()
    return "".join(ROWS[image_id - 1].key for image_id in ids)
