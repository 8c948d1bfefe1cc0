"""What was found out about pictures by looking at them, kept by content so that the next run need not look again.

Only what contents that were really read have shown is kept: that a file could not be read is no answer. An answer
belongs to contents, so it survives moves, indexing again, and another space.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Question(NamedTuple):
    """What was asked. one, other: sha256 of contents, in order; other is empty where there is one. about: a digest of
    whatever else decides the answer.
    """

    kind: str
    one: bytes
    other: bytes = b""
    about: bytes = b""


class Answers(Protocol):
    """Keeps answers, each the JSON text of a value."""

    def find(self, question: Question) -> bytes | None:
        """Return what was answered, None where nothing is known."""
        ...

    def find_all(self, kind: str, one: bytes, others: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """Return what was answered about a content beside each of others, by the other, where something is known."""
        ...

    def keep(self, question: Question, answer: bytes) -> None:
        """Keep an answer; one to the same question is replaced."""
        ...


class NoAnswers:
    """Keeps nothing."""

    def find(self, question: Question) -> bytes | None:
        """Return None."""

    def find_all(self, kind: str, one: bytes, others: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """Return nothing."""
        return {}

    def keep(self, question: Question, answer: bytes) -> None:
        """Forget it."""


def digest(*parts: bytes | NDArray[np.float64] | tuple[int, int]) -> bytes:
    """Return 16 bytes that stand for numbers and names, in their order."""
    told = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part if isinstance(part, bytes) else np.ascontiguousarray(part, np.float64).tobytes()
        told.update(len(data).to_bytes(4, "little"))
        told.update(data)
    return told.digest()
