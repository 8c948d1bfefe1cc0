"""Isotonic regression: the never falling curve that is nearest to measured values, by pooling adjacent violators."""

import numpy as np
from numpy.typing import NDArray


def isotonic(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N,) the never falling values with the least weighted sum of squared differences to (N,) values.

    weights: (N,), all above 0. Costs one pass: a value below the block before it is pooled with that block, until no
    block falls.

    Raises:
        ValueError: the arrays differ in length, or a weight is not above 0.
    """
    if values.shape != weights.shape or not (weights > 0).all():
        raise ValueError("isotonic regression needs one weight above 0 for each value")
    means, masses, lengths = list[float](), list[float](), list[int]()
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, mass, length = value, weight, 1
        while means and means[-1] >= mean:
            before = masses.pop()
            mean = (means.pop() * before + mean * mass) / (before + mass)
            mass, length = mass + before, length + lengths.pop()
        means.append(mean)
        masses.append(mass)
        lengths.append(length)
    return np.repeat(np.array(means, np.float64), lengths)
