"""`index --watch` after the first pass: a line per burst of changes, and the sum of all passes at the end."""

import copy
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from api.console import ProgressMode, say
from indexer.jobs.summary import IndexSummary
from indexer.sources.watching import Burst

_SHOWN = ("indexed", "unchanged", "moved", "vanished", "removed", "failed")


def keep_watching(
    mode: ProgressMode, first: IndexSummary, bursts: Iterable[Burst], run: Callable[[Burst], IndexSummary]
) -> IndexSummary:
    """Index each burst; return the summary of all passes once Ctrl-C or SIGTERM comes while nothing is indexed.

    Raises:
        KeyboardInterrupt: it came in the middle of a pass, whose batches so far are durable.
    """
    total = replace(first, counts=copy.deepcopy(first.counts))
    waiting = iter(bursts)
    news, event = first, "watching"
    while True:
        try:
            _tell(mode, news, event)  # whoever reads it may interrupt at once: all of it is durable and summed up
            burst = next(waiting)
        except (KeyboardInterrupt, StopIteration):
            return total
        news, event = run(burst), "changed"
        total.counts.add(news.counts)
        seconds = total.seconds + news.seconds
        total = replace(total, seconds=seconds, refused=news.refused or total.refused)


def _tell(mode: ProgressMode, summary: IndexSummary, event: str) -> None:
    if mode == "none":
        return
    counts = summary.counts.as_json()
    if mode == "json":
        say(json.dumps({"event": event} | counts))
        return
    parts = ", ".join(f"{counts[name]} {name}" for name in _SHOWN if counts[name]) or "nothing new"
    refused = f"; {summary.refused}" if summary.refused else ""
    say(f"{time.strftime('%H:%M:%S')} {event}: {parts}{refused}")
