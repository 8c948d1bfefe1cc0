"""The process that runs one job of a server, so that the server keeps answering and the job can be ended at any moment.

It reads what to do from its standard input, one line of JSON, and writes lines of JSON to its standard output:
`{"progress": ...}` now and then, and at its end `{"result": ...}`, or `{"problem": ...}` and what it had done. Standard
input stays open: when it ends, the server has died, and so does the job at once. Jobs can be killed; another server
goes on with them. SIGINT asks for an end that leaves nothing half done where that takes no long time.
"""

import importlib
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from api.jobs.kinds import KINDS
from api.jobs.progress import Meter
from api.jobs.task import Task
from api.loading import for_good
from search.errors import LookalikeError, Stopped

log = logging.getLogger(__name__)

INTERRUPTED = 130
ORPHANED = 1


def be_child() -> None:
    """Run the job that standard input names, and end the process."""
    logging.basicConfig(level=logging.WARNING)
    # Whatever libraries print goes to the log: standard output is for the server alone.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lock = threading.Lock()

    def tell(message: Mapping[str, object]) -> None:
        with lock:
            out.write(f"{json.dumps(message, allow_nan=False)}\n")
            out.flush()

    start = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_server, daemon=True).start()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        tell({"result": _run(start, Meter(lambda progress: tell({"progress": progress})))})
    except KeyboardInterrupt:
        os._exit(INTERRUPTED)
    except LookalikeError as error:
        from api.http.problems import document_of

        done = error.result if isinstance(error, Stopped) else None
        tell({"problem": document_of(error).model_dump(exclude_none=True), "result": done})
    sys.stdout.flush()
    # What libraries still do in threads of their own must not keep the server waiting.
    os._exit(0)


def _run(start: Mapping[str, Any], meter: Meter) -> Mapping[str, object]:
    module, _, function = KINDS[start["kind"]].runs.partition(":")
    weights = start["weights"]
    task = Task(
        Path(start["root"]),
        start["job_id"],
        start["collection"],
        start["request"],
        start["device"],
        None if weights is None else Path(weights),
        meter,
        tuple(Path(one) for one in start["roots"]),
        start["allow_url"],
    )
    with for_good():
        run = getattr(importlib.import_module(module), function)
    found: Mapping[str, object] = run(task)
    return found


def _end_with_server() -> None:
    """Wait for the end of standard input."""
    while os.read(0, 4096):
        pass
    os._exit(ORPHANED)
