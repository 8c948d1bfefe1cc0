"""The process that the kill tests kill: one indexing job with the fakes, and a log of what it embedded and promised."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from indexer.backbones.backbone import Pixels
from indexer.jobs.index_images import IndexOptions
from indexer.jobs.outcomes import Counts
from search.records import Embeddings
from search.storing.image_rows import NewImage
from search.storing.store import Store
from tests.fakes import FakeBackbone
from tests.jobs import index

COMMIT_ROWS = 8
ENVIRONMENT = "environment.json"
BATCH_SIZE = 4


class LoggingBackbone(FakeBackbone):
    """Writes a line per embedded picture before it answers, and takes its time."""

    def __init__(self, log: Path, pause_s: float) -> None:
        super().__init__()
        self._log = log
        self._pause_s = pause_s

    def embed(self, pixels: Pixels) -> Embeddings:
        append(self._log, [picture.tobytes().hex()[:48] for picture in pixels])
        time.sleep(self._pause_s)
        return super().embed(pixels)


class LoggingProgress:
    """Writes the uri of every acknowledged image, durably, the moment it is acknowledged."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def update(self, counts: Counts) -> None:
        pass

    def publishing(self, done: int, total: int) -> None:
        pass

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        append(self._log, [image.uri for image in images])


def append(log: Path, lines: Sequence[str]) -> None:
    with log.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def run(folder: str, fault: str | None, pause_s: float, photos: str | None = None) -> None:
    """Index FOLDER/photos, or another folder, into FOLDER/store.

    fault: as in search/faults.py. FOLDER/environment.json may point to object storage.
    """
    if fault is not None:
        os.environ["LOOKALIKE_FAULT"] = fault
    root = Path(folder)
    if (root / ENVIRONMENT).exists():
        os.environ.update(json.loads((root / ENVIRONMENT).read_text()))
    with Store.create(root / "store") as store:
        index(
            store,
            Path(photos) if photos is not None else root / "photos",
            backbone=LoggingBackbone(root / "embedded.log", pause_s),
            progress=LoggingProgress(root / "acknowledged.log"),  # type: ignore[arg-type]
            options=IndexOptions(batch_size=BATCH_SIZE, commit_rows=COMMIT_ROWS),
        )
