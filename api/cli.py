"""The command line: global options, then one module per journey in api/commands.

Heavy libraries are imported by the command that needs them, so that `--help` answers at once.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from api.commands import deduplication, indexing, models, operations, searching, serving
from api.console import ProgressMode, Session, print_json, say
from api.exits import USAGE, exit_code
from search.errors import LookalikeError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Index image collections, search them by picture, report duplicates.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (indexing, searching, deduplication, operations, models, serving):
    module.register(app)

# Options of `lookalike` itself, with how many values each takes; people write them after the command too.
GLOBAL_OPTIONS = {"--store": 1, "--collection": 1, "--progress": 1, "--json": 0, "--verbose": 0}


@app.callback()
def lookalike(
    context: typer.Context,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of the store.", envvar="LOOKALIKE_STORE", show_default="user data folder"),
    ] = None,
    collection: Annotated[
        str, typer.Option(help="Collection in the store.", envvar="LOOKALIKE_COLLECTION")
    ] = "default",
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")] = False,
    progress: Annotated[str, typer.Option(help="auto, plain, json or none.", envvar="LOOKALIKE_PROGRESS")] = "auto",
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what happens on stderr.")] = False,
) -> None:
    """Index image collections, search them by picture, report duplicates."""
    modes: dict[str, ProgressMode] = {"auto": "auto", "plain": "plain", "json": "json", "none": "none"}
    if progress not in modes:
        raise typer.BadParameter(f"{progress!r} is not one of auto, plain, json, none", param_hint="--progress")
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    from search.store import default_root

    root = store.expanduser() if store is not None else default_root()
    context.obj = Session(root.absolute(), collection, json, modes[progress])


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    given = sys.argv[1:] if arguments is None else arguments
    ordered = hoisted(given)
    as_json = "--json" in ordered
    try:
        app(args=ordered, prog_name="lookalike")
    except LookalikeError as error:
        _report(type(error).__name__, str(error), as_json)
        sys.exit(exit_code(error))
    except SystemExit as stop:
        if stop.code == USAGE and as_json:
            print_json({"error": {"kind": "UsageError", "message": "see stderr"}})
        raise
    except BrokenPipeError:
        # The reader of a pipe has left; a second failure at exit would only print noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def hoisted(arguments: list[str]) -> list[str]:
    """Return the arguments with global options first, wherever they were written before a `--`."""
    first: list[str] = []
    rest: list[str] = []
    pending = list(arguments)
    while pending:
        word = pending.pop(0)
        if word == "--":
            return [*first, *rest, word, *pending]
        values = GLOBAL_OPTIONS.get(word)
        if values is not None:
            first += [word, *pending[:values]]
            del pending[:values]
        elif word.split("=", maxsplit=1)[0] in GLOBAL_OPTIONS:
            first.append(word)
        else:
            rest.append(word)
    return [*first, *rest]


def _report(kind: str, message: str, as_json: bool) -> None:
    say(f"lookalike: {message}")
    if as_json:
        print_json({"error": {"kind": kind, "message": message}})
