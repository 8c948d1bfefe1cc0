"""Regions of pictures: where they lie, how they are embedded, and that images score what their best part does."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from indexer.backbones.backbone import Pixels
from indexer.decoding.region_frames import cut, region_frames
from indexer.jobs.region_embedding import embedded_regions
from search.conditions.where import parse
from search.database.tables import embedding
from search.embeddings import unit_rows
from search.errors import UsageError
from search.finding.filter_planner import search_where
from search.finding.find_similar import Wanted, find_similar
from search.finding.generations import Generations
from search.finding.region_search import everywhere
from search.finding.snapshot import Snapshot, SnapshotReader
from search.records import Collection, Embeddings, Region
from search.regions import IN_REGIONS, images_of_rows, regions_of, rows_of_images
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.region_rows import Regions, contents_without_regions
from search.storing.removals import remove_images
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, facts, new_image

locally = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


def rows(count: int, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, FAKE_DIMS)))


@pytest.fixture
def regioned(store: Store, target: Collection) -> Collection:
    return store.open_collection("default", target.space, regions=True)


def commit(store: Store, target: Collection, names: list[str], wholes: Embeddings, regions: Embeddings) -> int:
    made = Regions([facts(name) for name in names], regions)
    return Committer(store.database, store.blobs, target).commit(
        Batch([new_image(name) for name in names], wholes, regions=made)
    )


def publish(store: Store, target: Collection) -> None:
    Generations(store.database, store.blobs, target).publish(store.catalogue.collection(target.name).sequence)


def snapshot_of(store: Store, target: Collection) -> Snapshot:
    return SnapshotReader(store.database, store.blobs, target).current()


def best_parts(wholes: Embeddings, regions: Embeddings, query: Embeddings) -> tuple[np.ndarray, np.ndarray]:
    """Return by brute force what the best part of each image scores, and which it is: 0 for the whole."""
    parts = np.concatenate([wholes[:, np.newaxis], regions.reshape(len(wholes), 4, -1)], axis=1)
    scores = parts @ query[0]
    return scores.max(axis=1), scores.argmax(axis=1)


# ---- where regions lie


def test_the_four_corners_of_an_ordinary_picture_overlap_in_its_middle() -> None:
    found = regions_of(400, 300)
    assert [(one.x, one.y) for one in found] == [(0, 0), (0.45, 0), (0, 0.45), (0.45, 0.45)]
    assert {(one.width, one.height) for one in found} == {(0.55, 0.55)}


def test_a_long_picture_has_four_bands_of_half_its_length() -> None:
    beside = [Region(0, 0, 0.5, 1), Region(0.1667, 0, 0.5, 1), Region(0.3333, 0, 0.5, 1), Region(0.5, 0, 0.5, 1)]
    assert regions_of(600, 300) == tuple(beside)
    assert regions_of(300, 601) == tuple(Region(0, one.x, 1, 0.5) for one in beside)
    assert regions_of(599, 300)[0].height < 1


def test_two_photographs_side_by_side_are_the_first_and_the_last_region() -> None:
    pair = np.zeros((10, 40, 3), np.uint8)
    pair[:, 20:] = 255
    first, *_, last = (cut(pair, region) for region in regions_of(40, 10))
    assert (first.shape, first.max()) == ((10, 20, 3), 0)
    assert (last.shape, last.min()) == ((10, 20, 3), 255)


def test_a_region_of_one_pixel_is_that_pixel() -> None:
    dot = np.full((1, 1, 3), 7, np.uint8)
    assert [cut(dot, region).tolist() for region in regions_of(1, 1)] == [[[[7, 7, 7]]]] * 4


def test_frames_are_chosen_by_the_shape_of_the_picture_not_by_that_of_a_reduced_copy() -> None:
    reduced = np.zeros((63, 125, 3), np.uint8)  # of 1000 x 500, as a JPEG is decoded at an eighth
    shapes: list[tuple[int, ...]] = []

    def prepared(part: Pixels) -> Pixels:
        shapes.append(part.shape)
        return np.zeros((2, 2, 3), np.uint8)

    assert region_frames(reduced, (1000, 500), prepared).shape == (4, 2, 2, 3)
    assert {shape[0] for shape in shapes} == {63}


def test_ids_of_regions_keep_their_order_and_have_no_gaps() -> None:
    made = rows_of_images(np.array([1, 2, 5]))
    assert made.tolist() == [4, 5, 6, 7, 8, 9, 10, 11, 20, 21, 22, 23]
    images, numbers = images_of_rows(made)
    assert images.tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 5, 5, 5, 5]
    assert numbers.tolist() == [1, 2, 3, 4] * 3


# ---- how they are embedded


def test_a_region_that_shows_nothing_is_embedded_as_the_whole_picture_is() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)
    noise[2] = 90
    backbone, whole = FakeBackbone(), rows(1)
    (found,) = embedded_regions(backbone, whole, [noise], 3)
    assert found is not None
    assert backbone.embedded == 3
    np.testing.assert_array_equal(found[2], whole[0])
    np.testing.assert_allclose(found[[0, 1, 3]], unit_rows(FakeBackbone().embed(noise[[0, 1, 3]])), atol=1e-6)


def test_a_region_of_which_the_backbone_says_nothing_usable_is_embedded_as_the_whole_picture_is() -> None:
    class Silent(FakeBackbone):
        def embed(self, pixels: Pixels) -> Embeddings:
            return np.full((len(pixels), FAKE_DIMS), np.nan, np.float32)

    noise = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)
    whole = rows(1)
    (found,) = embedded_regions(Silent(), whole, [noise], 8)
    assert found is not None
    np.testing.assert_array_equal(found, np.repeat(whole, 4, axis=0))


# ---- how they are stored


def test_regions_become_durable_with_their_whole_picture_in_one_segment(store: Store, regioned: Collection) -> None:
    commit(store, regioned, ["a", "b"], rows(2), rows(8, 1))
    with store.database.reading() as connection:
        found = connection.execute(embedding.select().order_by(embedding.c.content_id, embedding.c.region)).all()
    by_content = [found[:5], found[5:]]
    assert [[row.region for row in rows] for rows in by_content] == [[0, 1, 2, 3, 4]] * 2
    assert {row.segment_id for row in found} == {1}
    # The wholes of both, then the regions of one after the other.
    assert sorted([row.row for row in rows] for rows in by_content) == [[0, 2, 3, 4, 5], [1, 6, 7, 8, 9]]
    assert contents_without_regions(store.database, regioned.space_id, [1, 2, 3]) == {3}


@locally
def test_of_two_files_with_one_content_the_first_counts(store: Store, regioned: Collection) -> None:
    wholes, regions = rows(2), rows(8, 1)
    made = Regions([facts("same"), facts("same")], regions)
    images = [new_image("a", facts("same")), new_image("b", facts("same"))]
    Committer(store.database, store.blobs, regioned).commit(Batch(images, wholes, regions=made))
    found = everywhere(snapshot_of(store, regioned)).search(regions[1:2], 2)
    np.testing.assert_allclose(found.scores, 1, atol=1e-3)
    assert found.regions is not None
    assert found.regions.tolist() == [2, 2]


@locally
def test_a_batch_with_three_regions_of_a_content_is_refused(store: Store, regioned: Collection) -> None:
    with pytest.raises(UsageError, match="4 rows each"):
        commit(store, regioned, ["a"], rows(1), rows(3))


def test_regions_that_come_later_are_found_at_once_also_in_another_collection(
    store: Store, regioned: Collection
) -> None:
    other = store.open_collection("other", regioned.space, regions=True)
    wholes, regions = rows(2), rows(4, 1)
    names = [new_image("a"), new_image("b")]
    Committer(store.database, store.blobs, regioned).commit(Batch(names, wholes))
    Committer(store.database, store.blobs, other).commit(Batch([new_image("a", 1)], no_embeddings(FAKE_DIMS)))
    commit(store, other, ["c"], rows(1, 2), rows(4, 3))
    publish(store, other)
    readers = [SnapshotReader(store.database, store.blobs, one) for one in (regioned, other)]
    assert [everywhere(reader.current()).search(regions[:1], 1).scores[0] < 0.9 for reader in readers] == [True, True]
    later = Batch([new_image("a", 1)], no_embeddings(FAKE_DIMS), regions=Regions([1], regions))
    Committer(store.database, store.blobs, regioned).commit(later)
    for reader in readers:
        found = everywhere(reader.current()).search(regions[2:3], 1)
        assert found.regions is not None
        assert (found.scores[0] > 0.99, found.regions[0]) == (True, 3)


# ---- how they are searched


@locally
@pytest.mark.parametrize("indexed", [0, 25, 40], ids=["no index", "an index and newer images", "an index of all"])
@pytest.mark.parametrize("transform", ["none", "centre"])
def test_images_are_ranked_by_their_best_part_as_brute_force_ranks_them(
    store: Store, regioned: Collection, indexed: int, transform: str
) -> None:
    wholes, regions = rows(40), rows(160, 1)
    names = [str(number) for number in range(40)]
    for part in (slice(0, indexed), slice(indexed, 40)):
        if part.stop > part.start:
            four = slice(4 * part.start, 4 * part.stop)
            commit(store, regioned, names[part], wholes[part], regions[four])
            if part.start == 0 and indexed:
                sequence = store.catalogue.collection("default").sequence
                Generations(store.database, store.blobs, regioned).publish(sequence, transform=transform)
    snapshot = snapshot_of(store, regioned)
    used = snapshot.transform
    assert snapshot.regions is not None
    assert snapshot.regions.transform.fingerprint == used.fingerprint
    near = unit_rows(regions[[3, 50, 121]] + 0.5 * wholes[[7, 7, 7]])
    searched = everywhere(snapshot)
    for query, at_once in zip(near[:, np.newaxis], searched.search_each(near, 6), strict=True):
        scores, parts = best_parts(used.apply(wholes), used.apply(regions), used.apply(query))
        expected = np.argsort(-scores, kind="stable")[:6]
        for found in (searched.search(query, 6), searched.exact_search(query, 6), at_once):
            assert found.ids.tolist() == (expected + 1).tolist()
            assert found.regions is not None
            assert found.wholes is not None
            assert found.regions.tolist() == parts[expected].tolist()
            np.testing.assert_allclose(found.scores, scores[expected], atol=1e-3)
            of_wholes = (used.apply(wholes) @ used.apply(query)[0])[expected]
            np.testing.assert_allclose(found.wholes, of_wholes, atol=1e-3)


@locally
def test_an_approximate_index_of_regions_finds_what_brute_force_finds(
    store: Store, regioned: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 300)
    wholes, regions = rows(120), rows(480, 1)
    commit(store, regioned, [str(number) for number in range(120)], wholes, regions)
    publish(store, regioned)
    snapshot = snapshot_of(store, regioned)
    assert snapshot.regions is not None
    assert (snapshot.is_exact, snapshot.regions.is_exact, everywhere(snapshot).is_exact) == (True, False, False)
    found = [everywhere(snapshot).search(regions[[row]], 1).ids[0] for row in range(0, 480, 40)]
    assert found == [row // 4 + 1 for row in range(0, 480, 40)]


@locally
def test_where_whole_and_region_score_the_same_the_whole_is_named(store: Store, regioned: Collection) -> None:
    whole = rows(1)
    commit(store, regioned, ["a"], whole, np.repeat(whole, 4, axis=0))
    found = everywhere(snapshot_of(store, regioned)).search(whole, 1)
    assert found.regions is not None
    assert found.regions.tolist() == [0]


def test_a_condition_is_fulfilled_by_images_not_by_regions(store: Store, regioned: Collection) -> None:
    wholes, regions = rows(30), rows(120, 1)
    names = [str(number) for number in range(30)]
    commit(store, regioned, names, wholes, regions)
    condition = parse('path like "/photos/2%"')
    among = [number for number, name in enumerate(names) if name.startswith("2")]
    for query in regions[[8, 81, 110], np.newaxis]:
        scores, _ = best_parts(wholes, regions, query)
        expected = sorted(among, key=lambda number: -scores[number])[:4]
        found = search_where(everywhere(snapshot_of(store, regioned)), store.catalogue, query, 4, condition)
        assert found.ids.tolist() == [number + 1 for number in expected]


@locally
def test_images_that_fulfil_a_condition_are_looked_for_as_far_as_parts_are_close(
    store: Store, regioned: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the nearest are put to the test, those that pass must be nearer than all that were not tried."""
    monkeypatch.setattr("search.finding.filter_planner.FEW_IMAGES", 1)
    monkeypatch.setattr("search.finding.filter_planner.TRIED", 20)
    query, count = rows(1, 9), 80
    # Wholes of "near" images are the closest wholes, regions of "far" ones far closer; of these 40 fail the condition.
    closeness = np.linspace(0.2, 0.1, count)
    wholes = unit_rows(rows(count) + closeness[:, np.newaxis] * query)
    regions = unit_rows(rows(4 * count, 1) + np.repeat(np.linspace(1, 3, count), 4)[:, np.newaxis] * query)
    names = [f"{'no' if number >= 50 else 'yes'}-{number}" for number in range(count)]
    commit(store, regioned, names, wholes, regions)
    scores, _ = best_parts(wholes, regions, query)
    expected = sorted(range(50), key=lambda number: -scores[number])[:2]
    found = search_where(
        everywhere(snapshot_of(store, regioned)), store.catalogue, query, 2, parse('path like "/photos/yes%"')
    )
    assert found.ids.tolist() == [number + 1 for number in expected]


