"""Local features: 20 bytes for what a keypoint looks like, and votes that agree. The oracles count by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from search.errors import CorruptFile
from search.geometry.keypoints import ASKED, RECIPE, Detail, Keypoints, extract, mirrored
from search.geometry.local_features import (
    CENTRES,
    FEATURE_BYTES,
    FEATURES,
    KEYPOINTS_RECIPE,
    QUANTISER,
    RECORD_BYTES,
    Quantiser,
    directions_of,
    features_in,
    opened,
    quantiser,
    record_of,
    sizes_of,
)
from search.index.local_index import NEAREST, LocalIndex, NearFeatures
from search.local.voting import counted, ranked, votes_of
from tests.drawn_pictures import textured

KEPT = Detail(FEATURES, thumbnail_area=1)


def features(number: int, count: int = 40) -> Keypoints:
    """Return keypoints without a picture, by chance: descriptors near to the centres of cells."""
    chance = np.random.default_rng(number)
    halves = [centres[chance.integers(0, CENTRES, count)] for centres in quantiser().coarse]
    descriptors = np.concatenate(halves, axis=1).astype(np.int64) + chance.integers(-9, 10, (count, 128))
    return Keypoints(
        640,
        480,
        chance.integers(0, 65535, (count, 2)).astype(np.uint16),
        chance.uniform(0.01, 0.1, count).astype(np.float16),
        chance.integers(0, 65536, count).astype(np.uint16),
        np.clip(descriptors, 0, 255).astype(np.uint8),
        np.zeros((1, 1), np.uint8),
    )


def index_of(*pictures: Keypoints) -> LocalIndex:
    index = LocalIndex.empty()
    found, owners = features_in(np.stack([record_of(one) for one in pictures]))
    index.add(found, owners + 1)
    return index


def test_a_code_names_the_nearest_centres_of_each_part() -> None:
    descriptors = features(1, 30).descriptors.astype(np.int64)
    centres = quantiser()
    encoded = centres.encode(descriptors.astype(np.uint8))
    for descriptor, code in zip(descriptors, encoded, strict=True):
        left = descriptor.copy()
        for half in range(2):
            part = slice(64 * half, 64 * half + 64)
            distances = ((centres.coarse[half].astype(np.int64) - descriptor[part]) ** 2).sum(axis=1)
            assert code[half] == distances.argmin()
            left[part] -= centres.coarse[half][code[half]]
        for number in range(16):
            part = slice(8 * number, 8 * number + 8)
            distances = ((centres.fine[number].astype(np.int64) - left[part]) ** 2).sum(axis=1)
            assert code[2 + number] == distances.argmin()


def test_records_are_of_the_recipe_that_keypoints_are_made_by() -> None:
    assert KEYPOINTS_RECIPE == RECIPE


def test_a_record_holds_each_feature_and_no_more() -> None:
    few = features(2, 7)
    record = record_of(few)
    assert record.shape == (RECORD_BYTES,)
    found, owners = features_in(np.stack([record, record_of(features(3, 300)), record]))
    assert np.bincount(owners).tolist() == [7, FEATURES, 7]
    assert found.shape == (14 + FEATURES, FEATURE_BYTES)
    assert found[:7, 18].tolist() == (few.turns // 256).tolist()


def test_a_picture_that_shows_nothing_has_an_empty_record() -> None:
    record = record_of(extract(np.full((50, 60, 3), 200, np.uint8), KEPT))
    assert not record.any()
    assert features_in(record[np.newaxis])[0].shape == (0, FEATURE_BYTES)


def test_sizes_double_every_sixteen_steps() -> None:
    one, other = features(4, 5), features(4, 5)
    doubled = Keypoints(
        one.width, one.height, one.shares, one.diameters * np.float16(2), one.turns, one.descriptors, one.thumbnail
    )
    assert (sizes_of(doubled).astype(int) - sizes_of(other)).tolist() == [16] * 5


def test_the_centres_that_came_with_the_release_are_checked(tmp_path: Path) -> None:
    data = bytearray(QUANTISER.read_bytes())
    data[1000] ^= 1
    (tmp_path / "damaged.bin").write_bytes(data)
    with pytest.raises(CorruptFile, match="install Lookalike again"):
        opened(tmp_path / "damaged.bin", "0" * 64)
    with pytest.raises(CorruptFile, match="missing"):
        opened(tmp_path / "nowhere.bin", "0" * 64)


def test_centres_survive_their_file(tmp_path: Path) -> None:
    assert quantiser().to_bytes() == QUANTISER.read_bytes()
    assert isinstance(quantiser(), Quantiser)
    assert quantiser().coarse.shape == (2, CENTRES, 64)


def reconstructed(index_features: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the descriptors that features stand for, (M, 128): what the index compares queries with."""
    centres = quantiser()
    cells = np.concatenate([centres.coarse[half][index_features[:, half]] for half in range(2)], axis=1)
    parts = [centres.fine[part][index_features[:, 2 + part]] for part in range(16)]
    return np.asarray(cells + np.concatenate(parts, axis=1).astype(np.float64), np.float64)


def test_distances_are_those_to_what_the_codes_stand_for() -> None:
    indexed, asked = features(5, 30), features(6, 9)
    near = index_of(indexed).nearest(asked.descriptors)
    table, _ = features_in(record_of(indexed)[np.newaxis])
    stands_for = reconstructed(table)
    by_name = {(int(row[18]), int(row[19])): place for place, row in enumerate(table)}
    assert len(by_name) == 30, "direction and size tell these features apart"
    seen = 0
    for query in range(9):
        for rank in range(NEAREST):
            if np.isfinite(near.distances[query, rank]):
                place = by_name[int(near.directions[query, rank]), int(near.sizes[query, rank])]
                true = ((stands_for[place] - asked.descriptors[query]) ** 2).sum()
                assert near.distances[query, rank] == pytest.approx(true, rel=1e-3)
                seen += 1
    assert seen


