"""What a collection can be narrowed by: how many images each label, folder, size and month has, and its condition.

Every count is a GROUP BY of the database, narrowed by a condition if there is one; costs a pass over the images each.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import Connection, Select, Text, case, func, select, true
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from search.conditions.where import Condition
from search.database.database import Database
from search.database.tables import content, image
from search.records import Collection
from search.storing.labels import Labels

SHOWN: Final = 200  # labels and folders, most frequent first
# Pixels of the longer side at which a class of sizes begins.
SIZES: Final = (0, 500, 1000, 2000, 4000)


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value that images can be narrowed to. where: the condition that does."""

    value: str
    where: str
    images: int

    def as_json(self) -> dict[str, object]:
        """Return an item of a list of HTTP's facets."""
        return {"value": self.value, "images": self.images, "where": self.where}


@dataclass(frozen=True, slots=True)
class Facets:
    """What images can be narrowed by. images: how many were counted.

    labels, folders: most frequent first, at most `SHOWN`; folders: the ones below the deepest folder that holds all.
    sizes: by their longer side, small ones first; months: `2024-03`, oldest first. undated: images that say no date.
    """

    images: int
    labels: list[FacetValue]
    folders: list[FacetValue]
    sizes: list[FacetValue]
    months: list[FacetValue]
    undated: int

    def as_json(self) -> dict[str, object]:
        """Return the answer of HTTP."""
        lists = {"labels": self.labels, "folders": self.folders, "sizes": self.sizes, "months": self.months}
        shown = {name: [one.as_json() for one in values] for name, values in lists.items()}
        return {"images": self.images, **shown, "undated": self.undated}


class FolderOf(FunctionElement[str]):
    """The beginning of a path or a uri up to its last slash, which belongs to it."""

    type = Text()
    inherit_cache = True


@compiles(FolderOf)
def _folder_of(element: FolderOf, compiler: SQLCompiler, **options: Any) -> str:
    # Trimming all letters that are no slash off the right, as SQLite can.
    place = compiler.process(element.clauses, **options)
    return f"rtrim({place}, replace({place}, '/', ''))"


@compiles(FolderOf, "postgresql")
def _folder_of_postgresql(element: FolderOf, compiler: SQLCompiler, **options: Any) -> str:
    return f"regexp_replace({compiler.process(element.clauses, **options)}, '[^/]*$', '')"


def facets(database: Database, target: Collection, condition: Condition | None = None) -> Facets:
    """Return the facets of a collection, or of its images that fulfil a condition."""
    with database.reading() as connection:
        months, sizes = _months_and_sizes(connection, target, condition)
        folders = _folders(connection, target, condition)
    undated = months.pop(None, 0)
    labels = Labels(database).counts(target, condition)[:SHOWN]
    return Facets(
        images=sum(months.values()) + undated,
        labels=[FacetValue(one.label, f"label = {_quoted(one.label)}", one.images) for one in labels],
        folders=folders,
        sizes=[FacetValue(*_size(place), sizes[place]) for place in sorted(sizes)],
        months=_in_order(months),
        undated=undated,
    )


def timeline(
    database: Database, target: Collection, condition: Condition | None = None
) -> tuple[list[FacetValue], int]:
    """Return how many images were taken in each month, oldest first, and how many say no date."""
    with database.reading() as connection:
        months, _ = _months_and_sizes(connection, target, condition)
    undated = months.pop(None, 0)
    return _in_order(months), undated


def _counted(target: Collection, condition: Condition | None, *by: Any) -> Select[Any]:
    """Return the query for how many images there are of each value of some columns."""
    test = true() if condition is None else condition.sql(target.label_space_id)
    joined = select(*by, func.count().label("images")).join(content, content.c.id == image.c.content_id)
    return joined.where(image.c.collection_id == target.id, ~image.c.deleted, test).group_by(*by)


def _months_and_sizes(
    connection: Connection, target: Collection, condition: Condition | None
) -> tuple[Counter[str | None], Counter[int]]:
    """Return how many images each month has, None those without a date, and each class of sizes: in one pass."""
    month = func.substr(content.c.taken_at, 1, 7).label("month")
    longer = case((content.c.width >= content.c.height, content.c.width), else_=content.c.height)
    place = case(*((longer >= least, place) for place, least in reversed(list(enumerate(SIZES)))), else_=0)
    months: Counter[str | None] = Counter()
    sizes: Counter[int] = Counter()
    for row in connection.execute(_counted(target, condition, month, place.label("place"))):
        months[row.month] += row.images
        sizes[row.place] += row.images
    return months, sizes


def _in_order(months: Mapping[str | None, int]) -> list[FacetValue]:
    named = sorted((name, images) for name, images in months.items() if name is not None)
    return [FacetValue(name, f"taken_at = {name}", images) for name, images in named]


def _size(place: int) -> tuple[str, str]:
    """Return how a class of sizes is called, and the condition for it."""
    least, most = SIZES[place], dict(pairwise(SIZES)).get(SIZES[place])
    tests = [f"(width >= {least} or height >= {least})"] if least else []
    tests += [f"width < {most} and height < {most}"] if most else []
    name = f"under {most}" if not least else f"{least} to {most - 1}" if most else f"{least} and more"
    return name, " and ".join(tests)


def _folders(connection: Connection, target: Collection, condition: Condition | None) -> list[FacetValue]:
    place = FolderOf(func.coalesce(image.c.path, image.c.uri)).label("folder")
    remote = image.c.path.is_(None).label("remote")
    rows = connection.execute(_counted(target, condition, place, remote))
    found = {(row.folder, bool(row.remote)): int(row.images) for row in rows}
    above = _deepest_above([folder for folder, _ in found])
    below: Counter[tuple[str, bool]] = Counter()
    for (folder, is_remote), images in found.items():
        below[folder[len(above) :].partition("/")[0], is_remote] += images
    if len(below) == 1:
        return []  # they all lie in one folder: there is nothing to choose
    return [_folder(above, name, is_remote, images) for (name, is_remote), images in below.most_common(SHOWN)]


def _deepest_above(folders: Sequence[str]) -> str:
    """Return the deepest folder that all lie in or are, with its slash; "" where there is none."""
    first, last = min(folders, default=""), max(folders, default="")
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[: first.rfind("/", 0, same) + 1]


def _folder(above: str, name: str, is_remote: bool, images: int) -> FacetValue:
    """Return the folder of this name; without a name the images that lie in `above` itself."""
    field = "uri" if is_remote else "path"
    beginning = above if above and not name else f"{above}{name}/"
    inside = f"{field} like {_quoted(_escaped(beginning) + '%')}"
    if not name and above:
        inside += f" and not {field} like {_quoted(_escaped(above) + '%/%')}"
    shown = name or above.rstrip("/").rpartition("/")[2] or "/"
    return FacetValue(unquote(shown) if is_remote else shown, inside, images)


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _escaped(text: str) -> str:
    """Return a pattern of `like` for a text as it is."""
    return re.sub(r"([\\%_])", r"\\\1", text)
