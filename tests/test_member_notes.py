"""What people and tables are told of a member beside its kind: who confirmed it, and whose exact copy it is."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from api.console import group_lines
from api.duplicate_report.page import ReportFacts, page_of
from api.duplicate_report.tables import write_parquet
from search.duplicates.groups import DuplicateGroup
from tests.duplicate_groups import DrawnGroupPictures, image_named, member

SMALL, AGAIN = member(2, "resized"), replace(member(3, "resized"), copy_of=image_named(2))
SAID = replace(member(4, "near"), confirmed=True, copy_of=image_named(5))  # and so is number 5, in no need of a place
TOLD = DuplicateGroup(image_named(1), "oldest date", (SMALL, AGAIN, SAID))


def test_a_terminal_tells_who_confirmed_a_member_and_whose_exact_copy_it_is() -> None:
    assert [row[-1] for row in group_lines(1, TOLD)] == [
        "/photos/holiday/1.jpg  (oldest date)",
        "/photos/holiday/2.jpg",
        "/photos/holiday/3.jpg  (exact copy of /photos/holiday/2.jpg)",
        "/photos/holiday/4.jpg  (confirmed by a person)",
    ]


def test_the_page_tells_it_with_the_name_alone() -> None:
    page = "".join(page_of(ReportFacts("default", 9, 0.8, "none", "today"), [TOLD], DrawnGroupPictures()))
    assert page.count("<span>exact copy of 2.jpg</span>") == 1
    assert page.count("<span>confirmed by a person</span>") == 1


def test_tables_and_json_have_the_id(tmp_path: Path) -> None:
    write_parquet([TOLD], tmp_path / "groups.parquet")
    assert pq.read_table(tmp_path / "groups.parquet")["copy_of"].to_pylist() == [None, None, 2, 5]
    assert [one.as_json()["copy_of"] for one in TOLD.members] == [None, "2", "5"]
