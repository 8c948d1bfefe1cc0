"""What the command line prints: one JSON object with --json, else lines and tables for people.

Results go to stdout, progress and messages to stderr.
"""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from search.duplicates.groups import DuplicateGroup, DuplicateMember
from search.records import ImageRecord, displayable, path_of_uri

ProgressMode = Literal["auto", "plain", "json", "none"]
KIB = 1024
COLUMNS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """The global options of one call. named: whether the collection is one that the user asked for in this call.

    remote: the address of the server that is asked instead of the store.
    """

    store: Path
    collection: str
    json: bool
    progress: ProgressMode
    named: bool = False
    remote: str | None = None

    @property
    def call(self) -> str:
        """Return how this program is called with this store, or with a collection of this server."""
        from search.storing.store import default_root

        if self.remote is not None:
            named = "" if self.collection == "default" else f" --collection {shlex.quote(self.collection)}"
            return f"lookalike --remote {shlex.quote(self.remote)}{named}"
        if self.store == default_root().absolute():
            return "lookalike"
        return f"lookalike --store {shlex.quote(str(self.store))}"

    def tell(self, line: str) -> None:
        """Print one line for people who wait on stderr, where they are told about progress in words."""
        if self.progress in ("auto", "plain"):
            say(line)


def out() -> Console:
    """Return a console on stdout that prints text as it is: no markup, no line breaks inside names."""
    return Console(width=COLUMNS, highlight=False, markup=False, emoji=False)


def print_table(rows: Table) -> None:
    """Print a table; a line longer than the terminal is wrapped by the terminal, so that names can be copied."""
    console = out()
    with console.capture() as printed:
        console.print(rows)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in printed.get().splitlines()))


def print_json(shape: Mapping[str, object]) -> None:
    """Print the one JSON object of a --json call."""
    sys.stdout.write(json.dumps(shape, ensure_ascii=True, allow_nan=False) + "\n")


def say(line: str) -> None:
    """Print one line for people on stderr."""
    sys.stderr.write(line + "\n")


def shown_place(image: ImageRecord) -> str:
    """Return where an image lies, as a person would write it."""
    return shown_uri(image.uri)


def shown_uri(uri: str) -> str:
    """Return a uri as a path where it is one, with control characters escaped: a name must not move the cursor."""
    path = path_of_uri(uri)
    text = uri if path is None else displayable(path)
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def counted(number: int, one: str, many: str) -> str:
    """Return a number with the right form of its word."""
    return f"{number} {one if number == 1 else many}"


def size_text(size_bytes: float) -> str:
    """Return a size in the largest fitting unit, such as 1.4 MiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < KIB:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= KIB
    return f"{size_bytes:.1f} TiB"


def table(*headings: str) -> Table:
    """Return a plain table; headings that begin with > are right-aligned."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        made.add_column(heading.lstrip(">"), justify="right" if right else "left", overflow="fold")
    return made


def group_lines(number: int, group: DuplicateGroup) -> list[tuple[str, str, str, str, str]]:
    """Return the rows of one duplicate group: mark, score, kind, size and place of the keeper and of each member."""
    keeper = group.keeper
    rows = [(f"{number}", "keep", "", _shape(keeper), f"{shown_place(keeper)}  ({group.reason})")]
    for member in group.members:
        mark = "same" if member.relation == "identical" else f"{member.score:.3f}"
        kind = member.kind.replace("_", " ")
        notes = "".join(f"  ({note})" for note in member_notes(member, shown_place))
        rows.append(("", mark, kind, _shape(member.image), shown_place(member.image) + notes))
    return rows


def member_notes(member: DuplicateMember, name: Callable[[ImageRecord], str]) -> list[str]:
    """Return what else people should know of a member: why it may go. name: of an image, for them."""
    if member.confirmed:
        return ["confirmed by a person"]
    return [] if member.copy_of is None else [f"exact copy of {name(member.copy_of)}"]


def shown_pixels(image: ImageRecord) -> str:
    """Return the size of a picture, a dash where nobody has seen it: its embedding was imported."""
    return f"{image.width}x{image.height}" if image.width else "-"


def _shape(image: ImageRecord) -> str:
    return f"{shown_pixels(image)} {size_text(image.size_bytes)}"
