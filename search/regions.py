"""The regions of a picture: four parts of it that are searched beside the whole, so that what it shows in a part of it
is found, too: a photograph inside a collage, a screenshot or a frame.

The number of a region says for ever which part it is: another rule takes other numbers. Indexes of regions know a row
not by the id of its image but by 4 times that, and the place of the region among the four.
"""

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from search.records import Region

REGIONS: Final = 4  # of each picture, beside the whole
REGIONS_RULE: Final = 1  # the one below; regions 1 to 4
FIRST, LAST = 1, REGIONS
# Which shares of a picture, chosen by measurement (bench/regions.py --rules).
CORNER: Final = 0.55
LONG: Final = 2.0  # from this ratio of its sides on a picture is long
BAND: Final = 0.5
# What an index knows.
Part = Literal["whole", "regions"]
WHOLES: Final[Part] = "whole"
IN_REGIONS: Final[Part] = "regions"


def regions_of(width: int, height: int) -> tuple[Region, ...]:
    """Return regions 1 to 4 of a picture of so many pixels.

    Of a long one, such as a strip of photographs or the screen of a phone, four bands across, each half as long as the
    picture and a third of that further on; of any other its four corners. All of them overlap.
    """
    if max(width, height) < LONG * min(width, height):
        return corners(CORNER)
    return bands(BAND, beside=width > height)


def region_numbered(number: int, width: int, height: int) -> Region | None:
    """Return the region with a number of a picture of so many pixels, None for 0: all of it."""
    return None if number == 0 else regions_of(width, height)[number - FIRST]


def corners(share: float) -> tuple[Region, ...]:
    """Return the four corners, each with this share of both sides: two above, two below, from left to right."""
    rest = round(1 - share, 4)
    return tuple(Region(x, y, share, share) for y in (0.0, rest) for x in (0.0, rest))


def bands(share: float, *, beside: bool) -> tuple[Region, ...]:
    """Return four bands, each with this share of the long side, beside each other or one below the other."""
    starts = [round(number * (1 - share) / (REGIONS - 1), 4) for number in range(REGIONS)]
    return tuple(Region(at, 0.0, share, 1.0) if beside else Region(0.0, at, 1.0, share) for at in starts)


def rows_of_images(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ids of all regions of images, (4 N,), ascending where ids (N,) are."""
    return (ids[:, np.newaxis] * REGIONS + np.arange(REGIONS)).ravel()


def images_of_rows(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of ids of regions the ids of their images, and the numbers of the regions, 1 to 4."""
    return rows // REGIONS, rows % REGIONS + FIRST
