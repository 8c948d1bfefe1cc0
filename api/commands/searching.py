"""`search`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, out, print_json, print_table, say, shown_pixels, shown_place, table
from api.named_pictures import read_picture
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from search.errors import ImageNotFound, UsageError
from search.finding.plain_pictures import NOTHING
from search.records import MAX_K, Collection, ImageRecord, Match, Region, displayable


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(search)


def search(
    context: typer.Context,
    images: Annotated[
        list[Path] | None, typer.Argument(help="A picture to search by, or several to be like.", metavar="[IMAGE]...")
    ] = None,
    image_id: Annotated[int | None, typer.Option("--id", help="Search by an image of the collection.")] = None,
    key: Annotated[str | None, typer.Option(help="Search by the image with this key.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=MAX_K, help="How many matches.")] = 10,
    min_score: Annotated[float | None, typer.Option(min=-1, max=1, help="Least cosine similarity.")] = None,
    where: Annotated[
        str | None, typer.Option(help="What a match must fulfil, such as 'width >= 1000 and label = \"tabby\"'.")
    ] = None,
    accurate: Annotated[
        bool,
        typer.Option("--accurate", help="Also turned, mirrored, in parts; look at the likeliest images' pixels."),
    ] = False,
    box: Annotated[
        str | None, typer.Option(help="Search by this part of IMAGE: x,y,width,height in pixels.", metavar="X,Y,W,H")
    ] = None,
    embedding: Annotated[
        Path | None, typer.Option(help="Search by an embedding of the collection's space.", metavar="FILE.npy")
    ] = None,
    like: Annotated[
        list[int] | None, typer.Option(help="Like this image of the collection; repeat.", metavar="ID")
    ] = None,
    unlike: Annotated[list[int] | None, typer.Option(help="And unlike this one; repeat.", metavar="ID")] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Name each duplicate group of the last `dedup` once, and count its copies.")
    ] = False,
    explain: Annotated[
        Path | None,
        typer.Option(help="With --accurate: where to write pictures that show why, and JSON.", metavar="FOLDER"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Where the backbone's weights file is now.")] = None,
) -> None:
    """Find the images that look most like a picture."""
    session: Session = context.obj
    pictures = images or []
    sources = [bool(pictures), *(given is not None for given in (image_id, key, embedding))]
    if sum(sources) > 1 or not (any(sources) or like):
        raise UsageError(
            "give one of: IMAGE files, --id N, --key KEY, --embedding FILE.npy; or --like ID, also with one"
        )
    alone = len(pictures) == 1 and not (like or unlike)
    if explain is not None and not (alone and accurate):
        raise UsageError("--explain needs an IMAGE file and --accurate")
    wanted = QueryRequest(k, min_score, where, accurate, box, unique)
    asked = _Asked(tuple(pictures), embedding, tuple(like or ()), tuple(unlike or ()))
    if session.remote is not None:
        found, query = _remotely(context, session, asked, {"id": image_id, "key": key}, wanted)
        return _show(session, found, query)
    with Workspace(session.store, device=device, weights=weights, tell=session.tell) as workspace:
        target = workspace.collection(session.collection)
        record = None if (image_id, key) == (None, None) else _stored(workspace, target.id, image_id, key)
        found, query = asked.search(workspace, target, record, wanted)
        if explain is not None:
            data = read_picture(pictures[0])
            _explain(workspace, target, explain, data, pictures[0], found, box)
    return _show(session, found, query)


def _show(session: Session, found: Found, query: dict[str, object]) -> None:
    if session.json:
        print_json(found.as_json(query))
    else:
        _print_matches(found)


def _remotely(
    context: typer.Context, session: Session, asked: "_Asked", stored: dict[str, object], wanted: QueryRequest
) -> tuple[Found, dict[str, object]]:
    """Return the answer of a server, and what it says of the query."""
    from api.query_examples import read_embedding
    from api.remote.asking import search as search_remotely
    from api.remote.connecting import connected, require_only

    named = ("images", "image_id", "key", "k", "min_score", "where", "accurate", "box", "embedding", "like", "unlike")
    require_only(context, *named, "unique")
    given = None if asked.embedding is None else read_embedding(asked.embedding)
    by = stored | {"embedding": given, "like": asked.like, "unlike": asked.unlike}
    with connected(session) as client:
        return search_remotely(client, asked.pictures, by, wanted)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What to search by beside a stored image. like, unlike: ids."""

    pictures: tuple[Path, ...]
    embedding: Path | None
    like: tuple[int, ...]
    unlike: tuple[int, ...]

    def search(
        self, workspace: Workspace, target: Collection, record: ImageRecord | None, wanted: QueryRequest
    ) -> tuple[Found, dict[str, object]]:
        """Return the answer, and what it says of the query."""
        files = [(read_picture(path), str(path)) for path in self.pictures]
        paths = [displayable(path.absolute()) for path in self.pictures]
        query: dict[str, object] = {"path": paths[0]} if len(paths) == 1 else {"paths": paths} if paths else {}
        if record is not None:
            query = {"id": str(record.id), "key": record.key}
        if self.like or self.unlike or self.embedding is not None or len(files) > 1:
            from api.query_examples import Examples, read_embedding, search_by_examples

            liked = (*self.like, *([] if record is None else [record.id]))
            given = None if self.embedding is None else read_embedding(self.embedding)
            examples = Examples(tuple(files), liked, self.unlike, given)
            return search_by_examples(workspace, target, examples, wanted), query | examples.as_json()
        if record is not None:
            return workspace.search_by_image(target, record, wanted), query
        return workspace.search_by_picture(target, *files[0], wanted), query


