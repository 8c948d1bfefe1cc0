"""Duplicates to the end, on the page alone: reviewed, moved into quarantine, brought back, deleted for good."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from api.cli import main
from api.http.access import OpenGate
from api.workspace import Workspace
from tests.dedup_jobs import look_for_duplicates
from tests.journeys.page.conftest import serving
from tests.journeys.page.test_design import violations
from tests.journeys.page.test_jobs import JOB, events
from tests.web_page import Watch, drawing, picture_of

JOB_MS = 60_000  # a job of the server, in a process of its own
SMALL = (144, 120)


@dataclass(frozen=True)
class Album:
    """A folder with copies, its files as they were, and the address of a server of it."""

    url: str
    folder: Path
    files: dict[str, bytes]

    @property
    def now(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self.folder.iterdir() if file.is_file()}

    @property
    def quarantined(self) -> list[str]:
        return sorted(file.name for file in (self.folder / ".lookalike-quarantine").rglob("*.*") if file.is_file())


@pytest.fixture(scope="module")
def album(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Album]:
    """Nine pictures, one with a copy of the same bytes and two with smaller ones, for which somebody has looked."""
    root = tmp_path_factory.mktemp("album")
    folder = root / "Pictures"
    folder.mkdir()
    for number in range(9):
        drawing(4000 + number).save(folder / f"{number}.png")
    (folder / "copy of 0.png").write_bytes((folder / "0.png").read_bytes())
    for number in (1, 2):
        drawing(4000 + number).resize(SMALL).save(folder / f"small {number}.jpg", quality=70)
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(root / "store"), "--progress", "none", "index", str(folder)])
    look_for_duplicates(root / "store", calibrate=False)
    with Workspace(root / "store") as workspace, serving(workspace, OpenGate()) as address:
        files = {file.name: file.read_bytes() for file in folder.iterdir()}
        yield Album(address, folder, files)


@pytest.fixture
def page(context: BrowserContext, album: Album, watch: Watch) -> Iterator[Page]:
    page = context.new_page()
    watch.follow(page)
    page.goto(f"{album.url}/#/duplicates/default")
    expect(page.get_by_role("button", name="Look again")).to_be_visible()
    yield page
    page.close()
    assert watch.complaints == []


def test_copies_are_reviewed_moved_into_quarantine_and_brought_back_byte_for_byte(page: Page, album: Album) -> None:
    page.locator(".tile", has_text="small 1.jpg").locator(".face").focus()
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        page.keyboard.press("d")
    page.get_by_role("link", name="See what would go").click()
    expect(page).to_have_url(re.compile(r"#/plans/default/\d{8}-[0-9a-f]{8}$"))
    would = page.locator(".plan-would")
    expect(would).to_have_text(re.compile(r"^2 copies of 2 groups \(.*\) would be moved into quarantine\.$"))
    expect(page.locator(".plan-preview li")).to_have_text(re.compile("^1 copy stays that nobody confirmed"))
    picture_of(page, "plan")
    assert violations(page) == []
    page.get_by_role("button", name="Move 2 copies into quarantine").press("Enter")
    result = page.locator(".told h2")
    expect(result).to_have_text(re.compile(r"^2 copies of 2 groups \(.*\) moved into quarantine$"), timeout=JOB_MS)
    expect(result).to_be_focused()
    assert album.quarantined == ["copy of 0.png", "small 1.jpg"]
    assert sorted(album.now) == sorted(set(album.files) - set(album.quarantined))
    expect(page.locator(".plan-title .badge")).to_have_text("applied")
    expect(page.locator("#counts")).to_contain_text("10 images")
    expect(page.locator(".group .tile", has_text="in quarantine")).to_have_count(2)
    picture_of(page, "plan-applied")
    assert violations(page) == []
    page.go_back()
    expect(page.locator(".group .tile")).to_have_count(2)  # what went is not remembered
    page.go_forward()
    page.get_by_role("button", name="Undo: bring 2 copies back").click()
    expect(result).to_have_text(re.compile(r"^2 files \(.*\) brought back$"), timeout=JOB_MS)
    assert album.now == album.files
    assert album.quarantined == []
    expect(page.locator(".plan-title .badge")).to_have_text("undone")
    expect(page.locator(".plan-history li strong")).to_have_text(["Undo a plan", "Apply a plan"])


def test_more_than_a_fifth_of_a_folder_is_allowed_first_and_deleted_for_good_only_when_typed(
    page: Page, album: Album
) -> None:
    page.get_by_role("link", name="Plans").click()
    expect(page.locator(".plan-row")).to_contain_text("3 copies of 3 groups")
    picture_of(page, "plans")
    page.locator(".plan-row a").click()
    page.get_by_label(re.compile("^Also near copies")).check()
    move = page.get_by_role("button", name="Move 3 copies into quarantine")
    expect(move).to_be_disabled()
    expect(page.locator(".too-much")).to_contain_text("That is 3 of the 12 images in ")
    picture_of(page, "plan-too-much")
    page.get_by_role("button", name="It is right: allow 25 %").click()
    expect(move).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".told h2")).to_have_text(re.compile("^3 copies of 3 groups"), timeout=JOB_MS)
    assert album.quarantined == ["copy of 0.png", "small 1.jpg", "small 2.jpg"]
    page.get_by_text("Delete for good…").click()
    page.get_by_label("What was moved").select_option("0h")
    page.get_by_role("button", name="See what would be deleted").click()
    expect(page.locator(".told h2")).to_have_text(
        re.compile(r"^3 files \(.*\) would be deleted for good$"), timeout=JOB_MS
    )
    assert len(album.quarantined) == 3
    delete = page.get_by_role("button", name="Delete for good", exact=True)
    typed = page.get_by_label("Type 3 to go on")
    typed.fill("2")
    expect(delete).to_be_disabled()
    typed.fill("3")
    picture_of(page, "plan-purge")
    assert violations(page) == []
    delete.click()
    expect(page.locator(".told h2")).to_have_text(re.compile(r"^3 files \(.*\) deleted for good$"), timeout=JOB_MS)
    assert album.quarantined == []
    expect(page.locator(".plan-title .badge")).to_have_text("purged")


def plan_of(page: Page) -> str:
    return str(page.request.get(page.url.split("#")[0] + "v1/collections/default/plans").json()["items"][0]["id"])


def test_a_plan_that_expired_was_edited_or_is_gone_says_what_to_do_instead(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 40",)
    plan = plan_of(page)
    page.evaluate("location.hash = '#/plans/default/20260101-00000000'")
    expect(page.get_by_role("heading", name="There is no such plan")).to_be_visible()
    edited = {"status": 409, "title": "Conflict", "detail": "it is not as `dedup` wrote it; run `dedup` again"}
    page.route(f"**/plans/{plan}?*", lambda route: route.fulfill(status=409, json=edited))
    page.evaluate(f"location.hash = '#/plans/default/{plan}'")
    expect(page.get_by_role("heading", name="This plan cannot be used")).to_be_visible()
    expect(page.locator(".teach")).to_contain_text(f"lookalike undo {plan}")
    page.unroute(f"**/plans/{plan}?*")
    found = page.request.get(f"{page.url.split('#')[0]}v1/collections/default/plans/{plan}").json()
    page.route(f"**/plans/{plan}?*", lambda route: route.fulfill(json=found | {"state": "expired"}))
    page.reload()
    expect(page.get_by_role("heading", name="This plan has expired")).to_be_visible()
    page.get_by_role("link", name="Look again").click()
    expect(page.get_by_role("heading", name="Duplicates")).to_be_visible()


def test_what_a_disk_refuses_and_what_cannot_be_moved_is_said(page: Page, watch: Watch) -> None:
    plan = plan_of(page)
    watch.expected = ("Failed to load resource: the server responded with a status of 409",)
    refused = {"status": 409, "title": "Conflict", "detail": "nothing was changed: /photos is read-only"}
    would = {"groups": 1, "files": 2, "bytes": 9, "left": {"elsewhere": 4}, "over": None}
    page.route("**/preview?*", lambda route: route.fulfill(json=would))
    page.route("**/apply", lambda route: route.fulfill(status=409, json=refused))
    page.evaluate(f"location.hash = '#/plans/default/{plan}'")
    expect(page.locator(".plan-preview li")).to_have_text(
        "4 copies stay in archives, on object storage, gone or changed: they can only be listed"
    )
    page.get_by_role("button", name="Move 2 copies into quarantine").click()
    expect(page.locator(".told")).to_contain_text("Nothing was changed: /photos is read-only.")
    expect(page.locator(".told").get_by_role("link", name="Look for duplicates again")).to_be_visible()
    page.get_by_label(re.compile("^Only list")).check()
    expect(page.get_by_role("button", name="List 2 copies")).to_be_enabled()
    expect(page.get_by_role("button", name="Try it first")).to_be_hidden()
    drop = [{"group": 1, "keep": "1", "id": "2", "key": 'the "best".png'}]
    result = {"action": "list", "groups": 1, "files": 1, "bytes": 9, "left": {}, "drop": drop, "truncated": False}
    done = JOB | {"kind": "apply", "state": "done", "request": {"plan": plan}, "result": result}
    page.route("**/apply", lambda route: route.fulfill(status=202, json=done))
    page.get_by_role("button", name="List 2 copies").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    assert Path(download.value.path()).read_bytes() == b'group,keep,id,key\r\n1,1,2,"the ""best"".png"\r\n'


def test_a_job_that_acts_on_a_plan_is_followed_after_a_reload_too(page: Page) -> None:
    plan = plan_of(page)
    progress = {"stage": "checked", "done": 2**19, "total": 2**20, "left_s": 2.0}
    running = JOB | {"kind": "apply", "request": {"plan": plan}, "progress": progress}
    skipped = [{"group": 3, "path": "/photos/3.png", "reason": "was changed since"}]
    counts = {"action": "quarantine", "dry_run": False, "groups": 2, "files": 2, "sidecars": 1, "bytes": 2**20}
    result = counts | {"left": {}, "skipped": skipped, "quarantines": [], "notes": []}
    let_go = threading.Event()

    def now() -> dict[str, object]:
        return JOB | running | {"state": "done", "result": result} if let_go.is_set() else running

    page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"items": [now()], "next_cursor": None}))
    stream, kind = events(running), "text/event-stream"
    page.route("**/v1/jobs/7/events", lambda route: route.fulfill(body=stream, content_type=kind))
    page.route("**/v1/jobs/7", lambda route: route.fulfill(json=now()))
    page.evaluate(f"location.hash = '#/plans/default/{plan}'")
    expect(page.locator(".running")).to_contain_text("512.0 KiB of 1.0 MiB checked, 2 s left")
    page.reload()
    expect(page.locator(".running")).to_contain_text("512.0 KiB of 1.0 MiB checked, 2 s left")
    expect(page.locator(".running progress")).to_have_attribute("value", "0.5")
    expect(page.locator(".plan-form .button.main")).to_be_disabled()
    picture_of(page, "plan-running")
    let_go.set()
    expect(page.locator(".told h2")).to_have_text("2 copies of 2 groups (1.0 MiB) moved into quarantine")
    expect(page.locator(".skipped li")).to_have_text("/photos/3.png was changed since")
    expect(page.locator(".told li").first).to_have_text("1 sidecar beside them went with them.")
