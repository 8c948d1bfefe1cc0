"""The SQL side of filters: milliseconds to find all images that a condition lets through, and to judge a few of them.

    python -m bench.filter_sql [--images 200000] [--rounds 9] [--catalogue postgresql://... ] [--json FILE]

The catalogue is synthetic: images lie in folders and are numbered in the order of their paths, as a walk finds them;
dates and labels (five per image) are spread at random. `matching` returns the ids of all that fulfil the condition,
`passing` those among 300 images drawn at random. Without --catalogue the database is SQLite in a temporary folder.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert, text

from bench.reporting import heading, interleaved, shown, write
from search.conditions.filtering import passing_ids
from search.conditions.where import Condition, parse
from search.database.database import Database, chunks
from search.database.tables import content, content_label, image, label, synonym
from search.records import Collection, SpaceSpec, uri_of_path
from search.storing.store import Store

SHARES = {"50": 0.5, "10": 0.1, "1": 0.01, "0.1": 0.001}  # per cent of all images
SPACE = SpaceSpec("bench", "0" * 64, "{}", 4)
START, DAYS = datetime(2020, 1, 1), 1000
CANDIDATES = 300
ROWS = 5_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--catalogue", help="URL of an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:  # noqa: SIM117 -- two lines are easier to read
        with Store.create(Path(scratch, "store"), catalogue=options.catalogue) as store:
            target = store.open_collection("default", SPACE)
            fill(store.database, target, options.images)
            results = measured(store, target, options.images, options.rounds)
            database = store.database.engine.dialect.name
    about = f"{options.images} images, {database}, {options.rounds} rounds, milliseconds, medians (lowest - highest)"
    print(heading(about))
    print(f"{'condition':72} {'ids':>7} {'matching':>24} {f'passing, of {CANDIDATES}':>24}")
    for row in results:
        print(f"{row['where']:72} {row['ids']:7} {shown(row['matching_ms']):>24} {shown(row['passing_ms'], 2):>24}")
    write({"images": options.images, "database": database, "results": results}, options.json)


def measured(store: Store, target: Collection, images: int, rounds: int) -> list[dict[str, Any]]:
    candidates = np.sort(np.random.default_rng(1).choice(np.arange(1, images + 1), CANDIDATES, replace=False))
    rows = []
    for where in conditions():
        condition = parse(where)
        found = store.catalogue.matching(target, condition)
        passed = judged(store, target, condition, candidates)
        assert np.array_equal(passed, np.intersect1d(candidates, found))
        runs = {
            "matching_ms": timed(partial(store.catalogue.matching, target, condition)),
            "passing_ms": timed(partial(judged, store, target, condition, candidates)),
        }
        rows.append({"where": where, "ids": len(found), **interleaved(runs, rounds)})
    return rows


def judged(store: Store, target: Collection, condition: Condition, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    with store.database.reading() as connection:
        return passing_ids(connection, target, condition, ids)


def conditions() -> Iterator[str]:
    for name in SHARES:
        yield f'label = "share {name}"'
    for name in SHARES:
        yield f'path like "/photos/{name}/%"'
    for share in SHARES.values():
        yield f"taken_at < {(START + timedelta(days=DAYS * share)).date()}"
    yield "width >= 1000"
    yield "metadata.rating = 5"
    yield 'path like "%7.jpg"'
    yield 'taken_at < 2021 and label = "share 10" and not path like "/photos/50/%"'


def timed(run: Callable[[], object]) -> Callable[[], float]:
    def milliseconds() -> float:
        began = time.perf_counter()
        run()
        return (time.perf_counter() - began) * 1000

    return milliseconds


def fill(database: Database, target: Collection, images: int) -> None:
    """Put invented images straight into the tables: contents and images 1 to N, no embeddings."""
    rng = np.random.default_rng(0)
    folders = sorted(SHARES)
    chosen = np.sort(
        rng.choice(len(folders) + 1, images, p=[*(SHARES[name] for name in folders), 1 - sum(SHARES.values())])
    )
    seconds = rng.integers(0, DAYS * 86_400, images).tolist()
    names = [*(f"share {name}" for name in SHARES), *(f"label {number}" for number in range(1000))]
    with database.writing() as connection:
        connection.execute(insert(label), [{"id": at, "name": name} for at, name in enumerate(names, 1)])
        connection.execute(insert(synonym), [{"label_id": at, "name": name} for at, name in enumerate(names, 1)])
        for numbers in chunks(range(images), ROWS):
            connection.execute(insert(content), [_content(n, seconds[n], rng) for n in numbers])
            paths = [f"/photos/{[*folders, 'others'][chosen[n]]}/{n // 500:04}/IMG_{n:06}.jpg" for n in numbers]
            connection.execute(
                insert(image), [_image(n, path, target, rng) for n, path in zip(numbers, paths, strict=True)]
            )
            rows = [row for n in numbers for row in _labels(n, target, rng)]
            connection.execute(insert(content_label), rows)
    if database.engine.dialect.name == "postgresql":
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))


def _content(n: int, second: int, rng: np.random.Generator) -> dict[str, object]:
    return {
        "id": n + 1,
        "sha256": rng.bytes(32),
        "size_bytes": 100_000 + n,
        "format": "jpeg",
        "width": 500 + n % 1000,
        "height": 800,
        "pixel_hash": rng.bytes(16),
        "perceptual_hash": rng.bytes(32),
        "contrast": 50.0,
        "taken_at": (START + timedelta(seconds=second)).isoformat(),
    }


def _image(n: int, path: str, target: Collection, rng: np.random.Generator) -> dict[str, object]:
    uri = uri_of_path(path)
    return {
        "id": n + 1,
        "collection_id": target.id,
        "key": uri,
        "uri": uri,
        "path": path,
        "content_id": n + 1,
        "size_bytes": 100_000 + n,
        "mtime_ns": 1_700_000_000_000_000_000 + n,
        "metadata": {"rating": int(rng.integers(0, 10)), "camera": "X100"},
        "sequence": 1 + n // 1000,
    }


def _labels(n: int, target: Collection, rng: np.random.Generator) -> list[dict[str, object]]:
    shared = [at for at, share in enumerate(SHARES.values(), 1) if rng.random() < share]
    others = (rng.choice(1000, 5, replace=False) + 1 + len(SHARES)).tolist()
    rows = enumerate([*shared, *others][:5])
    key = {"content_id": n + 1, "space_id": target.space_id}
    return [{**key, "rank": rank, "label_id": at, "probability": 0.2} for rank, at in rows]


if __name__ == "__main__":
    main()
