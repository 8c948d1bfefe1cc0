"""The duplicates view."""

import re

from playwright.sync_api import Page, expect

from tests.web_page import (
    INDEXED,
    Watch,
)

LOOKING_MS = 60_000  # a job of the server, in a process of its own


def test_the_duplicates_tab_lists_the_planted_group(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Duplicates").click()
    group = page.locator(".group", has_text="original.png")
    expect(group.get_by_role("heading")).to_have_text("2 copies")
    expect(group.locator(".keeper .name")).to_have_text("original.png")
    expect(group.locator(".keeper .badge")).to_have_text("keep")
    expect(group.locator(".tile", has_text="same bytes.png").locator(".badge")).to_have_text("same pixels")
    expect(group.locator(".tile", has_text="smaller.jpg").locator(".score")).to_have_text(re.compile(r"^(0\.\d|1\.0)"))
    expect(page.locator(".totals dt")).to_have_text(["group", "copies", "reclaimable", "images compared"])
    expect(page.locator(".totals dd")).to_have_text(["1", "2", re.compile(r"^[\d.]+ KiB$"), str(INDEXED)])
    expect(page.get_by_text("No file is changed here.")).to_be_visible()


def test_a_higher_threshold_asks_for_surer_groups_and_is_part_of_the_address(page: Page) -> None:
    page.goto("/#/duplicates/default")
    expect(page.locator(".group .tile")).to_have_count(3)
    page.get_by_label("Least score of a near copy, as a number").fill("1")
    expect(page.locator(".group .tile")).to_have_count(2, timeout=LOOKING_MS)
    expect(page).to_have_url(re.compile(r"#/duplicates/default\?threshold=1$"))
    page.reload()
    expect(page.locator(".group .tile")).to_have_count(2)
    page.get_by_role("button", name="Default").click()
    expect(page.locator(".group .tile")).to_have_count(3, timeout=LOOKING_MS)
    expect(page).to_have_url(re.compile(r"#/duplicates/default$"))


def said_on_the_server(page: Page) -> list[str]:
    return [item["verdict"] for item in page.request.get("/v1/collections/default/verdicts").json()["items"]]


def test_copies_are_reviewed_with_the_keyboard_and_each_verdict_is_sent(page: Page) -> None:
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    page.locator(".tile[data-second] .face").first.wait_for()
    assert page.locator(".tile", has_text="same bytes.png").locator("[data-say]").count() == 0
    page.keyboard.press("ArrowRight")
    expect(smaller.locator(".face")).to_be_focused()
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        page.keyboard.press("k")
    expect(smaller.locator(".said")).to_have_text("keep both")
    assert said_on_the_server(page) == ["keep_both"]
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        smaller.get_by_role("button", name="Not a duplicate").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert said_on_the_server(page) == ["not_duplicate"]
    for left in (["keep_both"], []):
        with page.expect_response(lambda answer: "/verdicts" in answer.url):
            page.keyboard.press("u")
        assert said_on_the_server(page) == left
    expect(smaller.locator(".said")).to_have_text("")
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("Nothing to undo")


def test_a_verdict_that_was_not_written_down_says_so(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource",)
    page.route("**/verdicts", lambda route: route.fulfill(status=503, json={"detail": "the disk is full"}))
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    smaller.get_by_role("button", name="Duplicate", exact=True).click()
    expect(smaller).to_have_class(re.compile("unsent"))
    expect(page.locator("#notices")).to_contain_text("the disk is full")
