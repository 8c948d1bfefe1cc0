"""Which members of a plan are acted on, why the others are not, and whether that is too much at once. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from search.errors import GuardRefused
from search.plans.exact_sets import exact_sets
from search.plans.history import Action, History, Place
from search.plans.plan import UPLOADED, Plan, PlannedFile, PlannedGroup, PlannedMember
from search.records import shown_path

MOST_FRACTION: Final = 0.2
# Why a member is left where it is. near: nobody confirmed it. review: its group is large. elsewhere: in an archive,
# on S3, or not as it was indexed. uploaded: it was sent to the store, and goes with its image. verdict: people have
# said since that both stay. other_bytes: a link would change them. linked: it is the keeper's own data. alias: it is
# another file of the plan under another path. protected: it lies in a protected folder. keeper: its keeper cannot be
# looked at, or is an upload. done: an earlier `apply` did it.
Left = Literal[
    "near",
    "review",
    "elsewhere",
    "uploaded",
    "verdict",
    "other_bytes",
    "linked",
    "alias",
    "protected",
    "keeper",
    "done",
]
# Of copies that are left for these reasons, and are exact copies of one another, one is enough.
SPARE: Final[tuple[Left, ...]] = ("near", "other_bytes")
Opinions = Mapping[tuple[str, str], bool]  # by two sha256, whether one is enough: search/storing/verdicts.py
_NOBODY: Final[Opinions] = MappingProxyType({})
GONE: Final[tuple[Place, ...]] = ("quarantine", "purged")


@dataclass(frozen=True, slots=True)
class Wanted:
    """action: None to list. near: also what nobody confirmed. max_fraction: of a root, 0 to 1; None for a fifth."""

    action: Action | None
    near: bool = False
    max_fraction: float | None = None

    @property
    def links(self) -> bool:
        """Return whether copies are replaced by what shares the keeper's data, so that they must have its bytes."""
        return self.action in ("hardlink", "reflink")


