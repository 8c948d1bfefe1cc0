"""Any flipped bit is found before a result uses it: of a segment or a generation, of store.toml, of a manifest."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select

from search.blobs.generation_files import unpacked
from search.blobs.segments import Segment
from search.database.tables import segment
from search.errors import CorruptFile, LookalikeError
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.moving.backup import back_up
from search.moving.backup_files import MANIFEST, load_manifest
from search.settings import new_settings, publish_settings, read_settings
from search.storing.store import Store
from tests import fault_worker
from tests.fault_worker import DIMS, row_of

FLIPS = 2_000  # drawn; of store.toml and of a manifest each bit is flipped, which are thousands more
FLIPS_OF_A_SECTION = 150
HEAD = 64
NAMES = [f"n{number}" for number in range(60)]


def filled(folder: Path) -> Store:
    store, target = fault_worker.open_store(folder)
    fault_worker.add(folder, store, target, NAMES)
    fault_worker.publish(store, target)
    return store


def undetected(folder: Path, flips: int) -> list[str]:
    """Return the flips that nothing noticed: a tenth in heads, the others shared by a segment and a generation."""
    rng = np.random.default_rng(0)
    with filled(folder) as store:
        notices = {"segments": _segment_notices(store), "generations": _generation_notices(store)}
        missed = []
        for number in range(flips):
            kind = ("segments", "generations")[number % 2]
            (path,) = (Path(store.settings.blobs) / kind).iterdir()
            size = HEAD if number % 10 < 2 else path.stat().st_size
            with _flipped(path, int(rng.integers(0, 8 * size))) as place:
                missed += [] if notices[kind]() else [f"{kind}: bit {place}"]
        assert notices["segments"]() is notices["generations"]() is False, "a healthy file was refused"
    return missed


class _flipped:  # noqa: N801 -- used as a statement
    """Flips one bit of a file and puts it right again."""

    def __init__(self, path: Path, bit: int) -> None:
        self._path, self._bit = path, bit

    def _flip(self) -> None:
        with self._path.open("r+b") as file:
            file.seek(self._bit // 8)
            byte = file.read(1)[0]
            file.seek(self._bit // 8)
            file.write(bytes([byte ^ (1 << (self._bit % 8))]))

    def __enter__(self) -> int:
        self._flip()
        return self._bit

    def __exit__(self, *_: object) -> None:
        self._flip()


def _segment_notices(store: Store) -> Callable[[], bool]:
    with store.database.reading() as connection:
        record = store.catalogue.segment(connection.execute(select(segment.c.id)).scalar_one())

    def notices() -> bool:
        try:
            Segment(store.blobs, record, DIMS).read_all()
        except CorruptFile:
            return True
        return False

    return notices


def _generation_notices(store: Store) -> Callable[[], bool]:
    generations = Generations(store.database, store.blobs, store.catalogue.collection("default"))
    record = generations.current()
    assert record is not None

    def notices() -> bool:
        try:
            generations.open(record)
        except CorruptFile:
            return True
        except Exception:  # noqa: BLE001 -- to stumble over the damage is not to notice it
            return False
        return not generations.is_sound(record)

    return notices


def test_every_one_of_two_thousand_flipped_bits_is_found(quick_folder: Path) -> None:
    assert undetected(quick_folder, FLIPS) == []


def parts_of(path: Path) -> dict[str, tuple[int, int]]:
    """Return where each section of a generation begins and ends, in bytes; `head` is what lies before all of them."""
    data = np.fromfile(path, np.uint8)
    sections, _ = unpacked(path.name, data)
    places = {name: section.ctypes.data - data.ctypes.data for name, section in sections.items()}
    found = {name: (place, place + sections[name].nbytes) for name, place in places.items()}
    return found | {"head": (0, min(places.values()))}


def test_every_flipped_bit_of_an_approximate_generation_is_found_before_it_is_searched(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", len(NAMES) - 1)
    rng, missed = np.random.default_rng(2), []
    with filled(quick_folder) as store:
        notices = _generation_notices(store)
        (path,) = (Path(store.settings.blobs) / "generations").iterdir()
        parts = parts_of(path)
        assert parts.keys() == {"head", "index", "mean", "axes", "ids", "segments", "rows"}  # FAISS keeps the codes
        for name, (start, stop) in parts.items():
            for bit in rng.integers(8 * start, 8 * stop, FLIPS_OF_A_SECTION).tolist():
                with _flipped(path, bit):
                    missed += [] if notices() else [f"{name}: bit {bit}"]
        assert not notices(), "a healthy file was refused"
    assert missed == []


@pytest.fixture(params=["exact", "ivf"])
def store(request: pytest.FixtureRequest, quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Sixty images and their index, of either kind."""
    if request.param == "ivf":
        monkeypatch.setattr("search.finding.generations.EXACT_ROWS", len(NAMES) - 1)
    with filled(quick_folder) as made:
        current = Generations(made.database, made.blobs, made.catalogue.collection("default")).current()
        assert current is not None
        assert current.kind == request.param
        yield made


def test_no_answer_ever_comes_from_a_damaged_generation(store: Store) -> None:
    (path,) = (Path(store.settings.blobs) / "generations").iterdir()
    target = store.catalogue.collection("default")
    expected = SnapshotReader(store.database, store.blobs, target).current().search(row_of("n7"), 5)
    for bit in np.random.default_rng(1).integers(0, 8 * path.stat().st_size, 50).tolist():
        with _flipped(path, bit):
            found = SnapshotReader(store.database, store.blobs, target).current().search(row_of("n7"), 5)
        assert found.ids.tolist() == expected.ids.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)


def flips_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each place of data, and data with a bit of it flipped."""
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        yield bit // 8, bytes(flipped)


def test_no_flipped_bit_of_store_toml_leads_to_another_place(quick_folder: Path) -> None:
    text = new_settings(quick_folder, "postgresql://user@host/name", "s3://bucket/prefix", "cc-by-nc-4.0")[1]
    publish_settings(quick_folder, text)
    file, settings = quick_folder / "store.toml", read_settings(quick_folder)
    harmless = set()
    for place, flipped in flips_of(text.encode()):
        file.write_bytes(flipped)
        try:
            assert read_settings(quick_folder) == settings, f"byte {place} became {flipped[place : place + 1]!r}"
        except LookalikeError:
            continue
        harmless.add(place)
    assert harmless, "comments are a person's own"
    assert min(harmless) > text.index("#"), "a setting was flipped, and nothing noticed"


def test_every_flipped_bit_of_a_backups_manifest_is_found(quick_folder: Path) -> None:
    with filled(quick_folder) as store:
        back_up(store, quick_folder / "backup")
    data = (quick_folder / "backup" / MANIFEST).read_bytes()
    load_manifest(data, quick_folder)
    missed = []
    for place, flipped in flips_of(data):
        try:
            load_manifest(flipped, quick_folder)
        except LookalikeError:
            continue
        missed.append(f"byte {place} became {flipped[place : place + 1]!r}")
    assert missed == []
