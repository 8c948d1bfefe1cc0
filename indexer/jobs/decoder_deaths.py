"""A file that kills its decoder costs only itself; when all do, the machine is to blame and not the files."""

from typing import Final

from indexer.jobs.outcomes import Failed
from indexer.jobs.pipeline import QUARANTINE_REASONS
from search.errors import LookalikeError

HOPELESS_DEATHS: Final = 50


class DecoderDeaths:
    """Counts the decoders of one run that died. decoded: whether decoding has ever worked here."""

    def __init__(self) -> None:
        self.decoded = False
        self._deaths = 0

    def note(self, failed: Failed) -> None:
        """Take note of a failed file, whatever made it fail.

        Raises:
            LookalikeError: the first pictures all killed their decoder.
        """
        if not failed.fresh or failed.reason not in QUARANTINE_REASONS:
            return
        self._deaths += 1
        if not self.decoded and self._deaths >= HOPELESS_DEATHS:
            raise LookalikeError(
                f"the first {self._deaths} pictures all killed their decoder (the last: {failed.detail}): something is "
                "wrong with this machine or installation; free memory, lower --workers, or look closer with --verbose"
            )
