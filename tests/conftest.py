"""What tests share: stores on both databases, pictures, and the rule that CI skips nothing."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest
from PIL import Image
from platformdirs import user_cache_path

from search.records import Collection
from search.storing.store import Store
from tests import quick_networks, quick_stores
from tests.album_rows import filled
from tests.fakes import FakeBackbone

if TYPE_CHECKING:
    from tests.object_server import ObjectServer

quick_stores.be_quick()
quick_networks.be_quick()

Draw = Callable[..., Path]
MEMORY = Path("/dev/shm")  # where the system has it
ENOUGH_BYTES = 32 << 20  # for one test in memory
SERVER_BYTES = 2 << 30  # for a database server in memory, of which it takes a tenth
COPIES_FILES = 150_000  # the version of PostgreSQL that knows of two ways to copy a database
# Nothing here survives the run, so nothing waits for the disk or is written twice; and nobody tidies up behind a
# thousand databases that are used once. What a commit of ours owes to fsync is shown by fault points and by
# tests/power_loss.py, not by this server's disk.
SERVER_SETTINGS = ("fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "autovacuum=off")


def skip(reason: str) -> None:
    """Skip on a user's machine; in CI a missing program is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI must have it: {reason}")
    pytest.skip(reason)


def pytest_collection_finish() -> None:
    """Keep what was loaded for all tests, three quarters of a million objects, out of each later collection of garbage.

    One costs half a second otherwise, and a hundred times in a run.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A named pipe under a picture's name. Whoever reads it gets a word at once, so that no test waits for ever."""
    path = tmp_path / "pipe.jpg"
    os.mkfifo(path)

    def write() -> None:
        with suppress(BrokenPipeError):  # somebody looked what it is, and went
            path.write_bytes(b"no picture")

    writer = Thread(target=write)
    writer.start()
    yield path
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # frees the writer that nobody listened to
    writer.join()
    os.close(reading)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of our own in a temporary folder; its URL without a database name."""
    found = shutil.which("initdb") or "/usr/lib/postgresql/15/bin/initdb"
    programs = Path(found).resolve().parent
    if not (programs / "postgres").exists():
        skip("PostgreSQL is not installed")
    # PostgreSQL refuses to run as root. The other user could not pass through pytest's own folders: whenever a pytest
    # starts, it closes them to others.
    user, group = ("nobody", "nogroup") if os.geteuid() == 0 else (None, None)
    memory = MEMORY if _has_room(MEMORY, SERVER_BYTES) else None
    with tempfile.TemporaryDirectory(prefix="lookalike-postgresql-", dir=memory) as folder:
        if user is not None:
            shutil.chown(folder, user)
        data = f"{folder}/data"
        initialise: list[str | Path] = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(initialise, check=True, capture_output=True, cwd="/", user=user, group=group)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = [f"-c{one}" for one in (f"port={port}", "listen_addresses=127.0.0.1", *SERVER_SETTINGS)]
        server = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            user=user,
            group=group,
        )
        url = f"postgresql://tester@127.0.0.1:{port}"
        try:
            _wait_for(server, url)
            yield url
        finally:
            server.send_signal(signal.SIGQUIT)  # at once: SIGTERM would wait until the last connection is closed
            server.wait()


def _has_room(folder: Path, size: int) -> bool:
    return os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= size


def make_reachable(folder: Path) -> None:
    """Let another user pass through pytest's own folders above this one; what lies above them stays as it is."""
    base = Path(tempfile.gettempdir()).resolve()
    for place in (folder, *folder.parents):
        if place == base or base not in place.parents:
            return
        place.chmod(place.stat().st_mode | 0o055)


def _wait_for(server: "subprocess.Popen[bytes]", url: str) -> None:
    while server.poll() is None:  # pytest-timeout ends the wait for one that never answers
        try:
            psycopg.connect(f"{url}/postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL ended by itself with {server.returncode}")


