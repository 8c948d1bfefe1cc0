"""Procedural images: the only data the built-in backbone was trained on, and the distractors of its evaluation.

The families are those of the first training run (OpenCV drew its pictures, numpy and Pillow draw these), so the
pictures of a seed differ from the run's while their statistics do not.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from indexer.procedural.resampling import SIZE, Picture, blur
from indexer.procedural.scenes import random_scene
from indexer.procedural.shapes import paint_shape
from indexer.procedural.textures import TexturePool, noise_field

RENEW_EVERY = 40  # pictures, after which two textures of the pool give way to new ones


def procedural_images(count: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Yield this many (160, 160, 3) uint8 RGB pictures; the same seed yields the same pictures."""
    pool = TexturePool(np.random.default_rng(seed))
    for made in range(count):
        if made and made % RENEW_EVERY == 0:
            pool.renew(2)
        yield procedural_image(pool)


def procedural_image(pool: TexturePool) -> NDArray[np.uint8]:
    """Return one (160, 160, 3) uint8 RGB picture: a scene, then light, tone, focus and sensor noise."""
    picture = _with_overlay(random_scene(pool), pool)
    developed = _developed(picture, pool.rng)
    noise = pool.rng.uniform(1, 8) if pool.rng.random() < 0.5 else 0.0  # levels
    return np.clip(developed * 255 + noise * pool.rng.standard_normal(picture.shape), 0, 255).astype(np.uint8)


def _with_overlay(picture: Picture, pool: TexturePool) -> Picture:
    """Return the picture, at times with another scene showing through clouds, or strewn with small shapes."""
    rng = pool.rng
    draw = rng.random()
    if draw < 0.12:
        alpha = np.clip((noise_field(rng, 1.8)[..., None] - 0.5) * rng.uniform(2, 12) + 0.5, 0, 1)
        return np.asarray(picture * (1 - alpha) + alpha * random_scene(pool), np.float32)
    if draw < 0.18:
        strewn = picture.copy()
        for _ in range(int(rng.integers(3, 40))):
            centre = (rng.uniform(0, SIZE), rng.uniform(0, SIZE))
            paint_shape(strewn, pool, centre, rng.uniform(2, 10))
        return strewn
    return picture


def _developed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture in uneven light, with a tone curve, a cast, less colour or less focus, in [0, 1]."""
    if rng.random() < 0.5:
        unevenness = rng.uniform(0, 1.2) * (noise_field(rng, 2.2)[..., None] - 0.5)
        picture = np.asarray(picture * (1 + unevenness), np.float32)
    if rng.random() < 0.6:
        gamma, cast = np.exp(rng.normal(0, 0.35)), 1 + rng.normal(0, 0.08, 3)
        picture = np.asarray(np.clip(picture, 0, 1) ** gamma * cast, np.float32)
    if rng.random() < 0.35:
        grey = picture.mean(2, keepdims=True)
        picture = grey + (picture - grey) * np.float32(rng.uniform(0, 0.8))
    if rng.random() < 0.1:
        picture = np.repeat(picture.mean(2, keepdims=True), 3, axis=2)
    if rng.random() < 0.4:
        picture = blur(picture, rng.uniform(0.4, 1.6))
    return np.clip(picture, 0, 1)
