"""The collection that the benchmarks of the server search, and the processes they measure.

200,000 embeddings of 256 dims (bench/synthetic_embeddings.py) in the space of the built-in backbone, so that pictures
can be uploaded, too. The same rows lie beside it for the peer (bench/plain_server.py).
"""

import contextlib
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.http_load import picture_request, request_bytes
from bench.photo_rows import SUFFIXES
from bench.search_speed import COMMIT_ROWS, unit
from bench.synthetic_embeddings import Pictures, Synthetic
from search.records import ContentFacts

K = 10
SIZE = (640, 480)
QUALITY = 85
IDS = 2_000  # that are asked for, in turn
STORE = "store"


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that answers. place: where."""

    place: tuple[str, int]
    process: "subprocess.Popen[bytes]"

    def resident(self) -> int:
        """Return the bytes of memory of this process and its children, shared pages counted once (PSS)."""
        return sum(_proportional(pid) for pid in _family(self.process.pid))

    def processor_s(self) -> float:
        """Return the seconds that this process and its children have computed so far."""
        return sum(_computed(pid) for pid in _family(self.process.pid)) / os.sysconf("SC_CLK_TCK")


def prepare(folder: Path, rows: int) -> None:
    """Make the rows, what the peer says of images, and our store, unless they are there."""
    if (folder / "done").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    blocks = list(Synthetic(256).blocks(rows))
    np.save(folder / "rows.npy", np.concatenate([block for block, _ in blocks]).astype(np.float16))
    pictures = Pictures(np.concatenate([clusters for _, clusters in blocks]))
    (folder / "images.json").write_text(json.dumps([_shape(pictures, number) for number in range(rows)]))
    _fill(folder, pictures)
    (folder / "done").touch()


def _shape(pictures: Pictures, number: int) -> dict[str, Any]:
    image = pictures.image(number)
    facts = image.content
    assert isinstance(facts, ContentFacts)
    return {"id": number + 1, "uri": image.uri, "width": facts.width, "height": facts.height, "format": facts.format}


def _fill(folder: Path, pictures: Pictures) -> None:
    from indexer.backbones.backbones import load_backbone
    from search.finding.generations import Generations
    from search.storing.commits import Batch, Committer
    from search.storing.store import Store

    stored = np.load(folder / "rows.npy", mmap_mode="r")
    with Store.create(folder / STORE) as store:
        target = store.open_collection("default", load_backbone("builtin").space)
        committer, sequence = Committer(store.database, store.blobs, target), 0
        for start in range(0, len(stored), COMMIT_ROWS):
            block = unit(stored[start : start + COMMIT_ROWS])
            new = [pictures.image(number) for number in range(start, start + len(block))]
            sequence = committer.commit(Batch(new, block))
        committer.finish("done", {})
        Generations(store.database, store.blobs, target).publish(sequence)


@contextlib.contextmanager
def ours(folder: Path, *options: str) -> Iterator[Serving]:
    """Serve the store as its users do, until the end of the block."""
    port = free_port()
    store = str(folder / STORE)
    command = [sys.executable, "-m", "api", "--store", store, "serve", "--port", str(port), *options]
    with _running(command, port, "/readyz") as serving:
        yield serving


@contextlib.contextmanager
def plain(folder: Path, *options: str) -> Iterator[Serving]:
    """Run the plain handler, until the end of the block."""
    port = free_port()
    command = [sys.executable, "-m", "bench.plain_server", str(folder), str(port), *options]
    with _running(command, port, "/docs") as serving:
        yield serving


@contextlib.contextmanager
def _running(command: Sequence[str], port: int, path: str) -> Iterator[Serving]:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _await(f"http://127.0.0.1:{port}{path}", process)
            yield Serving(("127.0.0.1", port), process)
        finally:
            process.terminate()
            process.wait()


def _await(url: str, process: "subprocess.Popen[bytes]") -> None:
    while process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url):
            return
        time.sleep(0.2)
    sys.exit(
        f"{' '.join(map(str, process.args if isinstance(process.args, list) else []))} ended: {process.returncode}"
    )


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def id_requests(path: str, rows: int, *, as_text: bool) -> list[bytes]:
    """Return searches by stored images, drawn evenly. as_text: ids are strings, as ours are."""
    random = np.random.default_rng(5)
    ids = random.choice(rows, min(IDS, rows), replace=False) + 1
    bodies = [json.dumps({"id": str(one) if as_text else int(one), "k": K}).encode() for one in ids]
    return [request_bytes(path, body, "application/json") for body in bodies]


def upload_requests(path: str, photos: Path) -> list[bytes]:
    """Return searches by photographs, each as a JPEG of 640x480."""
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in SUFFIXES)
    return [picture_request(path, jpeg(file), k=str(K)) for file in files]


def jpeg(file: Path) -> bytes:
    with Image.open(file) as opened:
        picture = opened.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def _family(pid: int) -> list[int]:
    """Return a process and all that it started."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        pending += parents.get(one, [])
    return found


def _computed(pid: int) -> int:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])  # user and system, in ticks
    return 0


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def quiet_environment() -> None:
    """Let no library of ours or of the peer start more threads than it is given by itself."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
