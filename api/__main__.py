"""`python -m api`, and the console script `lookalike`."""

import os
import signal
import sys
from types import FrameType

from api.loading import for_good


def main() -> None:
    """Run the command line. Ctrl-C and SIGTERM end it with 130 from the first moment on."""
    # Threads of torch that wait shall sleep and not spin, which takes the cores from the decoding children and from
    # others. Seen on a 2-core machine that was busy with other work, a few runs each; on a quiet one it was not
    # compared. Read when torch is first imported, so it is set before anything else.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with for_good():
            from api.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
