"""A plan: what `apply` may do, written down once and never changed. Pure: it touches no file.

As JSON it ends in a checksum over everything else, so that a plan that was edited by hand is refused. Files are named
by uri, which holds every file name there can be.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast, get_args

from search.duplicates.groups import EXACT, DuplicateKind, bytes_freed
from search.errors import GuardRefused, UsageError
from search.records import Relation, Verified, path_of_uri, shown_path

FORMAT: Final = 2
# Format 1 knew neither stand-ins nor files with two paths.
READABLE: Final = (1, 2)
# Larger groups are looked at by a person before anything of them is moved.
REVIEWED_MEMBERS: Final = 50
CHECKSUM: Final = "checksum"
UPLOADED: Final = "it was sent to the store, and goes with its image"  # why a file is not moved


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What the system said of a file when the plan was made."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """An image of a plan. sha256: 64 hexadecimal digits. on_disk: None where it cannot be moved, as `why_not` says.

    root: uri of the indexed folder in which its quarantine lies. sidecars: uris of files that go where it goes.
    same_as: uri of another image of the plan that is this very file, reached by another path.
    """

    image_id: int
    key: str
    uri: str
    sha256: str
    size_bytes: int
    on_disk: OnDisk | None
    why_not: str | None
    root: str | None
    sidecars: tuple[str, ...] = ()
    same_as: str | None = None

    @property
    def path(self) -> Path:
        """Return where the file lies.

        Raises:
            ValueError: it is no local file; such a one has no `on_disk`.
        """
        return path_of(self.uri)

    def as_json(self) -> dict[str, object]:
        """Return the file of a plan's JSON."""
        shape: dict[str, object] = {"id": str(self.image_id), "key": self.key, "uri": self.uri}
        shape |= {"path": shown_path(self.uri), "sha256": self.sha256, "bytes": self.size_bytes}
        disk = None if self.on_disk is None else {one.name: getattr(self.on_disk, one.name) for one in fields(OnDisk)}
        return (
            shape
            | {"on_disk": disk, "why_not": self.why_not, "root": self.root}
            | {
                "sidecars": list(self.sidecars),
                "same_as": self.same_as,
            }
        )


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """A copy that may go. linked: it is the keeper's own data under another name, so that moving it frees nothing.

    copy_of: of a near copy, the id of the stand-in of its group that has the same pixels.
    """

    file: PlannedFile
    score: float
    relation: Relation
    verified: Verified | None
    kind: DuplicateKind
    confirmed: bool
    linked: bool = False
    copy_of: int | None = None

    @property
    def is_sure(self) -> bool:
        """Return whether nothing that can be seen differs from the keeper, or a person said that it is a duplicate."""
        return self.kind in EXACT or self.confirmed

    def as_json(self) -> dict[str, object]:
        """Return the member of a plan's JSON."""
        shape = self.file.as_json() | {"score": self.score, "relation": self.relation, "verified": self.verified}
        shape |= {"kind": self.kind, "confirmed": self.confirmed, "linked": self.linked}
        return shape | {"copy_of": None if self.copy_of is None else str(self.copy_of)}


@dataclass(frozen=True, slots=True)
class PlannedGroup:
    """A keeper, why it was chosen, and its copies. number: from 1, as `dedup` shows them.

    stand_ins: of near copies that are exact copies of one another, the best ones, which stay where near copies stay.
    """

    number: int
    keeper: PlannedFile
    reason: str
    members: tuple[PlannedMember, ...]
    stand_ins: tuple[PlannedFile, ...] = ()

    @property
    def is_large(self) -> bool:
        """Return whether it has so many members that a person is to look at it."""
        return len(self.members) > REVIEWED_MEMBERS

    def as_json(self) -> dict[str, object]:
        """Return the group of a plan's JSON."""
        keeper = self.keeper.as_json() | {"reason": self.reason}
        shape = {"group": self.number, "keeper": keeper, "members": [member.as_json() for member in self.members]}
        return shape | {"stand_ins": [file.as_json() for file in self.stand_ins]}


@dataclass(frozen=True, slots=True)
class PlannedRoot:
    """A folder that was indexed. device: it lay on then. images: of the collection, below it."""

    uri: str
    device: int
    images: int

    def as_json(self) -> dict[str, object]:
        """Return the root of a plan's JSON."""
        return {"uri": self.uri, "path": shown_path(self.uri), "device": self.device, "images": self.images}


