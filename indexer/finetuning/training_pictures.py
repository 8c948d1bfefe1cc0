"""Batches of labelled pictures: shown differently in every epoch to learn from, as they are later embedded to check.

What a picture looks like in an epoch depends on the seed, the epoch and the picture alone: not on the number of
workers, and not on what was interrupted when. Only bytes that a disposable child has decoded before are decoded here.
"""

import contextlib
import hashlib
import math
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from indexer.backbones.backbone import Pixels
from indexer.backbones.timm_library import timm
from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.preparation import Preparation, prepare
from indexer.finetuning.labelled_folders import Labelled
from indexer.finetuning.recipe import NO_RANDAUGMENT, Recipe
from indexer.sources.sources import MAX_FILE_BYTES, FoundFile, read_file
from search.errors import BadImage, UsageError

Show = Callable[[Pixels], Pixels]  # (H, W, 3) uint8 of any size to (height, width, 3) uint8
_SEED_BYTES: Final = 4


class Shown(NamedTuple):
    """A picture in an epoch: what the sampler asks the data set for."""

    epoch: int
    number: int


class Batch(NamedTuple):
    """pixels: (N, H, W, 3) uint8. labels: (N,) int64. lost: numbers of pictures that cannot be read any more."""

    pixels: torch.Tensor
    labels: torch.Tensor
    lost: tuple[int, ...]


class Pictures(Dataset[tuple[int, int, NDArray[np.uint8] | None]]):
    """Labelled pictures by (epoch, number), as `show` makes them seen."""

    def __init__(self, pictures: Sequence[Labelled], show: Show, seed: int) -> None:
        self.pictures = pictures
        self._show = show
        self._seed = seed

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, shown: Shown) -> tuple[int, int, NDArray[np.uint8] | None]:
        """Return (number, label, (H, W, 3) uint8), None for the pixels of a file that has changed or gone."""
        one = self.pictures[shown.number]
        try:
            data = read_file(FoundFile(one.path, "", 0, 0), MAX_FILE_BYTES)
            if hashlib.sha256(data).digest() != one.sha256:
                return shown.number, one.label, None
            pixels = decode(data, DecodeLimits()).pixels
        except BadImage:
            return shown.number, one.label, None
        with _randomness_of(self._seed, shown):
            return shown.number, one.label, self._show(pixels)


class Order(Sampler[list[Shown]]):
    """The batches of one epoch, shuffled by seed and epoch, or in order. Set `epoch` before each pass."""

    def __init__(self, pictures: int, batch_size: int, *, shuffle_seed: int | None) -> None:
        self.epoch = 0
        self._pictures = pictures
        self._batch_size = batch_size
        self._shuffle_seed = shuffle_seed

    def __len__(self) -> int:
        return math.ceil(self._pictures / self._batch_size)

    def __iter__(self) -> Iterator[list[Shown]]:
        numbers = list(range(self._pictures))
        if self._shuffle_seed is not None:
            random.Random(f"{self._shuffle_seed} {self.epoch}").shuffle(numbers)
        for start in range(0, self._pictures, self._batch_size):
            yield [Shown(self.epoch, number) for number in numbers[start : start + self._batch_size]]


class Batches:
    """Passes over labelled pictures. shuffle_seed: None keeps them in order. lasting: workers stay between passes."""

    def __init__(
        self, pictures: Pictures, batch_size: int, *, workers: int, shuffle_seed: int | None, lasting: bool = False
    ) -> None:
        self.pictures = pictures.pictures
        self.batch_size = batch_size
        self._order = Order(len(pictures), batch_size, shuffle_seed=shuffle_seed)
        self._loader = DataLoader(
            pictures,
            batch_sampler=self._order,
            num_workers=workers,
            collate_fn=_collate,
            persistent_workers=lasting and workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_leave_signals_to_the_parent,
            # Its own: else a pass that starts workers would draw from the generator that dropout draws from.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        return len(self._order)

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; pictures that cannot be read any more are left out and named in `lost`."""
        self._order.epoch = epoch
        yield from self._loader


def as_embedded(preparation: Preparation) -> Show:
    """Return how a picture is shown to be checked: exactly as the finished backbone will see it."""
    return _AsEmbedded(preparation)


def as_augmented(preparation: Preparation, recipe: Recipe) -> Show:
    """Return how a picture is shown to be learnt from: a random part of it, perhaps mirrored, changed by RandAugment.

    Raises:
        UsageError: timm does not understand the recipe's RandAugment.
    """
    if not recipe.augment:
        return _AsEmbedded(preparation)
    try:
        crop_and_flip, augment, _ = timm.data.create_transform(
            input_size=(3, preparation.height, preparation.width),
            is_training=True,
            scale=(recipe.smallest_crop, 1.0),
            hflip=0.5 if recipe.flip else 0.0,
            color_jitter=None,
            auto_augment=None if recipe.randaugment == NO_RANDAUGMENT else recipe.randaugment,
            interpolation="random",
            mean=preparation.mean,
            separate=True,
        )
    except (AssertionError, ValueError, LookupError) as error:
        raise UsageError(
            f"timm does not understand --randaugment {recipe.randaugment!r} ({error}); try rand-m9-mstd0.5"
        ) from error
    return _Augmented(crop_and_flip, augment)


class _AsEmbedded:
    """A class, since workers may be sent it by pickle."""

    def __init__(self, preparation: Preparation) -> None:
        self._preparation = preparation

    def __call__(self, pixels: Pixels) -> Pixels:
        return prepare(pixels, self._preparation)


class _Augmented:
    def __init__(self, crop_and_flip: Any, augment: Any) -> None:
        self._crop_and_flip = crop_and_flip
        self._augment = augment

    def __call__(self, pixels: Pixels) -> Pixels:
        return np.asarray(self._augment(self._crop_and_flip(Image.fromarray(pixels))))


@contextlib.contextmanager
def _randomness_of(seed: int, shown: Shown) -> Iterator[None]:
    """Let what is random inside depend on this alone, and what is random outside not on what happens inside.

    timm's transforms draw from the generators of Python, numpy and torch.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    text = f"{seed} {shown.epoch} {shown.number}".encode()
    chosen = int.from_bytes(hashlib.sha256(text).digest()[:_SEED_BYTES], "big")
    random.seed(chosen)
    np.random.seed(chosen)
    torch.default_generator.manual_seed(chosen)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _collate(items: list[tuple[int, int, NDArray[np.uint8] | None]]) -> Batch:
    seen = [(label, pixels) for _, label, pixels in items if pixels is not None]
    lost = tuple(number for number, _, pixels in items if pixels is None)
    if not seen:
        return Batch(torch.empty(0, dtype=torch.uint8), torch.empty(0, dtype=torch.int64), lost)
    pixels = torch.from_numpy(np.stack([pixels for _, pixels in seen]))
    return Batch(pixels, torch.tensor([label for label, _ in seen]), lost)


def _leave_signals_to_the_parent(_worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
