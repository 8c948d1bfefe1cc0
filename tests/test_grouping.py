"""Groups are stars around the best image."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search.duplicates.candidates import Candidates
from search.duplicates.grouping import Star, StarGroups
from search.duplicates.groups import REVIEW_MEMBERS, DuplicateGroup, DuplicateMember
from search.duplicates.judging import Edge, Judge, Limits
from search.duplicates.keeper_rules import RULES, KeeperRules, rules_named
from search.duplicates.nodes import Node
from search.errors import UsageError
from search.index.pair_finder import NearPairs
from search.records import ImageRecord
from search.storing.verdicts import Verdict, verdict_on


def image(number: int, *, width: int = 100, size: int = 1000, format: str = "jpeg", mtime: int = 1) -> ImageRecord:
    uri = f"file:///photos/{number}.jpg"
    sha256, pixels = number.to_bytes(32, "big"), number.to_bytes(16, "big")
    return ImageRecord(number, uri, uri, width, 100, size, format, sha256, pixels, 50.0, mtime)


class Counted(Judge):
    """Remembers which pairs it was asked about."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.asked: list[tuple[int, int]] = []

    def edges(self, centre: int, others: Sequence[int], scores: Sequence[float]) -> dict[int, Edge]:
        self.asked += [(min(centre, other), max(centre, other)) for other in others]
        return super().edges(centre, others, scores)


Pairs = Mapping[tuple[int, int], float]


def stars_of(
    nodes: Sequence[Node],
    pairs: Pairs,
    rules: KeeperRules | None = None,
    said: Mapping[tuple[int, int], Verdict] | None = None,
) -> tuple[list[Star], Counted]:
    rows, later = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    near = NearPairs(rows, later, np.array(list(pairs.values()), np.float32))
    judge = Counted(nodes, Limits(0.5, 0.5), said or {})
    groups = StarGroups(nodes, Candidates(len(nodes), near), judge, rules or KeeperRules(), None, said or {})
    return list(groups.stars()), judge


def kept(star: Star) -> int:
    return star.keeper.image.id


def test_a_chain_is_never_one_group() -> None:
    # 1 - 2 - 3: 1 and 3 are not alike, so 3 is no member of a group kept by 1.
    nodes = [[image(1, width=300)], [image(2, width=200)], [image(3, width=100)]]
    (star,), _ = stars_of(nodes, {(0, 1): 0.9, (1, 2): 0.9})
    assert (kept(star), list(star.edges)) == (1, [1])


def test_a_star_takes_every_direct_neighbour_of_its_keeper() -> None:
    nodes = [[image(1, width=300)], [image(2)], [image(3)]]
    (star,), _ = stars_of(nodes, {(0, 1): 0.8, (0, 2): 0.95})
    assert {node: round(edge.score, 2) for node, edge in star.edges.items()} == {1: 0.8, 2: 0.95}


def test_images_with_the_same_pixels_are_one_node_and_one_group() -> None:
    (star,), _ = stars_of([[image(1, mtime=5), image(2, mtime=4)], [image(3)]], {})
    assert (kept(star), star.keeper.reason, dict(star.edges)) == (2, "oldest date", {})


def test_no_image_is_in_two_groups() -> None:
    every = {(one, other): 0.9 for one in range(4) for other in range(one + 1, 4)}
    (star,), _ = stars_of([[image(number)] for number in range(1, 5)], every)
    assert sorted([star.centre, *star.edges]) == [0, 1, 2, 3]


def test_no_pair_is_judged_twice_and_no_more_than_the_star_needs() -> None:
    count = 60
    every = {(one, other): 0.9 for one in range(count) for other in range(one + 1, count)}
    (star,), judge = stars_of([[image(number)] for number in range(1, count + 1)], every)
    assert len(star.edges) == count - 1
    assert len(judge.asked) == len(set(judge.asked)) <= 2 * count


def test_ten_thousand_copies_cost_no_square() -> None:
    (star,), judge = stars_of([[image(number) for number in range(1, 10_001)]], {})
    assert (star.centre, judge.asked) == (0, [])


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        (image(2, width=200), image(1), "most pixels"),
        (image(2, format="png"), image(1, format="jpeg"), "RAW or lossless"),
        (image(2, mtime=1), image(1, mtime=2), "oldest date"),
        (image(1), image(2), "indexed first"),
    ],
)
def test_the_rules_decide_one_after_the_other(better: ImageRecord, worse: ImageRecord, reason: str) -> None:
    for nodes in ([[better], [worse]], [[worse], [better]]):
        (star,), _ = stars_of(nodes, {(0, 1): 0.9})
        assert (kept(star), star.keeper.reason) == (better.id, reason)


