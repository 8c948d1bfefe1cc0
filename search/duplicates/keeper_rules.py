"""The user's rules for which of several copies to keep. Knows no pixels; keeping.py applies them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args

from search.duplicates.sidecars import is_raw
from search.errors import UsageError
from search.folders import NamedFolders
from search.records import ImageRecord, path_of_uri
from search.storing.uploads import is_upload

Rule = Literal["view", "lossless", "resolution", "untouched", "quality", "prefer", "metadata", "date", "path"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
LOSSLESS_FORMATS: Final = frozenset({"png", "bmp", "tiff", "webp"})  # that can be; the file tells whether it is


@dataclass(frozen=True, slots=True)
class KeeperRules:
    """rules: in order; those left out do not count. protected: folders whose files are always kept. preferred: folders
    whose files come before others, by the rules `prefer` and `path`, the first folder first. uploads: the folder of
    pictures that were sent to the store, None where nothing is known of such.
    """

    rules: tuple[Rule, ...] = RULES
    protected: tuple[Path, ...] = ()
    preferred: tuple[Path, ...] = ()
    uploads: Path | None = None
    _protected: NamedFolders = field(init=False, repr=False, compare=False)
    _preferred: NamedFolders = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_protected", NamedFolders(self.protected))
        object.__setattr__(self, "_preferred", NamedFolders(self.preferred))

    def is_protected(self, image: ImageRecord) -> bool:
        """Tell whether an image lies in a protected folder."""
        path = path_of_uri(image.uri)
        return path is not None and self._protected.hold(path)

    def is_upload(self, image: ImageRecord) -> bool:
        """Tell whether an image was sent to the store, which keeps what there is of its file."""
        return self.uploads is not None and is_upload(image.uri, self.uploads)

    def at_first_sight(self, image: ImageRecord) -> tuple[bool | int | str, ...]:
        """Return a sort key from what the catalogue knows: likely keepers come first. No two images have the same."""
        path = path_of_uri(image.uri)
        raw = path is not None and is_raw(path)
        size = (-image.width * image.height, image.format not in LOSSLESS_FORMATS, -image.size_bytes)
        return not self.is_protected(image), not raw, *size, *self.date(image), *self.place(image), image.id

    def date(self, image: ImageRecord) -> tuple[int, ...]:
        """Return what orders images by date, the oldest first."""
        return (image.mtime_ns,)

    def place(self, image: ImageRecord) -> tuple[int, int, int]:
        """Return what orders images by their place: preferred folders, then few folders deep, then short."""
        return *self.preference(image), image.uri.count("/"), len(image.uri)

    def preference(self, image: ImageRecord) -> tuple[int]:
        """Return what orders images by the preferred folders alone."""
        path = path_of_uri(image.uri)
        places = frozenset[int]() if path is None else self._preferred.above(path)
        return (min(places, default=len(self.preferred)),)


def rules_named(names: Iterable[str]) -> tuple[Rule, ...]:
    """Return rules by their names.

    Raises:
        UsageError: there is no such rule, or one is named twice.
    """
    known: dict[str, Rule] = {rule: rule for rule in RULES}
    found = []
    for name in names:
        rule = known.get(name.strip().lower())
        if rule is None:
            raise UsageError(f"there is no keeper rule {name!r}; there are: {', '.join(RULES)}")
        if rule in found:
            raise UsageError(f"the keeper rule {name!r} is named twice")
        found.append(rule)
    return tuple(found)
