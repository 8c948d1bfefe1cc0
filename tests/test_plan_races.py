"""A file that is saved at a path while `apply` or `undo` acts on it is the user's: it keeps its path, at every moment.

Programs save by writing a new file and renaming it over the old one. Here that happens before each step in turn.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from search.plans import acting, renaming, restoring
from search.plans.history import Action
from search.plans.places import QUARANTINE
from search.plans.plan import Plan
from tests.planned_albums import Album, album
from tests.planned_trees import in_a_child

__all__ = ["album"]
STEPS: Final = ("link", "unlink", "rename", "stat", "fsync")  # of os, and renames in one step
WAYS: Final[list[tuple[Action, bool]]] = [
    ("quarantine", True), ("quarantine", False), ("hardlink", True), ("reflink", True),
]  # fmt: skip
MOST_STEPS: Final = 40
SAVED: Final = "what somebody saved"


class Steps:
    """Counts the steps of a run from where it begins to act, and does something right before one of them."""

    def __init__(self) -> None:
        self.begun = False
        self.passed = 0
        self.at: dict[int, Callable[[], None]] = {}

    def beginning(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def begun(*arguments: Any) -> Any:
            self.begun = True
            return call(*arguments)

        return begun

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*arguments: Any, **others: Any) -> Any:
            self.passed += self.begun
            act = self.at.pop(self.passed, None)
            if act is not None:
                act()
            return call(*arguments, **others)

        return stepped


@contextmanager
def stepping(*, in_one_step: bool = True) -> Iterator[Steps]:
    """Count steps. in_one_step: whether the file system can rename to a free name in one."""
    steps = Steps()
    with pytest.MonkeyPatch.context() as patch:
        rename = renaming._in_one_step
        if not in_one_step:
            patch.setattr(renaming, "_in_one_step", lambda *_: errno.EINVAL)
        else:
            patch.setattr(renaming, "_in_one_step", steps.wrapped(rename))
        patch.setattr(acting, "clone", lambda source, target: os.write(target, os.pread(source, 1 << 20, 0)))
        patch.setattr("search.plans.group_moves.act", steps.beginning(acting.act))
        patch.setattr("search.plans.undo_plan.restore", steps.beginning(restoring.restore))
        for name in STEPS:
            patch.setattr(os, name, steps.wrapped(getattr(os, name)))
        yield steps


def save(path: Path, text: str = SAVED) -> None:
    """Save as programs do, so that no moment sees half a file."""
    new = path.with_name("new")
    new.write_text(text)
    os.replace(new, path)  # noqa: PTH105 -- Path.replace may be one of the steps


def plans(album: Album, count: int) -> list[tuple[Plan, Path]]:
    """Plan a group of one copy many times; return each plan with the copy."""
    names = [f"{number}/a" for number in range(count)]
    for name in names:
        album.put(f"{name}.jpg", f"picture {name}")
        album.put(f"{name} copy.jpg", f"picture {name}")
    album.index()
    return [
        (album.plan(album.group(f"{name}.jpg", f"{name} copy.jpg")), album.photos / f"{name} copy.jpg")
        for name in names
    ]


def wrong(album: Album, path: Path) -> list[str]:
    """Return what is not as it must be after somebody saved at a path."""
    found = [] if path.read_text() == SAVED else [f"the path holds {path.read_text()!r}"]
    others = [one for one in path.parent.rglob("*") if one.is_file() and one.name not in ("a.jpg", "a copy.jpg")]
    hidden = [one for one in (album.photos / QUARANTINE).rglob("*") if one.is_file()]
    found += [f"{one} is left" for one in others]
    found += [f"{one} holds {SAVED!r}" for one in hidden if one.read_text() == SAVED]
    kept = path.with_name("a.jpg").read_text()
    return found if kept == f"picture {path.parent.name}/a" else [*found, f"the keeper holds {kept!r}"]


@pytest.mark.parametrize(("action", "in_one_step"), WAYS)
def test_a_file_that_is_saved_at_any_step_of_apply_keeps_its_path(
    album: Album, action: Action, *, in_one_step: bool
) -> None:
    (undisturbed, _), *rest = plans(album, MOST_STEPS)
    with stepping(in_one_step=in_one_step) as steps:
        assert album.apply(undisturbed, action).files == 1
    found, skipped = [], 0
    assert 5 < steps.passed < len(rest)
    for step, (plan, path) in zip(range(1, steps.passed + 1), rest, strict=False):
        with stepping(in_one_step=in_one_step) as again:
            again.at[step] = partial(save, path)
            report = album.apply(plan, action)
        found += [f"step {step}: {one}" for one in wrong(album, path)]
        if report.skipped:
            skipped += 1
            found += [f"step {step}: {one} is in quarantine" for one in album.hidden(plan)]
            found += [f"step {step}: undo says {one}" for one in album.undo(plan).skipped]
    assert found == []
    assert 1 < skipped < steps.passed


@pytest.mark.parametrize(("action", "in_one_step"), WAYS)
def test_a_file_that_is_saved_at_any_step_of_undo_keeps_its_path(
    album: Album, action: Action, *, in_one_step: bool
) -> None:
    (undisturbed, _), *rest = plans(album, MOST_STEPS)
    with stepping():
        for plan, _ in [(undisturbed, None), *rest]:
            assert album.apply(plan, action).files == 1
    with stepping(in_one_step=in_one_step) as steps:
        assert album.undo(undisturbed).files == 1
    assert 5 < steps.passed < len(rest)
    found, skipped = [], 0
    for step, (plan, path) in zip(range(1, steps.passed + 1), rest, strict=False):
        with stepping(in_one_step=in_one_step) as again:
            again.at[step] = partial(save, path)
            report = album.undo(plan)
        found += [f"step {step}: {one}" for one in wrong(album, path)]
        if report.skipped:
            skipped += 1
            found += (
                [] if album.hidden(plan) == [f"{path.parent.name}/a copy.jpg"] else [f"step {step}: the copy is lost"]
            )
            found += [f"step {step}: {one}" for one in report.skipped if one.why != restoring.TAKEN]
    assert found == []
    assert 1 < skipped < steps.passed


@pytest.mark.parametrize("action", ["quarantine", "hardlink", "reflink"])
def test_what_was_saved_keeps_its_path_where_the_process_is_killed_a_step_later(album: Album, action: Action) -> None:
    (undisturbed, _), *rest = plans(album, 2 * MOST_STEPS)
    with stepping() as steps:
        album.apply(undisturbed, action)
    found: list[str] = []
    waiting = iter(rest)
    for step in range(1, steps.passed):
        for later in (1, 3):
            plan, path = next(waiting)

            def act(plan: Plan = plan, path: Path = path, step: int = step, later: int = later) -> None:
                with stepping() as again:
                    again.at[step] = lambda: save(path)
                    again.at[step + later] = lambda: os.kill(os.getpid(), signal.SIGKILL)
                    album.apply(plan, action)

            in_a_child(act)
            album.undo(plan)
            found += [f"step {step}, killed {later} later: {one}" for one in wrong(album, path)]
    assert found == []
