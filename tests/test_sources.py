"""What SOURCE arguments mean: globs, exclusions, sidecars."""

import json
import os
from pathlib import Path

import pytest

from indexer.sources.found import Exclusion, FoundFile, stamped
from indexer.sources.sidecars import MAX_SIDECAR_BYTES, sidecar_name
from indexer.sources.sources import Walk, count, resolve
from search.storing.store import Store
from tests.conftest import Draw
from tests.fakes import FakeBackbone
from tests.jobs import index, ledger, stored


def names(*arguments: Path | str, exclude: tuple[str, ...] = ()) -> list[str]:
    found = Walk(resolve([str(argument) for argument in arguments], exclude))
    return sorted(Path(one.path).name for one in found if isinstance(one, FoundFile))


@pytest.mark.parametrize(
    ("globs", "left"),
    [
        (("*.jpg",), ["a.png", "b.png", "c.png"]),
        (("deep",), ["a.png", "a.jpg"]),
        (("deep/*",), ["a.png", "a.jpg"]),
        (("deep/down",), ["a.png", "a.jpg", "b.png"]),
        (("**/down/*",), ["a.png", "a.jpg", "b.png"]),
        (("**/a.png",), ["a.jpg", "b.png", "c.png"]),
        (("a.*", "c.png"), ["b.png"]),
        (("eep",), ["a.png", "a.jpg", "b.png", "c.png"]),
        (("[ab].png",), ["a.jpg", "c.png"]),
        (("deep/",), ["a.png", "a.jpg"]),
    ],
)
def test_an_exclusion_is_held_against_paths_below_the_source_and_bare_names(
    photos: Path, draw: Draw, globs: tuple[str, ...], left: list[str]
) -> None:
    for number, name in enumerate(("a.png", "a.jpg", "deep/b.png", "deep/down/c.png")):
        draw(name, number)
    assert names(photos, exclude=globs) == sorted(left)


def test_an_exclusion_does_not_look_above_the_source(tmp_path: Path, draw: Draw, photos: Path) -> None:
    draw("a.png", 1)
    assert names(photos, exclude=("photos", "tmp")) == ["a.png"]
    assert not Exclusion()


def test_a_glob_goes_through_folders_and_keeps_to_exclusions(photos: Path, draw: Draw) -> None:
    for number, name in enumerate(("a.png", "x/b.png", "x/y/c.png", "x/y/d.jpg")):
        draw(name, number)
    assert names(photos / "**" / "*.png") == ["a.png", "b.png", "c.png"]
    assert names(photos / "*" / "*.png") == ["b.png"]
    assert names(photos / "**" / "*.png", exclude=("x/y",)) == ["a.png", "b.png"]
    assert names(photos / "x" / "?.png", photos / "x" / "y" / "[c-d].*") == ["b.png", "c.png", "d.jpg"]


def test_a_file_uri_is_a_local_path(photos: Path, draw: Draw) -> None:
    draw("a b.png", 1)
    assert names((photos / "a b.png").as_uri()) == ["a b.png"]


def test_counting_takes_no_more_than_names(photos: Path, draw: Draw) -> None:
    for number in range(3):
        draw(f"{number}.png", number)
    (photos / "notes.txt").write_text("x")
    assert list(count(resolve([str(photos)]))) == [3]


def test_the_sidecar_of_the_whole_name_wins() -> None:
    assert sidecar_name("a.jpg", {"a.jpg.json", "a.json"}) == "a.jpg.json"
    assert sidecar_name("a.jpg", {"a.json"}) == "a.json"
    assert sidecar_name("a.jpg", {"b.json"}) is None
    assert sidecar_name("a", {"b.json"}) is None


def test_a_sidecar_is_metadata_and_its_change_is_noticed_without_a_new_embedding(
    store: Store, photos: Path, draw: Draw
) -> None:
    picture = draw("a.png", 1)
    sidecar = photos / "a.png.json"
    (photos / "a.json").write_text('{"from": "the lesser one"}')
    sidecar.write_text(json.dumps({"title": "Überschrift \0", "n": 1, "deep": {"x": [1, None, True]}}))
    os.utime(sidecar, ns=(10**18, 10**18))  # older than the picture: its date alone would not tell
    index(store, photos)
    expected = {"title": "Überschrift \ufffd", "n": 1, "deep": {"x": [1, None, True]}}
    assert stored(store) == {picture.as_uri(): expected}
    sidecar.write_text('{"n": 2}')
    os.utime(sidecar, ns=(10**18, 10**18))
    backbone = FakeBackbone()
    counts = index(store, photos, backbone=backbone).counts
    assert (counts.unchanged, counts.indexed, backbone.embedded) == (1, 0, 0)
    assert stored(store)[picture.as_uri()]["n"] == 2
    sidecar.unlink()
    (photos / "a.json").unlink()
    assert index(store, photos).counts.unchanged == 1
    assert stored(store)[picture.as_uri()] == expected | {"n": 2}


def test_an_unchanged_sidecar_is_not_even_opened(
    local_store: Store, photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw("a.png", 1)
    (photos / "a.json").write_text('{"n": 1}')
    index(local_store, photos)
    monkeypatch.setattr("indexer.jobs.planning.read_metadata", lambda *_: pytest.fail("it was read"))
    assert index(local_store, photos).counts.unchanged == 1


@pytest.mark.parametrize("data", [b"{", b"[1]", b"\xff\xfe", b'"text"', b"{" * 100_000, b" " * (MAX_SIDECAR_BYTES + 1)])
def test_a_broken_sidecar_costs_no_picture_and_stays_in_the_ledger_until_mended(
    local_store: Store, photos: Path, draw: Draw, data: bytes
) -> None:
    picture = draw("a.png", 1)
    sidecar = photos / "a.json"
    sidecar.write_bytes(data)
    assert index(local_store, photos).counts.indexed == 1
    assert index(local_store, photos).counts.failures == {"bad_metadata": 1}
    assert ledger(local_store) == {sidecar.as_uri(): "bad_metadata"}
    sidecar.write_text('{"n": 1}')
    assert index(local_store, photos).counts.failed == 0
    assert ledger(local_store) == {}
    assert stored(local_store) == {picture.as_uri(): {"n": 1}}


def test_a_named_file_has_its_sidecar_too(local_store: Store, photos: Path, draw: Draw) -> None:
    picture = draw("a.png", 1)
    (photos / "a.json").write_text('{"n": 1}')
    index(local_store, picture)
    assert stored(local_store) == {picture.as_uri(): {"n": 1}}


def test_a_stamp_moves_a_date_by_less_than_a_millisecond_and_tells_facts_apart() -> None:
    date = 1_700_000_000_123_456_789
    assert abs(stamped(date, "etag") - date) < 1_000_000
    assert stamped(date, "etag") == stamped(date, "etag")
    assert len({stamped(date, number) for number in range(100)}) == 100
    assert stamped(date, 1) != stamped(date + 1, 1)
