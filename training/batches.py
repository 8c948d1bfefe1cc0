"""Which pictures a step of the training sees: a shuffled deck for each pass, and some pictures cut in two.

The two halves of a cut picture are pictures of their own: the hard negatives, alike in everything but what they show.
A step's batch depends on the seed and the step alone, so a run can be taken up anywhere.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Generator, Tensor

from training.placements import WHOLE
from training.views import Batch

HALVES: Final = ((-0.5, 0, 0.5, 1), (0.5, 0, 0.5, 1), (0, -0.5, 1, 0.5), (0, 0.5, 1, 0.5))  # windows, as WHOLE
CUT_SHARE: Final = 0.25  # of the rows of a batch show halves


@dataclass(frozen=True, slots=True)
class Step:
    """One step's batch; identities: (N,) int64, equal where two rows show the same picture."""

    batch: Batch
    identities: Tensor


def generator(*numbers: int) -> Generator:
    """Return a generator of these numbers' own."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (1 << 62)
    return Generator().manual_seed(mixed)


def step_batch(pictures: Tensor, rows: int, seed: int, step: int) -> Step:
    """Return the batch of a step, `rows` rows of the (N, S, S, 3) uint8 pictures.

    Raises:
        ValueError: there are fewer pictures than rows.
    """
    per_pass = len(pictures) // rows
    if per_pass == 0:
        raise ValueError(f"{len(pictures)} pictures are fewer than the {rows} of a batch: draw more with --pictures")
    deck = torch.randperm(len(pictures), generator=generator(seed, 0, step // per_pass))
    chosen = deck[step % per_pass * rows :][:rows].clone()
    windows, identities = torch.tensor(WHOLE).repeat(rows, 1), chosen * (len(HALVES) + 1)
    cut = 2 * int(rows * CUT_SHARE / 2)
    if cut:
        chosen[1:cut:2] = chosen[0:cut:2]
        across = 2 * torch.randint(2, (cut // 2,), generator=generator(seed, 1, step))
        halves = torch.stack([across, across + 1], 1).flatten()
        windows[:cut] = torch.tensor(HALVES)[halves]
        identities[:cut] = chosen[:cut] * (len(HALVES) + 1) + 1 + halves
    return Step(Batch(pictures[chosen], windows), identities)
