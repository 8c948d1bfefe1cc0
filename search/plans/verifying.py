"""Looking at a group again at the moment of acting: every file is opened, compared with the plan and hashed.

The first thing that is not as planned raises, and then nothing of the group is moved.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.folders import NamedFolders
from search.plans.choosing import Choice, Chosen, keeper_files
from search.plans.disk import (
    Mismatch,
    OpenFile,
    Signature,
    have_same_bytes,
    opened,
    require_as_planned,
    seen,
    sha256_of,
)
from search.plans.plan import Plan, PlannedFile, PlannedMember, path_of
from search.records import displayable

OnFile = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class VerifiedFile:
    """A file that may be moved, as it was when it was hashed. sidecar_of: the image that it goes with."""

    path: Path
    seen: Signature
    sha256: str
    root: Path
    exact: bool
    sidecar_of: Path | None = None

    def is_as_seen(self, now: OpenFile) -> bool:
        """Return whether nobody touched it. Of a file with several names, moving one changes what is known of all."""
        found = now.signature
        alone = os.fstat(now.handle).st_nlink == 1
        return found == self.seen if alone else found.data == self.seen.data


@dataclass(frozen=True, slots=True)
class VerifiedGroup:
    """A keeper, open until the group is done, and the files that may be moved, each image before its sidecars."""

    number: int
    keeper: OpenFile
    keeper_seen: Signature
    keeper_sha256: str
    files: tuple[VerifiedFile, ...]

    def require_keeper(self) -> None:
        """Raises:
        Mismatch: the keeper was written to, or its path leads to it no more.
        """
        if self.keeper.signature.data != self.keeper_seen.data:
            raise Mismatch(self.keeper.path, "the image to keep is being written to")
        if not self.keeper.is_named():
            raise Mismatch(self.keeper.path, "the image to keep went away: it is gone, or the same file as its copy")


class Verifier:
    """Verifies what is chosen of one plan."""

    def __init__(self, plan: Plan, choice: Choice, *, with_sidecars: bool) -> None:
        """with_sidecars: whether they go with their images."""
        self._devices = devices_now(plan)
        self._keepers = {(self._devices.get(on, on), inode) for on, inode in keeper_files(plan, choice)}
        self._protected = NamedFolders([path_of(uri) for uri in plan.protected])
        self._with_sidecars = with_sidecars

    @contextmanager
    def verified(self, chosen: Chosen, on_file: OnFile = lambda size_bytes: None) -> Iterator[VerifiedGroup]:
        """Give a group that is as planned. on_file: called with the bytes of each file that was read.

        Raises:
            Mismatch: a file of it is not, or may not be moved.
            OSError: a disk does not answer.
        """
        planned = chosen.group.keeper
        with opened(planned.path) as keeper:
            self._require_as_planned(keeper, planned)
            before = keeper.signature
            self._require_sha256(keeper, planned)
            on_file(planned.size_bytes)
            files: list[VerifiedFile] = []
            for member in chosen.members:
                files.append(self._member(keeper, member))
                on_file(member.file.size_bytes)
                if self._with_sidecars:
                    files += self._sidecars(member.file)
            group = VerifiedGroup(chosen.group.number, keeper, before, planned.sha256, _each_once(files))
            group.require_keeper()
            yield group

    def _member(self, keeper: OpenFile, member: PlannedMember) -> VerifiedFile:
        planned = member.file
        with opened(planned.path) as file:
            self._require_as_planned(file, planned)
            self._require_unprotected(file)
            require_movable(file, path_of(planned.root or ""))
            now = file.signature
            if now.file == keeper.signature.file:
                raise Mismatch(file.path, "is the image to keep itself, under another name or through another mount")
            if now.file in self._keepers:
                raise Mismatch(file.path, "is the image to keep of another group, under another name")
            self._require_sha256(file, planned)
            if member.kind == "same_bytes" and not have_same_bytes(file, keeper):
                raise Mismatch(file.path, f"holds other bytes than {displayable(keeper.path)}")
            if file.signature != now:
                raise Mismatch(file.path, "is being written to")
            exact = member.kind == "same_bytes"
            return VerifiedFile(file.path, now, planned.sha256, path_of(planned.root or ""), exact)

    def _sidecars(self, planned: PlannedFile) -> list[VerifiedFile]:
        """Return the sidecars of an image; one that went away since is missed by nobody."""
        found = []
        for path in map(path_of, planned.sidecars):
            if seen(path) is None:
                continue
            with opened(path) as file:
                before = file.signature
                if before.file in self._keepers:
                    raise Mismatch(path, "is an image to keep")
                digest = sha256_of(file)
                root = path_of(planned.root or "")
                self._require_unprotected(file)
                require_movable(file, root)
                found.append(VerifiedFile(path, before, digest, root, exact=False, sidecar_of=planned.path))
        return found

    def _require_as_planned(self, file: OpenFile, planned: PlannedFile) -> None:
        if planned.on_disk is None:
            raise Mismatch(file.path, planned.why_not or "is no file that can be moved")
        device = planned.on_disk.device
        require_as_planned(file, planned.on_disk, self._devices.get(device, device))

    def _require_unprotected(self, file: OpenFile) -> None:
        if self._protected.hold(file.path):
            raise Mismatch(file.path, "lies in a protected folder, to which another path leads")

    def _require_sha256(self, file: OpenFile, planned: PlannedFile) -> None:
        if sha256_of(file) != planned.sha256:
            raise Mismatch(file.path, "holds other bytes than when it was indexed")


def devices_now(plan: Plan) -> Mapping[int, int]:
    """Return what the devices of a plan are called now: numbers change when a disk is mounted again."""
    now: dict[int, int] = {}
    for root in plan.roots:
        path = path_of(root.uri)
        if path.is_dir():
            now[root.device] = path.stat().st_dev
    return now


def require_movable(file: OpenFile, root: Path) -> None:
    """Raises:
    Mismatch: the file cannot be renamed into the quarantine of its root.
    """
    if root.stat().st_dev != file.signature.device:
        raise Mismatch(
            file.path, f"lies on another file system than {displayable(root)}, where its quarantine would be"
        )
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=file.folder, effective_ids=True):
        raise Mismatch(file.path, "its folder is read-only, or closed to this user")


def _each_once(files: list[VerifiedFile]) -> tuple[VerifiedFile, ...]:
    """Return the files, a sidecar that two images name only with the first."""
    return tuple({file.path: file for file in reversed(files)}.values())[::-1]
