"""Images of one collection that are copies of images of another one."""

from dataclasses import replace

import numpy as np
import pytest

from search.duplicates.find_leaks import find_leaks
from search.duplicates.report import DuplicateReport, DuplicateRequest
from search.errors import SpaceMismatch, UsageError
from search.finding.snapshot import Snapshot, SnapshotReader
from search.records import Collection, SpaceSpec
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from search.storing.verdicts import Verdict, verdict_on
from tests.fakes import facts, new_image, unit

SPACE = SpaceSpec("axes", "0" * 64, "{}", 2)


def filled(store: Store, name: str, space: SpaceSpec = SPACE, **images: tuple[float, float]) -> Collection:
    target = store.open_collection(name, space)
    contents = [new_image(f"{name}/{key}", facts(key)) for key in images]
    rows = np.concatenate([unit(*place) for place in images.values()])
    Committer(store.database, store.blobs, target).commit(Batch(contents, rows))
    return store.catalogue.collection(name)


def snapshot(store: Store, target: Collection) -> Snapshot:
    return SnapshotReader(store.database, store.blobs, target).current()


def leaks(store: Store, one: Collection, other: Collection, *verdicts: Verdict) -> DuplicateReport:
    request = DuplicateRequest(0.75, 0.75)
    return find_leaks(snapshot(store, one), snapshot(store, other), store.catalogue, request, verdicts)


def shown(report: DuplicateReport) -> list[tuple[str, list[str]]]:
    def name(uri: str) -> str:
        return uri.removeprefix("file:///photos/")

    return [(name(group.keeper.uri), [name(one.image.uri) for one in group.members]) for group in report.groups]


def test_members_are_of_this_collection_and_keepers_of_the_other(local_store: Store) -> None:
    # cos((1, 0), (4, 3)) = .8; the two images of `train` are near copies of each other, which nobody asked about.
    train = filled(local_store, "train", near=(4.0, 3.0), nearer=(9.0, 4.0), far=(0.0, 1.0))
    test = filled(local_store, "test", asked=(1.0, 0.0))
    report = leaks(local_store, train, test)
    assert shown(report) == [("test/asked", ["train/nearer", "train/near"])]
    assert report.groups[0].reason == "in the collection test"
    assert report.images == 4


def test_each_image_is_in_the_group_of_what_it_is_most_like(local_store: Store) -> None:
    train = filled(local_store, "train", between=(2.0, 1.0))
    test = filled(local_store, "test", right=(1.0, 0.0), diagonal=(4.0, 3.0))
    assert shown(leaks(local_store, train, test)) == [("test/diagonal", ["train/between"])]


def test_the_same_content_is_an_exact_copy_even_where_it_shows_nothing(local_store: Store) -> None:
    train, test = filled(local_store, "train", same=(1.0, 0.0)), filled(local_store, "test", same=(1.0, 0.0))
    (group,) = leaks(local_store, train, test).groups
    assert [(member.kind, member.relation) for member in group.members] == [("same_bytes", "identical")]


def test_what_people_keep_apart_does_not_leak(local_store: Store) -> None:
    train, test = filled(local_store, "train", near=(4.0, 3.0)), filled(local_store, "test", asked=(1.0, 0.0))
    said = verdict_on(facts("near").sha256.hex(), facts("asked").sha256.hex(), "different")
    assert shown(leaks(local_store, train, test)) == [("test/asked", ["train/near"])]
    assert shown(leaks(local_store, train, test, said)) == []


def test_what_people_keep_apart_does_not_leak_where_the_pixels_are_the_same_either(local_store: Store) -> None:
    train, test = filled(local_store, "train", one=(1.0, 0.0)), local_store.open_collection("test", SPACE)
    twin = replace(facts("one"), sha256=facts("twin").sha256)  # other bytes, the same pixels
    Committer(local_store.database, local_store.blobs, test).commit(
        Batch([new_image("test/twin", twin)], unit(1.0, 0.0))
    )
    assert shown(leaks(local_store, train, test)) == [("test/twin", ["train/one"])]
    said = verdict_on(facts("one").sha256.hex(), twin.sha256.hex(), "not_duplicate")
    assert shown(leaks(local_store, train, test, said)) == []


def test_collections_of_two_spaces_cannot_be_compared(local_store: Store) -> None:
    one = filled(local_store, "one", a=(1.0, 0.0))
    other = filled(local_store, "other", SpaceSpec("another", "0" * 64, "{}", 2), b=(1.0, 0.0))
    with pytest.raises(SpaceMismatch, match="reembed"):
        leaks(local_store, one, other)
    with pytest.raises(UsageError, match="itself"):
        leaks(local_store, one, one)


def test_near_copies_of_the_same_bytes_name_the_one_of_them_that_stays(local_store: Store) -> None:
    train = local_store.open_collection("train", SPACE)
    images = [new_image(f"train/{name}", facts("near")) for name in ("folder/again", "one")]
    Committer(local_store.database, local_store.blobs, train).commit(
        Batch(images, np.concatenate([unit(4.0, 3.0)] * 2))
    )
    test = filled(local_store, "test", asked=(1.0, 0.0))
    (group,) = leaks(local_store, local_store.catalogue.collection("train"), test).groups
    stays = {one.image.key: None if one.copy_of is None else one.copy_of.key for one in group.members}
    assert stays == {images[1].key: None, images[0].key: images[1].key}  # the shorter path
