"""Where files come from: folders, files, globs, archives, manifests and URLs, walked lazily.

The door of the room: what an argument means (`resolve`), what it holds (`walk`), how much that may be (`count`), and
the bytes of a found file (`read_file`). Each kind of source has a module of its own.

Named files that are no images go to the ledger; files merely met while walking are ignored. Archives and manifests are
opened when they are named or matched by a glob, never when they are merely met.
"""

import glob
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from indexer.sources.found import (
    MAX_FILE_BYTES,
    Exclusion,
    Found,
    FoundFile,
    IgnoredFile,
    Kind,
    Sidecar,
    Source,
    UnchangedArchive,
    UnreadableFile,
    Visit,
    is_url,
)
from indexer.sources.local_files import look, look_with_sidecar, named_like_an_image, read_local, reason_of, walk_folder
from indexer.sources.manifest_tables import count_rows, is_manifest, require_places
from indexer.sources.manifests import walk_manifest
from indexer.sources.remote_files import canonical, glob_source, is_http, kind_of, look_remote
from indexer.sources.remote_folders import walk_remote
from indexer.sources.sidecars import MAX_SIDECAR_BYTES, parsed
from indexer.sources.tars import count_members, is_archive, stamp_of_archive, walk_tar
from search.errors import BadImage, SourceUnavailable, UsageError
from search.plans.places import QUARANTINE
from search.records import path_of_uri, uri_of_path

__all__ = [
    "MAX_FILE_BYTES",
    "Found",
    "FoundFile",
    "IgnoredFile",
    "Source",
    "UnreadableFile",
    "Walk",
    "count",
    "emptiness",
    "is_gone",
    "read_file",
    "read_metadata",
    "reason_of",
    "resolve",
    "walk",
]

# Tells of a uri whether the catalogue knows images at it or below it.
WasThere = Callable[[str], bool]


def resolve(
    arguments: Sequence[str], exclude: Sequence[str] = (), was_there: WasThere = lambda uri: False
) -> list[Source]:
    """Return the sources behind the arguments, each place once; a source inside another is left out.

    exclude: globs of files to pass over. was_there: decides whether a place that cannot be reached is offline, or a
    mistake.

    Raises:
        UsageError: an argument names nothing that exists, a symbolic link that leads nowhere, or no manifest.
        SourceUnavailable: a remote place does not answer, and was never indexed.
    """
    exclusion = Exclusion(tuple(exclude))
    sources: dict[str, Source] = {}
    for argument in (str(path_of_uri(one) or one) for one in arguments):
        expand = _expand_remote if is_url(argument) else _expand_local
        for source in expand(argument, exclusion, was_there):
            sources.setdefault(f"{source.path}\0{source.pattern}", source)
    folders = [source for source in sources.values() if source.kind == "folder" and source.pattern is None]
    return [source for source in sources.values() if not any(_inside(source, folder) for folder in folders)]


def _inside(source: Source, folder: Source) -> bool:
    below = source.path != folder.path and source.path.startswith(folder.path.rstrip("/") + "/")
    return below and source.kind in ("folder", "file", "offline")


def _expand_local(argument: str, exclude: Exclusion, was_there: WasThere) -> Iterator[Source]:
    path = os.path.expanduser(argument)  # noqa: PTH111 -- pathlib would normalise names a user typed
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        matches = sorted(glob.iglob(path, recursive=True)) if glob.has_magic(path) else []  # noqa: PTH207
        gone = os.path.abspath(path)  # noqa: PTH100 -- nothing is there that could be resolved
        if not matches and was_there(uri_of_path(gone)):
            yield Source(gone, "offline", named=True, uri=uri_of_path(gone), detail=error.strerror or str(error))
            return
        if not matches:
            raise UsageError(f"{argument}: {error.strerror}; name a folder, a file or a glob that exists") from error
        yield from _matched(path, matches, exclude)
        return
    if QUARANTINE in Path(real).parts:
        raise UsageError(f"{argument} lies in a quarantine, which is never indexed; `lookalike undo` brings files back")
    source = _local(real, exclude, named=True)
    detail = emptiness(real) if source.kind == "folder" else ""
    # It is walked all the same; only removing what it does not show is refused.
    yield replace(source, detail=detail) if detail and was_there(source.uri) else source


