"""`remove`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, shown_place
from api.removing import Which, chosen_ids
from search.errors import GuardRefused, UsageError
from search.records import ImageRecord
from search.storing.removals import remove_images
from search.storing.store import Store

# From here on it asks first, or wants --yes.
MANY = 10
SHOWN = 10
LISTED = 100  # in JSON


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(remove)


def remove(
    context: typer.Context,
    id: Annotated[int | None, typer.Option(min=0, help="Id of an image.")] = None,  # noqa: A002
    key: Annotated[str | None, typer.Option(help="Key of an image.")] = None,
    path: Annotated[str | None, typer.Option(help="A file, or a folder with all below it, gone or not.")] = None,
    where: Annotated[str | None, typer.Option(help="What images must fulfil, as in `search`.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, however many they are.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be removed.")] = False,
) -> None:
    """Remove images from the collection: searches stop naming them at once. Their files stay."""
    session: Session = context.obj
    which = Which(id, key, path, where)
    if which.named != 1:
        raise UsageError("give exactly one of --id, --key, --path, --where")
    with _images_of(session, which) as (found, take_out):
        ids, shown = found.ids, found.shown
        if not session.json and len(ids) >= MANY:
            _tell(session.collection, len(ids), [shown_place(image) for image in shown[:SHOWN]])
        removed = 0
        if ids and not dry_run:
            _ask(session, len(ids), yes=yes)
            removed = take_out()
    if session.json:
        images = [image.as_json() for image in shown]
        counts = {"matched": len(ids), "removed": removed, "dry_run": dry_run}
        print_json({"collection": session.collection} | counts | {"images": images, "truncated": len(ids) > LISTED})
    elif not ids:
        out().print("no image is like that; nothing was removed")
    elif dry_run:
        out().print(f"would remove {counted(len(ids), 'image', 'images')} from {session.collection}")
    else:
        out().print(f"removed {counted(removed, 'image', 'images')} from {session.collection}; their files stay")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Images that are to go. shown: the first of them."""

    ids: Sequence[int]
    shown: list[ImageRecord]


@contextmanager
def _images_of(session: Session, which: Which) -> Iterator[tuple[Chosen, Callable[[], int]]]:
    """Give the images that are named, of a store or a server, and what takes them out and says how many went."""
    if session.remote is not None:
        from api.remote.connecting import connected
        from api.remote.removing import chosen_there, remove_there

        with connected(session) as client:
            images = chosen_there(client, which)
            yield Chosen([one.id for one in images], images[:LISTED]), lambda: remove_there(session, client, images)
        return
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        ids = chosen_ids(store, target, which)
        shown = [*store.catalogue.images_by_id(target.id, ids[:LISTED]).values()]
        yield Chosen(ids, shown), lambda: remove_images(store.database, target, ids)


def _tell(collection: str, number: int, places: list[str]) -> None:
    console = out()
    console.print(f"{number} images of {collection}:")
    for place in places:
        console.print(f"  {place}")
    if number > len(places):
        console.print(f"  and {number - len(places)} more")


def _ask(session: Session, number: int, *, yes: bool) -> None:
    """Ask before many images are removed.

    Raises:
        GuardRefused: the answer was no, or there is nobody to ask.
    """
    if yes or number < MANY:
        return
    if session.json or not sys.stdin.isatty():
        raise GuardRefused(f"this would remove {number} images; add --yes to do it, or --dry-run to see them")
    if not typer.confirm(f"remove these {number} images from {session.collection}?", err=True):
        raise GuardRefused("nothing was removed")
