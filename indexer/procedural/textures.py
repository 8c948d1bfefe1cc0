"""Procedural textures: what the surfaces of procedural images are made of.

A field is a (SIZE, SIZE) float32 plane in [0, 1], a picture a (SIZE, SIZE, 3) float32 RGB picture in [0, 1]. Every
draw comes from the generator that is handed in, so one seed gives one picture.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.procedural.resampling import SIZE, Field, Picture, enlarge, sample

FULL_TURN = 2 * np.pi


def random_colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a (3,) colour as photographs have them: any lightness, mostly little chroma."""
    lightness = rng.uniform(0, 1)
    chroma = rng.normal(0, 1, 3) * rng.choice([0.03, 0.1, 0.25, 0.5], p=[0.25, 0.35, 0.25, 0.15])
    return np.asarray(np.clip(lightness + chroma - chroma.mean(), 0, 1), np.float32)


def noise_field(rng: np.random.Generator, slope: float | None = None) -> Field:
    """Return noise whose amplitude falls as frequency ** -slope, sometimes stretched along one axis.

    slope: 1 is the slope of natural photographs; drawn from 0.5 to 2.2 when not given.
    """
    slope = rng.uniform(0.5, 2.2) if slope is None else slope
    stretched = rng.choice(["no", "no", "along x", "along y"])
    field = np.zeros((SIZE, SIZE), np.float32)
    knots = int(rng.integers(2, 5))
    while knots <= SIZE:
        few = max(2, knots // 4)
        columns = few if stretched == "along x" else knots
        rows = few if stretched == "along y" else knots
        octave = rng.standard_normal((rows, columns)).astype(np.float32)
        field += enlarge(octave) * np.float32(knots**-slope)
        knots *= 2
    return _stretched_to_unit(field)


def coloured(rng: np.random.Generator, field: Field) -> Picture:
    """Return the field seen through a random palette of two to six colours, in steps in one case of five."""
    count = int(rng.integers(2, 7))
    colours = np.stack([random_colour(rng) for _ in range(count)])
    places = np.sort(rng.uniform(0, 1, count))
    places[0], places[-1] = 0, 1
    at = np.linspace(0, 1, 256)
    palette = np.stack([np.interp(at, places, colours[:, c]) for c in range(3)], axis=1).astype(np.float32)
    if rng.random() < 0.2:
        step = 256 // count
        palette = palette[np.arange(256) // step * step % 256]
    picture: Picture = palette[np.clip(field * 255, 0, 255).astype(np.uint8)]
    return picture


def random_texture(rng: np.random.Generator) -> Picture:
    """Return a texture of a kind drawn from TEXTURES."""
    return TEXTURES[int(rng.integers(len(TEXTURES)))](rng)


def tinted_noise(rng: np.random.Generator) -> Picture:
    """Return grey noise under a colour and a slow drift of hue."""
    field = noise_field(rng, rng.uniform(0.7, 1.8))[..., None]
    drift = np.stack([enlarge(rng.standard_normal((4, 4)).astype(np.float32)) for _ in range(3)], axis=2)
    drift *= np.float32(rng.uniform(0, 0.2))
    tint = (random_colour(rng) - 0.5) * 0.8
    return np.clip(field * np.float32(rng.uniform(0.3, 1)) + tint + drift, 0, 1).astype(np.float32)


def coloured_noise(rng: np.random.Generator) -> Picture:
    """Return noise through a palette: clouds, stone, marble."""
    return coloured(rng, noise_field(rng))


def waves(rng: np.random.Generator) -> Picture:
    """Return stripes bent by noise: wood, water, cloth."""
    along, _ = _turned_axes(rng)
    phase = along * rng.uniform(8, 120) + rng.uniform(0, 8) * noise_field(rng)
    return coloured(rng, (0.5 + 0.5 * np.sin(phase)).astype(np.float32))


def checks(rng: np.random.Generator) -> Picture:
    """Return a wobbly chessboard."""
    along, across = _turned_axes(rng)
    wobble = noise_field(rng) * rng.uniform(0, 0.4)
    columns, rows = rng.uniform(4, 25, 2)
    board = (np.floor(along * columns + wobble) + np.floor(across * rows + wobble * 2)) % 2
    return coloured(rng, (board * 0.6 + 0.4 * noise_field(rng)).astype(np.float32))


def ramp(rng: np.random.Generator) -> Picture:
    """Return an even gradient in a random direction."""
    along, _ = _turned_axes(rng)
    return coloured(rng, _stretched_to_unit(along))


def warped_noise(rng: np.random.Generator) -> Picture:
    """Return noise displaced by noise: smoke, grain, fur."""
    field = noise_field(rng, 1.3)
    dx, dy = (noise_field(rng, 2.0) * rng.uniform(10, 80) for _ in range(2))
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    return coloured(rng, sample(field, x + dx, y + dy))


def cells(rng: np.random.Generator) -> Picture:
    """Return the distance to the nearest of many points: cells, scales, rings."""
    points = rng.uniform(0, SIZE, (int(rng.integers(8, 60)), 2)).astype(np.float32)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    nearest = np.full((SIZE, SIZE), np.inf, np.float32)
    for px, py in points:
        np.minimum(nearest, np.hypot(x - px, y - py), out=nearest)
    field = _stretched_to_unit(nearest)
    if rng.random() < 0.5:
        field = (field * np.float32(rng.uniform(1, 8))) % 1
    return coloured(rng, np.clip(field + 0.2 * noise_field(rng), 0, 1))


def bricks(rng: np.random.Generator) -> Picture:
    """Return courses of bricks, each of its own shade, in dark mortar."""
    along, across = _turned_axes(rng)
    courses = rng.uniform(4, 20)
    course = np.floor(across * courses)
    lengthwise = along * courses * rng.uniform(0.3, 1) + course % 2 * 0.5
    mortar = ((across * courses) % 1 < 0.12) | (lengthwise % 1 < 0.08)
    shade = np.modf(np.sin(course * 12.9 + np.floor(lengthwise) * 78.2) * 43758.5)[0]
    field = np.clip(0.5 + 0.3 * shade + 0.25 * (noise_field(rng, 0.8) - 0.5), 0.05, 1)
    field[mortar] = 0
    return coloured(rng, field.astype(np.float32))


# Plain noise counts twice: it is the kind nearest to what photographs are made of.
TEXTURES: tuple[Callable[[np.random.Generator], Picture], ...] = (
    tinted_noise,
    coloured_noise,
    coloured_noise,
    waves,
    checks,
    ramp,
    warped_noise,
    cells,
    bricks,
)


class TexturePool:
    """Up to 160 textures that one procedural collection shares, and the generator all its draws come from."""

    CAPACITY = 160

    def __init__(self, rng: np.random.Generator, textures: int = 60) -> None:
        self.rng = rng
        self._textures: list[Picture] = []
        self.renew(textures)

    def renew(self, count: int) -> None:
        """Add this many fresh textures; a full pool loses as many at random."""
        for _ in range(count):
            fresh = random_texture(self.rng)
            if len(self._textures) < self.CAPACITY:
                self._textures.append(fresh)
            else:
                self._textures[int(self.rng.integers(self.CAPACITY))] = fresh

    def pick(self) -> Picture:
        """Return one of the textures; the caller must not write into it."""
        return self._textures[int(self.rng.integers(len(self._textures)))]

    def pick_varied(self) -> Picture:
        """Return a new picture: one of the textures, turned, mirrored, enlarged or recoloured at random."""
        rng = self.rng
        texture = np.rot90(self.pick(), int(rng.integers(4)))
        if rng.random() < 0.5:
            texture = texture[:, ::-1]
        if rng.random() < 0.6:
            width = int(rng.integers(50, SIZE))
            x, y = (int(v) for v in rng.integers(0, SIZE - width + 1, 2))
            texture = enlarge(texture[y : y + width, x : x + width], Image.Resampling.BILINEAR)
        if rng.random() < 0.5:
            shift = (random_colour(rng) - 0.5) * np.float32(rng.uniform(0, 0.7))
            texture = np.clip((texture - 0.5) * np.float32(rng.uniform(0.3, 1.3)) + 0.5 + shift, 0, 1)
        return np.array(texture, np.float32)


def _turned_axes(rng: np.random.Generator) -> tuple[Field, Field]:
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / np.float32(SIZE)
    turn = rng.uniform(0, FULL_TURN)
    along = x * np.cos(turn) + y * np.sin(turn)
    across = y * np.cos(turn) - x * np.sin(turn)
    return along.astype(np.float32), across.astype(np.float32)


def _stretched_to_unit(field: Field) -> Field:
    low = field.min()
    return np.asarray((field - low) / (field.max() - low + 1e-6), np.float32)
