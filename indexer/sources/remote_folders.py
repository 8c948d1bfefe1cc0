"""Walking folders behind URLs. S3 streams its objects; any other file system is listed folder by folder.

No first bytes decide what is a picture: that would be a request for each object.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlsplit

from indexer.sources.found import Found, IgnoredFile, Sidecar, Source, UnreadableFile, Visit, stamped
from indexer.sources.local_files import named_like_an_image
from indexer.sources.network_errors import explained
from indexer.sources.remote_files import (
    RemoteContent,
    file_system,
    found_object,
    stamp_of,
    uri_of_object,
)
from indexer.sources.s3_listing import OutOfOrder, lists_in_order, objects_below
from indexer.sources.sidecars import SUFFIX, sidecar_name

Info = Mapping[str, Any]
_NO_NAME: Final = ""


def walk_remote(source: Source, visit: Visit) -> Iterator[Found]:
    """Yield every object of a remote folder, a page or a folder's listing in memory; a failure costs only what failed.

    S3: in the order of names, but for pictures that wait for their sidecars. Others: folder by folder.
    """
    system, root = file_system(source.path)
    walk = _Walk(source, system, root, urlsplit(source.path).scheme.lower())
    visit.whole = True
    if lists_in_order(system):
        try:
            yield from walk.streamed()
        except Exception as error:  # noqa: BLE001 -- a backend raises whatever its own libraries do
            if walk.began or not isinstance(error, OutOfOrder):
                yield walk.failed(visit, root, error)
                return
        else:
            return
    yield from walk.by_folders(visit)


class _Walk:
    """One pass over one remote folder. began: whether anything was yielded."""

    def __init__(self, source: Source, system: Any, root: str, protocol: str) -> None:
        self.began = False
        self._source = source
        self._system = system
        self._root = root
        self._protocol = protocol

    def streamed(self) -> Iterator[Found]:
        """Yield what the listing of S3 brings, as it comes.

        Raises:
            Exception: as objects_below.
        """
        window = _Window()
        for info in objects_below(self._system, self._root, self._passed_over):
            path = str(info["name"])
            for ready in window.moved_to(path):
                yield self._described(ready.path, ready.info, ready.beside)
            if path.endswith(SUFFIX):
                window.put_beside(path, info)
            self.began = True
            if self._wanted(path):
                window.put(path, info)
            else:
                yield IgnoredFile(path)
        for ready in window.moved_to(_NO_NAME):
            yield self._described(ready.path, ready.info, ready.beside)

    def by_folders(self, visit: Visit) -> Iterator[Found]:
        """Yield what the listing of each folder brings, one in memory at a time."""
        pending = [self._root]
        while pending:
            folder = pending.pop()
            try:
                infos = sorted(self._system.ls(folder, detail=True), key=lambda info: str(info["name"]))
            except Exception as error:  # noqa: BLE001 -- a backend raises whatever its own libraries do
                yield self.failed(visit, folder, error)
                continue
            below, objects = _sorted_out(folder, infos)
            pending += reversed([path for path in below if not self._passed_over(path)])
            for path, info in objects.items():
                beside = sidecar_name(path, objects)
                yield (
                    self._described(path, info, (beside, objects[beside]) if beside is not None else None)
                    if self._wanted(path)
                    else IgnoredFile(path)
                )

    def failed(self, visit: Visit, folder: str, error: Exception) -> UnreadableFile:
        """Return the entry of a folder whose listing failed; what it did not show may well be there."""
        visit.whole = False
        return UnreadableFile(uri_of_object(self._protocol, folder), *explained(error))

    def _passed_over(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return name.startswith(".") or self._source.exclude.matches(path[len(self._root) :].lstrip("/"))

    def _wanted(self, path: str) -> bool:
        matched = self._source.pattern is None or self._source.pattern.fullmatch(path) is not None
        return matched and not self._passed_over(path) and named_like_an_image(path)

    def _described(self, path: str, info: Info, beside: tuple[str, Info] | None) -> Found:
        found = found_object(uri_of_object(self._protocol, path), info)
        if beside is None:
            return found
        name, facts = beside
        uri = uri_of_object(self._protocol, name)
        stamp = stamped(found.mtime_ns, stamp_of(facts))
        return replace(found, mtime_ns=stamp, sidecar=Sidecar(name, uri, RemoteContent(uri)))


@dataclass(slots=True)
class _Waiting:
    """A picture, with what lies beside it as far as the listing has come."""

    path: str
    info: Info
    beside: tuple[str, Info] | None


class _Window:
    """The few objects of a sorted listing among which a picture's sidecar can still be.

    `a.json` and `a.png.json` belong to `a.png`: all of them begin with `a.`, and so does whatever lies between them.
    """

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._beside: dict[str, Info] = {}

    def moved_to(self, path: str) -> list[_Waiting]:
        """Return the pictures that no later object can belong to, now that the listing is at this one."""
        ready = [one for one in self._waiting if not path.startswith(_beginning(one.path))]
        if ready:
            self._waiting = [one for one in self._waiting if path.startswith(_beginning(one.path))]
        if self._beside:
            self._beside = {name: info for name, info in self._beside.items() if path.startswith(_beginning(name))}
        return ready

    def put_beside(self, path: str, info: Info) -> None:
        """Take a JSON file."""
        self._beside[path] = info
        for one in self._waiting:
            both = {path: info} | ({} if one.beside is None else {one.beside[0]: one.beside[1]})
            name = sidecar_name(one.path, both)
            one.beside = None if name is None else (name, both[name])

    def put(self, path: str, info: Info) -> None:
        """Take a picture."""
        name = sidecar_name(path, self._beside)
        self._waiting.append(_Waiting(path, info, None if name is None else (name, self._beside[name])))


def _beginning(path: str) -> str:
    return path.rpartition(".")[0] + "."


def _sorted_out(folder: str, infos: list[Info]) -> tuple[list[str], dict[str, Info]]:
    """Return the folders below, and the objects by name; the marker object of the folder itself is none."""
    below: list[str] = []
    objects: dict[str, Info] = {}
    for info in infos:
        path = str(info["name"]).rstrip("/")
        if path == folder.rstrip("/"):
            continue
        if info["type"] == "directory":
            below.append(path)
        else:
            objects[path] = info
    return below, objects
