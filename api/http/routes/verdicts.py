"""The handlers of verdicts: what people say about pairs, from the page and from other programs, and take back."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as PathParameter

from api.http.access import needs
from api.http.repeats import SAME_REQUEST, OnceRoute, names_itself
from api.http.request_parts import Cursor, Limit, Target, Work
from api.saying import say
from api.shapes.base import Page
from api.shapes.verdicts import Verdict, VerdictBody, VerdictsBody
from search.storing.verdicts import Verdicts

router = APIRouter(route_class=OnceRoute)
Sha256 = Annotated[str, PathParameter(pattern="^[0-9a-fA-F]{64}$", description="of a content, as images name it")]


@router.get("/collections/{collection}/verdicts", summary="Verdicts, a page at a time")
@needs("read")
def verdicts(workspace: Work, target: Target, limit: Limit = 100, cursor: Cursor = None) -> Page[Verdict]:
    """List what people said, by the two contents; they are not of a collection but of its pictures' contents."""
    found = Verdicts(workspace.store.database).all()
    start = int(cursor or 0)
    items = [Verdict.model_validate(one.as_json()) for one in found[start : start + limit]]
    return Page(items=items, next_cursor=str(start + limit) if start + limit < len(found) else None)


@router.post(
    "/collections/{collection}/verdicts",
    status_code=HTTPStatus.CREATED,
    summary="Say what pictures are",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("dedup")
def say_verdicts(workspace: Work, target: Target, body: VerdictBody | VerdictsBody) -> Page[Verdict]:
    """Write down one verdict or several, all or none; the last on a pair counts, in every collection."""
    given = [body] if isinstance(body, VerdictBody) else body.items
    # A path would tell a visitor about this machine's folders.
    said = say(workspace.store, target, [(one.first, one.second, one.verdict) for one in given], paths=False)
    return Page(items=[Verdict.model_validate(one.as_json()) for one in said], next_cursor=None)


@router.delete(
    "/collections/{collection}/verdicts/{first}/{second}",
    summary="Take a verdict back",
    status_code=HTTPStatus.NO_CONTENT,
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("dedup")
def take_back(workspace: Work, target: Target, first: Sha256, second: Sha256) -> None:
    """Forget what was said of two contents, in either order; that nothing was said is fine, too."""
    Verdicts(workspace.store.database).forget(bytes.fromhex(first), bytes.fromhex(second))
