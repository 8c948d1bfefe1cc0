"""The handlers of verdicts: what people say about pairs, from the page and from other programs."""

from http import HTTPStatus

from fastapi import APIRouter

from api import schemas
from api.access import bearer, needs
from api.request_parts import Target, Work
from api.routes import Cursor, Limit, problems
from api.saying import say
from search.storing.verdicts import Verdicts

router = APIRouter(prefix="/v1", responses=problems, dependencies=[bearer])


@router.get("/collections/{collection}/verdicts", summary="Verdicts, a page at a time")
@needs("read")
def verdicts(
    workspace: Work, target: Target, limit: Limit = 100, cursor: Cursor = None
) -> schemas.Page[schemas.Verdict]:
    """List what people said, by the two contents; they are not of a collection but of its pictures' contents."""
    found = Verdicts(workspace.store.database).all()
    start = int(cursor or 0)
    items = [schemas.Verdict.model_validate(one.as_json()) for one in found[start : start + limit]]
    return schemas.Page(items=items, next_cursor=str(start + limit) if start + limit < len(found) else None)


@router.post("/collections/{collection}/verdicts", status_code=HTTPStatus.CREATED, summary="Say what pictures are")
@needs("dedup")
def say_verdicts(
    workspace: Work, target: Target, body: schemas.VerdictBody | schemas.VerdictsBody
) -> schemas.Page[schemas.Verdict]:
    """Write down one verdict or several, all or none; the last on a pair counts, in every collection."""
    given = [body] if isinstance(body, schemas.VerdictBody) else body.items
    # A path would tell a visitor about this machine's folders.
    said = say(workspace.store, target, [(one.first, one.second, one.verdict) for one in given], paths=False)
    return schemas.Page(items=[schemas.Verdict.model_validate(one.as_json()) for one in said], next_cursor=None)
