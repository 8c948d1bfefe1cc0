"""The body that starts a dedup job: the options of the command `dedup`."""

from typing import Annotated

from pydantic import Field

from api.shapes.base import Text, shown
from api.shapes.searches import Score
from api.shapes.webhooks import StartsJob

_Folder = Annotated[Text, Field(max_length=4096, examples=["/photos/originals"])]
_Folders = Annotated[list[_Folder], Field(max_length=100)]


class DedupBody(StartsJob):
    """What to look for, and what to keep. All folders are absolute paths of the server, below which images lie."""

    model_config = shown({"precision": 0.99}, {"threshold": 0.9, "protect": ["/photos/originals"]})

    precision: Annotated[
        float | None,
        Field(gt=0, lt=1, description="share of the near copies that are right, default .99; calibrates where needed"),
    ] = None
    threshold: Annotated[Score | None, Field(description="least cosine of a near copy, instead of the precision")] = (
        None
    )
    calibrate: Annotated[bool, Field(description="first, where nobody has; else only sure pairs count")] = True
    within: Annotated[_Folder | None, Field(description="only images below this folder")] = None
    between: Annotated[
        Text | None,
        Field(max_length=200, description="another collection, which holds the keepers; only pairs with it"),
    ] = None
    protect: Annotated[_Folders, Field(description="folders whose files are always kept")] = []
    prefer: Annotated[_Folders, Field(description="folders whose files are kept before others, best first")] = []
    keep: Annotated[
        list[str] | None,
        Field(max_length=20, description="keeper rules, most important first", examples=[["resolution", "date"]]),
    ] = None
    expires: Annotated[str, Field(description="how long the plan may be applied", examples=["30d"])] = "30d"
