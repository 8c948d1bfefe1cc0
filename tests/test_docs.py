"""What a user can meet is in the documentation."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from fastapi import FastAPI

from api import exits
from api.cli import GLOBAL_OPTIONS, app
from api.http.routes.v1 import include_all
from search.errors import BadImage
from search.upkeep.references import references
from search.upkeep.stored_json import json_columns, kind_of

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def words(folder: str) -> str:
    return "".join(path.read_text() for path in sorted((ROOT / folder).rglob("*.py")))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row(command: str) -> None:
    assert f"| `{command}` |" in OPERATIONS


@pytest.mark.parametrize("option", sorted(GLOBAL_OPTIONS))
def test_every_global_option_is_named(option: str) -> None:
    assert option in OPERATIONS


def test_every_environment_variable_is_named() -> None:
    code = words("api") + words("search") + words("indexer")
    variables = set(re.findall(r"LOOKALIKE_[A-Z]+", code))
    assert variables == set(re.findall(r"LOOKALIKE_[A-Z]+", OPERATIONS))


@pytest.mark.parametrize("reason", sorted(BadImage.REASONS))
def test_every_reason_of_the_ledger_is_explained(reason: str) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "indexing.md").read_text()


def test_every_kind_of_fault_is_listed() -> None:
    code = "".join((ROOT / "search" / name).read_text() for name in ("upkeep/verification.py", "upkeep/invariants.py"))
    kinds = set(re.findall(r'Fault\("([a-z_]+)"', code)) | set(re.findall(r'^ +\(?"([a-z_]+)",', code, re.M))
    kinds |= {one.kind for one in references()} | {kind_of(column) for column in json_columns()}
    assert len(kinds) > 30
    assert [kind for kind in sorted(kinds) if f"`{kind}`" not in OPERATIONS] == []


def _described() -> FastAPI:
    app = FastAPI()
    include_all(app)
    return app


@pytest.mark.parametrize("path", sorted(_described().openapi()["paths"]))
def test_every_route_has_a_row(path: str) -> None:
    assert f"{path.replace(':path', '')}`" in (ROOT / "docs" / "http.md").read_text()


def test_every_exit_code_is_in_the_readme() -> None:
    codes = {value for name, value in vars(exits).items() if name.isupper() and isinstance(value, int)}
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.M)}
    assert shown == codes


def test_every_link_between_pages_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "docker").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", ["README.md", "docs/python.md"])
def test_the_python_of_the_pages_is_the_python_api(page: str) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)
    import lookalike

    for name in re.findall(r"photos\.(\w+)\(", block):
        assert hasattr(lookalike.Lookalike, name)
    compile(block, page, "exec")


def test_every_method_and_argument_of_the_python_api_is_in_the_docs() -> None:
    import lookalike

    rows = dict(re.findall(r"^\| `(\w+)\((.*?)\)`", (ROOT / "docs" / "python.md").read_text(), re.M))
    public = {name: method for name, method in vars(lookalike.Lookalike).items() if not name.startswith("_")}
    for name, method in {"open": lookalike.open, **public}.items():
        wanted = {argument.lstrip("*") for argument in inspect.signature(method).parameters} - {"self"}
        assert set(re.findall(r"\w+", rows[name])) == wanted, name


@pytest.mark.parametrize(
    "module", ["search.storing.store", "search.duplicates.find_duplicates", "search.upkeep.verification", "lookalike"]
)
def test_searching_loads_no_torch(module: str) -> None:
    heavy = "{'torch', 'PIL', 'timm', 'fastapi'}"
    script = f"import sys, {module}; sys.exit(','.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_every_file_of_the_project_that_a_page_or_a_docstring_names_is_there() -> None:
    rooms = "api|bench|docker|docs|indexer|migrations|search|tests|training"
    named = re.compile(rf"(?<![\w/.-])(?:{rooms})/[\w/.-]*\.(?:py|md|toml|yaml)\b")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]
    code = [file for room in ("api", "indexer", "search", "bench", "training") for file in (ROOT / room).rglob("*.py")]
    missing = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in (*pages, *code)
        for name in named.findall(file.read_text("utf-8"))
        if not (ROOT / name).exists()
    }
    assert missing == set()
