"""The ingest gate at 200 thousand images: how long `POST .../check` takes, over a socket, one upload at a time.

    python -m bench.check_gate [FOLDER] [--rows 200000] [--queries 100] [--rounds 3] [--kept FOLDER] [--json FILE]

Three quarters of the photographs in FOLDER and parts of them are indexed with the built-in backbone; the other images
are rows that vary as their embeddings do, with a cosine of .6 at most with any of those, so that the index has its size
and every picture that comes near enough to be looked at has a file. A server of its own process answers. No keypoints
are remembered when the queries begin, and no image is asked for twice:

    same bytes      files that are there
    same pixels     files that are there, saved as PNG
    near            files that are there, cut by a tenth, made smaller, compressed again
    new             photographs that are not there, and parts of them
    new, looked at  of those, the ones that came near enough for pixels to be compared

Times are those of the client, in milliseconds, from the first byte it sends to the last it gets. Each round asks a
server of its own, which remembers nothing; a query counts with the median of its rounds, so that what else the machine
did meanwhile is not taken for the query. CPU: what the server and its decoding children worked meanwhile, to 10 ms.
"""

import argparse
import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from api.console import Session
from api.indexing import IndexRequest, run_index
from bench.indexing_speed import sample
from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.backbones.backbones import BUILTIN
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import ContentFacts, Embeddings
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
PARTS = 9  # of each photograph, beside the whole
COMMIT_ROWS = 16_384
FILLER_COSINE = 0.6
WARMING = 5  # queries of each kind that are not counted: what is loaded once
BOUNDARY = "picture"
KINDS = ("same bytes", "same pixels", "near", "new")
BAR_MS = 120


