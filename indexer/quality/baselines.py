"""The hashes that other tools find copies by, as modes beside ours: PDQ and the 256-bit perceptual hash.

The score is the share of equal bits, so 1 - score is the customary Hamming distance over 256.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.decode import DecodeLimits, decode
from indexer.quality.modes import Ranking, best_first
from indexer.quality.originals import Progress
from indexer.quality.shelf import Shelf

Bits = NDArray[np.bool_]  # (256,)


class HashMode:
    """Ranks by the share of equal bits. Hashing is all it does: pictures with equal hashes are not called identical."""

    def __init__(
        self, name: str, hash_of: Callable[[bytes], Bits], shelf: Shelf, files: Sequence[str], progress: Progress
    ) -> None:
        """files: the references, which are hashed here."""
        self.name = name
        self._hash_of = hash_of
        rows = []
        for done, file in enumerate(files, start=1):
            rows.append(hash_of(shelf.read(file)))
            progress(done, len(files))
        self._signs = _signs(np.stack(rows))

    def rank(self, query: bytes, name: str) -> Ranking:
        """Return the references with the most equal bits; name is not used."""
        equal = (self._signs @ _signs(self._hash_of(query)) + len(self._signs[0])) / (2 * len(self._signs[0]))
        return best_first(equal.astype(np.float32), np.zeros(len(equal), bool))


def perceptual_bits(data: bytes) -> Bits:
    """Return the perceptual hash that the catalogue keeps of every picture: pHash of 256 bits without brightness."""
    packed = decode(data, DecodeLimits()).perceptual_hash
    return np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool)


def pdq_bits(data: bytes) -> Bits:
    """Return the PDQ hash of Facebook's reference code."""
    import pdqhash

    bits, _quality = pdqhash.compute(decode(data, DecodeLimits()).pixels)
    return np.asarray(bits).astype(bool)


def pdq_is_installed() -> bool:
    """Return whether PDQ can be compared with."""
    return find_spec("pdqhash") is not None


def _signs(bits: Bits) -> NDArray[np.float32]:
    return np.where(bits, np.float32(1), np.float32(-1))