def _explain(  # noqa: PLR0913 -- the parts of one search
    workspace: Workspace, target: Collection, folder: Path, data: bytes, image: Path, found: Found, box: str | None
) -> None:
    """Write RANK-ID.png and RANK-ID.json of each match that was verified."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for rank, match in enumerate(found.matches, start=1):
            if match.verified == "yes":
                try:
                    explained = workspace.explain(target, data, str(image), match.image, box)
                except ImageNotFound as error:  # its keypoints were remembered
                    say(f"not explained: {error}")
                    continue
                place = folder / f"{rank:03d}-{match.image.id}"
                place.with_suffix(".png").write_bytes(explained.picture)
                shape = _told(match) | explained.facts
                place.with_suffix(".json").write_text(json.dumps(shape, indent=1))
    except OSError as error:
        raise UsageError(f"cannot write in {folder}: {error.strerror}; choose another folder for --explain") from error


def _told(match: Match) -> dict[str, object]:
    """Return what the search says of a match, for those who read its explanation alone."""
    shape = match.as_json()
    return {name: shape.get(name) for name in ("id", "key", "score", "relation", "verified", "probability")}


def _stored(workspace: Workspace, collection_id: int, image_id: int | None, key: str | None) -> ImageRecord:
    if image_id is not None:
        return workspace.store.catalogue.image_by_id(collection_id, image_id)
    return workspace.store.catalogue.image_by_key(collection_id, key or "")


def _print_matches(found: Found) -> None:
    labelled = any(match.image.labels for match in found.matches)
    looked = found.verify_ms is not None
    in_parts = any(match.region is not None for match in found.matches)
    known = any(match.probability is not None for match in found.matches)
    unique = any(match.copies is not None for match in found.matches)
    columns = [
        *([">copies"] if unique else []),
        *([">probability"] if known else []),
        *(["verified"] if looked else []),
        *(["region"] if in_parts else []),
        ">id",
        ">size",
        *(["label"] if labelled else []),
        "image",
    ]
    rows = table(">#", ">score", "relation", *columns)
    for rank, match in enumerate(found.matches, start=1):
        image = match.image
        size = shown_pixels(image)
        # ImageNet's labels are lists of synonyms; the first is enough for a table.
        label = [image.labels[0].label.split(",")[0] if image.labels else ""] if labelled else []
        place = shown_place(image)
        verified = [match.verified or ""] if looked else []
        region = [_shown_region(match.region)] if in_parts else []
        probable = [_shown_share(match.probability)] if known else []
        copies = [f"+{match.copies}" if match.copies else ""] if unique else []
        start = (str(rank), f"{match.score:.3f}", match.relation, *copies, *probable, *verified, *region)
        rows.add_row(*start, str(image.id), size, *label, place)
    if found.note is not None:
        out().print(found.note)
    if found.matches:
        print_table(rows)
        _print_edits(found.matches)
    elif found.note is None:
        out().print("no image matches; lower --min-score, widen --where, or index more with `lookalike index`")
    elif not found.note.endswith(NOTHING):  # else the note has said it
        out().print("no image is identical with it")


def _shown_share(probability: float | None) -> str:
    """Return a probability in per cent; nothing where nobody knows it. Never 100 % of what is not certain."""
    if probability is None:
        return ""
    return "100 %" if probability == 1 else f"{min(100 * probability, 99.9):.1f} %"


def _shown_region(region: Region | None) -> str:
    """Return where a part of an image lies, in per cent of its sides: `45-100 x 0-55 %`; nothing for all of it."""
    if region is None:
        return ""
    across = f"{100 * region.x:.0f}-{100 * (region.x + region.width):.0f}"
    return f"{across} x {100 * region.y:.0f}-{100 * (region.y + region.height):.0f} %"


def _print_edits(matches: Sequence[Match]) -> None:
    """Print what was done to each image, where that is known."""
    if not any(match.edits for match in matches):
        return
    from search.geometry.edits import sentence

    out().print()
    for rank, match in enumerate(matches, start=1):
        if match.edits:
            out().print(f"{rank}: " + ", ".join(sentence(edit) for edit in match.edits), soft_wrap=True)
