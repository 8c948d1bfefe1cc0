"""The handlers of keys: what the key of a request may do."""

from fastapi import APIRouter, Request

from api.http.access import CalledBy, needs
from api.http.request_parts import fetcher
from api.http.safe_fetch import FetchNothing
from api.shapes.keys import KeyFacts

router = APIRouter()


@router.get("/key", summary="What the caller may do")
@needs("read", across=True)
def key(request: Request, caller: CalledBy) -> KeyFacts:
    """Tell the role of the request's key and the collection that it is for; where no keys are asked for, everything."""
    urls = not isinstance(fetcher(request), FetchNothing)
    return KeyFacts(role=caller.role, collection=caller.only, urls=urls)