@dataclass(frozen=True, slots=True)
class Plan:
    """store: the folder it was made in. made_at, expires_at: seconds since 1970. protected: uris of folders in which
    nothing is moved.
    """

    id: str
    store: str
    collection: str
    made_at: int
    expires_at: int
    threshold: float
    threshold_source: str
    roots: tuple[PlannedRoot, ...]
    protected: tuple[str, ...]
    groups: tuple[PlannedGroup, ...]

    @property
    def files(self) -> int:
        """Return how many copies it names."""
        return sum(len(group.members) for group in self.groups)

    @property
    def bytes_reclaimable(self) -> int:
        """Return how many bytes would come free if all of them went."""
        files = {member.file.uri: member.file.size_bytes for group in self.groups for member in group.members}
        return bytes_freed(files, (group.keeper.uri for group in self.groups))

    def as_json(self) -> dict[str, object]:
        """Return the whole file, its checksum last."""
        shape: dict[str, object] = {"format": FORMAT, "id": self.id, "store": self.store, "collection": self.collection}
        shape |= {"made_at": iso(self.made_at), "expires_at": iso(self.expires_at), "threshold": self.threshold}
        shape |= {"threshold_source": self.threshold_source, "roots": [root.as_json() for root in self.roots]}
        shape |= {"protected": list(self.protected), "groups": [group.as_json() for group in self.groups]}
        return shape | {CHECKSUM: checksum(shape)}


def checksum(shape: Mapping[str, object]) -> str:
    """Return the sha256 of JSON in its one canonical spelling, but for the checksum in it."""
    said = {name: value for name, value in shape.items() if name != CHECKSUM}
    return hashlib.sha256(canonical(said)).hexdigest()


def canonical(shape: object) -> bytes:
    """Return JSON as it is hashed: sorted, without blanks, ASCII."""
    return json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def parsed(text: bytes, name: str) -> Plan:
    """Return the plan that a file holds. name: of the file, for messages.

    Raises:
        UsageError: it is no plan, or one of a newer release.
        GuardRefused: it is not as `dedup` wrote it.
    """
    try:
        shape = json.loads(text)
        found = shape["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{name} is no plan: `dedup` writes one") from error
    if found not in READABLE:
        raise UsageError(f"{name} is a plan of format {found!r}; this release knows up to {FORMAT}: run `dedup` again")
    try:
        if shape.get(CHECKSUM) != checksum(shape):
            raise GuardRefused(
                f"{name} is not as `dedup` wrote it, so nothing is done by it; run `dedup` again, and say what is "
                "a copy and what is not by `verdicts`"
            )
        return _plan(shape)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{name} is no plan: {type(error).__name__} {error}; run `dedup` again") from error


def iso(epoch: float) -> str:
    """Return a moment as people and machines read it: 2026-11-23T07:00:00Z."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def path_of(uri: str) -> Path:
    """Return the path of a file uri.

    Raises:
        ValueError: it is the uri of something else.
    """
    path = path_of_uri(uri)
    if path is None:
        raise ValueError(f"{uri} is no local file")
    return path


def _epoch(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


def _plan(shape: Mapping[str, Any]) -> Plan:
    return Plan(
        shape["id"],
        shape["store"],
        shape["collection"],
        _epoch(shape["made_at"]),
        _epoch(shape["expires_at"]),
        float(shape["threshold"]),
        shape["threshold_source"],
        tuple(PlannedRoot(one["uri"], one["device"], one["images"]) for one in shape["roots"]),
        tuple(shape["protected"]),
        tuple(_group(one) for one in shape["groups"]),
    )


def _group(shape: Mapping[str, Any]) -> PlannedGroup:
    keeper = shape["keeper"]
    members, stand_ins = map(_member, shape["members"]), map(_file, shape.get("stand_ins", ()))
    return PlannedGroup(shape["group"], _file(keeper), keeper["reason"], tuple(members), tuple(stand_ins))


def _member(shape: Mapping[str, Any]) -> PlannedMember:
    kind, copy_of = shape["kind"], shape.get("copy_of")
    if kind not in get_args(DuplicateKind):
        raise ValueError(f"kind {kind!r}")
    return PlannedMember(
        _file(shape),
        float(shape["score"]),
        cast(Relation, shape["relation"]),
        cast(Verified | None, shape["verified"]),
        cast(DuplicateKind, kind),
        shape["confirmed"],
        shape["linked"],
        None if copy_of is None else int(copy_of),
    )


def _file(shape: Mapping[str, Any]) -> PlannedFile:
    disk = shape["on_disk"]
    return PlannedFile(
        int(shape["id"]),
        shape["key"],
        shape["uri"],
        shape["sha256"],
        shape["bytes"],
        None if disk is None else OnDisk(**disk),
        shape["why_not"],
        shape["root"],
        tuple(shape["sidecars"]),
        shape.get("same_as"),
    )
