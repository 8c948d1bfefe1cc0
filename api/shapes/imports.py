"""The body that starts an import."""

from typing import Annotated

from pydantic import Field, model_validator

from api.shapes.base import shown
from api.shapes.ingest import Keep, OnDuplicate, Uri, UriItem
from api.shapes.webhooks import StartsJob

MOST_SOURCES = 10_000
MOST_ROWS = 100_000


class ImportBody(StartsJob):
    """Many pictures by their addresses: folders, files and archives below --allow-root, and, with --allow-url, pictures
    of the internet. manifest: pictures of which something is to be said, one by one. One of the two names something.
    """

    model_config = shown(
        {"sources": ["/photos/2024", "https://pictures.example/a.jpg"]},
        {"manifest": [{"uri": "/photos/b.jpg", "key": "shop/17", "metadata": {"price": 30}}], "on_duplicate": "reject"},
        demanding={"not": {"properties": {"sources": {"maxItems": 0}, "manifest": {"maxItems": 0}}}},
    )

    sources: Annotated[list[Uri], Field(max_length=MOST_SOURCES)] = []
    manifest: Annotated[list[UriItem], Field(max_length=MOST_ROWS)] = []
    on_duplicate: Annotated[OnDuplicate, Field(description="of those taken in one by one")] = "allow"
    keep: Keep = "original"

    @model_validator(mode="after")
    def _names_something(self) -> "ImportBody":
        if not self.sources and not self.manifest:
            raise ValueError("name pictures in `sources`, in `manifest`, or in both")
        return self
