"""What a plan says, and that nothing is done by one that is not as it was written."""

import hashlib
import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from api.acting import ReportOrigin, plan_report
from search.duplicates.report import DuplicateReport
from search.errors import GuardRefused, StoreUnavailable, UsageError
from search.plans.choosing import Wanted, choose
from search.plans.durations import seconds_of
from search.plans.history import History
from search.plans.keep_lists import write_lists
from search.plans.plan import UPLOADED, canonical, checksum, parsed
from search.plans.plan_files import PlanFiles
from search.plans.planning import DEFAULT_LIFETIME_S
from search.records import path_of_uri
from search.storing.uploads import Uploads
from search.storing.verdicts import Verdicts, verdict_on
from tests.fault_worker import SPACE
from tests.planned_albums import Album, album

__all__ = ["album"]


def test_a_plan_says_what_each_file_is_on_disk_and_why_it_is_kept(album: Album) -> None:
    plan = album.copies("a")
    (group,) = plan.groups
    status = (album.photos / "a copy.jpg").stat()
    disk = group.members[0].file.on_disk
    assert disk is not None
    assert (disk.device, disk.inode) == (status.st_dev, status.st_ino)
    assert (disk.size_bytes, disk.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert group.reason == "most pixels"
    assert group.members[0].file.sha256 == album.image("a.jpg").sha256.hex()
    assert [(Path(root.uri).name, root.images) for root in plan.roots] == [("photos", 22)]
    assert plan.expires_at - plan.made_at == DEFAULT_LIFETIME_S == 30 * 86_400


def test_a_file_of_several_images_comes_free_once_and_not_while_its_keeper_needs_it(album: Album) -> None:
    """As do pictures of the same bytes that were sent under several keys."""
    plan = album.copies("a")
    (group,) = plan.groups
    (one,) = group.members
    assert plan.bytes_reclaimable == one.file.size_bytes
    shared = replace(one, file=replace(one.file, uri=group.keeper.uri))
    assert replace(plan, groups=(replace(group, members=(one, one, shared)),)).bytes_reclaimable == one.file.size_bytes


def test_a_plan_is_read_back_as_it_was_written_by_its_id_and_by_its_path(album: Album) -> None:
    plan = album.copies("a", "b", protected=[album.photos / "x"])
    files = PlanFiles(album.store.root)
    assert files.load(plan.id) == files.load(str(files.path(plan.id))) == plan
    assert files.path(plan.id).stat().st_mode & 0o222 == 0


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("expires_at",), "2099-01-01T00:00:00Z"),
        (("store",), "/elsewhere"),
        (("roots", 0, "images"), 10_000),
        (("groups", 0, "keeper", "uri"), "file:///etc/passwd"),
        (("groups", 0, "members", 0, "uri"), "file:///etc/passwd"),
        (("groups", 0, "members", 0, "kind"), "same_pixels"),
        (("groups", 0, "members", 0, "confirmed"), True),
        (("groups", 0, "members", 0, "on_disk", "mtime_ns"), 1),
        (("protected",), []),
    ],
)
def test_a_plan_that_was_edited_by_hand_is_refused(album: Album, path: tuple[str | int, ...], value: object) -> None:
    plan = album.copies("a", protected=[album.photos / "x"])
    shape = plan.as_json()
    inner: object = shape
    for name in path[:-1]:
        inner = inner[name]  # type: ignore[index]
    inner[path[-1]] = value  # type: ignore[index]
    with pytest.raises(GuardRefused, match="plan.json is not as `dedup` wrote it"):
        parsed(json.dumps(shape).encode(), "plan.json")


def test_what_is_no_plan_is_named_as_such() -> None:
    for text in (
        b"",
        b"[]",
        b"{}",
        b'{"format": 3}',
        b"\xff",
        canonical({"format": 1, "checksum": checksum({"format": 1})}),
    ):
        with pytest.raises(UsageError, match=r"p\.json is (no plan|a plan of format 3)"):
            parsed(text, "p.json")


@pytest.mark.parametrize("name", ["20990101-00000000", "nowhere.json", "../../etc/passwd", ""])
def test_an_unknown_plan_is_refused_by_name(album: Album, name: str) -> None:
    with pytest.raises(UsageError, match="plan"):
        PlanFiles(album.store.root).load(name)


def test_an_expired_plan_and_one_of_another_store_do_nothing(album: Album) -> None:
    plan = album.copies("a")
    with pytest.raises(GuardRefused, match="has expired on 2020-01-01T00:00:00Z"):
        album.job(replace(plan, expires_at=1_577_836_800))
    with pytest.raises(GuardRefused, match="was made in the store /old/place"):
        album.job(replace(plan, store="/old/place"))


def test_a_file_is_in_one_group_of_a_plan_alone(album: Album) -> None:
    album.copies("a", "b")
    plan = album.plan(album.group("a.jpg", "a copy.jpg"), album.group("b.jpg", "b copy.jpg", "a copy.jpg"))
    assert [m.file.why_not for group in plan.groups for m in group.members] == [
        None,
        None,
        "it is in another group, too",
    ]


