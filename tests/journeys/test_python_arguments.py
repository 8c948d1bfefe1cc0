"""What callers of Python hand over: what is meant is understood, and everything else is refused in words."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lookalike
from search.errors import BadImage, LookalikeError, UsageError
from tests.conftest import painted
from tests.indexed_album import indexed_album

PICTURES = 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are painted."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        painted(number, (200, 150)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def album(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lookalike.Lookalike]:
    """They, indexed, for tests that change nothing."""
    with indexed_album(folder, tmp_path_factory) as opened:
        yield opened


def test_ids_are_taken_as_http_and_the_command_line_print_them(album: lookalike.Lookalike, folder: Path) -> None:
    known = album.search(folder / "2.png", k=1)[0].image
    text = str(known.id)
    assert album.search(id=text, k=1)[0].image == known
    assert album.check(id=text).checked.status == "new"
    assert album.remove(id=text, dry_run=True) == 1
    for like in (known.id, text, [text], np.array([known.id])):
        found = album.search(like=like)  # type: ignore[arg-type]
        assert len(found) == PICTURES - 1
        assert known not in [match.image for match in found]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda file: file.read_bytes(), id="bytes"),
        pytest.param(lambda file: memoryview(file.read_bytes()), id="memoryview"),
        pytest.param(Image.open, id="PIL image of a file"),
        pytest.param(lambda file: Image.open(file).convert("CMYK"), id="PIL image of a mode that PNG lacks"),
        pytest.param(lambda file: np.asarray(Image.open(file)), id="array"),
    ],
)
def test_pictures_need_no_file(album: lookalike.Lookalike, folder: Path, made: Callable[[Path], Any]) -> None:
    picture = made(folder / "3.png")
    best = album.search(picture, k=1)[0]
    assert (best.image.uri, best.relation) == ((folder / "3.png").as_uri(), "identical")
    assert album.check(picture).checked.status == "exact"
    both = album.search([picture, folder / "1.png"], k=2)
    assert {match.image.uri for match in both} == {(folder / f"{number}.png").as_uri() for number in (1, 3)}


WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("search", (), {"id": "one"}, "id is 'one'; give the id of an image, a whole number such as 17"),
    ("search", (), {"id": 1.0}, "id is 1.0; give the id"),
    ("search", (), {"id": True}, "id is True; give the id"),
    ("search", (), {"id": 2**70}, "id is 1180591620717411303424; give the id"),
    ("search", (), {"like": "x"}, "like is 'x'; give the id"),
    ("search", (), {"like": [1], "unlike": [None]}, "unlike is None; give the id"),
    ("search", (), {"key": 5}, "key is 5; give a text"),
    ("search", (), {"embedding": "abc"}, "embedding is a str; give the numbers"),
    ("search", (), {"embedding": [[1.0]]}, "embedding is a list; give the numbers"),
    ("search", (), {"embedding": 3}, "embedding is a int; give the numbers"),
    ("search", (), {"id": 1, "unique": "yes"}, "unique is 'yes'; give True or False"),
    ("search", (), {"id": 1, "accurate": 1}, "accurate is 1; give True or False"),
    ("search", (5,), {}, "a int is no picture; give a path, bytes, a PIL image or an array of pixels"),
    ("search", (np.zeros(5),), {}, r"an array of shape \(5,\) and type float64 is no picture"),
    ("search", (Image.new("RGB", (0, 5)),), {}, "this PIL image cannot be written as PNG"),
    ("search", ("a\0b",), {}, r"'a\\x00b' is no path: .*; name a picture"),
    ("check", (5,), {}, "a int is no picture"),
    ("check", (), {"id": 1, "threshold": "a"}, "threshold is 'a', choose -1 to 1"),
    ("dedup", ("a",), {}, "threshold is 'a', choose -1 to 1"),
    ("dedup", (), {"precision": "a"}, "precision is 'a', choose"),
    ("dedup", (), {"protect": 5}, "protect is 5; give a folder, or a list of them"),
    ("dedup", (), {"within": 5}, "within is 5; give a folder"),
    ("dedup", (), {"prefer": "~nobody-of-this-name/x"}, "prefer ~nobody-of-this-name/x is no folder"),
    ("dedup", (), {"keep": 5}, "keep is 5; give a rule, or a list of them"),
    ("dedup", (), {"between": 5}, "between is 5; give a text"),
    ("dedup", (), {"calibrate": "no"}, "calibrate is 'no'; give True or False"),
    ("index", (5,), {}, "a source is 5; give a folder, a file or a glob, or a list of them"),
    ("index", (), {"prune": "no"}, "prune is 'no'; give True or False"),
    ("index", (), {"max_fraction": "x"}, "max_fraction is 'x', expected a share"),
    ("remove", (), {"id": "x"}, "id is 'x'; give the id"),
    ("remove", (), {"where": 5}, "where is 5; give a text"),
    ("remove", (), {"id": 1, "dry_run": "no"}, "dry_run is 'no'; give True or False"),
    ("plan", ({},), {}, "a dict is no report; give what `dedup` answered"),
    ("apply", (None,), {}, "plan is None; give what `plan` answered, or its id"),
    ("apply", ("x",), {"dry_run": "no"}, "dry_run is 'no'; give True or False"),
    ("purge", (), {"older_than": 5}, "older_than is 5; give a text"),
]


@pytest.mark.parametrize(("method", "args", "named", "message"), WRONG)
def test_what_means_nothing_is_refused_by_its_name_and_value(
    album: lookalike.Lookalike, method: str, args: tuple[Any, ...], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=f"^{message}"):
        getattr(album, method)(*args, **named)


def test_bytes_that_are_no_picture_are_bad_images(album: lookalike.Lookalike) -> None:
    for data, reason in ((b"", "empty"), (b"hello", "not_an_image")):
        with pytest.raises(BadImage, match=f"^{reason}: upload"):
            album.search(data)
    cut = io.BytesIO()
    painted(1, (200, 150)).save(cut, "PNG")
    with pytest.raises(LookalikeError, match="cannot be written as PNG"):
        album.search(Image.open(io.BytesIO(cut.getvalue()[:-2000])))


def test_a_store_is_a_path_and_its_collection_a_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="^store is 5; give the path of a folder"):
        lookalike.open(5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="^collection is 5; give a text"):
        lookalike.open(tmp_path, collection=5)  # type: ignore[arg-type]


def test_nothing_can_be_asked_of_what_was_closed(folder: Path, tmp_path: Path) -> None:
    album = lookalike.open(tmp_path / "store")
    album.index(folder / "0.png", progress=False)
    album.close()
    calls: list[Callable[[], object]] = [
        lambda: album.search(id=1),
        album.dedup,
        lambda: album.index(folder, progress=False),
        lambda: album.purge(progress=False),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=f"^{tmp_path}/store was closed; lookalike.open opens it again"):
            call()
    album.close()