def test_a_removed_image_is_found_by_none_of_its_regions(store: Store, regioned: Collection) -> None:
    regions = rows(8, 1)
    commit(store, regioned, ["a", "b"], rows(2), regions)
    publish(store, regioned)
    reader = SnapshotReader(store.database, store.blobs, regioned)
    assert everywhere(reader.current()).search(regions[:1], 1).ids.tolist() == [1]
    remove_images(store.database, regioned, [1])
    assert everywhere(reader.current()).search(regions[:1], 2).ids.tolist() == [2]


def test_an_image_with_another_content_is_not_found_by_the_regions_it_had(store: Store, regioned: Collection) -> None:
    regions = rows(4, 1)
    commit(store, regioned, ["a"], rows(1), regions)
    publish(store, regioned)
    reader = SnapshotReader(store.database, store.blobs, regioned)
    assert everywhere(reader.current()).search(regions[:1], 1).scores[0] > 0.99
    # By a run that made no regions, as one of an older release.
    changed = Batch([new_image("a", facts("changed"))], rows(1, 2))
    Committer(store.database, store.blobs, regioned).commit(changed)
    assert everywhere(reader.current()).search(regions[:1], 1).scores[0] < 0.9


@locally
def test_without_regions_on_the_collection_nobody_searches_them(store: Store, regioned: Collection) -> None:
    regions = rows(4, 1)
    commit(store, regioned, ["a"], rows(1), regions)
    publish(store, regioned)
    off = store.open_collection("default", regioned.space, regions=False)
    assert snapshot_of(store, off).regions is None
    publish(store, off)
    assert Generations(store.database, store.blobs, off, IN_REGIONS).newest() == []


