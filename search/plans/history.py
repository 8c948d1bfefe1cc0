"""What a journal says became of each file, and what the disk says where a process was killed on the way.

An intent names files and where each is to go; an outcome says where each is. Everything that `undo` and `purge` need is
in the intents: they work without the plan.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

from search.plans.disk import folder_at, seen
from search.plans.journal import Journal, Line
from search.plans.plan import path_of

Action = Literal["quarantine", "hardlink", "reflink"]
ACTIONS: Final[tuple[Action, ...]] = ("quarantine", "hardlink", "reflink")
# home: at its own path. quarantine: there, whatever took its path. purged: deleted. lost: somebody else took it away.
Place = Literal["home", "quarantine", "purged", "lost"]
MOVING, RESTORING, PURGING, PLACED = "moving", "restoring", "purging", "placed"
FORGETTING, RECALLED, DATED = "forgetting", "recalled", "dated"


@dataclass(frozen=True, slots=True)
class Move:
    """One file on its way to the quarantine. home, quarantine, root, keeper: uris. sha256: of what it holds.

    exact: it held the keeper's bytes. temporary: the name, beside it, of the link or clone that is to take its place.
    keeper_inode: of the keeper. sidecar_of: the image (uri) that it goes with, None for an image.
    """

    group: int
    action: Action
    home: str
    quarantine: str
    root: str
    inode: int
    size_bytes: int
    sha256: str
    keeper: str
    keeper_sha256: str
    keeper_inode: int
    exact: bool
    temporary: str | None = None
    sidecar_of: str | None = None

    @property
    def path(self) -> Path:
        """Return where the file belongs."""
        return path_of(self.home)

    @property
    def hidden(self) -> Path:
        """Return where the file lies while it is quarantined."""
        return path_of(self.quarantine)


@dataclass(slots=True)
class Known:
    """What is known of one file. place: None while an intent has no outcome. since: when it got to where it was last
    seen, `before`.
    """

    move: Move
    intent: str
    place: Place | None = None
    before: Place | None = None
    since: float = 0.0

    def found_at(self, place: Place, at: float) -> None:
        """Note where it is. One that stayed where it was has been there all the time."""
        self.since = self.since if place == self.before else at
        self.place = self.before = place


@dataclass(slots=True)
class History:
    """All that a journal says. files: by uri, in the order of the journal. forgotten: images (collection, id) that were
    taken out of the catalogue, by uri.
    """

    files: dict[str, Known] = field(default_factory=dict)
    forgotten: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def at(self, place: Place) -> list[Known]:
        """Return the files that are at a place."""
        return [known for known in self.files.values() if known.place == place]

    def unsettled(self) -> list[Known]:
        """Return the files that were being moved when a process ended."""
        return [known for known in self.files.values() if known.place is None]


def history(lines: Iterable[Line]) -> History:
    """Return what a journal says."""
    found = History()
    for line in lines:
        if line.event in (MOVING, RESTORING, PURGING):
            for shape in line.body["files"]:
                move = Move(**shape)
                # The last word counts: a path that was restored may be moved again.
                old = found.files.pop(move.home, None)
                before, since = (None, 0.0) if old is None else (old.before, old.since)
                found.files[move.home] = Known(move, line.event, None, before, since)
        elif line.event == PLACED:
            for uri, place in line.body["places"].items():
                found.files[uri].found_at(cast(Place, place), line.at)
        elif line.event == DATED:
            for uri in line.body["files"]:
                found.files[uri].since = line.at
        else:
            _note_images(found, line)
    return found


def _note_images(found: History, line: Line) -> None:
    if line.event == FORGETTING:
        for collection, image_id, uri in line.body["images"]:
            found.forgotten.setdefault(uri, []).append((collection, image_id))
    elif line.event == RECALLED:
        for uri in line.body["uris"]:
            found.forgotten.pop(uri, None)


def announce(journal: Journal, event: str, moves: Sequence[Move]) -> None:
    """Write down what is to be done with files, before it is done."""
    journal.append(event, {"files": [_shape(move) for move in moves]})


def record(journal: Journal, event: str, moves: Sequence[Move]) -> dict[str, Place]:
    """Look where files are, write it down and return it, by uri."""
    places = {move.home: settled(move, event) for move in moves}
    journal.append(PLACED, {"places": places})
    return places


def settle(journal: Journal) -> History:
    """Return what a journal says, after finishing what a killed process left between an intent and its outcome.

    Raises:
        OSError: a disk does not answer, or the journal cannot be written.
    """
    found = history(journal.lines)
    by_intent: dict[str, list[Move]] = {}
    for known in found.unsettled():
        by_intent.setdefault(known.intent, []).append(known.move)
    for event, moves in by_intent.items():
        record(journal, event, moves)
    return history(journal.lines) if by_intent else found


def settled(move: Move, event: str) -> Place:
    """Return where a file is, and take away what a half-done step left beside it.

    event: what was being done. Under both its names it is at home, and the name in the quarantine goes.
    """
    _sweep_temporary(move)
    home, hidden = _is_at(move, move.path), _is_at(move, move.hidden)
    if home and hidden:
        with folder_at(move.hidden.parent) as folder:
            os.unlink(move.hidden.name, dir_fd=folder)
    if home:
        return "home"
    if hidden:
        return "quarantine"
    return "purged" if event == PURGING else "lost"


def _is_at(move: Move, path: Path) -> bool:
    found = seen(path)
    return found is not None and found.inode == move.inode


def _sweep_temporary(move: Move) -> None:
    """Remove the link or clone that never took the place of a file; no other program gives such a name."""
    if move.temporary is None:
        return
    with suppress(FileNotFoundError, NotADirectoryError), folder_at(move.path.parent) as folder:
        os.unlink(move.temporary, dir_fd=folder)


def _shape(move: Move) -> Mapping[str, Any]:
    return asdict(move)
