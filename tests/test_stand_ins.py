"""Which of several exact copies stays where the keeper of their group is only a near copy of them."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from search.duplicates.groups import DuplicateGroup
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.stand_ins import stand_ins
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.duplicate_groups import image_named
from tests.test_duplicate_kinds import COPIES, ORIGINAL, Find, find, name, save, shown

__all__ = ["find"]


def stays_for(group: DuplicateGroup) -> dict[str, str | None]:
    """Return by name of each member what it is an exact copy of."""
    pairs = ((member.image, member.copy_of) for member in group.members)
    return {name(image.uri): None if best is None else name(best.uri) for image, best in pairs}


def test_near_copies_of_the_same_bytes_or_pixels_name_the_best_of_them(find: Find, photos: Path) -> None:
    save(photos / "large.jpg", ORIGINAL)
    small = Image.fromarray(COPIES["small.jpg"])
    (photos / "sub").mkdir()
    for place, level in ((photos / "small.png", 9), (photos / "sub" / "s.png", 9), (photos / "packed.png", 1)):
        small.save(place, compress_level=level)
    (group,) = find(rules=KeeperRules(("resolution", "path"))).groups
    assert name(group.keeper.uri) == "large.jpg"
    assert stays_for(group) == {"small.png": None, "packed.png": "small.png", "s.png": "small.png"}
    (group,) = find(rules=KeeperRules(("resolution", "path"), preferred=(photos / "sub",))).groups
    assert stays_for(group) == {"small.png": "s.png", "packed.png": "s.png", "s.png": None}


def test_a_protected_copy_stands_in_though_it_is_no_member(find: Find, photos: Path) -> None:
    save(photos / "masters" / "large.jpg", ORIGINAL)
    save(photos / "masters" / "deep" / "small.jpg", COPIES["small.jpg"])
    (photos / "s.jpg").write_bytes((photos / "masters" / "deep" / "small.jpg").read_bytes())
    (group,) = find(rules=KeeperRules(protected=(photos / "masters",))).groups
    assert stays_for(group) == {"s.jpg": "small.jpg"}


def test_exact_copies_of_the_keeper_need_no_stand_in(find: Find, photos: Path) -> None:
    for one in ("a", "b", "c"):
        save(photos / f"{one}.jpg", ORIGINAL)
    (group,) = find().groups
    assert set(stays_for(group).values()) == {None}


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 1, 2], [2, 3, 1]])
def test_the_choice_does_not_depend_on_the_order(order: list[int]) -> None:
    images = [image_named(number, content="the same") for number in order]
    chosen = stand_ins(images, KeeperRules(), None)
    assert np.unique([best.id for best in chosen.values()]).tolist() == [1]
    assert set(chosen) == {2, 3}


def test_an_image_alone_needs_none() -> None:
    assert stand_ins([image_named(1)], KeeperRules(), None) == {}


def test_contents_that_a_person_wants_kept_are_no_members_of_any_group(
    find: Find, photos: Path, local_store: Store
) -> None:
    save(photos / "large.jpg", ORIGINAL)
    save(photos / "small.jpg", COPIES["small.jpg"])
    save(photos / "part.jpg", COPIES["part.jpg"])
    (photos / "small copy.jpg").write_bytes((photos / "small.jpg").read_bytes())
    (group,) = find().groups
    assert len(group.members) == 3
    kept = next(one.image.sha256.hex() for one in group.members if name(one.image.uri) == "small.jpg")
    Verdicts(local_store.database).say([verdict_on(kept, kept, "keep_both")])
    (group,) = find().groups
    assert set(stays_for(group)) == {"part.jpg"}


def test_keeping_all_files_of_a_content_says_nothing_of_others_with_its_pixels(
    find: Find, photos: Path, local_store: Store
) -> None:
    picture = Image.fromarray(ORIGINAL)
    for place, level in (("one.png", 9), ("one copy.png", 9), ("packed.png", 1)):
        picture.save(photos / place, compress_level=level)
    kept = hashlib.sha256((photos / "one.png").read_bytes()).hexdigest()
    Verdicts(local_store.database).say([verdict_on(kept, kept, "keep_both")])
    (group,) = find(rules=KeeperRules(("path",))).groups
    assert shown(group) == ("one.png", {"packed.png": "same_pixels"})