def emptiness(folder: str) -> str:
    """Return why a folder that held images looks as if its disk were missing, "" when it does not."""
    try:
        with os.scandir(folder) as entries:
            return (
                "" if next(entries, None) is not None else "the folder is empty, as a mount point without its disk is"
            )
    except OSError as error:
        return error.strerror or str(error)


def _matched(pattern: str, matches: Sequence[str], exclude: Exclusion) -> Iterator[Source]:
    magic = next(at for at, letter in enumerate(pattern) if letter in "*?[")
    root = os.path.dirname(pattern[:magic])  # noqa: PTH120
    for match in matches:
        if exclude.matches(os.path.relpath(match, root or ".")):
            continue
        if QUARANTINE not in Path(match).parts and (Path(match).is_dir() or not Path(match).is_symlink()):
            yield _local(os.path.realpath(match), exclude, named=False)


def _local(path: str, exclude: Exclusion, *, named: bool) -> Source:
    if Path(path).is_dir():
        return Source(path, "folder", named, uri_of_path(path), exclude)
    kind = _kind_of_file(path)
    if kind == "manifest":
        require_places(path)
    return Source(path, kind, named, uri_of_path(path), exclude)


def _kind_of_file(name: str) -> Kind:
    if is_archive(name):
        return "archive"
    return "manifest" if is_manifest(name) else "file"


def _expand_remote(argument: str, exclude: Exclusion, was_there: WasThere) -> Iterator[Source]:
    if not is_http(argument) and any(letter in argument for letter in "*?["):
        folder, pattern = glob_source(argument)
        kind_of(folder)
        yield Source(folder, "folder", named=False, uri=folder, exclude=exclude, pattern=pattern)
        return
    url = canonical(argument)
    try:
        kind = _kind_behind(url)
    except (UsageError, SourceUnavailable) as error:
        if not was_there(url):
            raise
        yield Source(url, "offline", named=True, uri=url, detail=str(error))
        return
    try:
        if kind == "manifest":
            require_places(url)
    except SourceUnavailable as error:
        if not was_there(url):
            raise
        yield Source(url, "offline", named=True, uri=url, detail=str(error))
    else:
        yield Source(url, kind, named=True, uri=url, exclude=exclude)


def _kind_behind(url: str) -> Kind:
    if kind_of(url) == "folder":
        return "folder"
    return _kind_of_file(url.partition("?")[0] if is_http(url) else url)


def is_gone(uri: str) -> bool:
    """Tell whether a file or an object is gone for good: its folder is there without it, or its server says so."""
    path = path_of_uri(uri)
    found: Found
    if path is None:
        found = look_remote(uri)
    elif path.parent.is_dir():
        found = look(os.fspath(path), named=True)
    else:
        return False
    return isinstance(found, UnreadableFile) and found.reason == "vanished"