def test_what_is_no_file_of_this_machine_is_planned_and_listed_but_never_moved(album: Album, tmp_path: Path) -> None:
    album.copies("a")
    group = album.group("a.jpg", "a copy.jpg")
    places = ["file:///p/12.tar!/3.jpg", "s3://bucket/3.jpg"]
    elsewhere = [
        replace(group.members[0], image=replace(group.members[0].image, id=900 + n, uri=uri))
        for n, uri in enumerate(places)
    ]
    plan = album.plan(replace(group, members=(*group.members, *elsewhere)))
    assert choose(plan, History(), Wanted("quarantine")).left == {"elsewhere": 2}
    keep, drop = write_lists(plan, choose(plan, History(), Wanted(None)), tmp_path / "lists")
    assert pq.read_table(keep)["uri"].to_pylist() == [group.keeper.uri]
    assert pq.read_table(drop)["uri"].to_pylist() == [group.members[0].image.uri, *places]
    assert set(pq.read_table(drop)["keeper_uri"].to_pylist()) == {group.keeper.uri}
    with pytest.raises(UsageError, match="is there already"):
        write_lists(plan, choose(plan, History(), Wanted(None)), tmp_path / "lists")


def test_uploads_are_named_as_such_and_nothing_goes_for_the_sake_of_one(album: Album) -> None:
    album.copies("a", "b")
    sent = Uploads(album.store)
    uri = sent.keep_original(b"picture a", hashlib.sha256(b"picture a").digest(), "jpg")
    group, other = album.group("a.jpg", "a copy.jpg"), album.group("b copy.jpg", "b.jpg")
    member, keeper = group.members[0], replace(other.keeper, uri=uri)
    uploads = [
        replace(member, image=replace(member.image, id=n, uri=one)) for n, one in ((901, uri), (902, "upload:a"))
    ]
    plan = album.plan(replace(group, members=(member, *uploads)), replace(other, keeper=keeper))
    assert [one.file.why_not for one in plan.groups[0].members] == [None, UPLOADED, UPLOADED]
    assert choose(plan, History(), Wanted("quarantine")).left == {"uploaded": 2, "keeper": 1}
    report = album.apply(plan, max_fraction=1.0)
    assert (report.files, album.hidden(plan)) == (1, ["a copy.jpg"])
    assert path_of_uri(uri).read_bytes() == b"picture a"  # type: ignore[union-attr]


def test_a_file_that_changed_since_it_was_indexed_is_left_where_it_is(album: Album) -> None:
    album.copies("a")
    (album.photos / "a copy.jpg").write_text("something longer than it was")
    plan = album.plan(album.group("a.jpg", "a copy.jpg"))
    assert plan.groups[0].members[0].file.why_not == "it has changed since it was indexed: run `lookalike index`"


def test_what_a_person_wants_kept_is_in_no_plan_whatever_a_report_says(album: Album) -> None:
    album.copies("a", "b")
    content = album.image("a.jpg").sha256.hex()
    Verdicts(album.store.database).say([verdict_on(content, content, "keep_both")])
    plan = album.plan(album.group("a.jpg", "a copy.jpg"), album.group("b.jpg", "b copy.jpg"))
    assert [(group.number, len(group.members)) for group in plan.groups] == [(2, 1)]


def test_a_report_that_keeps_an_image_of_another_collection_is_planned_with_that_one_alone(album: Album) -> None:
    album.copies("a")
    assert album.target is not None
    report = DuplicateReport(22, 0.8, (album.group("a.jpg", "a copy.jpg"),))
    other = album.store.open_collection("test", SPACE)
    with pytest.raises(UsageError, match="keeps an image that the collection test does not hold"):
        plan_report(album.store, album.target, report, ReportOrigin(between="test"), protect=(), expires="30d")
    with pytest.raises(UsageError, match="keeps an image that the collection test does not hold"):
        plan_report(album.store, other, report, ReportOrigin(), protect=(), expires="30d")
    plan = plan_report(album.store, other, report, ReportOrigin(between="default"), protect=(), expires="30d")
    assert plan is not None
    assert plan.groups[0].members[0].file.why_not == "the collection default, whose files are kept, has this very file"


def test_without_a_known_folder_the_quarantine_lies_beside_the_file(album: Album) -> None:
    from sqlalchemy import delete

    from search.database.tables import job

    album.copies("sub/a")
    with album.store.database.writing() as connection:
        connection.execute(delete(job))
    plan = album.plan(album.group("sub/a.jpg", "sub/a copy.jpg"))
    assert [(Path(root.uri).name, root.images) for root in plan.roots] == [("sub", 2)]


def test_old_plans_that_nobody_used_go_when_another_is_written(album: Album) -> None:
    plan = album.copies("a", lifetime_s=1)
    path = PlanFiles(album.store.root).path(plan.id)
    long_ago = time.time() - 61 * 86_400
    old = replace(plan, id="20200101-00000000", expires_at=int(long_ago))
    place = PlanFiles(album.store.root).save(old)
    os.utime(place, (long_ago, long_ago))
    PlanFiles(album.store.root).save(replace(plan, id="20200102-00000000"))
    assert path.exists()
    assert not place.exists()


def test_one_command_at_a_time_moves_files(album: Album) -> None:
    files = PlanFiles(album.store.root)
    with files.locked(), pytest.raises(StoreUnavailable, match="another apply, undo or purge"), files.locked():
        pass


@pytest.mark.parametrize(
    ("text", "seconds"), [("30d", 2_592_000), ("12h", 43_200), (" 2w ", 1_209_600), ("1d", 86_400)]
)
def test_lengths_of_time_are_written_with_their_unit(text: str, seconds: int) -> None:
    assert seconds_of(text, "--expires") == seconds


@pytest.mark.parametrize("text", ["30", "d", "-1d", "0d", "1.5d", "30m", "99999d", "", "1 d"])
def test_another_length_of_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--expires"):
        seconds_of(text, "--expires")
