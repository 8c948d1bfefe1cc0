"""`search`, `check`, `status` and `failures` of a server: the same objects as on its own machine."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from api.checks import Check
from api.client import Client, Refused
from api.named_pictures import read_picture
from api.queries import CheckRequest, Found, QueryRequest
from api.remote.records import check, found
from search.errors import BadImage
from search.records import displayable


def search(
    client: Client, pictures: Sequence[Path], by: Mapping[str, object], wanted: QueryRequest
) -> tuple[Found, dict[str, object]]:
    """Return the answer, and what it says of the query. by: `id`, `key`, `embedding`, `like` and `unlike`."""
    answer = client.search(
        [read_picture(path) for path in pictures],
        k=wanted.k,
        min_score=wanted.min_score,
        where=wanted.where,
        accurate=wanted.accurate or None,
        box=wanted.box,
        unique=wanted.unique or None,
        **by,  # type: ignore[arg-type]
    )
    query = answer.query.model_dump(exclude_unset=True)
    paths = [displayable(path.absolute()) for path in pictures]
    if paths:  # the server was told no path
        named = {"path": paths[0]} if len(paths) == 1 else {"paths": paths}
        query = named | {name: value for name, value in query.items() if name not in ("name", "names")}
    return found(answer), query


def check_file(client: Client, image: Path, wanted: CheckRequest) -> Check:
    """Return what the gate of a server says of a picture.

    Raises:
        BadImage: it cannot be decoded.
    """
    try:
        return check(client.check(read_picture(image), threshold=wanted.threshold, accurate=wanted.accurate or None))
    except Refused as error:
        if error.reason not in BadImage.REASONS:
            raise
        detail = error.detail.removeprefix(f"{error.reason}: ").replace("the upload", str(image), 1)
        raise BadImage(str(error.reason), detail) from error


def status(client: Client, url: str, collection: str | None) -> dict[str, object]:
    """Return what `status` prints. collection: only this one, None for all."""
    shapes = client.collections() if collection is None else [client.status()]
    hidden = {"live"}  # what live searches found; a command has none
    return {"store": url, "collections": [one.model_dump(mode="json", exclude=hidden) for one in shapes]}


def status_lines(shape: Mapping[str, object]) -> list[str]:
    """Return the same for people."""
    collections: list[dict[str, object]] = shape["collections"]  # type: ignore[assignment]
    lines = [f"store {shape['store']}"]
    for one in collections:
        lines += ["", f"{one['name']}: {one['summary']}"]
        lines += [f"- {missing}" for missing in one["missing"]]  # type: ignore[attr-defined]
        lines += [f"  {one['seen']:,} files seen, {one['images']:,} images, {one['searchable']:,} searchable"]
        lines += [f"  {one['failed']:,} failed, {one['ignored']:,} ignored; {one['backbone']}, {one['space']}"]
    return lines if collections else [*lines, "no collections yet; `lookalike index FOLDER` makes one"]
