"""`check`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import Session, out, print_json, say, shown_place
from api.exits import LEDGER
from api.named_pictures import read_picture, require_pictures
from api.queries import CheckRequest
from api.workspace import Workspace
from search.errors import BadImage, UsageError
from search.records import displayable

if TYPE_CHECKING:
    from api.checks import Check

Ask = Callable[[Path], "Check"]
UNREADABLE = "read_error"  # the reason of a named picture that is not there, as of files of a source
STATUSES = ("new", "exact", "near", "failed")


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(check)


def check(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Pictures, which are not stored.", metavar="IMAGE...")],
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Least cosine of a near copy; default: calibrated, else by backbone."),
    ] = None,
    accurate: Annotated[
        bool, typer.Option("--accurate", help="Also turned, mirrored, in parts; look at many images' pixels.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Where the backbone's weights file is now.")] = None,
) -> None:
    """Tell whether pictures are new to the collection, exact copies or near copies of its images. Changes nothing."""
    session: Session = context.obj
    wanted = CheckRequest(threshold, accurate)
    if len(images) == 1:
        require_pictures(images)
    if session.remote is not None:
        from api.remote.asking import check_file
        from api.remote.connecting import connected, require_only

        require_only(context, "images", "threshold", "accurate")
        with connected(session) as client:
            return _check(session, images, lambda image: check_file(client, image, wanted))
    from api.checks import check_picture

    with Workspace(session.store, device=device, weights=weights) as workspace:
        target = workspace.collection(session.collection)
        return _check(
            session, images, lambda image: check_picture(workspace, target, read_picture(image), str(image), wanted)
        )


def _check(session: Session, images: list[Path], ask: Ask) -> None:
    """Print what the gate says of pictures. ask: it."""
    shape: dict[str, object]
    if len(images) == 1:
        told = ask(images[0])
        failed = 0
        shape = told.as_json()
        if not session.json:
            out().print(_sentence(told))
    else:
        items = [_item(session, image, ask) for image in images]
        counts = {status: sum(item["status"] == status for item in items) for status in STATUSES}
        failed = counts["failed"]
        shape = {"items": items, **counts}
    if session.json:
        print_json(shape)
    if failed:
        raise typer.Exit(LEDGER)


def _item(session: Session, image: Path, ask: Ask) -> dict[str, object]:
    """Return the answer for one of several pictures, or why there is none, and tell people at once."""
    item: dict[str, object] = {"path": displayable(image.absolute())}
    try:
        told = ask(image)
    except BadImage as error:
        say(f"lookalike: {error}")
        return item | {"status": "failed", "reason": error.reason, "detail": error.detail}
    except UsageError as error:  # no such file, or none that can be read
        say(f"lookalike: {error}")
        return item | {"status": "failed", "reason": UNREADABLE, "detail": str(error)}
    if not session.json:
        out().print(f"{displayable(image)}: {_sentence(told)}")
    return item | told.as_json()


def _sentence(found: "Check") -> str:
    """Return the answer and what it rests on in one line."""
    status, evidence, match = found.checked.status, found.checked.evidence, found.checked.match
    if match is not None and status == "exact":
        how = "the same bytes" if evidence.same_bytes else "the same pixels in another file"
        return f"exact copy of image {match.image.id}, {shown_place(match.image)} ({how})"
    if match is not None:
        return f"near copy of image {match.image.id}, {shown_place(match.image)} ({_near_because(found)})"
    return f"new ({_new_because(found)})"


def _near_because(found: "Check") -> str:
    from search.geometry.edits import sentence

    match, evidence = found.checked.match, found.checked.evidence
    parts = [f"score {evidence.score:.3f}"] if evidence.score is not None else []
    if match is not None and match.probability is not None:
        parts.append(f"probability {match.probability:.3f}")
    parts.append("its pixels show the same picture" if evidence.verified == "yes" else "its pixels cannot tell")
    parts += [sentence(edit) for edit in (match.edits or ())] if match is not None else []
    return ", ".join(parts)


def _new_because(found: "Check") -> str:
    evidence = found.checked.evidence
    if evidence.note is not None:
        return evidence.note
    if evidence.score is None or found.threshold is None:
        return "the collection holds nothing to compare it with"
    told = f"image {evidence.nearest} is the nearest, score {evidence.score:.3f}"
    if evidence.verified is not None:
        return f"{told}, and its pixels show: {evidence.reason}"
    return f"{told}, near copies have {found.threshold.score:.2f} or more"
