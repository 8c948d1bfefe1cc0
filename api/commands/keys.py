"""`keys create`, `keys list` and `keys revoke`."""

import re
import time
from typing import Annotated

import typer

from api.console import Session, out, print_json, print_table, say, table
from search.errors import UsageError
from search.storing.api_keys import ApiKey, ApiKeys
from search.storing.store import Store

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
LONGEST_S = 100 * 366 * 86_400


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="Keys of the HTTP API: create, list, revoke.")
    group.command("create")(create)
    group.command("list")(list_)
    group.command("revoke")(revoke)
    app.add_typer(group, name="keys")


def create(
    context: typer.Context,
    role: Annotated[str, typer.Option(help="read, write, dedup or admin; each may do what the ones before it may.")],
    expires: Annotated[
        str | None, typer.Option(help="After how long, such as 12h, 90d or 4w.", show_default="never")
    ] = None,
    name: Annotated[str, typer.Option(help="What it is for, shown in lists.")] = "",
) -> None:
    """Make a key and show it, this once. With --collection it is for that collection only."""
    session: Session = context.obj
    lasts = None if expires is None else seconds_of(expires)
    with Store(session.store) as store:
        only = store.catalogue.collection(session.collection) if session.named else None
        until = None if lasts is None else time.time() + lasts
        made, secret = ApiKeys(store.database).create(role, only=only, expires_at=until, name=name)
    if session.json:
        print_json({"key": secret} | made.as_json())
        return
    out().print(secret)
    say(f"key {made.id}: {_about(made)}; keep it now, it is not shown again")
    say(f"`lookalike keys revoke {made.id}` ends it; a server with --auth auto asks for keys from now on")


def list_(context: typer.Context) -> None:
    """Show all keys that were ever made, without the keys themselves."""
    session: Session = context.obj
    with Store(session.store) as store:
        found = [one.as_json() for one in ApiKeys(store.database).all()]
    if session.json:
        print_json({"items": found})
        return
    columns = ("id", "prefix", "role", "collection", "state", "expires_at", "name")
    rows = table(*(column.removesuffix("_at") for column in columns))
    for one in found:
        rows.add_row(*("" if one[column] is None else _printable(str(one[column])) for column in columns))
    if found:
        print_table(rows)
    else:
        out().print("no keys")


def revoke(
    context: typer.Context, key: Annotated[str, typer.Argument(help="Its id, or its prefix.", metavar="ID")]
) -> None:
    """Make a key open nothing any more, at once and in every server."""
    session: Session = context.obj
    with Store(session.store) as store:
        gone = ApiKeys(store.database).revoke(key)
    if session.json:
        print_json(gone.as_json())
    else:
        out().print(f"key {gone.id} ({gone.prefix}…) is revoked")


def seconds_of(text: str) -> int:
    """Return how long a text such as 90d is, in seconds.

    Raises:
        UsageError: it is no length of time, or more than a hundred years.
    """
    found = re.fullmatch(r"([0-9]{1,9})([mhdw])", text.strip().lower())
    if found is None or not 0 < (lasts := int(found[1]) * SECONDS[found[2]]) <= LONGEST_S:
        raise UsageError(f"--expires {text!r} is no length of time; give one such as 30m, 12h, 90d or 4w")
    return lasts


def _about(key: ApiKey) -> str:
    until = key.as_json()["expires_at"]
    where = "all collections" if key.collection is None else f"collection {key.collection}"
    return f"role {key.role}, {where}, {'no end' if until is None else f'until {until}'}"


def _printable(text: str) -> str:
    """Return a name without what would move the cursor of a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
