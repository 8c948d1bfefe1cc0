"""What the backbone is trained for: two views of a picture near each other, everything else far, spread evenly.

The objective of SSCD (Pizzi, Roy, Ravindra, Goyal and Douze, "A Self-Supervised Descriptor for Image Copy Detection",
CVPR 2022): InfoNCE over the whole batch plus a differential-entropy term, KoLeo (Sablayrolles et al., "Spreading
vectors for similarity search", 2019), which pushes each embedding away from its nearest neighbour and so gives scores
of different pictures a ceiling. The hard negatives are disjoint parts of one picture, which are pictures of their own
(`training/batches.py`), and the hardest of each row count more the lower the temperature is.
"""

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

NEVER: Final = -1e4  # a logit that takes no part in a softmax


@dataclass(frozen=True, slots=True)
class Loss:
    """One batch's loss, its parts, and the share of views whose nearest other view is their own picture's."""

    total: Tensor
    contrast: Tensor
    entropy: Tensor
    found: Tensor


def copy_loss(embeddings: Tensor, identities: Tensor, *, temperature: float, entropy_weight: float) -> Loss:
    """Return the loss of (2N, D) unit embeddings: first views, then second views in the same order.

    identities: (N,) int64. Where two rows of the batch show the same picture, they are no negatives of each other.
    """
    count = len(identities)
    scores = embeddings @ embeddings.T
    both = identities.repeat(2)
    partner = torch.arange(2 * count, device=embeddings.device).roll(count)
    positive = scores.gather(1, partner[:, None])
    negatives = scores.masked_fill(both[:, None] == both, NEVER)
    contrast = torch.logsumexp(torch.cat([positive, negatives], 1) / temperature, 1) - positive[:, 0] / temperature
    nearest = negatives.amax(1)
    entropy = -(2 - 2 * nearest).clamp(min=1e-6).sqrt().log().mean()
    total = contrast.mean() + entropy_weight * entropy
    return Loss(total, contrast.mean().detach(), entropy.detach(), (positive[:, 0] > nearest).float().mean())