def test_each_indexed_feature_is_nearest_to_itself() -> None:
    pictures = [features(number) for number in range(20, 26)]
    near = index_of(*pictures).nearest(pictures[2].descriptors)
    assert (near.owners[:, 0] == 3).mean() > 0.9


def test_an_index_read_from_its_bytes_answers_the_same() -> None:
    index = index_of(*[features(number) for number in range(5)])
    again = LocalIndex.load(index.dump(), len(index))
    query = features(2).descriptors
    one, other = index.nearest(query), again.nearest(query)
    assert (one.owners == other.owners).all() and (one.distances == other.distances).all()
    with pytest.raises(CorruptFile):
        LocalIndex.load(index.dump(), len(index) + 1)


def by_hand(near: NearFeatures, directions: NDArray[np.uint8], sizes: NDArray[np.uint8]) -> dict[int, float]:
    """Return the votes for each owner as the docstring of voting says, one entry at a time."""
    bins: dict[tuple[int, int, int], dict[int, float]] = {}
    for query in range(len(directions)):
        farthest = min(float(near.distances[query, -1]), 260.0**2)
        for rank in range(near.distances.shape[1]):
            weight = 1 - min(float(near.distances[query, rank]), 260.0**2) / farthest
            if weight <= 0:
                continue
            turned = (int(near.directions[query, rank]) - int(directions[query])) % 256 // 16
            scaled = (int(near.sizes[query, rank]) - int(sizes[query])) // 8
            for more in (0, 1):
                for larger in (0, 1):
                    voters = bins.setdefault((int(near.owners[query, rank]), (turned + more) % 16, scaled + larger), {})
                    voters[query] = max(voters.get(query, 0.0), weight)
    best: dict[int, float] = {}
    for (owner, _, _), voters in bins.items():
        best[owner] = max(best.get(owner, 0.0), sum(voters.values()))
    return best


def test_votes_are_those_counted_by_hand() -> None:
    pictures = [features(number) for number in range(40, 50)]
    query = pictures[4]
    near = index_of(*pictures).nearest(query.descriptors)
    found = counted(near, directions_of(query), sizes_of(query))
    expected = by_hand(near, directions_of(query), sizes_of(query))
    assert dict(zip(found.owners.tolist(), found.votes.tolist(), strict=True)) == pytest.approx(expected)
    assert found.owners[0] == 5
    assert (np.diff(found.votes) <= 0).all()


def near_of(entries: list[tuple[float, int, int, int]]) -> NearFeatures:
    """Return the entries (distance, owner, direction, size) near to one feature; the last is the farthest."""
    table = np.array(entries)
    return NearFeatures(
        table[np.newaxis, :, 0].astype(np.float32),
        table[np.newaxis, :, 1].astype(np.int64),
        table[np.newaxis, :, 2].astype(np.uint8),
        table[np.newaxis, :, 3].astype(np.uint8),
    )


def test_a_pattern_that_repeats_in_a_picture_votes_for_it_once() -> None:
    near = near_of([(0, 1, 10, 50), (0, 1, 10, 50), (0, 1, 10, 50), (100, 2, 0, 50)])
    found = counted(near, np.array([10], np.uint8), np.array([50], np.uint8))
    assert found.owners.tolist() == [1] and found.votes.tolist() == [1.0]


def test_a_feature_that_is_everywhere_says_nothing() -> None:
    near = near_of([(900, owner, 0, 50) for owner in range(1, 5)])
    assert not len(counted(near, np.array([0], np.uint8), np.array([50], np.uint8)).owners)


def test_votes_that_turn_the_query_differently_do_not_add_up() -> None:
    one = near_of([(0, 1, 0, 50), (0, 2, 0, 50), (100, 3, 0, 50)])
    other = near_of([(0, 1, 0, 50), (0, 2, 128, 50), (100, 3, 0, 50)])
    both = NearFeatures(
        *(np.concatenate([getattr(one, name), getattr(other, name)]) for name in NearFeatures.__slots__)
    )
    found = counted(both, np.array([0, 0], np.uint8), np.array([50, 50], np.uint8))
    assert dict(zip(found.owners.tolist(), found.votes.tolist(), strict=True)) == {1: 2.0, 2: 1.0}


def test_of_two_indexes_the_most_votes_count() -> None:
    found = ranked(np.array([7, 3, 7, 5]), np.array([1.0, 2.0, 4.0, 2.0]))
    assert found.owners.tolist() == [7, 3, 5] and found.votes.tolist() == [4.0, 2.0, 2.0]


def test_no_features_vote_for_nothing() -> None:
    assert not len(votes_of(index_of(features(1)), features(2, 0)).owners)
    assert not len(votes_of(LocalIndex.empty(), features(2)).owners)


def test_a_tenth_of_a_picture_votes_for_it_also_mirrored() -> None:
    pictures = [textured(number) for number in range(6)]
    index = index_of(*[extract(pixels, KEPT) for pixels in pictures])
    part = pictures[3][60:155, 100:227]
    for pixels in (part, part[:, ::-1]):
        query = extract(np.ascontiguousarray(pixels), ASKED)
        both = [votes_of(index, one) for one in (query, mirrored(query))]
        found = ranked(np.concatenate([one.owners for one in both]), np.concatenate([one.votes for one in both]))
        assert found.owners[0] == 4
        assert found.votes[0] > 1.5 * found.votes[1]