@locally
def test_a_match_names_its_region_and_is_judged_by_its_whole_picture(store: Store, regioned: Collection) -> None:
    wholes = rows(1)
    regions = np.concatenate([rows(3, 1), unit_rows(wholes + 0.2 * rows(1, 2))])
    commit(store, regioned, ["a"], wholes, regions)
    snapshot = snapshot_of(store, regioned)
    (inside,) = find_similar(snapshot, store.catalogue, regions[:1], None, Wanted(1, threshold=0.8))
    assert (inside.score > 0.99, inside.relation) == (True, "similar")
    assert inside.region == Region(0, 0, 0.55, 0.55)
    assert inside.as_json()["region"] == {"x": 0.0, "y": 0.0, "width": 0.55, "height": 0.55}
    (near,) = find_similar(snapshot, store.catalogue, regions[3:], None, Wanted(1, threshold=0.8))
    assert (near.relation, near.region == Region(0.45, 0.45, 0.55, 0.55)) == ("probable", True)
    (whole,) = find_similar(snapshot, store.catalogue, wholes, None, Wanted(1, threshold=0.8))
    assert (whole.relation, whole.region, "region" in whole.as_json()) == ("probable", None, False)


@locally
def test_a_damaged_index_of_regions_is_left_out_and_their_segments_searched(
    store: Store, regioned: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    regions = rows(8, 1)
    commit(store, regioned, ["a", "b"], rows(2), regions)
    sequence = store.catalogue.collection("default").sequence
    Generations(store.database, store.blobs, regioned).publish(sequence, transform="centre")
    record = Generations(store.database, store.blobs, regioned, IN_REGIONS).current()
    assert record is not None
    with store.database.writing() as connection:
        connection.exec_driver_sql(f"UPDATE generation SET name = 'generations/gone.lkg' WHERE id = {record.id}")
    snapshot = snapshot_of(store, regioned)
    assert snapshot.regions is not None
    assert (snapshot.generation is not None, snapshot.regions.generation) == (True, None)
    found = everywhere(snapshot).search(regions[5:6], 1)
    assert found.regions is not None
    assert (found.ids.tolist(), found.regions.tolist(), found.scores[0] > 0.99) == ([2], [2], True)


def test_the_frames_of_a_decoded_picture_are_those_of_its_regions() -> None:
    picture = Image.effect_noise((64, 48), 80).convert("RGB")
    pixels = np.asarray(picture)
    frames = region_frames(pixels, picture.size, lambda part: part[:8, :8])
    expected = [pixels[top : top + 8, left : left + 8] for top in (0, 22) for left in (0, 29)]
    np.testing.assert_array_equal(frames, np.stack(expected))


@locally
def test_four_close_regions_of_one_image_leave_room_for_another_image(store: Store, regioned: Collection) -> None:
    query = rows(1, 9)
    crowded = np.repeat(query, 4, axis=0)
    distant = np.concatenate([rows(3, 1), unit_rows(query + 0.3 * rows(1, 2))])
    commit(store, regioned, ["a", "b", "c"], rows(3), np.concatenate([crowded, rows(4, 3), distant]))
    found = everywhere(snapshot_of(store, regioned)).search(query, 2)
    assert found.regions is not None
    assert (found.ids.tolist(), found.regions.tolist()) == ([1, 3], [1, 4])


def test_regions_have_the_dims_of_their_space() -> None:
    backbone = FakeBackbone()
    backbone.space = replace(backbone.space, dims=32)
    noise = np.random.default_rng(1).integers(0, 256, (4, 8, 8, 3), np.uint8)
    (found,) = embedded_regions(backbone, unit_rows(np.ones((1, 32), np.float32)), [noise], 4)
    assert found is not None
    assert found.shape == (4, 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
