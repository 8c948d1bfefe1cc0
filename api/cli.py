"""The command line: global options, then one module per journey in api/commands.

Heavy libraries are imported by the command that needs them, so that `--help` answers at once.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from api.commands import (
    calibrating,
    checking,
    deduplication,
    finetuning,
    indexing,
    jobs,
    keys,
    models,
    moving,
    operations,
    planning,
    quality,
    removing,
    searching,
    serving,
    upgrading,
    upkeep,
    verdicts,
)
from api.console import ProgressMode, Session, print_json, say
from api.exits import DONE, ELSE, INTERRUPTED, USAGE, exit_code
from search.errors import BadCondition, LookalikeError

log = logging.getLogger(__name__)

# The base of all errors of the option parser, which typer does not name in public.
ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Index image collections, search them by picture, report duplicates.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    indexing,
    searching,
    checking,
    deduplication,
    planning,
    calibrating,
    verdicts,
    operations,
    removing,
    keys,
    jobs,
    upkeep,
    moving,
    upgrading,
    models,
    finetuning,
    quality,
    serving,
):
    module.register(app)

# Options of `lookalike` itself, with how many values each takes; people write them after the command too.
GLOBAL_OPTIONS = {"--store": 1, "--remote": 1, "--collection": 1, "--progress": 1, "--json": 0, "--verbose": 0}


@app.callback()
def lookalike(  # noqa: PLR0913, PLR0917 -- options are arguments
    context: typer.Context,
    store: Annotated[
        Path | None,
        typer.Option(help="Folder of the store.", envvar="LOOKALIKE_STORE", show_default="user data folder"),
    ] = None,
    collection: Annotated[
        str, typer.Option(help="Collection in the store.", envvar="LOOKALIKE_COLLECTION")
    ] = "default",
    remote: Annotated[
        str | None,
        typer.Option(help="Ask this server, with LOOKALIKE_API_KEY, instead of a store.", metavar="URL"),
    ] = None,
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
    from search.storing.store import default_root

    if remote is not None:
        from api.remote.connecting import require_remote

        require_remote(context.invoked_subcommand)
    root = store.expanduser() if store is not None else default_root()
    source = context.get_parameter_source("collection")
    named = source is not None and source.name == "COMMANDLINE"
    context.obj = Session(root.absolute(), collection, json, modes[progress], named, remote)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; with --json every error is a JSON object too."""
    given = sys.argv[1:] if arguments is None else arguments
    ordered = hoisted(given)
    report = _Report(as_json="--json" in ordered)
    try:
        code = app(args=ordered, prog_name="lookalike", standalone_mode=False)
        if code == INTERRUPTED:
            report.interrupted()
    except LookalikeError as error:
        code = report.refusal(error)
    except ClickError as error:
        code = report.usage(error)
    except KeyboardInterrupt:
        code = report.interrupted()
    except BrokenPipeError:
        # The reader of a pipe has left; a second failure at exit would only print noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ELSE
    except Exception as error:  # noqa: BLE001 -- the last resort: nobody shall meet a traceback unasked
        log.debug("unexpected", exc_info=True)
        text = f"unexpected {type(error).__name__}: {error}".splitlines()[0]
        code = report.error("Unexpected", f"{text}; please report it with what --verbose prints", ELSE)
    sys.exit(code if isinstance(code, int) else DONE)


class _Report:
    """Tells about an error: one line on stderr, with a drawing for some, and the one JSON object of a --json call."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def error(self, kind: str, message: str, code: int, **more: int) -> int:
        line = message.replace("\n", " ")
        say(f"lookalike: {line}")
        if self._as_json:
            print_json({"error": {"kind": kind, "message": line, **more}})
        return code

    def interrupted(self) -> int:
        return self.error("Interrupted", "interrupted; run the same command again to go on", INTERRUPTED)

    def refusal(self, error: LookalikeError) -> int:
        """Report what was raised on purpose; a condition is shown with a caret under the place that is wrong.

        What a server refused is reported as it would be where the server is.
        """
        kind, position = getattr(error, "kind", type(error).__name__), getattr(error, "position", None)
        if position is None:
            return self.error(kind, str(error), exit_code(error))
        sentence, *drawing = str(error).split("\n")
        code = self.error(kind, sentence, exit_code(error), position=position)
        for line in error.drawing.split("\n") if isinstance(error, BadCondition) else drawing:
            say(f"    {line}")
        return code

    def usage(self, error: Any) -> int:
        """Report a mistake in the command line; `lookalike` alone is a wish for help."""
        message = _about_value(error) or error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            say(message)
            return USAGE
        return self.error("UsageError", f"{message.rstrip('.')}; `lookalike COMMAND --help` tells more", USAGE)


def _about_value(error: Any) -> str | None:
    """Return what is wrong with the value of an option in the words of HTTP; None where the option parser has its own.

    Its checks of values are pydantic's, whose sentences name neither the value nor the remedy.
    """
    from pydantic import ValidationError

    from api.request_errors import REMEDIES, in_words

    if not isinstance(error.__cause__, ValidationError):
        return None
    found = error.__cause__.errors()[0]
    return in_words({**found, "loc": (max(error.param.opts, key=len),)}) if found["type"] in REMEDIES else None


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
