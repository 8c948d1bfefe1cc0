"""What a collection can be narrowed by, on both databases: each count is what its own condition finds."""

import pytest

from search.conditions.where import parse
from search.records import Collection
from search.storing.facets import FacetValue, _deepest_above, facets, timeline
from search.storing.store import Store

CONDITIONS = (None, 'label = "tiger"', "taken_at >= 2024", 'path like "/photos/%"', "width > 1000000")


def named(values: list[FacetValue]) -> dict[str, int]:
    return {one.value: one.images for one in values}


def test_images_are_counted_by_label_folder_size_and_month(album_store: Store, album_rows: Collection) -> None:
    found = facets(album_store.database, album_rows)
    assert found.images == 6
    assert named(found.labels) == {
        "tiger, Panthera tigris": 3,
        "tabby, tabby cat": 2,
        "Größe, Äpfel": 1,
        "crane": 1,
    }
    assert named(found.folders) == {"/": 5, "s3:": 1}
    assert list(named(found.sizes).items()) == [("under 500", 3), ("500 to 999", 2), ("2000 to 3999", 1)]
    assert list(named(found.months).items()) == [("0987-06", 1), ("2023-12", 1), ("2024-01", 2), ("2024-02", 1)]
    assert found.undated == 1


@pytest.mark.parametrize("where", CONDITIONS)
def test_each_count_is_what_its_condition_finds(album_store: Store, album_rows: Collection, where: str | None) -> None:
    condition = None if where is None else parse(where)
    found = facets(album_store.database, album_rows, condition)
    assert found.images == (6 if condition is None else len(album_store.catalogue.matching(album_rows, condition)))
    for value in (*found.labels, *found.folders, *found.sizes, *found.months):
        joined = value.where if where is None else f"({where}) and ({value.where})"
        assert len(album_store.catalogue.matching(album_rows, parse(joined))) == value.images, value


def test_folders_are_those_below_the_deepest_that_holds_all(album_store: Store, album_rows: Collection) -> None:
    below = facets(album_store.database, album_rows, parse('path like "/photos/%"')).folders
    assert named(below).keys() == {"photos", "100%"}
    (escaped,) = [one for one in below if one.value == "100%"]
    assert escaped.where == r'path like "/photos/100\%/%"'
    assert facets(album_store.database, album_rows, parse(escaped.where)).folders == []


@pytest.mark.parametrize(
    ("folders", "above"),
    [
        ([], ""),
        (["/a/b/"], "/a/b/"),
        (["/a/b/", "/a/b/c/"], "/a/b/"),
        (["/a/bc/", "/a/bd/"], "/a/"),
        (["/a/b/", "/a/bc/"], "/a/"),
        (["/a/", "s3://b/"], ""),
    ],
)
def test_the_deepest_folder_above_all(folders: list[str], above: str) -> None:
    assert _deepest_above(folders) == above


def test_the_timeline_counts_as_the_facets_do(album_store: Store, album_rows: Collection) -> None:
    for where in CONDITIONS:
        condition = None if where is None else parse(where)
        found = facets(album_store.database, album_rows, condition)
        assert timeline(album_store.database, album_rows, condition) == (found.months, found.undated)


def test_a_page_of_the_images_that_fulfil_a_condition_goes_on_where_the_last_ended(
    album_store: Store, album_rows: Collection
) -> None:
    condition = parse('label = "tiger"')
    ids = album_store.catalogue.matching(album_rows, condition).tolist()
    first = album_store.catalogue.images_that(album_rows, condition, limit=2)
    rest = album_store.catalogue.images_that(album_rows, condition, after=first[-1].id, limit=2)
    assert [one.id for one in (*first, *rest)] == ids
