"""Reports of dedup jobs in the catalogue."""

from dataclasses import replace

import pytest

from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.duplicates.kept_reports import KEPT, KeptReports, current_groups, facts_of, of_kinds
from search.duplicates.report import DuplicateReport
from search.errors import ReportNotFound
from search.records import Collection
from search.storing.removals import remove_image
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.album_rows import filled
from tests.duplicate_groups import image_named, member


@pytest.fixture
def target(store: Store) -> Collection:
    filled(store)
    return store.catalogue.collections()[0]


def report_of(store: Store, target: Collection) -> DuplicateReport:
    """Two groups of the first five images: of three, and of two."""
    images = store.catalogue.images(target.id, limit=5)
    members = [DuplicateMember(one, 0.9, "probable", "near") for one in images]
    groups = (DuplicateGroup(images[0], "it is larger", (members[1], members[2])),)
    return DuplicateReport(5, 0.8, (*groups, DuplicateGroup(images[3], "it is older", (members[4],))))


def keep(
    store: Store, target: Collection, source: str = "none", threshold: float = 0.8, within: str | None = None
) -> int:
    report = replace(report_of(store, target), threshold=threshold)
    facts = facts_of(target, report, source, plan=None, within=within)
    return KeptReports(store.database).keep(target, report, facts)


def test_a_report_is_read_a_page_at_a_time(store: Store, target: Collection) -> None:
    kept = KeptReports(store.database)
    report_id = keep(store, target)
    report = kept.newest(target)
    assert (report.id, report.facts.groups_total, report.facts.copies_total) == (report_id, 2, 3)
    whole = [group.as_json() for group in report_of(store, target).groups]
    assert [group for _, group in kept.page(report, 0, 9)] == whole
    assert kept.page(report, 1, 1) == [(1, whole[1])]


def test_the_last_report_of_the_whole_collection_counts_and_one_by_its_threshold(
    store: Store, target: Collection
) -> None:
    kept = KeptReports(store.database)
    with pytest.raises(ReportNotFound, match=r"POST \{\} to /v1/collections/.+/dedup"):
        kept.newest(target)
    first = keep(store, target)
    chosen = keep(store, target, "user", 0.7)
    keep(store, target, within="/photos")
    assert (kept.newest(target).id, kept.newest(target, 0.7).id) == (chosen, chosen)
    with pytest.raises(ReportNotFound, match='POST {"threshold": 0.8} to'):
        kept.newest(target, 0.8)  # the first has this threshold, too, but nobody chose it
    newer = [keep(store, target) for _ in range(KEPT)]
    assert [one.id for one in kept.all(target)] == newer[::-1]
    assert first not in newer
    with pytest.raises(ReportNotFound):
        kept.newest(target, 0.7)


def test_a_report_tells_how_many_copies_are_of_which_kind_and_where_near_ones_score(
    store: Store, target: Collection
) -> None:
    keep(store, target)
    facts = KeptReports(store.database).newest(target).facts
    assert facts.kinds == {"near": 3}
    assert facts.scores is not None
    assert (sum(facts.scores["counts"]), facts.scores["counts"][10], facts.scores["median"]) == (3, 3, 0.9)
    images = store.catalogue.images(target.id, limit=2)
    exact = DuplicateGroup(images[0], "", (DuplicateMember(images[1], 1.0, "identical", "same_bytes"),))
    facts = facts_of(target, DuplicateReport(2, 0.8, (exact,)), "none", plan=None)
    assert (facts.kinds, facts.scores) == ({"same_bytes": 1}, None)


def test_groups_with_copies_of_a_kind_are_found_on_all_pages_whatever_metadata_says(
    store: Store, target: Collection
) -> None:
    kinds: tuple[tuple[DuplicateKind, ...], ...] = (("near",), ("cropped", "near"), ("near",), ("near",), ("cropped",))
    groups = []
    for number, each in enumerate(kinds):
        first = 10 * number + 1
        posing = replace(image_named(first), metadata={"kind": "cropped"})
        groups.append(DuplicateGroup(posing, "", tuple(member(first + 1 + one, kind) for one, kind in enumerate(each))))
    kept, report = KeptReports(store.database), replace(report_of(store, target), groups=tuple(groups))
    kept.keep(target, report, facts_of(target, report, "none", plan=None))
    newest = kept.newest(target)
    found = [number for number, _ in kept.page(newest, 0, 9, ["cropped"])]
    assert found == [1, 4]
    assert [number for number, _ in kept.page(newest, 0, 1, ["cropped"])] == [1]
    assert [number for number, _ in kept.page(newest, 2, 1, ["cropped"])] == [4]
    assert [number for number, _ in kept.page(newest, 0, 9, ["near", "same_bytes"])] == [0, 1, 2, 3]
    ((_, group),) = kept.page(newest, 1, 1, ["cropped"])
    assert [one["kind"] for one in of_kinds(group, ["cropped"])["members"]] == ["cropped"]


def test_groups_are_shown_without_what_went_and_what_somebody_keeps(store: Store, target: Collection) -> None:
    kept = KeptReports(store.database)
    keep(store, target)
    groups = [group for _, group in kept.page(kept.newest(target), 0, 9)]
    assert current_groups(store.catalogue, target, groups) == groups
    first, second, third, fourth, _ = store.catalogue.images(target.id, limit=5)
    verdicts = Verdicts(store.database)
    verdicts.say([verdict_on(first.sha256.hex(), second.sha256.hex(), "duplicate")])
    (now, _) = current_groups(store.catalogue, target, groups)
    assert ([one["confirmed"] for one in now["members"]], now["answered"]) == ([True, False], False)
    verdicts.say([verdict_on(first.sha256.hex(), third.sha256.hex(), "keep_both")])
    (now, _) = current_groups(store.catalogue, target, groups)
    assert ([one["id"] for one in now["members"]], now["answered"]) == ([str(second.id)], True)
    remove_image(store.database, target, fourth.id)
    assert current_groups(store.catalogue, target, groups) == [now]
    remove_image(store.database, target, second.id)
    assert current_groups(store.catalogue, target, groups) == []
