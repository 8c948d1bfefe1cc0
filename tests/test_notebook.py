"""What notebooks show: matches and duplicate groups as pictures, and the example notebook from its first cell on."""

import ast
import base64
import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

import lookalike
from api.notebook import html
from api.notebook.results import Matches
from api.notebook.small_pictures import SmallPictures
from search.records import ImageRecord, Match
from tests.conftest import painted

NOTEBOOK = Path(__file__).parent.parent / "docs" / "notebook.ipynb"
HOSTILE = 'a"><script>alert(1)</script>&.png'
DATA = re.compile(r'<img src="data:image/jpeg;base64,([A-Za-z0-9+/=]+)"')


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lookalike.Lookalike]:
    """Four pictures, one of them a copy, one with a name that is HTML."""
    folder = tmp_path_factory.mktemp("album")
    for number in range(3):
        painted(number, (300, 200)).save(folder / f"{number}.png")
    (folder / "0.png").rename(folder / HOSTILE.replace("/", "∕"))
    (folder / "copy.png").write_bytes((folder / HOSTILE.replace("/", "∕")).read_bytes())
    with lookalike.open(folder.with_name("store of the album")) as opened:
        opened.index(folder, progress=False)
        yield opened


def shown(result: object) -> str:
    text = result._repr_html_()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    assert not re.search(r"<script|<style|\bon\w+=|https?:|file:", text), "no scripts, nothing from elsewhere"
    return text


def test_matches_are_shown_as_small_pictures_and_are_a_list(album: lookalike.Lookalike) -> None:
    matches = album.search(id=1, k=3)
    text = shown(matches)
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data in DATA.findall(text)]
    assert [max(picture.size) for picture in pictures] == [160, 160, 160]
    assert [f"<b>{match.score:.3f}</b> {match.relation}" in text for match in matches] == [True] * 3
    assert (isinstance(matches, list), len(shown(matches[:1])) < len(text), matches[0].relation) == (
        True,
        True,
        "identical",
    )
    assert shown(album.search(id=1, where="width > 9000")) == "<p>no matches</p>"


def test_names_of_files_are_text_and_never_html(album: lookalike.Lookalike) -> None:
    text = shown(album.search(id=1, k=10))
    assert "a&quot;&gt;&lt;script&gt;alert(1)&lt;∕script&gt;&amp;.png" in text


def test_groups_are_shown_with_the_image_to_keep_first(album: lookalike.Lookalike) -> None:
    report = album.dedup(threshold=0.9999)
    text = shown(report)
    assert len(DATA.findall(text)) == 2
    assert text.index("<b>keep</b>") < text.index("same bytes <b>1.000</b>")
    assert "1 group with 1 copy" in text
    assert len(DATA.findall(shown(replace(report, groups=())))) == 0


def test_a_file_that_is_gone_leaves_a_place_and_a_closed_album_still_shows(album: lookalike.Lookalike) -> None:
    matches = album.search(id=1, k=4)
    gone = [replace(one, image=replace(one.image, uri=f"{one.image.uri}.gone")) for one in matches]
    pictures = SmallPictures()
    text = html.matches_html([gone[0], *matches[1:]], pictures)
    assert (text.count("no picture"), len(DATA.findall(text))) == (1, 3)
    pictures.close()
    assert len(DATA.findall(html.matches_html(matches[:1], pictures))) == 1, "its child ends with it, at the latest"


class _Large(SmallPictures):
    """Has a picture of a tenth of all there is room for."""

    def uri(self, image: ImageRecord) -> str | None:
        return "data:image/jpeg;base64," + "A" * (html.MOST_LETTERS // 10)


def test_one_output_has_a_limit_whatever_it_is_to_show(album: lookalike.Lookalike) -> None:
    match: Match = album.search(id=1, k=1)[0]
    far = replace(match.image, uri="file:///" + "x" * 10_000)
    text = shown(Matches([replace(match, image=far)] * 500, _Large()))
    assert (len(DATA.findall(text)), text.count("<figure"), "and 440 more matches" in text) == (9, 60, True)
    assert len(text) < 1.2 * html.MOST_LETTERS


def test_the_example_notebook_runs_from_its_first_cell_to_its_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names: dict[str, object] = {}
    values: list[object] = []
    printed = io.StringIO()
    with redirect_stdout(printed):
        for source in _code_cells():
            values.append(_run(source, names))
    found, cut, report = (value for value in values if hasattr(value, "_repr_html_"))
    assert [len(DATA.findall(shown(one))) for one in (found, cut, report)] == [6, 1, 4]
    assert "9 images in" in str(values[1])
    assert ["exact", "new"] in values
    assert "['cropped']" in printed.getvalue(), "accurate searches say what was done"
    assert "3 copies put away; ['drawing-0.png', 'drawing-1.png'" in printed.getvalue()
    assert "3 brought back; 9 files" in printed.getvalue()


def test_the_example_notebook_is_one_for_every_viewer() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert [cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code" and cell["outputs"]] == []


def _code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, object]) -> object:
    """Run a cell as a notebook does; return the value of the expression at its end, None where there is none."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    if not isinstance(last, ast.Expr):
        return None
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
