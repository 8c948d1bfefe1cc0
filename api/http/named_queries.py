"""Searches as their bodies name them, once their pictures are here: of one request, or of one line of a batch."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import orjson

from api.http.request_parts import ONE_OF, stored_image
from api.queries import QueryRequest
from api.query_examples import Examples, search_by_examples
from api.searches_together import search_by_images
from api.shapes.searches import SearchBody
from api.workspace import Workspace
from search.errors import LookalikeError, UsageError
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

    @property
    def is_by_id(self) -> bool:
        """Whether it asks for the images closest to one that is named by its id, and for nothing else."""
        body = self.body
        return body.id is not None and not (body.like or body.unlike) and self.wanted.is_plain

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


def answers_by_id(workspace: Workspace, collection: str, queries: Sequence[NamedQuery]) -> list[bytes | Exception]:
    """Return what `answer` gives or raises of queries that want the same and are `is_by_id`, sooner than one by one."""
    answers: list[bytes | None] = [None] * len(queries)
    if len(queries) > 1:
        with suppress(LookalikeError):  # perhaps of one of them alone, which is then told by itself
            answers = _together(workspace, workspace.collection(collection), queries)
    return [
        _alone(workspace, collection, query) if answer is None else answer
        for query, answer in zip(queries, answers, strict=True)
    ]


def _together(workspace: Workspace, target: Collection, queries: Sequence[NamedQuery]) -> list[bytes | None]:
    """Return the answers of queries that can be answered together, None of others."""
    ids = [int(query.body.id or 0) for query in queries]
    images = workspace.store.catalogue.images_by_id(target.id, dict.fromkeys(ids))
    there = [image_id for image_id in dict.fromkeys(ids) if image_id in images]
    found = search_by_images(workspace, target, [images[image_id] for image_id in there], queries[0].wanted)
    by_id = dict(zip(there, found, strict=True))
    answers = list[bytes | None]()
    for image_id in ids:
        one = by_id.get(image_id)
        said = None if one is None else {"id": str(image_id), "key": images[image_id].key}
        answers.append(None if one is None or said is None else orjson.dumps(one.as_json(said)))
    return answers


def _alone(workspace: Workspace, collection: str, query: NamedQuery) -> bytes | Exception:
    try:
        return query.answer(workspace, collection)
    except Exception as error:  # noqa: BLE001 -- of this query, and raised to whoever asked it
        return error
