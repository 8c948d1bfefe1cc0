"""What lies beside an image and belongs to it: edits, ratings, the video of a live photo; and the RAW of a JPEG.

Told from names alone, as every program that writes them does: `photo.jpg.xmp` belongs to photo.jpg, and `photo.xmp` to
the one picture of that stem, or to the RAW among several. What several pictures could claim belongs to none of them.
"""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from search.records import ImageRecord, path_of_uri

_RAW = (
    ".3fr .ari .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw"
    " .rw2 .rwl .sr2 .srf .srw .x3f"
)
RAW_SUFFIXES: Final = frozenset(_RAW.split())
_DEVELOPED: Final = frozenset({".jpg", ".jpeg", ".jpe", ".heic", ".heif", ".hif"})
_PICTURES: Final = RAW_SUFFIXES | _DEVELOPED | {".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
# Named by the whole name of their image: darktable and digiKam, RawTherapee, DxO, Google Takeout and Lookalike.
_WHOLE_NAME: Final = frozenset({".xmp", ".pp3", ".dop", ".json"})
_STEM: Final = frozenset({".xmp", ".aae", ".json"})  # named by its stem: Adobe, Apple, data sets
_LIVE: Final = frozenset({".mov"})  # the moving half of a live photo
_ADJUSTED, _ADJUSTMENTS = "img_", "img_o"  # Apple keeps what was done to IMG_1.HEIC in IMG_1.AAE and IMG_O1.AAE
# Where programs put the RAW half of a pair: beside the other, or in a folder for it.
RAW_FOLDERS: Final = frozenset({"raw", "raws", "dng", "nef", "cr2", "cr3", "arw"})
DEVELOPED_FOLDERS: Final = frozenset({"jpg", "jpeg", "jpegs", "jpgs", "heic", "export", "exports"})
_FOLDERS_KEPT: Final = 64

# The files of a folder, by what comes before the first suffix, casefolded.
Names = Mapping[str, Sequence[str]]


def sidecars_of(path: Path) -> Sequence[Path]:
    """Return the files beside an image that go where it goes, by name; none where its folder cannot be read."""
    return Beside().sidecars_of(path)


def is_raw(path: Path) -> bool:
    """Tell whether a file is a camera's RAW file, by its name."""
    return path.suffix.lower() in RAW_SUFFIXES


class Beside:
    """What lies beside images. Remembers the folders that were looked at last; not thread-safe."""

    def __init__(self) -> None:
        self._folders: OrderedDict[Path, Names] = OrderedDict()

    def sidecars_of(self, path: Path) -> Sequence[Path]:
        """Return the sidecars of one image: regular files beside it, by name."""
        own, stem = path.name.casefold(), path.stem.casefold()
        beside = self._names(path.parent)
        near = [name for name in beside.get(_first(own), ()) if name.casefold() != own]
        found = [name for name in near if _after(name.casefold(), own) in _WHOLE_NAME]
        if self._owner(path.parent, stem) == path.name:
            of_stem = _STEM | (_LIVE if path.suffix.lower() in _DEVELOPED else frozenset())
            found += [name for name in near if _after(name.casefold(), stem) in of_stem]
            if stem.startswith(_ADJUSTED):
                adjustments = _ADJUSTMENTS + stem.removeprefix(_ADJUSTED)
                found += [
                    name
                    for name in beside.get(adjustments, ())
                    if _after(name.casefold(), adjustments) == ".aae"
                ]  # fmt: skip
        return [path.with_name(name) for name in sorted(set(found))]

    def other_half_of(self, path: Path) -> Path | None:
        """Return the RAW file of a JPEG or HEIC, or the reverse: same stem, same folder; None where there is none."""
        suffix, stem = path.suffix.lower(), path.stem.casefold()
        if suffix not in RAW_SUFFIXES | _DEVELOPED:
            return None
        others = RAW_SUFFIXES if suffix in _DEVELOPED else _DEVELOPED
        names = self._names(path.parent).get(_first(path.name.casefold()), ())
        halves = sorted(name for name in names if _after(name.casefold(), stem) in others)
        return path.with_name(halves[0]) if halves else None

    def _owner(self, folder: Path, stem: str) -> str | None:
        """Return the picture that what is named by a stem belongs to, None where several could claim it."""
        names = self._names(folder).get(_first(stem), ())
        pictures = [name for name in names if _after(name.casefold(), stem) in _PICTURES]
        raws = [name for name in pictures if Path(name).suffix.lower() in RAW_SUFFIXES]
        only = raws or pictures
        return only[0] if len(only) == 1 else None

    def _names(self, folder: Path) -> Names:
        if folder in self._folders:
            self._folders.move_to_end(folder)
            return self._folders[folder]
        by_stem: dict[str, list[str]] = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False):
                        by_stem.setdefault(_first(entry.name.casefold()), []).append(entry.name)
        except OSError:
            by_stem = {}
        self._folders[folder] = by_stem
        while len(self._folders) > _FOLDERS_KEPT:
            self._folders.popitem(last=False)
        return by_stem


def are_raw_and_developed(one: ImageRecord, other: ImageRecord) -> bool:
    """Tell whether two images are the RAW and the JPEG of one exposure, by their places.

    The same stem, one of them RAW, in one folder or in a folder for either kind: DCIM/a.dng with DCIM/JPG/a.jpg.
    """
    first, second = path_of_uri(one.uri), path_of_uri(other.uri)
    if first is None or second is None or first.stem.casefold() != second.stem.casefold():
        return False
    if is_raw(first) == is_raw(second):
        return False
    raw, developed = (first, second) if is_raw(first) else (second, first)
    if developed.suffix.lower() not in _DEVELOPED:
        return False
    roots = {raw.parent, _without(raw.parent, RAW_FOLDERS)} & {
        developed.parent, _without(developed.parent, DEVELOPED_FOLDERS)
    }  # fmt: skip
    return bool(roots)


def _without(folder: Path, known: frozenset[str]) -> Path:
    return folder.parent if folder.name.casefold() in known else folder


def _first(name: str) -> str:
    """Return the part of a name before its first suffix: what an image and all its sidecars share."""
    return name.lstrip(".").partition(".")[0]


def _after(name: str, start: str) -> str | None:
    """Return what follows a start, None where the name does not begin with it."""
    return name.removeprefix(start) if name.startswith(start) else None
