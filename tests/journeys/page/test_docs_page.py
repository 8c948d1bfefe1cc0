"""The page of docs: everything that the server answers, as it describes itself."""

from playwright.sync_api import Page, expect


def test_the_page_of_docs_shows_every_request_its_fields_and_examples(page: Page) -> None:
    page.goto("/docs")
    described = page.request.get("/openapi.json").json()
    expected = {one["operationId"] for methods in described["paths"].values() for one in methods.values()}
    expect(page.locator(".operation")).to_have_count(len(expected))
    search = page.locator("#search")
    expect(search.get_by_role("heading", level=3)).to_have_text("POST /v1/collections/{collection}/search")
    expect(search.get_by_role("rowheader", name="min_score").first).to_be_visible()
    form, json = (search.locator("pre").filter(has_text=text).first for text in ("curl", '"id"'))
    expect(form).to_contain_text("/search -F image=@beach.jpg -F k=20 -F 'where=width >= 1000'")
    expect(json).to_contain_text('"where": "width >= 1000"')
    expect(search.get_by_role("rowheader", name="422")).to_be_visible()
    page.get_by_role("navigation", name="Requests").get_by_role("link", name="All collections").click()
    expect(page.locator("#collections")).to_be_in_viewport()


def test_the_page_of_docs_fits_a_phone_and_says_when_there_is_nothing_to_show(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 640})
    page.goto("/docs")
    expect(page.locator("#search")).to_be_attached()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.route("**/openapi.json", lambda route: route.fulfill(body="{}"))
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("cannot be read")
