"""What the pipeline needs of a decoder: the disposable children, or a plain function in tests."""

from typing import Protocol

from indexer.decoding.decoder_pool import PreparedImage


class Decoder(Protocol):
    """Bytes to prepared pixels. Called by many threads at once."""

    def decode(self, data: bytes, name: str) -> PreparedImage:
        """Return the prepared picture and its facts; name is for messages.

        Raises:
            BadImage: the bytes cannot become pixels.
        """
        ...
