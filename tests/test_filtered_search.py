"""A search with a condition is exact: the brute-force search among what the condition lets through."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import Select, update

from search.conditions.field_tests import quoted
from search.conditions.filtering import matching_query, passing_ids
from search.conditions.where import parse
from search.database.tables import image
from search.embeddings import unit_rows
from search.finding.find_similar import Wanted, find_similar
from search.finding.generations import Generations
from search.finding.snapshot import Snapshot, SnapshotReader
from search.letters import after_beginning
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.image_records import ids_of_content, images_of
from search.storing.image_rows import NewImage
from search.storing.store import Store
from tests.album_rows import ROWS, TABBY, Row, facts, filled, new
from tests.fakes import FAKE_DIMS, FakeBackbone

# --- random conditions, each with a Python function that means the same ---------------------------
Meaning = Callable[[Row], bool]
COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}
PIECES = (
    "%",
    "_",
    "/photos/",
    "/Größe/",
    "/PHOTOS/a",
    "a b",
    "file://",
    "a",
    "B",
    "x",
    "20",
    "/",
    " ",
    "ö",
    ".JPG",
    "cat",
    "TI",
    "12",
    r"\%",
    r"\_",
    "\\\\",
)


def ascii_folded(text: str) -> str:
    return "".join(chr(ord(letter) + 32) if "A" <= letter <= "Z" else letter for letter in text)


def like(pieces: list[str], text: str, fold: Callable[[str], str]) -> bool:
    wild = {"%": ".*", "_": "."}
    pattern = "".join(wild.get(piece) or re.escape(fold(piece.removeprefix("\\"))) for piece in pieces)
    return re.fullmatch(pattern, fold(text), re.DOTALL) is not None


def names(row: Row) -> list[str]:
    """Return by what the labels of an image are found."""
    found = [part.strip() for label in row.labels or () for part in label.split(",")]
    return [*found, *(row.labels or ())]


@st.composite
def number_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    field = draw(st.sampled_from(["width", "height", "bytes"]))
    sign = draw(st.sampled_from(sorted(COMPARE)))
    value = draw(st.sampled_from([0, 50, 99.5, 100, 480, 640, 641, 1000, 2000, 2**40, -3]))
    return f"{field} {sign} {value}", lambda row: COMPARE[sign](getattr(row, field), value)


@st.composite
def number_lists(draw: st.DrawFn) -> tuple[str, Meaning]:
    field = draw(st.sampled_from(["width", "height", "bytes"]))
    values = draw(st.lists(st.sampled_from([0, 50, 100, 480, 640.0, 2**40]), min_size=1, max_size=3))
    text = ", ".join(map(str, values))
    return f"{field} in ({text})", lambda row: getattr(row, field) in values


@st.composite
def text_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    field = draw(st.sampled_from(["key", "uri", "path", "format"]))
    value = draw(st.sampled_from([getattr(row, field) or "" for row in ROWS] + ["a", "A", "JPEG", ""]))
    wanted = ascii_folded(value) if field == "format" else value
    return f"{field} = {quoted(value)}", lambda row: getattr(row, field) == wanted


@st.composite
def patterns(draw: st.DrawFn) -> tuple[str, Meaning]:
    field = draw(st.sampled_from(["key", "uri", "path", "format", "label"]))
    pieces = draw(st.lists(st.sampled_from(PIECES), max_size=5))
    text = f"{field} like {quoted(''.join(pieces))}"
    if field == "label":
        return text, lambda row: any(like(pieces, name, str.casefold) for name in names(row))
    return text, lambda row: getattr(row, field) is not None and like(pieces, getattr(row, field), ascii_folded)


@st.composite
def label_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    value = draw(st.sampled_from(["tabby", "TIGER", TABBY, "crane", "tabby cat", "größe", "none", "cat"]))
    return f"label = {quoted(value)}", lambda row: value.casefold() in [name.casefold() for name in names(row)]


@st.composite
def date_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    moments = [row.taken_at or "2024-02-29T12:00:00" for row in ROWS] + ["2024-01-31T23:59:58", "2023-12-31T00:00:00"]
    letters = st.sampled_from([4, 7, 10, 13, 16, 19])
    dates = st.builds(lambda moment, end: moment[:end], st.sampled_from(moments), letters)
    sign = draw(st.sampled_from([*sorted(COMPARE), "in"]))
    # The beginnings of moments sort as their periods do.
    if sign == "in":
        wanted = draw(st.lists(dates, min_size=1, max_size=3))
        text = f"taken_at in ({', '.join(wanted)})"
        return text, lambda row: any((row.taken_at or "").startswith(one) for one in wanted)
    date = draw(dates)
    compare = COMPARE[sign]
    text = f"taken_at {sign} {draw(st.sampled_from([date, quoted(date)]))}"
    if sign == "!=":  # a negation, so also of what has no date
        return text, lambda row: not (row.taken_at or "").startswith(date)
    return text, lambda row: row.taken_at is not None and compare(row.taken_at[: len(date)], date)


PLACES = ("tags", "tags.0", "place", "place.city", "place.city.name", "place.geo.lat", 'place."0"', "place.0")
KEYS = (
    *PLACES,
    "camera",
    "rating",
    "seen",
    "tags",
    "tags.0",
    "none",
    "day",
    '"shot by"',
    "größe",
    '"say ""hi""\\n"',
    "0",
    "Camera",
)


def stored(row: Row, path: str) -> object:
    """Return the value at the end of some keys, None where there is none."""
    value: object = row.metadata
    for plain, quoted_key in re.findall(r'(\w+)|"((?:""|[^"])+)"', path):
        if not isinstance(value, Mapping):
            return None
        value = value.get(plain or quoted_key.replace('""', '"'))
    return value


def comparable(value: object, other: object) -> bool:
    """Tell whether two values are of one kind: numbers, texts or flags."""
    kinds = [float if type(one) is int else type(one) for one in (value, other)]
    return kinds[0] is kinds[1]


def spelled(value: object) -> str:
    return quoted(value) if isinstance(value, str) else str(value)


PLAIN = [3, 3.5, 0, 100, -1e300, 2**53, 50.9375, 7, True, False, "X100", "x100", "", "3", "Köln", "köln", "true", "odd"]


@st.composite
def metadata_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    key, value = draw(st.sampled_from(KEYS)), draw(st.sampled_from(PLAIN))
    ordered = sorted(COMPARE) if not isinstance(value, bool) else ["=", "!="]
    sign = draw(st.sampled_from([*ordered, "in", "null"]))
    if sign == "null":
        return f"metadata.{key} is null", lambda row: stored(row, key) is None
    if sign == "in":
        values = draw(st.lists(st.sampled_from(PLAIN), min_size=1, max_size=4))
        text = f"metadata.{key} in ({', '.join(map(spelled, values))})"
        return text, lambda row: any(comparable(stored(row, key), one) and stored(row, key) == one for one in values)
    text = f"metadata.{key} {sign} {spelled(value)}"
    if sign == "!=":
        return text, lambda row: not (comparable(stored(row, key), value) and stored(row, key) == value)
    compare: Callable[[Any, Any], bool] = COMPARE[sign]
    return text, lambda row: comparable(stored(row, key), value) and compare(stored(row, key), value)


@st.composite
def metadata_patterns(draw: st.DrawFn) -> tuple[str, Meaning]:
    key = draw(st.sampled_from(KEYS))
    pieces = draw(st.lists(st.sampled_from((*PIECES, "X", "100", "Ä", "😀", "k", "ln")), max_size=5))

    def meaning(row: Row) -> bool:
        value = stored(row, key)
        return isinstance(value, str) and like(pieces, value, ascii_folded)

    return f"metadata.{key} like {quoted(''.join(pieces))}", meaning


@st.composite
def null_tests(draw: st.DrawFn) -> tuple[str, Meaning]:
    field, has = draw(
        st.sampled_from(
            [
                ("path", lambda row: row.path is not None),
                ("label", lambda row: bool(row.labels)),
                ("key", lambda _: True),
                ("taken_at", lambda row: row.taken_at is not None),
            ]
        )
    )
    return f"{field} is not null", has


LEAVES = st.one_of(
    *(number_tests(), number_lists(), text_tests(), patterns(), label_tests(), null_tests()),
    *(date_tests(), metadata_tests(), metadata_patterns()),
)


def joined(parts: list[tuple[str, Meaning]], word: str) -> tuple[str, Meaning]:
    every = all if word == "and" else any
    text = f" {word} ".join(f"({text})" for text, _ in parts)
    return text, lambda row: every(meaning(row) for _, meaning in parts)


CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(lambda part: (f"not ({part[0]})", lambda row: not part[1](row))),
        st.tuples(st.lists(inner, min_size=2, max_size=3), st.sampled_from(["and", "or"])).map(
            lambda drawn: joined(*drawn)
        ),
    ),
    max_leaves=6,
)
HASTY = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@settings(HASTY, max_examples=150)
@given(condition=CONDITIONS)
def test_a_condition_means_the_same_in_python_and_on_both_databases(
    album_store: Store, album_rows: Collection, condition: tuple[str, Meaning]
) -> None:
    text, meaning = condition
    found = album_store.catalogue.matching(album_rows, parse(text))
    assert found.tolist() == [number for number, row in enumerate(ROWS, start=1) if meaning(row)], text
    asked = np.array([5, 99, 2, 1, 3])
    passed = passing(album_store, album_rows, text, asked)
    assert passed.tolist() == np.intersect1d(asked, found).tolist(), text


@HASTY
@given(condition=CONDITIONS, k=st.integers(1, len(ROWS)), seed=st.integers(0, 9))
def test_a_filtered_search_is_the_brute_force_search_over_what_the_condition_lets_through(
    album_store: Store, album_rows: Collection, snapshot: Snapshot, condition: tuple[str, Meaning], k: int, seed: int
) -> None:
    text, meaning = condition
    query = unit_rows(np.random.default_rng(seed).normal(size=(1, FAKE_DIMS)))
    found = find_similar(snapshot, album_store.catalogue, query, None, Wanted(k, where=parse(text)))
    ids, embeddings = snapshot.rows()
    scores = dict(zip(ids.tolist(), np.einsum("nd,d->n", embeddings, query[0]).tolist(), strict=True))
    wanted = [image_id for image_id in scores if meaning(ROWS[image_id - 1])]
    best = sorted(wanted, key=lambda image_id: (-scores[image_id], image_id))[:k]
    assert [match.image.id for match in found] == best, text
    np.testing.assert_allclose([match.score for match in found], [scores[one] for one in best], atol=1e-5)


@pytest.fixture
def snapshot(album_store: Store, album_rows: Collection) -> Snapshot:
    return SnapshotReader(album_store.database, album_store.blobs, album_rows).current()


def test_a_filter_scores_only_what_it_lets_through_also_when_that_is_far_away(store: Store) -> None:
    target = store.open_collection("default", FakeBackbone().space)
    committer = Committer(store.database, store.blobs, target)
    embeddings = unit_rows(np.random.default_rng(1).normal(size=(400, FAKE_DIMS)))
    order = np.argsort(-(embeddings @ embeddings[0]), kind="stable")
    rare = order[-3:].tolist()  # the three least alike: no list of the best 100 would hold them
    made = [new(Row(str(n), f"file:///{n}.jpg", 7 if n in rare else 8, 1, n, "jpeg", None)) for n in range(400)]
    sequence = committer.commit(Batch(made[:200], embeddings[:200]))
    Generations(store.database, store.blobs, target).publish(sequence)
    committer.commit(Batch(made[200:], embeddings[200:]))
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    found = find_similar(snapshot, store.catalogue, embeddings[:1], None, Wanted(2, where=parse("width = 7")))
    assert [int(match.image.key) for match in found] == rare[:2]


def test_a_filter_sees_a_changed_image_only_as_it_is_now(store: Store) -> None:
    target = store.open_collection("default", FakeBackbone().space)
    committer = Committer(store.database, store.blobs, target)
    old, fresh = unit_rows(np.eye(2, FAKE_DIMS))[:, np.newaxis]
    before, after = (Row("a", "file:///a.jpg", width, 1, width, "jpeg", None) for width in (1, 2))
    plain = facts(before), replace(facts(after), sha256=bytes(32))
    changed = [NewImage("a", "file:///a.jpg", 1, 1, content) for content in plain]
    sequence = committer.commit(Batch(changed[:1], old))
    Generations(store.database, store.blobs, target).publish(sequence)
    committer.commit(Batch(changed[1:], fresh))
    snapshot = SnapshotReader(store.database, store.blobs, target).current()

    def search(text: str) -> list[float]:
        return [
            round(match.score, 3)
            for match in find_similar(snapshot, store.catalogue, old, None, Wanted(9, where=parse(text)))
        ]

    assert search("width = 1") == []
    assert search("width = 2") == [0.0]


def test_nothing_that_matches_is_an_empty_list(album_store: Store, album_rows: Collection, snapshot: Snapshot) -> None:
    query = unit_rows(np.ones((1, FAKE_DIMS)))
    assert find_similar(snapshot, album_store.catalogue, query, None, Wanted(5, where=parse("width = 7"))) == []


def test_labels_of_another_space_do_not_count(tmp_path: Path) -> None:
    with Store.create(tmp_path / "store") as made:
        target = filled(made)
        other = made.open_collection("other", FakeBackbone("another").space)
        plain = NewImage("a", ROWS[0].uri, 1000, 1, facts(ROWS[0]))
        Committer(made.database, made.blobs, other).commit(Batch([plain], unit_rows(np.ones((1, FAKE_DIMS)))))
        condition = parse('label = "tabby"')
        assert made.catalogue.matching(other, condition).tolist() == []
        assert made.catalogue.matching(target, condition).tolist() == [1, 6]
        assert made.catalogue.image_by_key(other.id, "a").labels == ()


def passing(store: Store, target: Collection, where: str, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    with store.database.reading() as connection:
        return passing_ids(connection, target, parse(where), ids)


def test_matches_are_read_as_far_as_one_wants_and_judge_candidates_in_between(store: Store) -> None:
    target = store.open_collection("default", FakeBackbone().space)
    rows = [Row(str(n), f"file:///{n}.jpg", n % 3, 1, n, "jpeg", ()) for n in range(600)]
    embeddings = unit_rows(np.random.default_rng(1).normal(size=(600, FAKE_DIMS)))
    Committer(store.database, store.blobs, target).commit(Batch([new(row) for row in rows], embeddings))
    for where, count in (("width = 0", 200), ("width = 7", 0), ("height = 1", 600)):
        everything = store.catalogue.matching(target, parse(where))
        assert len(everything) == count
        with store.catalogue.matches(target, parse(where)) as matches:
            first = matches.first(50)
            assert len(first) == min(50, count)
            assert set(first.tolist()) <= set(everything.tolist())
            assert (np.diff(first) > 0).all()
            assert matches.passing(np.arange(1, 10)).tolist() == [one for one in everything.tolist() if one < 10]
            assert matches.all().tolist() == everything.tolist()
            assert matches.all().tolist() == everything.tolist(), "a second time nothing is left to read"
        with store.catalogue.matches(target, parse(where)) as matches:
            assert matches.first(count + 1).tolist() == everything.tolist()
            assert matches.all().tolist() == everything.tolist()


def test_candidates_are_judged_however_many_they_are_and_only_those_that_are_there(store: Store) -> None:
    target = store.open_collection("default", FakeBackbone().space)
    other = store.open_collection("other", FakeBackbone().space)
    rows = [
        Row(str(n), f"file:///{n}.jpg", n % 3, 1, n, "jpeg", ("tabby",), taken_at="2024-01-01T00:00:00")
        for n in range(900)
    ]
    embeddings = unit_rows(np.random.default_rng(1).normal(size=(900, FAKE_DIMS)))
    Committer(store.database, store.blobs, target).commit(Batch([new(row) for row in rows], embeddings))
    Committer(store.database, store.blobs, other).commit(Batch([new(rows[3])], embeddings[:1]))
    with store.database.writing() as connection:
        connection.execute(update(image).where(image.c.id == 4).values(deleted=True))
    candidates = np.random.default_rng(2).permutation(np.arange(-5, 950))
    for where in ("width = 0", 'width = 0 and label = "tabby" and taken_at = 2024 and path like "/%"'):
        found = passing(store, target, where, candidates)
        assert found.tolist() == [n + 1 for n in range(900) if n % 3 == 0 and n != 3]
        assert found.tolist() == store.catalogue.matching(target, parse(where)).tolist()
        assert passing(store, other, where, candidates).tolist() == [901]
    assert passing(store, target, "width = 0", np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize(
    ("where", "index"),
    [
        ('label = "tabby"', "ix_image_content_id"),
        ("taken_at = 2024", "ix_content_taken_at"),
        ('path like "/photos/2024/%"', "ix_image_collection_id_path"),
        ('path like "/photos/2024/%.jpg"', "ix_image_collection_id_path"),
    ],
)
def test_the_common_filters_are_answered_by_an_index(local_store: Store, where: str, index: str) -> None:
    target = local_store.open_collection("default", FakeBackbone().space)
    query = matching_query(target, parse(where)).compile(
        local_store.database.engine, compile_kwargs={"literal_binds": True}
    )
    with local_store.database.reading() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}")]
    assert any(index in step and step.startswith("SEARCH") for step in plan), plan


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (images_of(1).where(image.c.id > 7).order_by(image.c.id).limit(100), "ix_image_collection_id_id"),
        (ids_of_content(1, b"0" * 32, b"0" * 16), "ix_image_content_id"),
    ],
    ids=["a page of a list", "copies"],
)
def test_pages_go_by_id_without_sorting_all_and_copies_are_found_by_their_content(
    local_store: Store, query: Select[tuple[object, ...]], index: str
) -> None:
    told = query.compile(local_store.database.engine, compile_kwargs={"literal_binds": True})
    with local_store.database.reading() as connection:
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {told}")]
    assert any(index in step and step.startswith("SEARCH") for step in plan), plan


@pytest.mark.parametrize(
    ("beginning", "after"),
    [
        ("/a/", "/a0"),
        ("z", "{"),
        ("", None),
        ("a\U0010ffff", "b"),
        ("\U0010ffff", None),
        ("\ud7ff", "\ue000"),
        ("é", "ê"),
    ],
)
def test_what_begins_so_lies_before_the_next_text(beginning: str, after: str | None) -> None:
    assert after_beginning(beginning) == after
