"""Searches as their bodies name them, once their pictures are here: of one request, or of one line of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from api.http.request_parts import ONE_OF, stored_image
from api.queries import QueryRequest
from api.query_examples import Examples, search_by_examples
from api.shapes.searches import SearchBody
from api.workspace import Workspace
from search.errors import UsageError
from search.records import Collection


def require_one_source(body: SearchBody, *, pictures: bool) -> None:
    """Refuse a body that says nothing to search by, or too much. pictures: whether some came with it.

    Raises:
        UsageError: it does.
    """
    sources = [pictures, *(one is not None for one in (body.id, body.key, body.url, body.embedding))]
    if sum(sources) > 1 or not (any(sources) or body.like):
        raise UsageError(f"{ONE_OF}, `embedding`, or give images to `like`")


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A search whose pictures are here. said: what the answer says of the query. pictures: with names for messages."""

    body: SearchBody
    wanted: QueryRequest
    said: Mapping[str, object]
    pictures: tuple[tuple[bytes, str], ...] = ()

    def answer(self, workspace: Workspace, collection: str) -> bytes:
        """Return the JSON of a SearchAnswer. Everything that may wait for a disk is done here, in one thread."""
        return orjson.dumps(self.found(workspace, workspace.collection(collection)))

    def found(self, workspace: Workspace, target: Collection) -> dict[str, object]:
        """Return what a SearchAnswer says.

        Raises:
            LookalikeError: by name, why there is none.
        """
        body, image, said = self.body, None, dict(self.said)
        if (body.id, body.key) != (None, None):
            image = stored_image(workspace, target, body)
            said = {"id": str(image.id), "key": image.key}
        if body.like or body.unlike or body.embedding is not None or len(self.pictures) > 1:
            liked = tuple(int(one) for one in body.like) + (() if image is None else (image.id,))
            given = None if body.embedding is None else tuple(body.embedding)
            examples = Examples(self.pictures, liked, tuple(int(one) for one in body.unlike), given)
            said |= examples.as_json()
            found = search_by_examples(workspace, target, examples, self.wanted)
        elif image is not None:
            found = workspace.search_by_image(target, image, self.wanted)
        else:
            found = workspace.search_by_picture(target, *self.pictures[0], self.wanted)
        return found.as_json(said)
