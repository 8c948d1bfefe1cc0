"""Which members of a plan are acted on, why the others are not, and whether that is too much at once. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from search.errors import GuardRefused
from search.plans.history import Action, History
from search.plans.plan import Plan, PlannedFile, PlannedGroup, PlannedMember
from search.records import shown_path

MOST_FRACTION: Final = 0.2
# Why a member is left where it is. near: nobody confirmed it. review: its group is large. elsewhere: in an archive, on
# S3, or not as it was indexed. other_bytes: a link would change them. linked: it is the keeper's own data. protected:
# it lies in a protected folder. keeper: its keeper cannot be looked at. done: an earlier `apply` did it.
Left = Literal["near", "review", "elsewhere", "other_bytes", "linked", "protected", "keeper", "done"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """action: None to list. near: also what nobody confirmed. max_fraction: of a root, 0 to 1; None for a fifth."""

    action: Action | None
    near: bool = False
    max_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """A group with those of its members that are acted on, at least one."""

    group: PlannedGroup
    members: tuple[PlannedMember, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """left: how many members stay, by reason."""

    chosen: tuple[Chosen, ...]
    left: Mapping[Left, int]

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


def choose(plan: Plan, done: History, wanted: Wanted) -> Choice:
    """Return what is acted on, in the plan's order."""
    left: Counter[Left] = Counter()
    chosen = []
    for group in plan.groups:
        members = []
        for member in group.members:
            why = _why_left(plan, group, member, done, wanted)
            if why is None:
                members.append(member)
            else:
                left[why] += 1
        if members:
            chosen.append(Chosen(group, tuple(members)))
    return Choice(tuple(chosen), left)


def _why_left(plan: Plan, group: PlannedGroup, member: PlannedMember, done: History, wanted: Wanted) -> Left | None:
    known = done.files.get(member.file.uri)
    rules: tuple[tuple[Left, Callable[[], bool]], ...] = (
        ("done", lambda: known is not None and known.place in ("quarantine", "purged")),
        ("protected", lambda: _is_protected(plan, member.file)),
        ("review", lambda: group.is_large and not (wanted.near or member.confirmed)),
        ("near", lambda: not (wanted.near or member.is_sure)),
    )
    moving: tuple[tuple[Left, Callable[[], bool]], ...] = (
        ("elsewhere", lambda: member.file.on_disk is None),
        ("keeper", lambda: group.keeper.on_disk is None),
        ("linked", lambda: member.linked),
        ("other_bytes", lambda: wanted.action != "quarantine" and member.kind != "same_bytes"),
    )
    return next((why for why, holds in (*rules, *(moving if wanted.action else ())) if holds()), None)


def _is_protected(plan: Plan, file: PlannedFile) -> bool:
    return any(file.uri.startswith(f"{folder.rstrip('/')}/") for folder in plan.protected)


def require_modest(plan: Plan, done: History, choice: Choice, wanted: Wanted) -> None:
    """Refuse to take more than a share of a root, what was taken by the same plan before included.

    Raises:
        GuardRefused: naming the root, the share, and how to allow it.
    """
    limit = MOST_FRACTION if wanted.max_fraction is None else wanted.max_fraction
    taken: Counter[str] = Counter(member.file.root or "" for one in choice.chosen for member in one.members)
    moving = frozenset(taken)
    taken.update(known.move.root for known in done.at("quarantine") if known.move.sidecar_of is None)
    for root in plan.roots:
        share = taken[root.uri] / max(root.images, 1)
        if root.uri in moving and share > limit:
            these = f"{taken[root.uri]} of the {root.images} images in {shown_path(root.uri)}"
            raise GuardRefused(
                f"nothing was changed: {these} would go, more than {limit:.0%}; if that is right, say "
                f"--max-fraction {_enough(share):g}"
            )


def _enough(share: float) -> float:
    """Return a share, rounded up to hundredths."""
    return min(1.0, -(-share * 100 // 1) / 100)


def keeper_files(groups: Sequence[PlannedGroup]) -> frozenset[tuple[int, int]]:
    """Return (device, inode) of every keeper of a plan: none of them may be moved, by whatever name."""
    kept = [group.keeper.on_disk for group in groups]
    return frozenset((disk.device, disk.inode) for disk in kept if disk is not None)
