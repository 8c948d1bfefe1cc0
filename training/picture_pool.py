"""The procedural pictures of a run, drawn once and kept in files, a block each: resumable, and the same for a seed."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from indexer.procedural.pictures import procedural_images

BLOCK: Final = 500  # pictures to a file: about ten seconds of work
FLAT: Final = 8  # levels of standard deviation, below which a picture shows nothing


@dataclass(frozen=True, slots=True)
class Block:
    """One file of the pool. Blocks of different seeds or places share no picture."""

    folder: Path
    seed: int
    number: int
    count: int

    @property
    def file(self) -> Path:
        """Where it lies once it is drawn."""
        return self.folder / f"pictures-{self.seed}-{self.number:04d}-{self.count}.npy"


def draw_pool(folder: Path, count: int, seed: int, workers: int) -> Iterator[int]:
    """Draw what is missing of this many pictures, in so many processes; yield how many there are after each block."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = _blocks(folder, count, seed)
    missing = [block for block in blocks if not block.file.exists()]
    drawn = count - sum(block.count for block in missing)
    yield drawn
    if workers == 1:
        finished: Iterator[int] = map(draw_block, missing)
        for pictures in finished:
            drawn += pictures
            yield drawn
        return
    with ProcessPoolExecutor(workers, get_context("spawn")) as processes:
        for pictures in processes.map(draw_block, missing):
            drawn += pictures
            yield drawn


def read_pool(folder: Path, count: int, seed: int) -> Tensor:
    """Return the pictures that show something, (N, S, S, 3) uint8, in order."""
    pictures = np.concatenate([np.load(block.file) for block in _blocks(folder, count, seed)])
    return torch.from_numpy(pictures[shows_something(pictures)])


def shows_something(pictures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (N,) true for the (N, S, S, 3) pictures that are not almost of one colour."""
    deviations = pictures[:, ::4, ::4].astype(np.float32).std((1, 2)).mean(1)
    return np.asarray(deviations > FLAT)


def draw_block(block: Block) -> int:
    """Draw one block and return how many pictures it has; the file appears whole or not at all."""
    torch.set_num_threads(1)
    seed = int(np.random.SeedSequence([block.seed, block.number]).generate_state(1)[0])
    pictures = np.stack(list(procedural_images(block.count, seed)))
    unfinished = block.file.with_suffix(".part")
    with unfinished.open("wb") as opened:
        np.save(opened, pictures)
    unfinished.replace(block.file)
    return block.count


def _blocks(folder: Path, count: int, seed: int) -> list[Block]:
    starts = range(0, count, BLOCK)
    return [Block(folder, seed, number, min(BLOCK, count - start)) for number, start in enumerate(starts)]
