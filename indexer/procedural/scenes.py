"""The kinds of procedural picture: dead leaves, composite objects, landscapes, fractals, graphics, plain textures.

Each function paints one new (160, 160, 3) float32 picture from a pool of textures. Dead leaves follow Lee, Mumford
and Huang (2001), whose occlusion statistics are those of photographs; fractals are iterated function systems, as in
Kataoka et al., "Pre-training without natural images" (2020).
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from indexer.procedural.resampling import SIZE, Picture, blur, sample
from indexer.procedural.shapes import Light, paint_mark, paint_shape
from indexer.procedural.textures import TexturePool, coloured, noise_field, random_colour

Scene = Callable[[TexturePool], Picture]


def dead_leaves(pool: TexturePool) -> Picture:
    """Return shapes fallen over one another, their sizes after a power law."""
    rng = pool.rng
    picture = background(pool)
    count = int(np.exp(rng.uniform(np.log(8), np.log(140))))
    exponent, smallest = rng.uniform(1, 3), rng.uniform(2, 12)
    plain = None if rng.random() < 0.6 else float(rng.choice([0.0, 1.0]))
    light = _random_light(pool) if rng.random() < 0.6 else None
    radii = np.clip(smallest * (1 - rng.uniform(0, 1, count)) ** (-1 / exponent), smallest, 90)
    if rng.random() < 0.5:
        radii = np.sort(radii)[::-1]
    for radius in radii:
        centre = (rng.uniform(-10, SIZE + 10), rng.uniform(-10, SIZE + 10))
        paint_shape(picture, pool, centre, float(radius), light=light, plain=plain)
    return picture


def composite_objects(pool: TexturePool) -> Picture:
    """Return one to three objects, each of a body and some parts, often mirrored on both sides."""
    rng = pool.rng
    picture, light = background(pool), _random_light(pool)
    for _ in range(int(rng.integers(1, 4))):
        x, y = rng.uniform(30, 130, 2)
        size = rng.uniform(20, 60)
        paint_shape(picture, pool, (x, y), size, light=light)
        for _part in range(int(rng.integers(0, 6))):
            dx, dy = rng.normal(0, size * 0.55, 2)
            radius = size * rng.uniform(0.15, 0.6)
            paint_shape(picture, pool, (x + dx, y + dy), radius, light=light)
            if rng.random() < 0.4:
                paint_shape(picture, pool, (x - dx, y + dy), radius, light=light)
    return picture


def landscape(pool: TexturePool) -> Picture:
    """Return a sky, ridges behind one another in haze, things lying on the ground, and uprights."""
    rng = pool.rng
    down = np.broadcast_to(np.linspace(0, 1, SIZE, dtype=np.float32)[:, None], (SIZE, SIZE))
    picture = coloured(rng, down * np.float32(0.8) + np.float32(0.2) * noise_field(rng, 1.5))
    horizon, light = rng.uniform(0.2, 0.7) * SIZE, _random_light(pool)
    for ridge in range(int(rng.integers(1, 5))):
        picture = _with_ridge(picture, pool, horizon, ridge)
    for _ in range(int(rng.integers(0, 25))):
        nearness = rng.uniform(0, 1) ** 2
        centre = (rng.uniform(0, SIZE), horizon + nearness * (SIZE - horizon))
        paint_shape(picture, pool, centre, 3 + 35 * nearness * rng.uniform(0.3, 1), light=light)
    for _ in range(int(rng.integers(0, 4))):
        _paint_upright(picture, pool, horizon, light)
    return np.clip(picture, 0, 1)


def fractal(pool: TexturePool) -> Picture:
    """Return one or two attractors of iterated function systems over a background."""
    picture = background(pool)
    for _ in range(int(pool.rng.integers(1, 3))):
        picture = _with_attractor(picture, pool)
    return picture


def graphic(pool: TexturePool) -> Picture:
    """Return flat ground with rectangles, lines, text and patches: posters, screens, diagrams."""
    rng = pool.rng
    ground = random_colour(rng) if rng.random() < 0.5 else np.full(3, rng.choice([1.0, 0.95, 0.05]), np.float32)
    picture = np.tile(ground, (SIZE, SIZE, 1))
    for _ in range(int(rng.integers(3, 28))):
        paint_mark(picture, pool)
    return picture


def plain_texture(pool: TexturePool) -> Picture:
    """Return one of the textures, varied, all over the frame."""
    return pool.pick_varied()


SCENES: tuple[tuple[Scene, float], ...] = (  # with the share of each
    (dead_leaves, 0.28),
    (composite_objects, 0.2),
    (landscape, 0.22),
    (fractal, 0.1),
    (graphic, 0.1),
    (plain_texture, 0.1),
)


def random_scene(pool: TexturePool) -> Picture:
    """Return a picture of a kind drawn by the shares in SCENES."""
    scene, _ = SCENES[int(pool.rng.choice(len(SCENES), p=[share for _, share in SCENES]))]
    return scene(pool)


def background(pool: TexturePool) -> Picture:
    """Return what a picture begins with: a colour, a texture out of focus or a sharp one."""
    rng = pool.rng
    draw = rng.random()
    if draw < 0.15:
        return np.tile(random_colour(rng), (SIZE, SIZE, 1))
    texture = pool.pick_varied()
    return blur(texture, rng.uniform(1, 6)) if draw < 0.45 else texture


def _random_light(pool: TexturePool) -> Light:
    x, y = pool.rng.normal(0, 1, 2)
    return float(x), float(y)


def _with_ridge(picture: Picture, pool: TexturePool, horizon: float, ridge: int) -> Picture:
    """Return the picture with everything below a jagged line covered; nearer ridges begin lower."""
    rng = pool.rng
    profile = noise_field(rng, rng.uniform(1, 2))[int(rng.integers(SIZE))]
    top = horizon + ridge * rng.uniform(4, 25) - profile * rng.uniform(5, 60)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    covered = np.clip(y - top[None], 0, 1)[..., None]
    texture = pool.pick_varied()
    if rng.random() < 0.4:  # seen in perspective, as ground is
        depth = np.clip(y - horizon + 3, 3, None)
        texture = sample(
            texture,
            (x - SIZE / 2) / depth * rng.uniform(10, 60) + SIZE / 2,
            SIZE * rng.uniform(5, 20) / depth * 3,
        )
    haze = rng.uniform(0, 0.5)
    ground = texture * (1 - haze) + haze * random_colour(rng)
    return np.asarray(picture * (1 - covered) + covered * ground, np.float32)


def _paint_upright(picture: Picture, pool: TexturePool, horizon: float, light: Light) -> None:
    """Paint a trunk, pillar or tower onto the picture, in place, lit as a cylinder is."""
    rng = pool.rng
    width = int(rng.uniform(3, 30)) + 1
    left = int(rng.uniform(0, SIZE - width))
    top, bottom = int(rng.uniform(0, horizon + 10)), int(min(SIZE, horizon + rng.uniform(5, 60)))
    texture = pool.pick_varied()
    if bottom <= top + 2:
        return
    shade = np.clip(1 + 0.5 * light[0] * np.linspace(-1, 1, width), 0.2, 1.6).astype(np.float32)
    where = (slice(top, bottom), slice(left, left + width))
    picture[where] = np.clip(texture[where] * shade[None, :, None], 0, 1)


def _with_attractor(picture: Picture, pool: TexturePool) -> Picture:
    """Return the picture with one attractor over it, coloured by density or by the map each point came from."""
    rng = pool.rng
    points, maps = _iterate_maps(rng)
    low, high = np.percentile(points, 1, 0), np.percentile(points, 99, 0)
    points = ((points - low) / (high - low + 1e-6) - 0.5) * rng.uniform(0.5, 1) + rng.uniform(0.35, 0.65, 2)
    inside = ((points >= 0) & (points < 1)).all(1)
    column, row = (points[inside] * SIZE).astype(int).T
    pixel, maps = row * SIZE + column, maps[inside]
    hits = np.bincount(pixel, minlength=SIZE * SIZE).reshape(SIZE, SIZE).astype(np.float32)
    alpha = blur(np.clip(hits / np.float32(rng.uniform(1, 4)), 0, 1), rng.uniform(0.5, 1.5))[..., None]
    if rng.random() < 0.5:
        colours = coloured(rng, np.log1p(hits) / np.log1p(hits.max(initial=1)))
    else:
        inks = np.stack([random_colour(rng) for _ in range(int(maps.max(initial=0)) + 1)])
        summed = [np.bincount(pixel, weights=inks[maps, c], minlength=SIZE * SIZE) for c in range(3)]
        mean = np.stack(summed, 1).reshape(SIZE, SIZE, 3) / np.maximum(hits, 1)[..., None]
        colours = blur(mean.astype(np.float32), 0.7)
    return np.asarray(picture * (1 - alpha) + alpha * colours, np.float32)


def _iterate_maps(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the (n, 2) points of a random attractor and the (n,) affine map that sent each there."""
    count, walkers, steps, settling = int(rng.integers(2, 6)), 3000, 22, 7
    linear = rng.uniform(-1, 1, (count, 2, 2))
    linear *= (rng.uniform(0.35, 0.85, count) / np.linalg.norm(linear, 2, axis=(1, 2)))[:, None, None]
    shift = rng.uniform(-1, 1, (count, 2))
    chance = np.abs(np.linalg.det(linear)) + 0.05
    chance /= chance.sum()
    place = rng.uniform(-1, 1, (walkers, 2))
    points, maps = [], []
    for step in range(steps):
        chosen = rng.choice(count, walkers, p=chance)
        place = np.einsum("nij,nj->ni", linear[chosen], place) + shift[chosen]
        if step >= settling:
            points.append(place)
            maps.append(chosen)
    return np.concatenate(points), np.concatenate(maps)
