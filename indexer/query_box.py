"""A part of a query picture to search by, as `x,y,width,height` in pixels of the upright picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError

NUMBERS = 4


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle, which may stick out of the picture on any side; what does is left out.

    x, y: of its upper left corner; all in pixels of the upright picture, from its upper left corner.
    """

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
        if min(numbers[2:]) <= 0:
            raise UsageError(f"box {text!r} has no area: width and height are above 0, such as in 120,80,640,480")
        return cls(*numbers)

    def within(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of what lies inside a picture of this size, in whole pixels."""
        left, top, right, bottom = self._inside(size)
        return max(1, round(right - left)), max(1, round(bottom - top))

    def cut(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
        """Return the part of a picture, at least one pixel; what sticks out of the picture is left out.

        pixels: (H, W, 3), the picture or a reduced copy of it. size: width and height of the picture itself.

        Raises:
            UsageError: the box lies outside the picture.
        """
        left, top, right, bottom = self._inside(size)
        if left >= right or top >= bottom:
            raise UsageError(
                f"the box at {self.x:g},{self.y:g} of {self.width:g} x {self.height:g} pixels lies outside the "
                f"picture, which has {size[0]} x {size[1]} pixels"
            )
        across, down = pixels.shape[1] / size[0], pixels.shape[0] / size[1]
        first_column, first_row = int(left * across), int(top * down)
        columns = slice(first_column, max(first_column + 1, round(right * across)))
        rows = slice(first_row, max(first_row + 1, round(bottom * down)))
        return np.ascontiguousarray(pixels[rows, columns])

    def _inside(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return the left, upper, right and lower edge of what lies inside a picture of this size."""
        width, height = size
        return max(0.0, self.x), max(0.0, self.y), min(self.x + self.width, width), min(self.y + self.height, height)
