"""Labels of images, in the results and in the closer look."""

import re

from playwright.sync_api import Page, expect

from tests.web_page import (
    NAMED,
    choose,
    drawing,
    expect_found_itself,
    png,
    tiles,
)

LOOKING_MS = 60_000  # the server looks at pixels, beside other tests


def label_counts(page: Page) -> dict[str, int]:
    """Return the labels of the collection `named` with their counts, as the server counts them."""
    items = page.request.get("/v1/collections/named/labels").json()["items"]
    return {item["label"]: item["images"] for item in items}


def test_a_chosen_label_filters_the_results_and_is_part_of_the_address(page: Page) -> None:
    page.goto(f"/#/search/named/{NAMED}")
    expect(tiles(page)).to_have_count(24)
    counts = label_counts(page)
    label, images = min(counts.items(), key=lambda item: item[1])
    choice = page.get_by_label("Label of the results")
    expect(choice.locator("option")).to_have_text(["Any label", *(f"{one} ({n})" for one, n in counts.items())])
    place = "(({ x, y, width }) => [x, y, width])(document.querySelector('.grid').getBoundingClientRect())"
    before = page.evaluate(place)
    choice.focus()
    choice.select_option(label)
    expect(tiles(page)).to_have_count(images)
    expect(choice).to_be_focused()
    assert set(page.locator("main .tile .label").all_inner_texts()) == {label.split(",")[0]}
    expect(page.locator(".foot")).to_contain_text("only image" if images == 1 else f"all {images} images")
    assert page.evaluate(place) == before
    page.reload()
    expect(tiles(page)).to_have_count(images)
    expect(choice).to_have_value(label)
    expect(page.locator(".query .name")).to_have_text(re.compile(r"^named \d\d\.png$"))
    choice.select_option("Any label")
    expect(tiles(page)).to_have_count(24)
    expect(page).to_have_url(re.compile(rf"#/search/named/{NAMED}$"))


def test_a_label_filters_the_results_of_a_picture_and_back_remembers_it(page: Page) -> None:
    page.goto("/#/search/named")
    choose(page, "mine.png", png(drawing(2007)))
    expect_found_itself(page, "named 07.png")
    own = tiles(page).first.locator(".label").get_attribute("title") or ""
    label, images = next((one, n) for one, n in label_counts(page).items() if not own.startswith(one))
    page.get_by_label("Label of the results").select_option(label)
    expect(page.get_by_role("heading", level=1)).to_have_text("No copy found", timeout=LOOKING_MS)
    expect(tiles(page)).to_have_count(min(images, 24))
    tiles(page).first.locator(".face").click()
    expect(tiles(page).first.locator(".badge")).to_have_text("this image")
    page.go_back()
    expect(tiles(page)).to_have_count(min(images, 24))
    expect(page.get_by_label("Label of the results")).to_have_value(label)


def test_the_closer_look_shows_the_labels_with_their_probabilities(page: Page) -> None:
    page.goto(f"/#/search/named/{NAMED}")
    short = tiles(page).first.locator(".label").inner_text()
    tiles(page).first.locator(".look").click()
    shown = page.get_by_role("dialog").locator(".labels")
    expect(shown.locator("dt")).to_have_text(re.compile(f"^{short}"))
    expect(shown.locator("dd")).to_have_text("60 %")


def test_where_there_are_no_labels_nothing_speaks_of_them(page: Page) -> None:
    page.goto("/#/search/default/1")
    expect(tiles(page)).to_have_count(24)
    expect(page.locator(".facet, .tile .label")).to_have_count(0)
