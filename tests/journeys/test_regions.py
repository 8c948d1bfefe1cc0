"""`index --regions`: a photograph is found inside a collage, and regions outlive everything that happens to a store."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import delete, func, select, update

import lookalike
from api.cli import main
from api.shapes.searches import Match
from indexer.jobs.index_images import IndexOptions
from indexer.jobs.reembed_images import ReembedJob, ReembedOptions
from indexer.procedural.pictures import procedural_images
from indexer.sources.stored_files import StoredFiles
from search import faults
from search.database.tables import collection, embedding, segment
from search.embeddings import unit_rows
from search.errors import LookalikeError
from search.finding.find_similar import Wanted, find_similar
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.moving.backup import back_up
from search.moving.restore import restore
from search.records import Region
from search.regions import IN_REGIONS, WHOLES
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.repairing import repairs
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.fakes import FakeBackbone, InProcessDecoder
from tests.jobs import index

PICTURES = 8
SIDE = 96


def noise(seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return a picture unlike all others, coarse enough to survive being made small."""
    grain = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return Image.fromarray(grain).resize(size, Image.Resampling.NEAREST)


def pair(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (2 * SIDE, SIDE))
    both.paste(left, (0, 0))
    both.paste(right, (SIDE, 0))
    return both


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Seven pictures, and a collage of two others: 70 on its left, 71 on its right."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(PICTURES - 1):
        noise(number).save(folder / f"{number}.png")
    pair(noise(70), noise(71)).save(folder / "collage.png")
    return folder


def found(store: Store, seed: int = 71) -> tuple[str, Region | None, float]:
    """Search by a picture; return the name of the best image, the region that matched, and its score."""
    reader = SnapshotReader(store.database, store.blobs, store.catalogue.collection("default"))
    frame = np.asarray(noise(seed).resize((8, 8), Image.Resampling.BOX))
    query = unit_rows(FakeBackbone().embed(frame[np.newaxis]))
    (match,) = find_similar(reader.current(), store.catalogue, query, None, Wanted(1))
    return Path(match.image.uri).stem, match.region, match.score


RIGHT = Region(0.5, 0.0, 0.5, 1.0)


def is_found(store: Store) -> bool:
    name, region, score = found(store)
    return (name, region, score > 0.99) == ("collage", RIGHT, True)


def region_rows(store: Store) -> int:
    with store.database.reading() as connection:
        return connection.execute(select(func.count()).where(embedding.c.region > 0)).scalar_one()


# ---- with the built-in backbone


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    pictures = [Image.fromarray(one).resize((300, 200)) for one in procedural_images(6, 5)]
    for number, picture in enumerate(pictures[:3]):
        picture.save(folder / f"{number}.png")
    sheet = Image.new("RGB", (600, 400))
    for place, picture in enumerate((pictures[0], pictures[3], pictures[4], pictures[5])):
        sheet.paste(picture, (place % 2 * 300, place // 2 * 200))
    (folder / "collages").mkdir()
    sheet.save(folder / "collages" / "sheet.jpg", quality=90)
    pictures[5].save(folder.parent / "sought.jpg", quality=80)
    return folder


def test_a_photograph_is_found_inside_a_collage_and_the_answer_says_where(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", str(tmp_path / "store"), "--progress", "none"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json", "index", "--regions", str(drawn)])
    assert json.loads(capsys.readouterr().out)["with_regions"] == 4
    search = ["search", str(drawn.parent / "sought.jpg"), "-k", "2"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json", *search])
    answer = json.loads(capsys.readouterr().out)
    told = Match.model_validate(answer["matches"][0]).region  # HTTP answers with the same
    assert told is not None
    assert (told.x, told.height) == (0.45, 0.55)
    best, other = answer["matches"]
    assert Path(best["path"]).name == "sheet.jpg"
    assert best["region"] == {"x": 0.45, "y": 0.45, "width": 0.55, "height": 0.55}
    assert best["score"] > other["score"] + 0.1
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, *search, "--accurate"])
    shown = capsys.readouterr().out
    assert "45-100 x 45-100 %" in shown
    assert "same_picture" in shown
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "status"])
    assert "4 of 4 images" in capsys.readouterr().out