class Query(NamedTuple):
    """An upload. wanted: the status that is right."""

    kind: str
    wanted: str
    data: bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=100, help="of each kind, as far as there are pictures")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kept", type=Path, help="folder for pictures and store; default: a temporary one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        kept = options.kept or Path(scratch)
        folder = photo_folder(options.folder, lambda: sample(Path(scratch) / "sample"))
        photographs = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        there, away = photographs[: len(photographs) * 3 // 4], photographs[len(photographs) * 3 // 4 :]
        if not (kept / "ready").exists():
            made(kept / "there", there)
            filled(kept, options.rows)
            (kept / "ready").touch()
        asked = list(queries(sorted((kept / "there").iterdir()), away, options.queries + WARMING))
        rounds = []
        for number in range(options.rounds):
            with serving(kept / "store", Path(scratch) / f"cache {number}") as (address, process):
                rounds.append([timed(address, process, query) for query in asked])
    answers = [median_of(each) for each in zip(*rounds, strict=True)]
    warm = WARMING * len(KINDS)
    measured = figures(asked[warm:], answers[warm:])
    print(heading(f"{options.rows:,} images; medians of {options.rounds} rounds; bar: p99 {BAR_MS} ms"))
    for kind, one in measured.items():
        times = f"p50 {one['p50']:6.1f}   p99 {one['p99']:6.1f}   longest {one['longest']:6.1f}   CPU {one['cpu']:5.1f}"
        print(f"{kind:15} {one['queries']:4} queries   {times}   right {one['right']}")
    write({"rows": options.rows, "kinds": measured}, options.json)


def made(folder: Path, photographs: list[Path]) -> None:
    """Write photographs and parts of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, path in enumerate(photographs):
        for part, data in enumerate(parts(path, number)):
            (folder / f"{number:04}-{part}.jpg").write_bytes(data)


def parts(path: Path, seed: int) -> Iterator[bytes]:
    """Yield a photograph and PARTS of it, half to nine tenths of each side, as JPEG."""
    random = np.random.default_rng(seed)
    with Image.open(path) as opened:
        whole = opened.convert("RGB")
    yield encoded(whole, "JPEG", 90)
    for _ in range(PARTS):
        width, height = (int(side * random.uniform(0.5, 0.9)) for side in whole.size)
        left, top = int(random.integers(whole.width - width)), int(random.integers(whole.height - height))
        yield encoded(whole.crop((left, top, left + width, top + height)), "JPEG", 90)


def encoded(picture: Image.Image, kind: str, quality: int = 0) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **({"quality": quality} if quality else {"compress_level": 1}))
    return file.getvalue()


def filled(kept: Path, rows: int) -> None:
    """Index the pictures, add rows up to the number wanted, and publish the index."""
    session = Session(kept / "store", "default", json=False, progress="none")
    run_index(session, IndexRequest([str(kept / "there")], BUILTIN))
    random = np.random.default_rng(0)
    with Store(kept / "store") as store:
        target = store.catalogue.collection("default")
        _, real = SnapshotReader(store.database, store.blobs, target).current().rows()
        committer, sequence = Committer(store.database, store.blobs, target), target.sequence
        for start in range(len(real), rows, COMMIT_ROWS):
            count = min(COMMIT_ROWS, rows - start)
            block = strangers_to(real, count, random)
            sequence = committer.commit(Batch([filler(start + row) for row in range(count)], block))
        committer.finish("done", {})
        Generations(store.database, store.blobs, store.catalogue.collection("default")).publish(sequence)


def strangers_to(real: Embeddings, count: int, random: np.random.Generator) -> Embeddings:
    """Return (count, D) embeddings that vary as the real ones do, and have at most FILLER_COSINE with any of those."""
    centred = real - real.mean(axis=0)
    block = np.empty((0, real.shape[1]), np.float32)
    while len(block) < count:
        near = real[random.integers(len(real), size=count)]
        away = random.standard_normal((count, len(real)), np.float32) @ centred
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        rows = random.uniform(0.3, 0.6, (count, 1)).astype(np.float32) * near + away
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        block = np.concatenate([block, rows[(rows @ real.T).max(axis=1) <= FILLER_COSINE]])
    return block[:count]


def filler(number: int) -> NewImage:
    """Return an image that has no file."""
    sha256 = hashlib.sha256(f"filler {number}".encode()).digest()
    facts = ContentFacts(sha256, 1000, "jpeg", 640, 480, sha256[:16], sha256, 50.0)
    uri = f"file:///nowhere/{number:08}.jpg"
    return NewImage(uri, uri, 1000, 1, facts)


def queries(stored: list[Path], away: list[Path], count: int) -> Iterator[Query]:
    """Yield the uploads, kind by kind in turns; no stored image is behind two of them."""
    count = min(count, len(stored) // 3)
    if count <= WARMING:
        raise SystemExit(f"{len(stored)} pictures are too few")
    chosen = np.random.default_rng(1).permutation(len(stored))[: 3 * count].tolist()
    unknown = [data for number, path in enumerate(away) for data in parts(path, 10_000 + number)]
    strangers = np.random.default_rng(2).permutation(len(unknown)).tolist()
    for number in range(count):
        same, resaved, edited = (stored[one] for one in chosen[3 * number : 3 * number + 3])
        yield Query("same bytes", "exact", same.read_bytes())
        with Image.open(resaved) as opened:
            yield Query("same pixels", "exact", encoded(opened.convert("RGB"), "PNG"))
        with Image.open(edited) as opened:
            picture = opened.convert("RGB")
        width, height = picture.size
        cut = picture.crop((width // 20, height // 20, width, height)).resize((width * 7 // 10, height * 7 // 10))
        yield Query("near", "near", encoded(cut, "JPEG", 60))
        yield Query("new", "new", unknown[strangers[number % len(strangers)]])


@contextmanager
def serving(store: Path, cache: Path) -> Iterator[tuple[str, int]]:
    """Serve a store, and yield the address and the process once it answers searches."""
    command = [sys.executable, "-m", "api", "--store", str(store), "serve", "--port", "0"]
    environment = os.environ | {"LOOKALIKE_CACHE": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment) as run:
        try:
            line = next(line for line in run.stdout or () if "http://" in line)
            address = urlsplit(line[line.index("http://") :].split()[0]).netloc
            while answered(address, "GET", "/readyz", b"")[0] != http.HTTPStatus.OK:
                time.sleep(0.1)
            yield address, run.pid
        finally:
            run.terminate()


def answered(address: str, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=60)
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"} if body else {}
    connection.request(method, path, body, headers)
    with connection.getresponse() as answer:
        found = answer.status, answer.read()
    connection.close()
    return found


def cpu_ms(process: int) -> float:
    """Return the CPU time of a process and its children so far."""
    pids = [str(process), *Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return 1000 * sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")


class Timed(NamedTuple):
    """What a check took, in milliseconds, and what it said."""

    wall: float
    cpu: float
    said: dict[str, Any]


def timed(address: str, process: int, query: Query) -> Timed:
    """Ask and wait for the answer."""
    start = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="upload"\r\n\r\n'.encode()
    body = start + query.data + f"\r\n--{BOUNDARY}--\r\n".encode()
    before, began = cpu_ms(process), time.perf_counter()
    status, text = answered(address, "POST", "/v1/collections/default/check", body)
    took = 1000 * (time.perf_counter() - began)
    if status != http.HTTPStatus.OK:
        raise SystemExit(f"{query.kind}: answered with {status}: {text.decode()}")
    return Timed(took, cpu_ms(process) - before, json.loads(text))


def median_of(answers: Sequence[Timed]) -> Timed:
    """Return the median times of the answers to one query, and what was said.

    Raises:
        SystemExit: they differ in their status.
    """
    if len({answer.said["status"] for answer in answers}) > 1:
        raise SystemExit(f"one query was answered in several ways: {[answer.said['status'] for answer in answers]}")
    walls, cpus = (float(np.median([answer[place] for answer in answers])) for place in (0, 1))
    return Timed(walls, cpus, answers[0].said)


def figures(asked: list[Query], answers: list[Timed]) -> dict[str, dict[str, float]]:
    """Return of each kind how many there were, how long they took, how many answers were right."""
    groups = {kind: [place for place, query in enumerate(asked) if query.kind == kind] for kind in KINDS}
    groups["new, looked at"] = [
        place for place in groups["new"] if answers[place].said["evidence"]["verified"] is not None
    ]
    groups["all"] = list(range(len(asked)))
    return {
        kind: {
            "queries": len(places),
            "p50": float(np.median([answers[place].wall for place in places])),
            "p99": float(np.percentile([answers[place].wall for place in places], 99)),
            "longest": max(answers[place].wall for place in places),
            "cpu": float(np.mean([answers[place].cpu for place in places])),
            "right": sum(answers[place].said["status"] == asked[place].wanted for place in places),
        }
        for kind, places in groups.items()
        if places
    }


if __name__ == "__main__":
    main()
