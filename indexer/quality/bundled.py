"""Photographs that scikit-image, scikit-learn and matplotlib bring along: real pictures where there is no download.

Where a package is not installed, its pictures are not there. None of the packages is imported.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class BundledPhoto:
    """A file, and into how many columns and rows it is cut: each piece shows something else."""

    file: Path
    columns: int
    rows: int


_PHOTOS: tuple[tuple[str, str, int, int], ...] = (
    ("skimage", "data/astronaut.png", 2, 2),
    ("skimage", "data/coffee.png", 3, 2),
    ("skimage", "data/chelsea.png", 2, 1),
    ("skimage", "data/rocket.jpg", 3, 2),
    ("skimage", "data/camera.png", 2, 2),
    ("skimage", "data/hubble_deep_field.jpg", 4, 3),
    ("skimage", "data/retina.jpg", 3, 3),
    ("skimage", "data/ihc.png", 2, 2),
    ("skimage", "data/motorcycle_left.png", 3, 2),
    ("sklearn", "datasets/images/china.jpg", 3, 2),
    ("sklearn", "datasets/images/flower.jpg", 3, 2),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 2, 2),
    ("skimage", "data/brick.png", 2, 1),
    ("skimage", "data/grass.png", 2, 1),
    ("skimage", "data/gravel.png", 2, 1),
    ("skimage", "data/moon.png", 2, 2),
    ("skimage", "data/coins.png", 2, 1),
    ("skimage", "data/cell.png", 2, 2),
    ("skimage", "data/page.png", 2, 1),
    ("skimage", "data/text.png", 2, 1),
    ("skimage", "data/clock_motion.png", 1, 1),
    ("skimage", "data/color.png", 1, 1),
)
# One even pattern each: every part of it resembles every other, and is another picture.
_TEXTURES = ("data/brick.png", "data/grass.png", "data/gravel.png")
# The same things from two places 20 cm apart: another shot, not another copy.
_STEREO = ("data/motorcycle_left.png", "data/motorcycle_right.png")


def bundled_photos() -> list[BundledPhoto]:
    """Return all that are installed, in a fixed order."""
    places = [(_file(package, name), columns, rows) for package, name, columns, rows in _PHOTOS]
    return [BundledPhoto(file, columns, rows) for file, columns, rows in places if file is not None]


def textures() -> list[Path]:
    """Return the pictures of one even pattern that are installed."""
    return [file for name in _TEXTURES if (file := _file("skimage", name)) is not None]


def stereo_pair() -> tuple[Path, Path] | None:
    """Return two photographs of one scene from places side by side, None where they are not installed."""
    left, right = (_file("skimage", name) for name in _STEREO)
    return None if left is None or right is None else (left, right)


def _file(package: str, name: str) -> Path | None:
    found = find_spec(package)
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / name
    return file if file.is_file() else None
