"""Every error Lookalike raises on purpose.

    LookalikeError
    |-- UsageError              an argument has a value that cannot be used
    |   `-- BadCondition        a condition (`--where`) means nothing
    |-- StoreNotFound           there is no store at this place
    |-- StoreTooNew             a newer release wrote this store
    |-- StoreUnavailable        the store is locked or its database does not answer
    |-- SourceUnavailable       a remote source does not answer
    |-- CollectionNotFound      the store has no collection of this name
    |-- ImageNotFound           the collection has no such image
    |-- JobNotFound             there is no such job
    |-- ReportNotFound          nobody has looked for duplicates so far
    |-- PlanNotFound            the collection has no such plan
    |-- Stopped                 a disk ended something on the way
    |-- Interrupted             a person ended a wait; what was waited for goes on
    |-- ImageChanged            the image is not what the caller last saw
    |-- KeyTaken                another picture has this key
    |-- DuplicatePicture        a copy of the picture is there, and copies are not wanted
    |-- KeyReused               a request has the name of another one
    |-- StillAtWork             the same request was sent before, and has no answer yet
    |-- SpaceMismatch           two embeddings are not comparable
    |-- CorruptFile             a segment or a generation is not what was written
    |-- BackboneNotFound        no such backbone
    |-- WeightsUnavailable      a backbone has no weights at hand
    |-- WeightsMismatch         a weights file belongs to another backbone
    |-- DeviceFailed            a GPU cannot finish a comparison that the CPU still can
    |-- OutOfMemory             the memory of the device does not hold even one picture's work
    |-- GuardRefused            a safety rule stopped the command
    |   `-- LicenceNotAccepted  weights wait for consent to their licence
    `-- BadImage                this file cannot become an embedding

BadImage is data, not a reason to stop: the pipeline catches it and writes the ledger. Every other error stops the
command. Messages name the offending value and what to do about it. HTTP codes live in api/http/problems.py, exit
codes in api/exits.py.
"""

from collections.abc import Mapping


class LookalikeError(Exception):
    """Base of all errors raised on purpose; its message is one line for the user."""


class UsageError(LookalikeError):
    """An argument has a value that cannot be used."""


class BadCondition(UsageError):
    """A condition means nothing. position: of the wrong letter, from 1. drawing: two lines, with a caret below it."""

    def __init__(self, message: str, *, position: int, drawing: str) -> None:
        super().__init__(message)
        self.position = position
        self.drawing = drawing
        self.add_note(drawing)  # for those who meet it as a traceback


class StoreNotFound(LookalikeError):
    """There is no store at this place."""


class StoreTooNew(LookalikeError):
    """A newer release of Lookalike wrote this store."""


class StoreUnavailable(LookalikeError):
    """The store is locked by another process or its database does not answer."""


class SourceUnavailable(LookalikeError):
    """A remote source does not answer."""


class CollectionNotFound(LookalikeError):
    """The store has no collection of this name."""


class ImageNotFound(LookalikeError):
    """The collection has no such image."""


class JobNotFound(LookalikeError):
    """There is no such job."""


class PlanNotFound(LookalikeError):
    """The collection has no such plan."""


class Stopped(LookalikeError):
    """A disk, or somebody, ended something on the way. result: what was done until then."""

    def __init__(self, message: str, result: Mapping[str, object]) -> None:
        super().__init__(message)
        self.result = result


class Interrupted(LookalikeError):
    """A person ended a wait; what was waited for goes on."""


class ReportNotFound(LookalikeError):
    """Nobody has looked for the duplicates of a collection so far, or not in the way that is asked for."""


class ImageChanged(LookalikeError):
    """An image is not what the caller last saw, so nothing was written over it."""


class KeyTaken(LookalikeError):
    """Another picture has this key."""


class DuplicatePicture(LookalikeError):
    """A copy of a picture is there, and copies are not wanted."""


class KeyReused(LookalikeError):
    """A request has the name (Idempotency-Key) of another one."""


class StillAtWork(LookalikeError):
    """The same request was sent before, and has no answer yet. retry_after_s: when it is worth asking again."""

    def __init__(self, detail: str, retry_after_s: int) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class SpaceMismatch(LookalikeError):
    """Two embeddings are not comparable: they come from different spaces."""


class CorruptFile(LookalikeError):
    """A segment or a generation is missing, truncated or not what was written."""


class BackboneNotFound(LookalikeError):
    """Neither Lookalike nor timm has a backbone of this name."""


class WeightsUnavailable(LookalikeError):
    """A backbone has no weights at hand."""


class WeightsMismatch(LookalikeError):
    """A weights file belongs to another backbone."""


class DeviceFailed(LookalikeError):
    """A GPU cannot finish a comparison, as when its memory is full; the CPU still can."""


class OutOfMemory(LookalikeError):
    """The memory of the device does not hold even one picture's work."""


class GuardRefused(LookalikeError):
    """A safety rule stopped the command before anything was changed."""


class LicenceNotAccepted(GuardRefused):
    """Weights that may not be used for everything wait for consent to their licence."""


class BadImage(LookalikeError):
    """A file cannot become an embedding; `reason` is one of REASONS and goes to the ledger with `detail`."""

    REASONS = frozenset(
        {
            "empty",  # zero bytes
            "not_an_image",  # no known image format in its first bytes
            "unsupported_format",  # an image, but of a format outside the allow-list
            "truncated",  # the file ends before the picture does
            "corrupt",  # the decoder rejects its contents
            "too_many_pixels",  # the header asks for more than the limit
            "file_too_large",
            "decoder_crashed",  # the decoding child died
            "decoder_timeout",  # the decoding child did not answer in time
            "out_of_memory",  # the decoding child reached its memory limit
            "permission_denied",
            "vanished",  # removed between the walk and the read
            "read_error",  # the operating system reported an error
            "checksum_mismatch",  # its bytes have another sha256 than its manifest says
            "bad_manifest_row",  # a row that names no picture, or cannot be read
            "duplicate_key",  # an earlier row of the manifest has the same key
            "bad_metadata",  # a JSON file beside a picture that is none; the picture itself is indexed
            "damaged_archive",  # what lies behind the damage cannot be read
            "embedding_lost",  # its stored embedding was damaged; `repair` put it here
            "invalid_embedding",  # the backbone answered with NaN, infinity or a zero vector
        }
    )

    def __init__(self, reason: str, detail: str) -> None:
        """Raises:
        ValueError: the reason is not one of REASONS.
        """
        if reason not in self.REASONS:
            raise ValueError(f"unknown ledger reason {reason!r}")
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadImage"], tuple[str, str]]:
        """Pickle by reason and detail, since decoding children send their errors home."""
        return type(self), (self.reason, self.detail)
