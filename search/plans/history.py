"""What a journal says became of each file. What the disk says of it: settling.py.

An intent names files and where each is to go; an outcome says where each is. Everything that `undo` and `purge` need is
in the intents: they work without the plan.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, cast

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

    @property
    def beside(self) -> Path | None:
        """Return where, beside the file, the link or clone is made that is to take its place."""
        return None if self.temporary is None else self.path.with_name(self.temporary)

    @property
    def going(self) -> Path:
        """Return where, in the quarantine, the file lies for the moment in which it is looked at and then deleted."""
        return self.hidden.with_name(f".lookalike-{self.inode}.going")


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


def _shape(move: Move) -> Mapping[str, Any]:
    return asdict(move)
