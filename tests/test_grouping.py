"""Groups are stars around the best image."""

from search.duplicates.grouping import keeper_rank, star_groups
from search.records import ImageRecord


def image(number: int, *, width: int = 100, size: int = 1000, format: str = "jpeg", mtime: int = 1) -> ImageRecord:
    uri = f"file:///photos/{number}.jpg"
    return ImageRecord(number, uri, uri, width, 100, size, format, bytes(32), bytes(16), 50.0, mtime)


def members(group_index: int, groups: list) -> list[int]:  # type: ignore[type-arg]
    return [member.image.id for member in groups[group_index].members]


def test_a_chain_is_never_one_group() -> None:
    # 1 - 2 - 3: 1 and 3 are not alike, so 3 is no member of a group kept by 1.
    edges = {0: {1: 0.9}, 1: {0: 0.9, 2: 0.9}, 2: {1: 0.9}}
    nodes = [[image(1, width=300)], [image(2, width=200)], [image(3, width=100)]]
    groups = star_groups(nodes, edges)
    assert [group.keeper.id for group in groups] == [1]
    assert members(0, groups) == [2]


def test_a_star_takes_every_direct_neighbour_of_its_keeper() -> None:
    edges = {0: {1: 0.8, 2: 0.95}, 1: {0: 0.8}, 2: {0: 0.95}}
    nodes = [[image(1, width=300)], [image(2)], [image(3)]]
    groups = star_groups(nodes, edges)
    assert members(0, groups) == [3, 2]
    assert [member.relation for member in groups[0].members] == ["probable", "probable"]


def test_images_with_the_same_pixels_are_identical_members() -> None:
    groups = star_groups([[image(1), image(2, size=2000)], [image(3)]], {})
    assert groups[0].keeper.id == 2
    assert groups[0].reason == "largest file"
    assert [(member.image.id, member.score, member.relation) for member in groups[0].members] == [(1, 1.0, "identical")]
    assert len(groups) == 1


def test_copies_of_a_near_copy_join_its_group_too() -> None:
    groups = star_groups([[image(1, width=300)], [image(2), image(3)]], {0: {1: 0.9}, 1: {0: 0.9}})
    assert members(0, groups) == [2, 3]


def test_no_image_is_in_two_groups() -> None:
    full = {one: {other: 0.9 for other in range(4) if other != one} for one in range(4)}
    groups = star_groups([[image(number)] for number in range(1, 5)], full)
    shown = [group.keeper.id for group in groups] + [m.image.id for group in groups for m in group.members]
    assert sorted(shown) == [1, 2, 3, 4]


def test_the_keeper_has_most_pixels_then_is_lossless_then_larger_then_older() -> None:
    order = [
        image(5, width=200),
        image(4, format="png"),
        image(3, size=2000),
        image(2, mtime=0),
        image(1),
    ]
    assert sorted(order, key=keeper_rank) == order


def test_ten_thousand_copies_cost_no_square() -> None:
    groups = star_groups([[image(number) for number in range(1, 10_001)]], {})
    assert len(groups[0].members) == 9_999
