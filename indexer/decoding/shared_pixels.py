"""Memory that a decoding child fills and its parent reads: decoded pixels cross without a copy.

The memory has no name that others could open, and is not part of /dev/shm, which containers keep at 64 MB. It is as
large as the largest picture allowed, but only pages that were written to exist.
"""

import contextlib
import fcntl
import mmap
import os
import tempfile
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

# Pages beyond are given back after a picture; a 12-megapixel photograph leaves its pages to the next.
_KEPT_BYTES: Final = 40 << 20


class SharedPixels:
    """One end of the memory. fd: to be inherited by the child, which opens its own end with `opened`."""

    def __init__(self, size: int) -> None:
        self._open(_anonymous_file(size), size)

    @classmethod
    def opened(cls, fd: int, size: int) -> Self:
        """Return the child's end."""
        end = cls.__new__(cls)
        end._open(fd, size)
        return end

    def _open(self, fd: int, size: int) -> None:
        self.fd = fd
        self.size = size
        self._map = mmap.mmap(fd, size)
        self.flat = np.frombuffer(self._map, np.uint8)

    def holds(self, pixels: NDArray[np.uint8]) -> bool:
        """Return whether these pixels lie at the start of this memory."""
        return pixels.ctypes.data == self.flat.ctypes.data

    def picture(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the (height, width, 3) pixels at its start; valid until the next picture.

        Raises:
            ValueError: no such picture fits.
        """
        length = height * width * 3
        if min(height, width) < 1 or length > self.size:
            raise ValueError(f"no {height} x {width} picture fits {self.size} bytes")
        return self.flat[:length].reshape(height, width, 3)

    def release(self, length: int) -> None:
        """Give a large picture's pages back; length: bytes it had."""
        if length > _KEPT_BYTES and hasattr(mmap, "MADV_REMOVE"):
            with contextlib.suppress(OSError):  # only memory is at stake
                self._map.madvise(mmap.MADV_REMOVE, _KEPT_BYTES, self.size - _KEPT_BYTES)

    def close(self) -> None:
        """Close this end; pictures taken from it must not be used any more."""
        os.close(self.fd)


def _anonymous_file(size: int) -> int:
    if not hasattr(os, "memfd_create"):  # macOS: a nameless file, which stays in the page cache
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
        os.ftruncate(fd, size)
        return fd
    fd = os.memfd_create("lookalike-pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    # A child that shrank it would make its parent's next look fatal.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
