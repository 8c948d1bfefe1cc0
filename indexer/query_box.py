"""A part of a query picture to search by, as `x,y,width,height` in pixels of the upright picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError

NUMBERS = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle. x, y: of its upper left corner; all in pixels of the upright picture, from its upper left corner."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> "Box":
        """Return the box that a text such as `120,80,640,480` names.

        Raises:
            UsageError: it does not name one.
        """
        parts = text.replace(" ", "").split(",")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) != NUMBERS or not np.isfinite(numbers).all():
            raise UsageError(f"box {text!r} is not x,y,width,height in pixels, such as 120,80,640,480")
        if min(numbers[:2]) < 0 or min(numbers[2:]) <= 0:
            raise UsageError(
                f"box {text!r} is in no picture: x and y are 0 or more, from its upper left corner, width and height "
                "above 0, such as 120,80,640,480"
            )
        return cls(*numbers)

    def within(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of what lies inside a picture of this size, in whole pixels."""
        width, height = size
        return max(1, round(min(self.width, width - self.x))), max(1, round(min(self.height, height - self.y)))

    def cut(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the part of a picture, at least one pixel; what sticks out of the picture is left out.

        pixels: (H, W, 3), the picture or a reduced copy of it. size: width and height of the picture itself.

        Raises:
            UsageError: the box lies outside the picture.
        """
        width, height = size
        if self.x >= width or self.y >= height:
            raise UsageError(
                f"the box at {self.x:g},{self.y:g} lies outside the picture, which has {width} x {height} pixels"
            )
        across, down = pixels.shape[1] / width, pixels.shape[0] / height
        left, top = int(self.x * across), int(self.y * down)
        right = max(left + 1, round(min(self.x + self.width, width) * across))
        bottom = max(top + 1, round(min(self.y + self.height, height) * down))
        return np.ascontiguousarray(pixels[top:bottom, left:right])
