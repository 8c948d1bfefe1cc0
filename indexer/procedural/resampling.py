"""Resampling of small float pictures: enlarging, blurring, looking up between pixels."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE = 160  # pixels on a side of every procedural picture

Field = NDArray[np.float32]  # (SIZE, SIZE), in [0, 1]
Picture = NDArray[np.float32]  # (SIZE, SIZE, 3), RGB in [0, 1]


def enlarge(values: NDArray[np.float32], kernel: Image.Resampling = Image.Resampling.BICUBIC) -> NDArray[np.float32]:
    """Return the (h, w) or (h, w, channels) values resized to SIZE x SIZE."""
    if values.ndim == 3:
        return np.stack([enlarge(values[..., c], kernel) for c in range(values.shape[2])], axis=2)
    return np.array(Image.fromarray(np.ascontiguousarray(values)).resize((SIZE, SIZE), kernel), np.float32)


def blur(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Return the (h, w) or (h, w, channels) values after a Gaussian of sigma pixels; borders are repeated."""
    import torch  # a second, which those who draw nothing need not wait
    from torch.nn import functional as F

    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    planes = torch.from_numpy(np.ascontiguousarray(values)).reshape(*values.shape[:2], -1).permute(2, 0, 1)[:, None]
    planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), weights.view(1, 1, 1, -1))
    planes = F.conv2d(F.pad(planes, (0, 0, radius, radius), mode="replicate"), weights.view(1, 1, -1, 1))
    blurred: NDArray[np.float32] = planes[:, 0].permute(1, 2, 0).reshape(values.shape).numpy()
    return blurred


def sample(values: NDArray[np.float32], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values at fractional places, linearly between pixels; the picture repeats beyond its borders.

    values: (h, w) or (h, w, channels); x and y: (H, W) pixel coordinates. Result: (H, W) or (H, W, channels).
    """
    height, width = values.shape[:2]
    left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    trailing = (1,) * (values.ndim - 2)
    fx, fy = (x - left).reshape(*x.shape, *trailing), (y - top).reshape(*y.shape, *trailing)
    columns, rows = (left % width, (left + 1) % width), (top % height, (top + 1) % height)
    upper = values[rows[0], columns[0]] * (1 - fx) + values[rows[0], columns[1]] * fx
    lower = values[rows[1], columns[0]] * (1 - fx) + values[rows[1], columns[1]] * fx
    return np.asarray(upper * (1 - fy) + lower * fy, np.float32)
