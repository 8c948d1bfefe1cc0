"""Results that the search shall be more like, or less like: chosen by buttons and keys, part of the address."""

import re
from typing import Any

from playwright.sync_api import Page, Request, expect

from tests.web_page import choose, drawing, names, picture_of, png, tiles


def body(request: Request) -> Any:
    return request.post_data_json


def names_examples(request: Request) -> bool:
    """Whether it searches by examples; a look at the pixels for the results of before may still be asked for."""
    return request.url.endswith("/search") and "like" in body(request)


def test_a_search_is_refined_by_what_its_results_are_like_and_unlike(page: Page) -> None:
    page.goto("/#/search/default/1")
    expect(tiles(page)).to_have_count(24)
    expect(page.locator(".example-hint")).to_be_visible()
    # By their ids: the look at the pixels may put them into another order meanwhile.
    liked, disliked = (str(tiles(page).nth(at).get_attribute("data-id")) for at in (1, 3))
    first = page.locator(f".tile[data-id='{liked}']")
    called = first.locator(".name").inner_text()
    first.hover()
    with page.expect_request(names_examples) as asked:
        first.get_by_role("button", name=f"More like this: {called}").click()
    assert body(asked.value) == {"id": "1", "k": 24, "like": [liked]}
    expect(page.get_by_role("heading", level=1)).to_have_text("Like your examples")
    expect(page.locator(".note")).not_to_contain_text("looking at the pixels")  # of one picture alone
    expect(page.locator(f".tile[data-id='{liked}']")).to_have_count(0)
    expect(page.get_by_role("button", name=f"Take away: more like {called}")).to_be_visible()
    page.locator(f".tile[data-id='{disliked}'] .face").focus()
    with page.expect_request(names_examples) as asked:
        page.keyboard.press("-")
    assert body(asked.value) == {"id": "1", "k": 24, "like": [liked], "unlike": [disliked]}
    expect(page).to_have_url(re.compile(f"like={liked}&unlike={disliked}$"))
    expect(page.locator(".chip")).to_have_count(2)
    expect(page.locator(f".tile[data-id='{disliked}']")).to_have_count(0)
    expect(page.locator(".results .tile .face:focus")).to_have_count(1)  # the one that took its place
    picture_of(page, "examples")
    found = names(page)
    page.reload()
    expect(page.get_by_role("button", name=f"Take away: more like {called}")).to_be_visible()
    expect(tiles(page)).to_have_count(24)
    assert names(page) == found


def test_examples_are_taken_away_by_their_chips(page: Page) -> None:
    page.goto("/#/search/default/1?like=5&unlike=9")
    page.get_by_role("button", name=re.compile("^Take away: less like")).click()
    expect(page).to_have_url(re.compile("like=5$"))
    page.get_by_role("button", name=re.compile("^Take away: more like")).press("Enter")
    expect(page).to_have_url(re.compile(r"#/search/default/1$"))
    expect(tiles(page).first.locator(".badge")).to_have_text("this image")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Like your examples")
    expect(page.get_by_role("button", name=re.compile("^Take away: more like"))).to_be_visible()


def test_a_picture_of_ones_own_is_refined_and_a_part_of_it_goes_without_examples(page: Page) -> None:
    page.goto("/")
    choose(page, "mine.png", png(drawing(5)))
    expect(tiles(page).first.locator(".name")).to_have_text("drawing 05.png")
    tiles(page).nth(2).locator(".face").focus()
    page.keyboard.press("+")
    expect(page.locator(".chip.like")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Like your examples")
    page.get_by_role("button", name="Search a part of it").click()
    page.keyboard.press("Enter")
    expect(page.locator(".chip.like")).to_have_count(0)
    expect(page).to_have_url(re.compile("box="))
    expect(page.locator(".results .stale")).to_have_count(0)
    tiles(page).nth(2).locator(".face").focus()
    page.keyboard.press("+")
    expect(page).not_to_have_url(re.compile("box="))
    expect(page.get_by_role("button", name="Search a part of it")).to_be_visible()
