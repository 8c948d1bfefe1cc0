"""The duplicates view."""

import re

from playwright.sync_api import Page, expect

from tests.web_page import (
    INDEXED,
)


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
    expect(page.locator(".group .tile")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"#/duplicates/default\?threshold=1$"))
    page.reload()
    expect(page.locator(".group .tile")).to_have_count(2)
    page.get_by_role("button", name="Default").click()
    expect(page.locator(".group .tile")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"#/duplicates/default$"))
