"""Named points at which tests make a write path fail; without LOOKALIKE_FAULT they do nothing.

LOOKALIKE_FAULT=name:nth:action. The points are part of the write paths on purpose: a promise about crashes is worth
what its test can break. Actions:
`kill`: SIGKILL to this process. `eio`, `enospc`: the system refuses. `short`: the file being written ends before its
last bytes, and the system says so. `cut`: the same, and nobody says so; at points without a file it does nothing.
`delay`: the step takes long. `stop`: the process is stopped (SIGSTOP), until somebody ends it or lets it go on.
"""

import errno
import os
import signal
import time
from collections import Counter

# Only object storage passes these; the others are passed by a local store.
OBJECT_POINTS = (
    "segment.put",
    "segment.confirm",
    "generation.put",
    "generation.confirm",
    "cache.write",
    "cache.rename",
)
POINTS = (
    "store.tables",
    "store.write",
    "store.rename",
    "segment.write",
    "segment.fsync",
    "segment.rename",
    "segment.folder",
    "commit.begin",
    "commit.rows",
    "commit.end",
    "commit.done",
    "removal.begin",
    "removal.end",
    "removal.done",
    "compact.drop",
    "merge.write",
    "merge.fsync",
    "merge.rename",
    "merge.folder",
    "merge.begin",
    "merge.rows",
    "merge.end",
    "merge.done",
    "compact.purge",
    "compact.contents",
    "compact.forget",
    "compact.sweep",
    "repair.lose",
    "repair.segment",
    "repair.forget",
    "generation.write",
    "generation.fsync",
    "generation.rename",
    "generation.folder",
    "generation.row",
    "generation.done",
    *OBJECT_POINTS,
)
# Of jobs that move whole stores (tests/fault_journeys.py).
BACKUP_POINTS = ("backup.catalogue", "backup.file", "backup.manifest", "backup.rename")
EXPORT_POINTS = ("export.page", "export.rename")
RESTORE_POINTS = ("restore.file", "restore.catalogue", "restore.announce", "restore.settle")
# Of what moves a user's files.
PLAN_POINTS = (
    "plan.write",
    "plan.rename",
    "journal.write",
    "quarantine.folder",
    "quarantine.move",
    "quarantine.moved",
    "quarantine.sync",
    "link.make",
    "link.keep",
    "link.replace",
    "plan.forget",
    "undo.move",
    "undo.exchanged",
    "undo.moved",
    "plan.recall",
    "purge.delete",
    "purge.going",
    "purge.deleted",
)
UPGRADE_POINTS = ("reembed.rows", "reembed.done", "promote.flip", "promote.done")
ACTIONS = ("kill", "eio", "enospc", "short", "cut", "delay", "stop")
CUT_BYTES = 3
DELAY_S = 0.2
_hits: Counter[str] = Counter()


def fault(point: str, handle: int | None = None) -> None:
    """Fail here when LOOKALIKE_FAULT asks for it.

    handle: descriptor of the file that is being written here, if there is one; flush what is buffered before.

    Raises:
        OSError: the action is `eio`, `enospc` or `short`.
    """
    wanted = os.environ.get("LOOKALIKE_FAULT")
    if wanted is None:
        return
    name, nth, action = wanted.split(":")
    if action not in ACTIONS:
        raise ValueError(f"LOOKALIKE_FAULT asks for {action!r}, choose of {', '.join(ACTIONS)}")
    if name != point:
        return
    _hits[point] += 1
    if _hits[point] == int(nth):
        _fail(point, action, handle)


def _fail(point: str, action: str, handle: int | None) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "delay":
        time.sleep(DELAY_S)
    elif action in ("short", "cut"):
        if handle is not None:
            os.ftruncate(handle, max(0, os.fstat(handle).st_size - CUT_BYTES))
        if action == "short":
            raise OSError(errno.EIO, "short write", point)
    else:
        code = {"eio": errno.EIO, "enospc": errno.ENOSPC}[action]
        raise OSError(code, os.strerror(code), point)
