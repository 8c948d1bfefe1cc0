"""What the page says when something is wrong: a picture, an address, the server, an empty store."""

import re
from pathlib import Path

from playwright.sync_api import Page, Route, expect

from api.http.app import MAX_BODY_BYTES
from tests.corpus import idat
from tests.corpus import png as chunks
from tests.web_page import Watch, choose, drawing, expect_found_itself, png, tiles


def test_a_picture_that_cannot_be_read_says_why_in_a_banner(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 422",)
    page.goto("/")
    choose(page, "letter.png", b"Dear Sir or Madam")
    banner = page.locator("#notices .notice")
    expect(banner).to_contain_text("This picture cannot be read")
    expect(banner).to_contain_text("The file is no picture")
    banner.get_by_role("button", name="Dismiss").click()
    expect(banner).to_have_count(0)
    choose(page, "mine.png", png(drawing(11)))
    expect_found_itself(page, "drawing 11.png")


def test_a_picture_that_is_too_large_says_so(page: Page, watch: Watch, tmp_path: Path) -> None:
    watch.expected = ("Failed to load resource",)
    huge = tmp_path / "huge.png"
    huge.write_bytes(png(drawing(0)).ljust(MAX_BODY_BYTES + 1, b"\0"))
    page.goto("/")
    page.locator("main input[type=file]:not([capture])").set_input_files(huge)
    expect(page.locator("#notices .notice")).to_contain_text("Too large")


def test_what_people_are_told_is_what_they_can_do_and_no_word_of_a_program(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource",)
    page.goto("/")
    choose(page, "bomb.png", chunks(idat(1, 1), header=(30_000, 30_000, 8, 2)))
    text = page.locator("#notices .notice p")
    expect(text).to_have_text(
        "This picture cannot be read. It has more pixels than can be read here. "
        "Save it smaller, or as JPEG, and try that."
    )
    page.goto("/")
    page.get_by_label("Address of a picture").fill("https://pictures.example/a.png")
    page.get_by_role("button", name="Search by address").click()
    expect(text).to_contain_text("That does not work. ")
    expect(text).not_to_contain_text("Unprocessable")


def test_a_notice_goes_with_the_view_that_it_is_about(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 404",)
    page.goto("/#/search/default/999999")
    banner = page.locator("#notices .notice")
    expect(banner).to_contain_text("999999")
    page.get_by_role("link", name="Status").click()
    expect(page.locator(".card dl").first).to_be_visible()
    expect(banner).to_have_count(0)
    page.go_back()
    expect(banner).to_contain_text("999999")


def test_an_address_that_leads_to_no_view_says_so_and_shows_the_ways_back(page: Page) -> None:
    page.goto("/#/nosuch/default")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such view")
    expect(page.locator(".teach")).to_contain_text("no view named nosuch")
    expect(page).to_have_title("No such view · Lookalike")
    page.locator(".ways").get_by_role("link", name="Browse").click()
    expect(tiles(page).first).to_be_visible()
    page.go_back()
    page.get_by_role("link", name="Back to the start").click()
    expect(page.locator(".zone")).to_be_visible()


def test_an_image_that_does_not_exist_says_so(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 404",)
    page.goto("/#/search/default/999999")
    expect(page.locator("#notices .notice")).to_contain_text("999999")
    page.get_by_role("link", name="Browse").click()
    expect(tiles(page).first).to_be_visible()


def test_while_the_server_loads_the_page_waits_and_then_goes_on(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 503",)
    answers = iter(["loading collection default"])

    def ready(route: Route) -> None:
        reason = next(answers, None)
        if reason is None:
            route.continue_()
        else:
            route.fulfill(status=503, json={"title": "Service Unavailable", "status": 503, "detail": reason})

    page.route("**/readyz", ready)
    page.goto("/")
    expect(page.get_by_text("loading collection default")).to_be_visible()
    expect(page.locator(".zone")).to_be_visible()


def test_a_server_that_goes_away_is_reported_and_its_return_noticed(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: net::ERR_FAILED",)
    page.goto("/")
    expect(tiles(page)).to_have_count(12)
    page.route(re.compile("/v1/|/healthz"), lambda route: route.abort())
    page.get_by_role("link", name="Browse").click()
    expect(page.locator("#notices .notice")).to_contain_text("The server does not answer")
    page.unroute_all()
    expect(tiles(page).first).to_be_visible()
    expect(page.locator("#notices .notice")).to_have_count(0)


def test_an_empty_store_teaches_how_to_index(page: Page) -> None:
    page.route("**/v1/collections", lambda route: route.fulfill(json={"items": [], "next_cursor": None}))
    page.goto("/")
    expect(page.get_by_text("lookalike index ~/Pictures")).to_be_visible()
    page.get_by_role("link", name="Status").click()
    page.get_by_role("link", name="Jobs").click()
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_text("lookalike index ~/Pictures")).to_be_visible()
    page.goto("/")
    page.unroute_all()
    expect(page.locator(".zone")).to_be_visible()


def test_an_address_that_cannot_be_followed_leaves_nothing_that_seems_to_load(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 4",)
    blanks = page.locator(".blank-line, .blank-card, .blank")
    page.goto("/#/plans/default/nosuch")
    expect(page.get_by_role("heading", name="There is no such plan")).to_be_visible()
    expect(blanks).to_have_count(0)
    page.goto("/#/browse/default?only=zzz&where=width+%3E+1")
    expect(page.get_by_role("heading", name="There is no such facet")).to_be_visible()
    expect(page.locator("#where-error")).to_be_empty()
    expect(blanks).to_have_count(0)
    page.get_by_role("button", name="Take it away").click()
    expect(tiles(page).first).to_be_visible()
    expect(page.get_by_label("Only images where")).to_have_value("width > 1")
