"""The files of the web page, by name; a new one is named here."""

from importlib.resources import files
from typing import Final

from fastapi import FastAPI, Request, Response

from api.http.access import needs
from api.http.compressed import packed, takes_gzip

_SCRIPTS = (
    "addresses bar box_drawing browse_view comparison conditions dedup_job docs duplicates_head duplicates_view "
    "elements events examples facet_panel failures_view filter_box following group_rows job_words jobs_view key_view "
    "keys kind_filter known label_chooser large_view live_review map_canvas map_pictures map_points map_view notices "
    "page picture_trouble pictures plan_form plan_groups plan_purge plan_result plan_view plan_words plans_view "
    "query_side review role score_histogram search_view server start_view status_head status_view teaching theme "
    "theme_switch threshold_control tiles timeline what_differs when_near words"
)
_STYLES = "browse docs duplicates evidence large map page plans search status teaching tiles"
PAGE: Final = {
    "index.html": "text/html; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "docs.html": "text/html; charset=utf-8",
    **{f"{name}.css": "text/css; charset=utf-8" for name in _STYLES.split()},
    **{f"{name}.js": "text/javascript; charset=utf-8" for name in _SCRIPTS.split()},
}
ADDRESSES: Final = {"index.html": "/", "docs.html": "/docs"}  # of those that do not lie under /page/


def add_page(app: FastAPI) -> None:
    """Serve the page's files from the package, under /, /docs and /page/."""
    folder = files("api") / "page"
    for name, kind in PAGE.items():
        path = ADDRESSES.get(name, f"/page/{name}")
        file = _File((folder / name).read_bytes(), kind)
        app.add_api_route(path, file.answer, include_in_schema=False, methods=["GET", "HEAD"])


class _File:
    """A file in memory, as it is and packed."""

    def __init__(self, data: bytes, kind: str) -> None:
        self._data = data
        self._packed = packed(data)
        self._kind = kind

    @needs("nothing")
    def answer(self, request: Request) -> Response:
        headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if takes_gzip(request):
            return Response(self._packed, media_type=self._kind, headers=headers | {"Content-Encoding": "gzip"})
        return Response(self._data, media_type=self._kind, headers=headers)
