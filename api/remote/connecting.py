"""The command line against a server, `--remote URL`: which commands can do it, and the client that asks."""

from typing import TYPE_CHECKING, Any, Final

from search.errors import UsageError

if TYPE_CHECKING:
    import typer

    from api.client import Client
    from api.console import Session

COMMANDS: Final = (
    *("search", "check", "status", "failures", "index", "remove"),
    *("dedup", "apply", "undo", "purge", "verdicts", "jobs"),
)


def require_remote(command: str | None) -> None:
    """Let pass what works against a server.

    Raises:
        UsageError: this command does not.
    """
    if command not in COMMANDS:
        raise UsageError(
            f"`{command}` works on a store, not through a server: run it without --remote on the machine of the store; "
            f"with --remote there are {', '.join(COMMANDS)}"
        )


def require_only(context: "typer.Context", *allowed: str) -> None:
    """Let pass a call with these options alone. allowed: names of parameters.

    Raises:
        UsageError: another one was given, which means nothing to a server.
    """
    for parameter in context.command.params:
        if parameter.name not in allowed and _given(context, parameter.name or ""):
            option = max(parameter.opts, key=len)
            raise UsageError(f"{option} cannot be used with --remote: it is for stores of this machine; leave it out")


def given_options(context: "typer.Context", *allowed: str) -> dict[str, Any]:
    """Return the options that were given in a call, which may be these alone; so that the server's defaults count.

    Raises:
        UsageError: another one was given.
    """
    require_only(context, *allowed)
    return {name: value for name, value in context.params.items() if _given(context, name)}


def _given(context: "typer.Context", name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def connected(session: "Session") -> "Client":
    """Return the client of the collection that a call means; close it.

    Raises:
        UsageError: the address is none of a server.
    """
    from api.client import Client

    try:
        return Client(session.remote or "", collection=session.collection)
    except UsageError as error:
        raise UsageError(f"--remote: {error}") from error