@dataclass(frozen=True, slots=True)
class Chosen:
    """A group with those of its members that are acted on, at least one; or a part of it around a stand-in."""

    group: PlannedGroup
    members: tuple[PlannedMember, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """left: how many members stay, by reason."""

    chosen: tuple[Chosen, ...]
    left: Mapping[Left, int]

    @property
    def groups(self) -> int:
        """Return how many groups of the plan are acted on."""
        return len({one.group.number for one in self.chosen})

    @property
    def files(self) -> int:
        """Return how many images are acted on."""
        return sum(len(one.members) for one in self.chosen)

    @property
    def size_bytes(self) -> int:
        """Return the size of all of them."""
        return sum(member.file.size_bytes for one in self.chosen for member in one.members)

    def largest(self, number: int) -> list[Chosen]:
        """Return the groups of which most is acted on."""
        return sorted(self.chosen, key=lambda one: -len(one.members))[:number]


def choose(plan: Plan, done: History, wanted: Wanted, said: Opinions = _NOBODY) -> Choice:
    """Return what is acted on, in the plan's order. What something is kept for stays: it is nowhere acted on.

    said: what people say today; they may have changed their mind since the plan was made.
    """
    left: Counter[Left] = Counter()
    chosen: list[Chosen] = []
    gone = {uri for uri, known in done.files.items() if known.place in GONE}
    for group in plan.groups:
        judged = [(member, _why_left(plan, group, member, done, wanted, said)) for member in group.members]
        going = tuple(member for member, why in judged if why is None)
        spare = tuple(member for member, why in judged if why in SPARE)
        taken = gone | {member.file.uri for member in going}
        stars = [Chosen(group, going), *_exact(group, spare, taken, wanted, said)]
        chosen += [one for one in stars if one.members]
        acted_on = {member.file.uri for one in stars for member in one.members}
        left.update(why for member, why in judged if why is not None and member.file.uri not in acted_on)
    return Choice(tuple(chosen), left)


def _why_left(
    plan: Plan, group: PlannedGroup, member: PlannedMember, done: History, wanted: Wanted, said: Opinions
) -> Left | None:
    known, opinion = done.files.get(member.file.uri), said.get((group.keeper.sha256, member.file.sha256))
    rules: tuple[tuple[Left, Callable[[], bool]], ...] = (
        ("done", lambda: known is not None and known.place in GONE),
        ("alias", lambda: member.file.same_as is not None or group.keeper.same_as is not None),
        ("protected", lambda: _is_protected(plan, member.file)),
        ("verdict", lambda: opinion is False),
        ("review", lambda: group.is_large and not (wanted.near or member.confirmed or opinion)),
        ("near", lambda: not (wanted.near or member.is_sure or opinion)),
    )
    moving = _why_not_moved(group, member, wanted)
    return next((why for why, holds in rules if holds()), moving)


def _why_not_moved(group: PlannedGroup, member: PlannedMember, wanted: Wanted) -> Left | None:
    """Return why a file cannot be moved or replaced, None where it can, or nothing is to be moved."""
    rules: tuple[tuple[Left, bool], ...] = (
        ("uploaded", member.file.why_not == UPLOADED),
        ("elsewhere", member.file.on_disk is None),
        ("keeper", group.keeper.on_disk is None),
        ("linked", member.linked),
        ("other_bytes", wanted.links and member.kind != "same_bytes"),
    )
    return next((why for why, holds in rules if wanted.action is not None and holds), None)


def _exact(
    group: PlannedGroup, spare: Sequence[PlannedMember], taken: Collection[str], wanted: Wanted, said: Opinions
) -> list[Chosen]:
    """Return spare members that are exact copies of what stays, around that. taken: uris of what does not stay."""
    stars = exact_sets(group, spare, taken, same_bytes=wanted.links)
    return [Chosen(star, tuple(m for m in star.members if _may_go(star, m, wanted, said))) for star in stars]


def _may_go(star: PlannedGroup, member: PlannedMember, wanted: Wanted, said: Opinions) -> bool:
    kept_apart = said.get((star.keeper.sha256, member.file.sha256)) is False
    return not kept_apart and _why_not_moved(star, member, wanted) is None


def _is_protected(plan: Plan, file: PlannedFile) -> bool:
    return any(file.uri.startswith(f"{folder.rstrip('/')}/") for folder in plan.protected)


@dataclass(frozen=True, slots=True)
class Excess:
    """A root (uri) of which more would go than may: `going` of its `images`. limit: the share that may."""

    root: str
    images: int
    going: int
    limit: float

    @property
    def enough(self) -> float:
        """Return the least share in hundredths that would allow it."""
        return min(1.0, -(-self.going / max(self.images, 1) * 100 // 1) / 100)


def excess(plan: Plan, done: History, choice: Choice, wanted: Wanted) -> Excess | None:
    """Return the first root of which too much would go, what was taken by the same plan before included."""
    limit = MOST_FRACTION if wanted.max_fraction is None else wanted.max_fraction
    taken: Counter[str] = Counter(member.file.root or "" for one in choice.chosen for member in one.members)
    moving = frozenset(taken)
    taken.update(known.move.root for known in done.at("quarantine") if known.move.sidecar_of is None)
    for root in plan.roots:
        if root.uri in moving and taken[root.uri] / max(root.images, 1) > limit:
            return Excess(root.uri, root.images, taken[root.uri], limit)
    return None


def require_modest(plan: Plan, done: History, choice: Choice, wanted: Wanted) -> None:
    """Refuse to take more than a share of a root.

    Raises:
        GuardRefused: naming the root, the share, and how to allow it.
    """
    found = excess(plan, done, choice, wanted)
    if found is not None:
        these = f"{found.going} of the {found.images} images in {shown_path(found.root)}"
        raise GuardRefused(
            f"nothing was changed: {these} would go, more than {found.limit:.0%}; if that is right, say "
            f"--max-fraction {found.enough:g} (over HTTP and in Python max_fraction)"
        )


def keeper_files(plan: Plan, choice: Choice) -> frozenset[tuple[int, int]]:
    """Return (device, inode) of whatever is kept for the sake of others: none of it may be moved, by whatever name."""
    kept = [group.keeper.on_disk for group in (*plan.groups, *(one.group for one in choice.chosen))]
    return frozenset((disk.device, disk.inode) for disk in kept if disk is not None)
