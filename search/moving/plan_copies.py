"""Plans and their journals in backups, so that `undo` works in the store that is restored.

A journal only grows, and each whole beginning of it is what a killed `apply` leaves: it can be copied while files are
being moved. It is copied after the catalogue, and so knows of every image that the copied catalogue has lost by it.
What comes out of a backup could make `undo` and `purge` touch files: nothing but what `apply` writes is let in.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from search.blobs.blobs import sync_folder
from search.errors import CorruptFile
from search.plans.history import MOVING, PURGING, RESTORING, Move
from search.plans.journal import Line, parsed_journal
from search.plans.places import place_of
from search.plans.plan import path_of
from search.plans.plan_files import FOLDER, ID, JOURNAL, PLAN

COPIED: Final = re.compile(rf"{FOLDER}/(?P<plan>{ID.pattern})(?P<kind>{re.escape(PLAN)}|{re.escape(JOURNAL)})")


def copied_plans(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name in a backup and the bytes of each plan and of each journal of a store, as far as it is whole.

    root: the store's folder.
    """
    for path in sorted((root / FOLDER).glob("*")):
        name = f"{FOLDER}/{path.name}"
        found = COPIED.fullmatch(name)
        if found is None:
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # nobody had used it, and it went with its time
            continue
        if found["kind"] == JOURNAL:
            data = data[: data.rfind(b"\n") + 1]
        if data:
            yield name, data


def objection_to(name: str, data: bytes) -> str | None:
    """Return why a journal is none that `apply` wrote for its plan, None where it is one; plans are checked when used.

    name: as `copied_plans` gives it.
    """
    found = COPIED.fullmatch(name)
    if found is None or found["kind"] != JOURNAL:
        return None
    try:
        lines = parsed_journal(data, Path(name))
        for line in lines:
            for move in _moves(line):
                _require_own(move, found["plan"])
    except (CorruptFile, ValueError, TypeError, KeyError, AttributeError) as error:
        return str(error)
    return None


def put_plan(root: Path, name: str, data: bytes) -> None:
    """Write a plan or a journal into a store's folder, durably.

    Raises:
        OSError: the disk is full or refuses the write.
    """
    path = root / name
    path.parent.mkdir(exist_ok=True)
    mode = 0o600 if name.endswith(JOURNAL) else 0o400
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(handle)
    sync_folder(path.parent)


def _moves(line: Line) -> Iterator[Move]:
    if line.event in (MOVING, RESTORING, PURGING):
        shapes: list[dict[str, Any]] = line.body["files"]
        yield from (Move(**shape) for shape in shapes)


def _require_own(move: Move, plan_id: str) -> None:
    """Raises:
    ValueError: a file lies elsewhere than in the quarantine of the plan, or a name beside it is none of ours.
    """
    path, root = move.path, path_of(move.root)
    if ".." in path.parts or move.hidden != place_of(path, root, plan_id):
        raise ValueError(f"it says that {move.home} lies at {move.quarantine}, which is no place of a quarantine")
    if move.temporary is not None and not re.fullmatch(rf"\.lookalike-{plan_id}-\d+-\d+\.partial", move.temporary):
        raise ValueError(f"it names {move.temporary!r} beside {move.home}, which `apply` never makes")
