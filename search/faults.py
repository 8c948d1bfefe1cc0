"""Named points at which tests make a write path fail; without LOOKALIKE_FAULT they do nothing.

LOOKALIKE_FAULT=name:nth:action, where action is `kill` (SIGKILL to this process), `eio`, `enospc`, or `short`: what
the file at hand holds so far is cut in half, and nobody is told; elsewhere than at a file it is a full disk. The points
are part of the write paths on purpose: a promise about crashes is worth what its test can break.
"""

import errno
import os
import signal
from collections import Counter
from typing import BinaryIO

POINTS = (
    "store.tables",
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
)
_hits: Counter[str] = Counter()


def fault(point: str, file: BinaryIO | None = None) -> None:
    """Fail here when LOOKALIKE_FAULT asks for it. file: what is being written.

    Raises:
        OSError: the action is `eio`, `enospc`, or `short` without a file.
    """
    wanted = os.environ.get("LOOKALIKE_FAULT")
    if wanted is None:
        return
    name, nth, action = wanted.split(":")
    if name != point:
        return
    _hits[point] += 1
    if _hits[point] != int(nth):
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "short" and file is not None:
        file.flush()
        file.truncate(file.tell() // 2)
        file.seek(0, os.SEEK_END)
        return
    code = {"eio": errno.EIO, "enospc": errno.ENOSPC, "short": errno.ENOSPC}[action]
    raise OSError(code, os.strerror(code), point)