def test_a_notebook_asks_for_regions_once(drawn: Path, tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as album:
        album.index(drawn / "0.png", regions=True, progress=False)
        assert album.index(drawn / "1.png", progress=False).counts.regioned == 1
        best = album.search(drawn.parent / "sought.jpg", k=1)[0]
        assert Path(best.image.uri).name in ("0.png", "1.png")


def test_regions_cannot_be_cut_where_the_gpu_decodes(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.decoding.gpu_decoding.decoding_device", lambda *_, **__: "cuda")
    with pytest.raises(SystemExit, match="2"):
        main(["--store", str(tmp_path / "store"), "index", "--regions", "--decode", "gpu", str(drawn)])
    assert "--decode cpu, or --no-regions" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "store").exists()


# ---- with the fakes


def test_images_that_have_no_regions_yet_get_them_in_the_next_run_and_new_ones_from_then_on(
    local_store: Store, photos: Path
) -> None:
    first = index(local_store, photos)
    assert (first.counts.regioned, region_rows(local_store), is_found(local_store)) == (None, 0, False)
    second = index(local_store, photos, regions=True)
    assert (second.counts.unchanged, second.counts.indexed, second.counts.regioned) == (PICTURES, 0, PICTURES)
    assert is_found(local_store)
    noise(99).save(photos / "new.png")
    third = index(local_store, photos)
    assert (third.counts.unchanged, third.counts.indexed, third.counts.regioned) == (PICTURES, 1, 1)
    assert region_rows(local_store) == 4 * (PICTURES + 1)
    assert verify(local_store, deep=True) == []


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_regions_are_made_completed_and_dropped_on_postgresql(store: Store, photos: Path) -> None:
    index(store, photos)
    index(store, photos, regions=True)
    assert is_found(store)
    assert verify(store, deep=True) == []
    compact(store)
    assert is_found(store)
    index(store, photos, regions=False)
    compact(store)
    assert region_rows(store) == 0
    assert verify(store, deep=True) == []


def test_an_archive_is_read_again_for_the_regions_of_its_pictures(local_store: Store, photos: Path) -> None:
    archive = Path(shutil.make_archive(str(photos.parent / "photos"), "tar", photos))
    index(local_store, archive)
    assert index(local_store, archive).counts.unchanged == PICTURES
    assert index(local_store, archive, regions=True).counts.regioned == PICTURES
    assert index(local_store, archive).counts.regioned == 0


def test_status_says_how_many_images_have_regions(local_store: Store, photos: Path) -> None:
    index(local_store, photos)
    plain = collection_status(local_store, local_store.catalogue.collection("default"))
    assert plain.as_json()["regions"] is None
    target = local_store.open_collection("default", FakeBackbone().space, regions=True)
    waiting = collection_status(local_store, target)
    assert waiting.regions_explained == "0 of 8 images; `lookalike index` makes those of the other 8"
    index(local_store, photos)
    told = collection_status(local_store, target).as_json()["regions"]
    assert told == {"rule": 1, "images": 8, "waiting": 0, "index": "exact", "explanation": "8 of 8 images"}


def test_a_batch_counts_every_embedding_that_it_holds(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True, options=IndexOptions(batch_size=1, commit_rows=10))
    with local_store.database.reading() as connection:
        assert connection.execute(select(func.max(segment.c.rows))).scalar_one() == 10


def test_compaction_keeps_regions_and_drops_those_that_nobody_searches(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True, options=IndexOptions(batch_size=1, commit_rows=5))
    assert compact(local_store).segments_after == 1
    assert (region_rows(local_store), is_found(local_store)) == (4 * PICTURES, True)
    assert verify(local_store, deep=True) == []
    target = local_store.open_collection("default", FakeBackbone().space, regions=False)
    compact(local_store, older_than_s=0)
    assert region_rows(local_store) == 0
    assert Generations(local_store.database, local_store.blobs, target, IN_REGIONS).current() is None
    assert verify(local_store, deep=True) == []
    assert index(local_store, photos, regions=True).counts.regioned == PICTURES
    assert is_found(local_store)


def test_both_indexes_outlive_a_second_look_by_compaction(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True)
    for _ in range(2):
        compact(local_store, older_than_s=-1)
    target = local_store.catalogue.collection("default")
    indexes = [Generations(local_store.database, local_store.blobs, target, part) for part in (WHOLES, IN_REGIONS)]
    assert [one.rows for index_ in indexes for one in index_.newest()] == [PICTURES, 4 * PICTURES]


def test_a_backup_holds_regions(local_store: Store, photos: Path, tmp_path: Path) -> None:
    index(local_store, photos, regions=True)
    back_up(local_store, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with Store(tmp_path / "again") as again:
        assert is_found(again)
        target = again.catalogue.collection("default")
        assert Generations(again.database, again.blobs, target, IN_REGIONS).current() is not None


def test_damaged_regions_are_taken_back_and_made_again_by_the_next_run(local_store: Store, photos: Path) -> None:
    index(local_store, photos)  # wholes in a segment of their own
    index(local_store, photos, regions=True)
    with local_store.database.reading() as connection:
        of_regions = select(segment.c.name).join(embedding, embedding.c.segment_id == segment.c.id)
        name = connection.execute(of_regions.where(embedding.c.region == 1)).scalars().first()
    file = Path(local_store.settings.blobs) / str(name)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    named = verify(local_store)
    assert [fault.kind for fault in named] == ["segment_damaged"]
    assert [one.lost for one in repairs(local_store, named, apply=False)] == [[]]
    assert [one.lost for one in repairs(local_store, named, apply=True)] == [[]]
    assert verify(local_store, deep=True) == []
    assert collection_status(local_store, local_store.catalogue.collection("default")).complete
    assert index(local_store, photos).counts.regioned
    assert is_found(local_store)
    assert verify(local_store, deep=True) == []


@pytest.mark.parametrize("lost", [1, 3])
def test_regions_of_which_some_are_gone_are_named_and_made_again(local_store: Store, photos: Path, lost: int) -> None:
    index(local_store, photos, regions=True)
    with local_store.database.writing() as connection:
        connection.execute(delete(embedding).where(embedding.c.region == lost))
    named = verify(local_store, deep=True)
    assert "regions_incomplete" in {fault.kind for fault in named}
    repairs(local_store, named, apply=True)
    assert (verify(local_store, deep=True), region_rows(local_store)) == ([], 0)
    assert index(local_store, photos).counts.regioned == PICTURES
    assert is_found(local_store)


def test_a_damaged_index_of_regions_is_named_and_built_again(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True)
    target = local_store.catalogue.collection("default")
    record = Generations(local_store.database, local_store.blobs, target, IN_REGIONS).current()
    assert record is not None
    (Path(local_store.settings.blobs) / record.name).write_bytes(b"nothing")
    named = verify(local_store)
    assert [(fault.kind, fault.where) for fault in named] == [("generation_damaged", record.name)]
    assert is_found(local_store)
    index(local_store, photos)
    assert verify(local_store, deep=True) == []


def test_a_missing_region_in_the_index_is_named_with_its_image(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True)
    with local_store.database.writing() as connection:
        connection.exec_driver_sql("UPDATE image SET deleted = 1 WHERE id = 3")
    assert "region 2 of image 3 is in the index, but in no collection" in {one.detail for one in verify(local_store)}


def test_another_release_is_not_guessed_at(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True)
    with local_store.database.writing() as connection:
        connection.execute(update(collection).values(regions_rule=2))
    assert [fault.kind for fault in verify(local_store, deep=True)] == ["rule_of_regions_unknown"]


def test_a_collection_with_regions_stays_one_in_another_space(local_store: Store, photos: Path) -> None:
    index(local_store, photos, regions=True)
    upgrade = SpaceUpgrade(local_store, local_store.catalogue.collection("default"))
    other = FakeBackbone("other")
    begun = upgrade.begin(other.space)
    assert upgrade.count_unfinished(begun.to_space_id) == PICTURES
    job = ReembedJob(upgrade, begun.to_space_id, other, StoredFiles().read)
    job.run(InProcessDecoder(regions=True), ReembedOptions(batch_size=3))
    assert upgrade.count_unfinished(begun.to_space_id) == 0
    upgrade.finish(begun, {})
    promoted, missing = upgrade.promote()
    assert (promoted.regions_rule, missing, is_found(local_store)) == (1, 0, True)
    assert verify(local_store, deep=True) == []
    back, _ = SpaceUpgrade(local_store, promoted).rollback()
    assert (back.space_id != promoted.space_id, is_found(local_store)) == (True, True)


def test_a_space_that_was_filled_before_regions_were_asked_for_is_completed(local_store: Store, photos: Path) -> None:
    index(local_store, photos)
    other = FakeBackbone("other")
    upgrade = SpaceUpgrade(local_store, local_store.catalogue.collection("default"))
    begun = upgrade.begin(other.space)
    ReembedJob(upgrade, begun.to_space_id, other, StoredFiles().read).run(InProcessDecoder(), ReembedOptions())
    index(local_store, photos, regions=True)
    again = SpaceUpgrade(local_store, local_store.catalogue.collection("default"))
    assert (again.count_missing(begun.to_space_id), again.count_unfinished(begun.to_space_id)) == (0, PICTURES)
    ReembedJob(again, begun.to_space_id, other, StoredFiles().read).run(
        InProcessDecoder(regions=True), ReembedOptions(batch_size=3)
    )
    again.finish(begun, {})
    again.promote()
    assert is_found(local_store)
    assert verify(local_store, deep=True) == []


def test_an_index_that_fails_half_way_is_named_by_nobody(
    local_store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", "generation.rename:2:eio")  # that of regions is written before
    faults._hits.clear()
    with pytest.raises(LookalikeError, match="what was indexed is safe"):
        index(local_store, photos, regions=True)
    target = local_store.catalogue.collection("default")
    assert Generations(local_store.database, local_store.blobs, target, IN_REGIONS).newest() == []
    assert (is_found(local_store), verify(local_store, deep=True)) == (True, [])
    monkeypatch.delenv("LOOKALIKE_FAULT")
    index(local_store, photos)
    assert Generations(local_store.database, local_store.blobs, target, IN_REGIONS).current() is not None
    faults._hits.clear()


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The catalogue refuses the last step of the first commit."""
    monkeypatch.setenv("LOOKALIKE_FAULT", "commit.end:1:eio")
    faults._hits.clear()
    yield
    faults._hits.clear()


@pytest.mark.usefixtures("failing")
def test_a_commit_that_fails_leaves_neither_images_nor_regions(
    local_store: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((LookalikeError, OSError)):
        index(local_store, photos, regions=True)
    target = local_store.catalogue.collection("default")
    assert (local_store.catalogue.count_images(target.id), region_rows(local_store)) == (0, 0)
    monkeypatch.delenv("LOOKALIKE_FAULT")
    assert index(local_store, photos).counts.regioned == PICTURES
    assert (verify(local_store, deep=True), is_found(local_store)) == ([], True)