@pytest.fixture(scope="session")
def object_server() -> Iterator["ObjectServer"]:
    """An S3 server without a bucket; tests/object_server.py points the environment at it."""
    from tests.object_server import ObjectServer  # moto takes a second, and few tests need it

    server = ObjectServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a closed, empty store on SQLite, to be copied: the tables are made once and not for every test."""
    root = tmp_path_factory.mktemp("empty") / "store"
    Store.create(root).close()
    return root


@pytest.fixture(scope="session")
def empty_catalogue(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a PostgreSQL database with the tables of an empty store, to be copied."""
    url = new_database(postgresql)
    Store.create(tmp_path_factory.mktemp("empty") / "store", catalogue=url).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, once on each database."""
    if request.param == "sqlite":
        with Store(shutil.copytree(request.getfixturevalue("empty_store"), tmp_path / "store")) as opened:
            yield opened
        return
    catalogue = new_database(*request.getfixturevalue("empty_catalogue").rsplit("/", 1))
    with Store.create(tmp_path / "store", catalogue=catalogue) as opened:
        yield opened
    dropped(catalogue)


@pytest.fixture
def on_postgresql(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the catalogue of every store of the test, wherever it is made, into one fresh database; return its URL."""
    url = new_database(request.getfixturevalue("postgresql"))
    monkeypatch.setenv("LOOKALIKE_CATALOGUE", url)
    return url


def emptied(url: str) -> None:
    """Remove every row of a database; the tables stay, and ids begin anew."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        # A fifth of what TRUNCATE costs, which makes every table and index anew. Keys to other tables do not count.
        connection.execute("SET session_replication_role = replica")
        for (table,) in found:
            if table != "alembic_version":
                connection.execute(f"DELETE FROM {table}".encode())
        for (sequence,) in connection.execute("SELECT sequencename FROM pg_sequences").fetchall():
            connection.execute(f"ALTER SEQUENCE {sequence} RESTART".encode())


def dropped(url: str) -> None:
    """Remove a database."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def new_database(server: str, template: str = "template1") -> str:
    """Return the URL of a fresh database on a PostgreSQL server, a copy of the template."""
    name = f"test_{os.getpid()}_{time.monotonic_ns()}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        # Since it can, the server would rather write the template's pages to its log than copy the files.
        copying = "STRATEGY FILE_COPY" if connection.info.server_version >= COPIES_FILES else ""
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} {copying}".encode())
    return f"{server}/{name}"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def album_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the six images of tests/album_rows.py, once on each database; read only."""
    catalogue = None
    if request.param == "postgresql":
        catalogue = new_database(request.getfixturevalue("postgresql"))
    with Store.create(tmp_path_factory.mktemp("album") / "store", catalogue=catalogue) as made:
        filled(made)
        yield made


@pytest.fixture
def album_rows(album_store: Store) -> Collection:
    """The collection of album_store."""
    return album_store.catalogue.collection("default")


@pytest.fixture
def local_store(empty_store: Path, tmp_path: Path) -> Iterator[Store]:
    """An empty store on SQLite."""
    with Store(shutil.copytree(empty_store, tmp_path / "store")) as opened:
        yield opened


@pytest.fixture
def target(store: Store) -> Collection:
    """A collection of the fake backbone."""
    return store.open_collection("default", FakeBackbone().space)


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where the system has one: a kill loses nothing of it, and it need not wait for a disk."""
    if not _has_room(MEMORY, ENOUGH_BYTES):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


def own_cache(folder: Path) -> str:
    """Make an empty cache for LOOKALIKE_CACHE, but for the model files, which every process of the run may share.

    To make one takes seconds, and it is named by all that shaped it.
    """
    chosen = os.environ.get("LOOKALIKE_CACHE") or user_cache_path("lookalike", appauthor=False)
    engines = Path(chosen) / "engines"
    engines.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "engines").symlink_to(engines.resolve())
    return str(folder)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes a fault point fail from now on: `name:nth:action` (search/faults.py)."""

    def arm(fault: str) -> None:
        monkeypatch.setattr("search.faults._hits", Counter())
        monkeypatch.setenv("LOOKALIKE_FAULT", fault)

    return arm


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An empty folder for pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture
def draw(photos: Path) -> Draw:
    """A function that draws picture number N (smooth colours, different for each number) into the photos folder."""

    def picture(name: str, number: int, size: tuple[int, int] = (64, 48), **options: object) -> Path:
        path = photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        painted(number, size).save(path, **options)  # type: ignore[arg-type]
        return path

    return picture


def painted(number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Return picture number N: coarse random colours, enlarged smoothly."""
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)
