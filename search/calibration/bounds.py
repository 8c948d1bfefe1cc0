"""How low a share may truly be of which a few cases were seen: the bound of Clopper and Pearson.

One-sided: with 95 % confidence the true share is no lower, if the cases are independent.
"""

import math
from typing import Final

CONFIDENCE: Final = 0.95
_HALVINGS: Final = 60  # of the interval [0, 1]: as fine as a double
_TERMS: Final = 400
_TINY: Final = 1e-300


def lower_bound(right: float, pairs: float, confidence: float = CONFIDENCE) -> float:
    """Return the Clopper-Pearson lower bound of a share, of which `right` of `pairs` were seen; 0 where none were.

    Both may be fractions, as numbers of effective pairs are.

    Raises:
        ValueError: there are more right ones than pairs, or fewer than none.
    """
    if not 0 <= right <= pairs:
        raise ValueError(f"{right} of {pairs} pairs cannot be right")
    if right == 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if shown(middle, right, pairs, confidence) else (low, middle)
    return low


def shown(share: float, right: float, pairs: float, confidence: float = CONFIDENCE) -> bool:
    """Tell whether the lower bound of `right` of `pairs` is above a share: far cheaper than the bound itself."""
    # What was seen, or more, would be seen that seldom if this were the truth.
    return right > 0 and _beta_below(share, right, pairs - right + 1) < 1 - confidence


def pairs_needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many pairs without a wrong one show a share: the rule of three, 299 for .99.

    Raises:
        ValueError: no number of pairs shows it.
    """
    if not 0 < share < 1:
        raise ValueError(f"no number of pairs shows a share of {share}")
    return math.ceil(math.log(1 - confidence) / math.log(share))


def _beta_below(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_below(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    c, d = 1.0, 1 / _away_from_0(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        before = result
        for step in (even, odd):
            d = 1 / _away_from_0(1 + step * d)
            c = _away_from_0(1 + step / c)
            result *= c * d
        if abs(result - before) <= 1e-15 * abs(result):
            break
    return math.exp(front) * result / a


def _away_from_0(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
