"""Exit codes of the command line, the same for every command."""

from search import errors

DONE = 0
ELSE = 1
USAGE = 2
LEDGER = 3
GUARD = 4
TRY_AGAIN = 5
INTERRUPTED = 130

_BY_ERROR: tuple[tuple[type[errors.LookalikeError], int], ...] = (
    (errors.UsageError, USAGE),
    (errors.StoreNotFound, USAGE),
    (errors.CollectionNotFound, USAGE),
    (errors.ImageNotFound, USAGE),
    (errors.JobNotFound, USAGE),
    (errors.PlanNotFound, USAGE),
    (errors.BackboneNotFound, USAGE),
    (errors.SpaceMismatch, GUARD),
    (errors.GuardRefused, GUARD),
    (errors.StoreUnavailable, TRY_AGAIN),
    (errors.SourceUnavailable, TRY_AGAIN),
    (errors.Interrupted, INTERRUPTED),
)


def exit_code(error: errors.LookalikeError) -> int:
    """Return the exit code of an error: 2 usage, 4 a guard refused, 5 try again, 130 interrupted, 1 anything else."""
    # What a server says is like an error of this machine (api/client/errors.py).
    found = getattr(error, "like", type(error))
    return next((code for kind, code in _BY_ERROR if issubclass(found, kind)), ELSE)
