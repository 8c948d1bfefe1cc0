"""Rows per second that a commit makes durable, segments included, on SQLite and on PostgreSQL.

    python -m bench.commit_rate [--rounds 5] [--batches 12] [--dims 2048] [--postgresql URL] [--json FILE]

One process, batches of 1,024 rows, every content new. The peer does the least that keeps the same rows: `np.save` with
fsync for the embeddings, then one SQLAlchemy Core executemany per table and a commit, with the ids counted by itself,
no checksum and no look at what is there. `disk` is the same number of bytes written and synchronised by itself, and
how often it synchronises one page. PostgreSQL is that of --postgresql, else a server of our own.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import create_engine, event, insert

from bench.postgresql_server import postgresql_server
from bench.reporting import heading, interleaved, ratios, shown, write
from search.database.tables import content, embedding, image, metadata
from search.embeddings import unit_rows
from search.records import ContentFacts, Embeddings, SpaceSpec, shown_path
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store

ROWS = 1024
BARS = {"sqlite": 20_000, "postgresql": 15_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=12, help="of 1,024 rows, in every round")
    parser.add_argument("--dims", type=int, default=2048)
    parser.add_argument("--postgresql", help="URL of an empty database, for tests alone; it is filled")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    embeddings = unit_rows(np.random.default_rng(0).standard_normal((ROWS, options.dims), np.float32))
    with tempfile.TemporaryDirectory() as scratch, databases(options.postgresql, Path(scratch)) as urls:
        runs: dict[str, Callable[[], float]] = {}
        for name, url in urls.items():
            runs[name] = Ours(Path(scratch, name), url, embeddings, options.batches).run
            runs[f"{name}, peer"] = Peer(Path(scratch, f"{name}-peer"), url, embeddings, options.batches).run
        runs["disk"] = lambda: disk(Path(scratch), embeddings, options.batches)
        results = {name: rates[1:] for name, rates in interleaved(runs, options.rounds + 1).items()}
        pages = synchronisations(Path(scratch))
    about = f"rows/s, {options.rounds} rounds of {options.batches} batches of {ROWS} x {options.dims}, median (range)"
    print(heading(about))
    for name, rates in results.items():
        bar = f"   bar {BARS[name]:,}" if name in BARS else ""
        print(f"{name:18} {shown(rates, 0)}{bar}")
    for name in BARS:
        if name in results:
            print(f"{name} / peer: {shown(ratios(results[name], results[f'{name}, peer']), 2)}")
    print(f"the disk synchronises one page {pages:.0f} times a second")
    write({"rows_per_second": results, "synchronisations_per_second": pages}, options.json)


@contextmanager
def databases(postgresql: str | None, scratch: Path) -> Iterator[dict[str, str | None]]:
    if postgresql is not None:
        yield {"sqlite": None, "postgresql": postgresql}
        return
    with postgresql_server(scratch / "server") as url:
        yield {"sqlite": None} if url is None else {"sqlite": None, "postgresql": url}


class Ours:
    """A store that grows from round to round, as a job fills it."""

    def __init__(self, root: Path, catalogue: str | None, embeddings: Embeddings, batches: int) -> None:
        self._store = Store.create(root, catalogue=catalogue and fresh(catalogue, "ours"))
        spec = SpaceSpec("bench", "0" * 64, "{}", embeddings.shape[1])
        self._target = self._store.open_collection("default", spec)
        self._committer = Committer(self._store.database, self._store.blobs, self._target)
        self._embeddings, self._batches, self._next = embeddings, batches, 0

    def run(self) -> float:
        work = [Batch(images(self._next + n * ROWS), self._embeddings) for n in range(self._batches)]
        self._next += self._batches * ROWS
        began = time.perf_counter()
        for batch in work:
            self._committer.commit(batch)
        return self._batches * ROWS / (time.perf_counter() - began)


class Peer:
    """The same rows by SQLAlchemy Core and np.save, as one would write it in an afternoon."""

    def __init__(self, root: Path, catalogue: str | None, embeddings: Embeddings, batches: int) -> None:
        root.mkdir()
        url = f"sqlite:///{root}/peer.sqlite" if catalogue is None else fresh(catalogue, "peer")
        self._engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        if catalogue is None:
            event.listen(self._engine, "connect", full_synchronisation)
        metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(insert(metadata.tables["space"]).values(SPACE))
            connection.execute(insert(metadata.tables["collection"]).values(id=1, name="default", space_id=1))
            connection.execute(insert(metadata.tables["segment"]).values(SEGMENT))
        self._root, self._embeddings, self._batches, self._next = root, embeddings, batches, 0

    def run(self) -> float:
        work = [images(self._next + n * ROWS) for n in range(self._batches)]
        began = time.perf_counter()
        for batch in work:
            self._commit(batch)
        return self._batches * ROWS / (time.perf_counter() - began)

    def _commit(self, batch: list[NewImage]) -> None:
        with Path(self._root, f"{self._next}.npy").open("wb") as file:
            np.save(file, self._embeddings.astype(np.float16))
            file.flush()
            os.fsync(file.fileno())
        ids = range(self._next + 1, self._next + 1 + ROWS)
        self._next += ROWS
        with self._engine.begin() as connection:
            connection.execute(insert(content), [content_row(at, new) for at, new in zip(ids, batch, strict=True)])
            connection.execute(insert(image), [image_row(at, new) for at, new in zip(ids, batch, strict=True)])
            connection.execute(
                insert(embedding),
                [{"content_id": at, "space_id": 1, "region": 0, "segment_id": 1, "row": at - ids[0]} for at in ids],
            )


SPACE = {
    "id": 1,
    "fingerprint": "0" * 64,
    "backbone": "bench",
    "weights_sha256": "0" * 64,
    "preparation": "{}",
    "dims": 2048,
    "pooling": "avg",
    "numeric": "float",
    "weights": "builtin",
}
SEGMENT = {"id": 1, "space_id": 1, "name": "x", "rows": 1, "size_bytes": 1, "sha256": b"", "checksums": b""}


def content_row(at: int, new: NewImage) -> dict[str, object]:
    facts = new.content
    assert isinstance(facts, ContentFacts)
    return {"id": at} | {name: getattr(facts, name) for name in facts.__dataclass_fields__}


def image_row(at: int, new: NewImage) -> dict[str, object]:
    return {
        "id": at,
        "collection_id": 1,
        "key": new.key,
        "uri": new.uri,
        "path": shown_path(new.uri),
        "content_id": at,
        "size_bytes": new.size_bytes,
        "mtime_ns": new.mtime_ns,
        "metadata": {},
        "sequence": 1,
    }


def images(first: int) -> list[NewImage]:
    """Return a batch of new images, as different from each other as photographs are."""
    return [new_image(number) for number in range(first, first + ROWS)]


def new_image(number: int) -> NewImage:
    sha256 = hashlib.sha256(number.to_bytes(8, "little")).digest()
    facts = ContentFacts(sha256, 2_000_000, "jpeg", 4000, 3000, sha256[:16], sha256[::-1], 50.0)
    uri = f"file:///home/somebody/Pictures/{number // 1000:05}/IMG_{number:08}.jpg"
    return NewImage(uri, uri, 2_000_000, 1_700_000_000_000_000_000 + number, facts)


def full_synchronisation(connection: object, _entry: object) -> None:
    connection.execute("PRAGMA synchronous=FULL").close()  # type: ignore[attr-defined]


def fresh(server: str, name: str) -> str:
    """Return the URL of a new database beside the given one."""
    engine = create_engine(server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        chosen = f"bench_{name}_{time.monotonic_ns()}"
        connection.exec_driver_sql(f"CREATE DATABASE {chosen}")
    engine.dispose()
    return f"{server.rpartition('/')[0]}/{chosen}"


def disk(folder: Path, embeddings: Embeddings, batches: int) -> float:
    """Return how many rows a second the disk takes when nothing but their bytes is written and synchronised."""
    data = embeddings.astype(np.float16).tobytes()
    began = time.perf_counter()
    for number in range(batches):
        with Path(folder, f"disk-{number}").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return batches * ROWS / (time.perf_counter() - began)


def synchronisations(folder: Path, count: int = 200) -> float:
    with Path(folder, "page").open("wb") as file:
        began = time.perf_counter()
        for _ in range(count):
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