def test_the_order_of_the_rules_is_the_user_s() -> None:
    small, large = image(1, width=100, mtime=1), image(2, width=200, mtime=2)
    for named, best in (("resolution,date", 2), ("date,resolution", 1)):
        (star,), _ = stars_of([[small], [large]], {(0, 1): 0.9}, KeeperRules(rules_named(named.split(","))))
        assert kept(star) == best


def test_a_file_in_a_protected_folder_is_kept_whatever_the_rules_say() -> None:
    rules = KeeperRules(protected=(Path("/photos/2.jpg"),))
    (star,), _ = stars_of([[image(1, width=900)], [image(2)]], {(0, 1): 0.9}, rules)
    assert (kept(star), star.keeper.reason) == (2, "in a protected folder")


def test_a_preferred_folder_decides_where_everything_else_is_equal() -> None:
    rules = KeeperRules(preferred=(Path("/photos/2.jpg"),))
    (star,), _ = stars_of([[image(1)], [image(2)]], {(0, 1): 0.9}, rules)
    assert (kept(star), star.keeper.reason) == (2, "in a preferred folder")


def test_a_named_folder_decides_before_metadata_date_and_path_and_after_what_the_pixels_say() -> None:
    rules = KeeperRules(preferred=(Path("/photos/2.jpg"),))
    (star,), _ = stars_of([[image(1, mtime=1)], [image(2, mtime=2)]], {(0, 1): 0.9}, rules)
    assert kept(star) == 2, "the older one elsewhere is not what was asked for"
    (star,), _ = stars_of([[image(1, width=900)], [image(2)]], {(0, 1): 0.9}, rules)
    assert (kept(star), star.keeper.reason) == (1, "most pixels")


@pytest.mark.parametrize("uri", ["file:///store/uploads/ab/ab.jpg", "upload:ab"])
@pytest.mark.parametrize("named", [",".join(RULES), "metadata,resolution", "resolution"])
def test_of_equal_pictures_a_file_of_one_s_own_is_kept_before_an_upload(uri: str, named: str) -> None:
    own, metadata = image(2, mtime=2), {"price": 30}
    sent = replace(image(1, mtime=1), uri=uri, pixel_hash=own.pixel_hash, metadata=metadata)
    rules = KeeperRules(rules_named(named.split(",")), uploads=Path("/store/uploads"))
    (star,), _ = stars_of([[sent], [own]], {(0, 1): 1.0}, rules)
    assert (kept(star), star.keeper.reason) == (2, "not only an upload")


def test_an_upload_with_more_pixels_is_kept() -> None:
    sent = replace(image(1, width=900), uri="file:///store/uploads/ab/ab.jpg")
    (star,), _ = stars_of([[sent], [image(2)]], {(0, 1): 0.9}, KeeperRules(uploads=Path("/store/uploads")))
    assert (kept(star), star.keeper.reason) == (1, "most pixels")


@pytest.mark.parametrize(("names", "complaint"), [("size", "'size'"), ("date,date", "twice")])
def test_a_rule_that_is_none_is_named(names: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        rules_named(names.split(","))


def test_every_rule_can_be_named() -> None:
    assert rules_named(RULES) == RULES


def said(one: int, other: int, word: str) -> Verdict:
    return verdict_on(image(one).sha256.hex(), image(other).sha256.hex(), word, 1.0)


def test_what_people_call_duplicates_is_put_together_however_low_it_scores() -> None:
    (star,), _ = stars_of([[image(1)], [image(2)]], {(0, 1): 0.1}, None, {(0, 1): said(1, 2, "duplicate")})
    assert [edge.confirmed for edge in star.edges.values()] == [True]


@pytest.mark.parametrize("word", ["not_duplicate", "different", "keep_both", "stack"])
def test_what_people_keep_apart_is_in_no_group(word: str) -> None:
    stars, judge = stars_of([[image(1)], [image(2)]], {(0, 1): 0.99}, None, {(0, 1): said(1, 2, word)})
    assert stars == []
    assert judge.similar.shots() == ()


def test_a_better_keeper_does_not_tear_apart_what_people_put_together() -> None:
    # 3 is larger than 1 and like it, but nothing connects it with 2, which a person said is a copy of 1.
    nodes = [[image(1)], [image(2)], [image(3, width=900)]]
    stars, _ = stars_of(nodes, {(0, 1): 0.1, (0, 2): 0.9}, None, {(0, 1): said(1, 2, "duplicate")})
    assert [(kept(star), sorted(star.edges)) for star in stars] == [(1, [1, 2])]


@pytest.mark.parametrize(("members", "review"), [(REVIEW_MEMBERS, False), (REVIEW_MEMBERS + 1, True)])
def test_large_groups_are_for_people_to_look_at(members: int, *, review: bool) -> None:
    copies = [DuplicateMember(image(number), 0.9, "probable", "near") for number in range(2, members + 2)]
    assert DuplicateGroup(image(1), "most pixels", tuple(copies)).review is review
