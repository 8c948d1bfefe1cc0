"""The handler that takes verdicts back: what the review's undo asks for."""

from typing import Annotated

from fastapi import Path as PathParameter

from api.access import needs
from api.request_parts import Target, Work
from search.storing.verdicts import Verdicts

Sha256 = Annotated[str, PathParameter(pattern="^[0-9a-fA-F]{64}$", description="of a content, as images name it")]


@needs("dedup")
def take_back(workspace: Work, target: Target, first: Sha256, second: Sha256) -> None:
    """Forget what was said of two contents, in either order; that nothing was said is fine, too."""
    Verdicts(workspace.store.database).forget(bytes.fromhex(first), bytes.fromhex(second))
