"""The status of a collection, its failures, and jobs: begun on the page, followed, ended."""

import json
import re
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from api.cli import main
from api.http.access import OpenGate
from api.workspace import Workspace
from tests.journeys.page.conftest import serving
from tests.web_page import Watch, drawing, picture_of

LOOKING_MS = 60_000  # a job of the server, in a process of its own
IMAGES = 5
JOB: dict[str, object] = {
    "id": "7",
    "kind": "dedup",
    "collection": "default",
    "state": "running",
    "created_at": "2026-11-23T14:00:00.000Z",
    "started_at": "2026-11-23T14:00:01.000Z",
    "ended_at": None,
    "progress": {"stage": "compared", "done": 25, "total": 100, "left_s": 90.0},
    "request": {},
    "result": None,
    "problem": None,
    "webhook": None,
    "webhook_delivery": None,
}


@pytest.fixture(scope="module")
def fresh(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of a few pictures, one with a copy, and two files that are none; no job was ever run."""
    root = tmp_path_factory.mktemp("fresh")
    folder = root / "Pictures"
    folder.mkdir()
    for number in range(IMAGES - 1):
        drawing(3000 + number).save(folder / f"{number}.png")
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "empty.png").write_bytes(b"")
    (folder / "letter.jpg").write_bytes(b"Dear Sir or Madam")
    with pytest.raises(SystemExit, match="3"):
        main(["--store", str(root / "store"), "--progress", "none", "index", str(folder)])
    with Workspace(root / "store") as workspace, serving(workspace, OpenGate()) as address:
        yield address


@pytest.fixture
def page(context: BrowserContext, fresh: str, watch: Watch) -> Iterator[Page]:
    page = context.new_page()
    watch.follow(page)
    page.goto(fresh)
    yield page
    page.close()
    assert watch.complaints == []


def view(page: Page, name: str) -> None:
    page.evaluate("(name) => (location.hash = `#/${name}/default`)", name)


def test_looking_for_duplicates_is_begun_on_the_page_and_followed_to_its_end(page: Page) -> None:
    view(page, "jobs")
    expect(page.get_by_role("heading", name="No jobs yet")).to_be_visible()
    page.get_by_role("link", name="Look for duplicates").click()
    expect(page.get_by_role("heading", name="This server has not looked for duplicates yet")).to_be_visible()
    expect(page.locator(".totals:visible, .threshold:visible, .review-keys:visible")).to_have_count(0)
    picture_of(page, "duplicates-nobody-looked")
    page.get_by_role("button", name="Look for duplicates").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".group .tile")).to_have_count(2, timeout=LOOKING_MS)
    view(page, "jobs")
    job = page.locator(".job")
    expect(job.locator(".badge")).to_have_text("done")
    expect(job).to_contain_text("1 group, 1 copy")
    picture_of(page, "jobs")
    job.get_by_role("link", name="Review").click()
    expect(page.locator(".group .tile")).to_have_count(2)


def events(*jobs: dict[str, object]) -> str:
    return ": hello\n\n" + "".join(f"event: job\nid: {at}\ndata: {json.dumps(job)}\n\n" for at, job in enumerate(jobs))


def test_the_progress_of_a_job_is_live(page: Page) -> None:
    ended = JOB | {"state": "done", "ended_at": "2026-11-23T14:02:01.000Z", "result": {"groups": 3}}
    let_go = threading.Event()
    page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"items": [JOB], "next_cursor": None}))
    half = JOB | {"progress": {"stage": "compared", "done": 50, "total": 100, "left_s": 30.0}}
    page.route(
        "**/v1/jobs/7/events", lambda route: route.fulfill(body=events(JOB, half), content_type="text/event-stream")
    )
    page.route("**/v1/jobs/7", lambda route: route.fulfill(json=ended if let_go.is_set() else half))
    view(page, "jobs")
    job = page.locator(".job")
    expect(job).to_contain_text("50 of 100 compared, 30 s left")
    expect(job.get_by_role("progressbar", name="How far look for duplicates is")).to_have_attribute("value", "0.5")
    picture_of(page, "job-progress")
    let_go.set()  # the events ended before the job did: it is asked for now
    expect(job.locator(".badge")).to_have_text("done")
    expect(job).to_contain_text("took 2 min")
    expect(job).to_contain_text("3 groups")


def test_an_import_says_what_became_of_the_files_and_how_many_were_no_images(page: Page) -> None:
    index = {"seen": 5, "indexed": 3, "unchanged": 1, "moved": 0, "vanished": 0, "ignored": 2, "failed": 1}
    result = {
        "index": index,
        "outcomes": {"added": 4, "rejected": 1},
        "rejected": [],
        "notes": ["builtin names nothing"],
    }
    imported = JOB | {"kind": "import", "state": "done", "progress": None, "result": result}
    page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"items": [imported], "next_cursor": None}))
    view(page, "jobs")
    expect(page.locator(".job")).to_contain_text(
        "3 indexed · 1 unchanged · 1 failed · 4 added · 1 rejected · no images, ignored: 2. builtin names nothing"
    )


def test_a_job_says_who_was_told_of_its_end(page: Page) -> None:
    failed = {"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "the receiver answered 500"}
    told = {"state": "due", "attempts": 1, "next_at": "2026-11-23T14:03:00.000Z", "problem": failed}
    ended = JOB | {"state": "done", "webhook": "https://hooks.example/a?secret", "webhook_delivery": told}
    heard = threading.Event()

    def jobs(route: Route) -> None:
        now = ended | {"webhook_delivery": told | {"state": "delivered"}} if heard.is_set() else ended
        route.fulfill(json={"items": [now], "next_cursor": None})

    page.route("**/v1/jobs?*", jobs)
    view(page, "jobs")
    job = page.locator(".job")
    expect(job).to_contain_text("hooks.example was not told yet, next at")
    expect(job).to_contain_text("the receiver answered 500")
    heard.set()
    expect(job).to_contain_text("hooks.example was told")
    expect(job).not_to_contain_text("secret")


def test_a_receiver_that_could_not_be_told_is_told_again_with_one_press(page: Page) -> None:
    problem = {"type": "about:blank", "title": "Bad Gateway", "status": 502, "detail": "the receiver answered 500"}
    failed = {"state": "failed", "attempts": 10, "next_at": None, "problem": problem}
    due = {"state": "due", "attempts": 0, "next_at": "2026-11-24T14:03:00.000Z", "problem": None}
    ended = JOB | {"state": "done", "webhook": "https://hooks.example/a"}
    pressed = threading.Event()

    def again(route: Route) -> None:
        assert route.request.method == "POST"
        pressed.set()
        route.fulfill(status=202, json=ended | {"webhook_delivery": due})

    def jobs(route: Route) -> None:
        now = ended | {"webhook_delivery": due if pressed.is_set() else failed}
        route.fulfill(json={"items": [now], "next_cursor": None})

    page.route("**/v1/jobs?*", jobs)
    page.route("**/v1/jobs/7/webhook", again)
    view(page, "jobs")
    job = page.locator(".job")
    expect(job).to_contain_text("hooks.example could not be told: the receiver answered 500")
    picture_of(page, "jobs-webhook-failed")
    job.get_by_role("button", name="Send again").click()
    expect(job).to_contain_text("hooks.example is being told")
    expect(job.get_by_role("button", name="Send again")).to_have_count(0)


def test_a_job_whose_events_are_refused_is_asked_for_instead_and_can_be_ended(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 429",)
    cancelled = threading.Event()

    def refuse(route: Route) -> None:
        route.fulfill(status=429, json={"title": "Too Many Requests", "status": 429, "detail": "too many listen"})

    def cancel(route: Route) -> None:
        cancelled.set()
        route.fulfill(status=202, json=JOB | {"state": "cancelled"})

    page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"items": [JOB], "next_cursor": None}))
    page.route("**/v1/jobs/7/events", refuse)
    page.route(
        "**/v1/jobs/7", lambda route: route.fulfill(json=JOB | {"state": "cancelled"} if cancelled.is_set() else JOB)
    )
    page.route("**/v1/jobs/7/cancel", cancel)
    view(page, "jobs")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".job .badge")).to_have_text("cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_the_status_says_whether_the_collection_is_complete(page: Page) -> None:
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("heading", name="Complete")).to_be_visible()
    expect(page.locator(".verdict")).to_contain_text(
        f"Of {IMAGES + 2} files that were seen, searches find {IMAGES}; 2 others are in the list of failures."
    )
    expect(page.locator(".card", has_text="Index")).to_contain_text("recall is 100 %")
    expect(page.locator(".card", has_text="Scores")).to_contain_text("lookalike calibrate")
    picture_of(page, "status")


def test_what_is_missing_is_said(page: Page, fresh: str) -> None:
    found = page.request.get(f"{fresh}/v1/collections/default/status").json()
    told = {"complete": False, "summary": "1 image cannot be found", "missing": ["the last job was interrupted"]}
    live = {"live": {"recall": 0.9996, "checks": 12}}
    page.route("**/status", lambda route: route.fulfill(json=found | told | live))
    view(page, "status")
    expect(page.get_by_role("heading", name="Not complete")).to_be_visible()
    expect(page.locator(".verdict li")).to_have_text("the last job was interrupted")
    expect(page.locator(".card", has_text="Index")).to_contain_text("99.9 % of 12 checked searches")
    page.unroute("**/status")
    page.route("**/status", lambda route: route.fulfill(json=found | {"complete": True, "searchable": 0}))
    page.reload()
    expect(page.locator(".verdict.bad").get_by_role("heading")).to_have_text("No picture could be indexed")


def test_failures_are_listed_with_their_reasons_and_narrowed_by_one(page: Page) -> None:
    page.get_by_role("link", name="2 failed").click()
    expect(page).to_have_url(re.compile("#/failures/default$"))
    rows = page.locator(".ledger li")
    expect(rows.locator(".name")).to_have_text(["empty.png", "letter.jpg"])
    picture_of(page, "failures")
    page.get_by_role("button", name="not an image 1").click()
    expect(rows.locator(".name")).to_have_text(["letter.jpg"])
    expect(page.locator(".command code")).to_have_text("lookalike retry --reason not_an_image")
    page.get_by_role("button", name="not an image 1").click()
    expect(rows).to_have_count(2)
