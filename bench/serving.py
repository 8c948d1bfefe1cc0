"""Requests a second of the server, and how long they take, against a plain FastAPI handler around FAISS flat.

    python -m bench.serving [PHOTOS] [--rows 200000] [--rounds 5] [--seconds 10] [--workers 1,2] [--json FILE]

Both serve the same 200,000 embeddings of 256 dims (bench/serving_store.py) and share the machine with the generator of
the load (bench/http_load.py). A round asks each of them for as much as it can do (closed loop), in turn; then ours
gets requests at random moments at a share of what it could do (open loop). Processor time counts all processes of a
server: unlike requests a second it hardly changes when something else runs beside. Uploads are JPEGs of 640x480,
embedded by the built-in backbone; `prepared` is the plain handler with the network as Lookalike prepares it.
"""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.http_load import Load, closed_loop, open_loop
from bench.photographs import photo_folder
from bench.reporting import heading, ratios, shown, write
from bench.sample_collection import build
from bench.serving_store import Serving, id_requests, ours, plain, prepare, quiet_environment, upload_requests

PATH = "/v1/collections/default/search"
WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of search. connections: of the closed loop. share: of what ours can do, under which answers are timed."""

    name: str
    connections: int
    share: float
    ours: Sequence[bytes]
    peer: Sequence[bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", default="1", help="of ours: process counts, such as 1,2")
    parser.add_argument("--kinds", default="id,upload")
    parser.add_argument("--no-peer", action="store_true", help="ours alone, to look for where time goes")
    parser.add_argument("--folder", type=Path, help="keep rows and store here, and use what is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    quiet_environment()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = options.folder or scratch / "rows"
        photos = photo_folder(options.photos, lambda: build(scratch / "sample").photos)
        prepare(folder, options.rows)
        print(heading(f"{options.rows} rows of 256 dims, {options.rounds} rounds of {options.seconds:g} s"))
        servers = {
            f"ours, {n} process{'es' * (n != '1')}": stack.enter_context(ours(folder, *workers_options(n)))
            for n in options.workers.split(",")
        }
        if not options.no_peer:
            servers["plain"] = stack.enter_context(plain(folder))
            servers["prepared"] = stack.enter_context(plain(folder, "--engine", "prepared"))
        kinds = [kind for kind in kinds_of(photos, options.rows) if kind.name in options.kinds.split(",")]
        report = {kind.name: measured(kind, servers, options.rounds, options.seconds) for kind in kinds}
    write({"rows": options.rows, "kinds": report}, options.json)


def workers_options(count: str) -> list[str]:
    return [] if count == "1" else ["--workers", count]


def kinds_of(photos: Path, rows: int) -> list[Kind]:
    ids = [id_requests(path, rows, as_text=text) for path, text in ((PATH, True), ("/search", False))]
    uploads = [upload_requests(path, photos) for path in (PATH, "/upload")]
    return [Kind("id", 8, 0.5, *ids), Kind("upload", 8, 0.7, *uploads)]


def measured(kind: Kind, servers: dict[str, Serving], rounds: int, seconds: float) -> dict[str, Any]:
    chosen = {name: one for name, one in servers.items() if name != "prepared" or kind.name == "upload"}
    for name, serving in chosen.items():
        closed_loop(serving.place, _requests(kind, name), kind.connections, WARM_UP_S)
    closed: dict[str, list[Load]] = {name: [] for name in chosen}
    opened: dict[str, list[Load]] = {name: [] for name in chosen if name.startswith("ours")}
    cpu_ms: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name, serving in chosen.items():
            before = serving.processor_s()
            load = closed_loop(serving.place, _requests(kind, name), kind.connections, seconds)
            cpu_ms[name].append(1000 * (serving.processor_s() - before) / max(1, len(load.good)))
            closed[name].append(load)
        for name, loads in opened.items():
            rate = kind.share * median(load.rate for load in closed[name])
            loads.append(open_loop(chosen[name].place, _requests(kind, name), rate, seconds))
    _print(kind, closed, opened, cpu_ms)
    return {"closed": _figures(closed), "open": _figures(opened), "share": kind.share, "cpu_ms": cpu_ms}


def _requests(kind: Kind, name: str) -> Sequence[bytes]:
    return kind.ours if name.startswith("ours") else kind.peer


def _print(
    kind: Kind, closed: dict[str, list[Load]], opened: dict[str, list[Load]], cpu_ms: dict[str, list[float]]
) -> None:
    for name, loads in closed.items():
        print(
            f"{kind.name:8}{name:20} {shown([load.rate for load in loads]):>24} requests/s, "
            f"p50 {_shown(loads, 0.5)} ms, p99 {_shown(loads, 0.99)} ms, "
            f"processor {shown(cpu_ms[name], 2)} ms each, {_odd(loads)}"
        )
    for name, loads in opened.items():
        print(
            f"{kind.name:8}{name:20} at {kind.share:.0%} ({median(load.rate for load in loads):.0f}/s): "
            f"p50 {_shown(loads, 0.5)} ms, p99 {_shown(loads, 0.99)} ms, {_odd(loads)}"
        )
        for peer, others in closed.items():
            if not peer.startswith("ours"):
                ratio = ratios([load.rate for load in closed[name]], [load.rate for load in others])
                print(f"{kind.name:8}{name} / {peer}: {shown(ratio, 2)}")


def _shown(loads: Sequence[Load], quantile: float) -> str:
    return shown([load.milliseconds(quantile) for load in loads])


def _odd(loads: Sequence[Load]) -> str:
    """Return what was not answered well, for people."""
    others: dict[str, int] = {"lost": sum(load.lost for load in loads)}
    for load in loads:
        for status, count in load.statuses.items():
            others[str(status)] = others.get(str(status), 0) + count
    others.pop("200", None)
    return ", ".join(f"{count} x {what}" for what, count in others.items() if count) or "all answered"


def _figures(loads: dict[str, list[Load]]) -> dict[str, list[dict[str, Any]]]:
    shape: Callable[[Load], dict[str, Any]] = lambda load: {  # noqa: E731
        "rate": load.rate,
        "p50_ms": load.milliseconds(0.5),
        "p99_ms": load.milliseconds(0.99),
        "statuses": {str(status): count for status, count in load.statuses.items()},
        "lost": load.lost,
    }
    return {name: [shape(load) for load in each] for name, each in loads.items()}


if __name__ == "__main__":
    main()
