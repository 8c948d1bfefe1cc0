"""Pictures that were sent to a store come back with its backup, checked, and lead to their files in the new place."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.ingesting import Ingest, Keep, Sent
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.errors import CorruptFile
from search.moving import backup as backup_module
from search.moving.backup import back_up
from search.moving.restore import restore
from search.records import ImageRecord, path_of_uri
from search.storing.removals import remove_images
from search.storing.store import Store
from search.storing.uploads import Uploads
from search.upkeep.verification import verify
from tests.conftest import painted

KEPT: tuple[Keep, ...] = ("original", "thumbnail", "none")
PICTURES = "ümlaut dir"


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one indexed picture, to which a picture of each way to keep them was sent."""
    folder = tmp_path_factory.mktemp("sent") / PICTURES
    folder.mkdir()
    painted(0, (160, 120)).save(folder / "0.png")
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(folder / "0.png")])
    with Workspace(folder / "store") as workspace:
        ingest = Ingest(workspace)
        for seed, keep in enumerate(KEPT, start=1):
            done = ingest.add(workspace.collection("default"), Sent(drawn(seed), keep, key=keep), keep, "allow")
            assert done.outcome == "added"
        ingest.close()
    return folder / "store"


@pytest.fixture
def store(sent: Path, tmp_path: Path) -> Iterator[Store]:
    """That store, for one test; no other one is there."""
    away = sent.with_name("away")
    shutil.copytree(sent, away)
    with Store(sent) as opened:
        yield opened
    shutil.rmtree(sent, ignore_errors=True)
    away.rename(sent)


def drawn(seed: int) -> bytes:
    file = BytesIO()
    painted(seed, (160, 120)).save(file, "png")
    return file.getvalue()


def image(store: Store, key: str) -> ImageRecord:
    return store.catalogue.image_by_key(store.catalogue.collection("default").id, key)


def file_of(store: Store) -> Path:
    """Return where the original lies that was sent."""
    path = path_of_uri(image(store, "original").uri)
    assert path is not None
    return path


@contextmanager
def served(root: Path) -> Iterator[TestClient]:
    with Workspace(root) as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        thumbnails = Thumbnails(pool, Uploads(workspace.store).small)
        yield TestClient(create_app(Parts(workspace, thumbnails, Readiness(workspace))))


@pytest.mark.parametrize(("name", "apart"), [("backup", False), ("backup.tar", True)])
def test_thumbnails_of_what_was_sent_are_served_by_the_store_that_was_restored(
    store: Store, tmp_path: Path, name: str, *, apart: bool
) -> None:
    report = back_up(store, tmp_path / name)
    assert report.left_out == ()
    shutil.rmtree(store.root)
    blobs = tmp_path / "blobs" if apart else None
    again = tmp_path / "ägain"
    restore(tmp_path / name, again, blobs=None if blobs is None else str(blobs))
    with Store(again) as restored:
        original = file_of(restored)
        assert (original.parents[2], original.read_bytes()) == (blobs or again, drawn(1))
        assert verify(restored, deep=True) == []
        ids = {key: image(restored, key).id for key in KEPT}
    with served(again) as client:
        answers = {key: client.get(f"/v1/collections/default/images/{ids[key]}/thumbnail?size=64") for key in KEPT}
    assert {key: answer.status_code for key, answer in answers.items()} == {
        "original": 200,
        "thumbnail": 200,
        "none": 404,
    }
    assert Image.open(BytesIO(answers["thumbnail"].content)).size == (64, 48)


def test_what_is_gone_or_damaged_is_named_and_left_out(store: Store, tmp_path: Path) -> None:
    file = file_of(store)
    name = file.relative_to(store.root).as_posix()
    file.write_bytes(b"something else")
    assert back_up(store, tmp_path / "damaged").left_out == (name,)
    file.unlink()
    assert back_up(store, tmp_path / "gone").left_out == (name,)
    restore(tmp_path / "gone", tmp_path / "again")
    assert [path.suffix for path in (tmp_path / "again" / "uploads").rglob("*.*")] == [".jpg"]


def test_a_picture_that_is_removed_meanwhile_is_not_missed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = image(store, "original")
    copy = backup_module.copy_catalogue
    calls: list[Path] = []

    def copy_and_remove(database: object, path: Path) -> None:
        copy(database, path)  # type: ignore[arg-type]
        if not calls:
            remove_images(store.database, store.catalogue.collection("default"), [original.id])
            Uploads(store).drop_unused(original.uri, original.sha256)
        calls.append(path)

    monkeypatch.setattr(backup_module, "copy_catalogue", copy_and_remove)
    report = back_up(store, tmp_path / "backup")
    assert (report.attempts, report.left_out) == (2, ())
    assert [one["images"] for one in report.manifest.collections] == [3]


def test_a_damaged_upload_of_a_backup_is_not_restored_and_nothing_is_left(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "backup")
    victim = next((tmp_path / "backup" / "uploads").rglob("*.png"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match="is damaged: its checksum differs"):
        restore(tmp_path / "backup", tmp_path / "again", blobs=str(tmp_path / "blobs"))
    assert list((tmp_path / "again").iterdir()) == []
    assert [path for path in (tmp_path / "blobs").rglob("*") if path.is_file() and path.name != ".lock"] == []