class Walk:
    """One pass over sources. Iterate once; then `visits` tells of archives, manifests and remote folders, by uri, and
    `files` how many files the others held.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        skip: Path | None = None,
        max_bytes: int = MAX_FILE_BYTES,
        known: Mapping[str, tuple[str, int]] | None = None,
    ) -> None:
        """skip: a folder that is never entered (the store itself). max_bytes: of a member of an archive.

        known: of archives whose members are all known, by uri: (stamp, images). They are opened only when changed.
        """
        self.visits: dict[str, Visit] = {}
        # Of folders and single files: what claims to be a picture, counted before anybody else has looked at it.
        self.files = 0
        self._sources = sources
        self._skip = str(skip) if skip is not None else None
        self._max_bytes = max_bytes
        self._known = known or {}

    def __iter__(self) -> Iterator[Found]:
        """Yield every file of the sources, folders in name order, without holding a listing of the whole tree."""
        for source in self._sources:
            if source.kind == "folder":
                yield from self._counted(self._folder(source))
            elif source.kind == "archive":
                yield from self._archive(source)
            elif source.kind == "manifest":
                yield from walk_manifest(source, self._visit(source))
            elif source.kind == "file":
                remote = source.remote
                one = look_remote(source.path) if remote else look_with_sidecar(source.path, named=source.named)
                yield from self._counted([one])

    def _counted(self, found: Iterable[Found]) -> Iterator[Found]:
        for one in found:
            self.files += not isinstance(one, IgnoredFile)
            yield one

    def _folder(self, source: Source) -> Iterator[Found]:
        return walk_remote(source, self._visit(source)) if source.remote else walk_folder(source, self._skip)

    def _visit(self, source: Source) -> Visit:
        # A glob sees only a part of its folder: what it does not show may well be there.
        name = source.uri if source.pattern is None else f"{source.uri}\0{source.pattern.pattern}"
        return self.visits.setdefault(name, Visit(source.uri))

    def _archive(self, source: Source) -> Iterator[Found]:
        visit = self._visit(source)
        try:
            stamp = stamp_of_archive(source.path)
        except BadImage as error:
            yield UnreadableFile(source.uri, error.reason, error.detail)
            return
        if not source.exclude:  # or what was passed over now would be taken for known later
            visit.stamp = f"{stamp[0]}:{stamp[1]}"
        stored, images = self._known.get(source.uri, ("", 0))
        if stored and stored == visit.stamp:
            visit.whole, visit.unchanged, visit.images = True, True, images
            yield UnchangedArchive(source.uri, images)
            return
        yield from walk_tar(source, visit, stamp, self._max_bytes)


def walk(sources: Sequence[Source], skip: Path | None = None) -> Iterator[Found]:
    """Yield every file of the sources, as a Walk without a memory does."""
    return iter(Walk(sources, skip))


def count(sources: Sequence[Source]) -> Iterator[int | None]:
    """Yield how many files may be images, piece by piece, judging by names alone; fast, for progress bars.

    None for a source whose size only reading it tells.
    """
    for source in sources:
        if source.kind == "file":
            yield 1
        elif source.kind == "archive":
            yield count_members(source.path)
        elif source.kind == "manifest":
            yield count_rows(source.path)
        elif source.kind == "folder" and source.remote:
            yield None
        elif source.kind == "folder":
            yield from _count_folder(source)


def _count_folder(source: Source) -> Iterator[int]:
    for _, folders, names in os.walk(source.path):
        folders[:] = [name for name in folders if not name.startswith(".") and not source.exclude.matches(name)]
        yield sum(named_like_an_image(name) and not name.startswith(".") for name in names)


def read_file(found: FoundFile, max_bytes: int) -> bytes:
    """Return the bytes of a file, wherever it lies.

    Raises:
        BadImage: it is gone, unreadable, or larger than max_bytes.
    """
    if found.origin is None or found.origin.content is None:
        return read_local(found.path, max_bytes)
    return found.origin.content.read(max_bytes)


def read_metadata(sidecar: Sidecar) -> dict[str, object]:
    """Return the object in a sidecar.

    Raises:
        BadImage: it cannot be read (`vanished`, ...), or is no JSON object (`bad_metadata`).
    """
    try:
        if sidecar.content is not None:
            return parsed(sidecar.content.read(MAX_SIDECAR_BYTES))
        return parsed(read_local(sidecar.path, MAX_SIDECAR_BYTES))
    except BadImage as error:
        raise BadImage("bad_metadata" if error.reason == "file_too_large" else error.reason, error.detail) from error
