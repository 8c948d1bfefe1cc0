"""Pictures of three classes that any network can tell apart: stripes, dots and gradients, drawn from a seed."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

KINDS = ("dots", "gradients", "stripes")
SIDE = 72


def drawn(kind: str, random: np.random.Generator) -> Image.Image:
    """Return one picture of a class; its contrast, frequency and phase are random."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves, across, down = random.uniform(5, 7), *random.uniform(0, 6, 2)
    values: NDArray[np.float64]
    if kind == "stripes":
        values = np.sign(np.sin(2 * np.pi * waves * x + across))
    elif kind == "dots":
        grid = np.sin(2 * np.pi * waves * x + across) * np.sin(2 * np.pi * waves * y + down)
        values = np.where(grid > 0.5, 1.0, -1.0)
    else:
        values = np.cos(np.pi * y + random.uniform(-0.5, 0.5))
    levels = (128 + 110 * values * random.uniform(0.7, 1)).clip(0, 255)
    return Image.fromarray(levels.astype(np.uint8))


def draw_classes(folder: Path, each: int, kinds: tuple[str, ...] = KINDS, seed: int = 0) -> Path:
    """Draw so many pictures of each class into folders of their own; return the folder."""
    random = np.random.default_rng(seed)
    for kind in kinds:
        (folder / kind).mkdir(parents=True)
        for number in range(each):
            drawn(kind, random).save(folder / kind / f"{number:02}.png")
    return folder
