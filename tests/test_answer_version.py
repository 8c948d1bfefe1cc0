"""Kept answers are found anew once the code that gives them changes: nobody can forget to say so."""

import ast
import hashlib
from pathlib import Path

from search.geometry.answer_version import ANSWERS

ROOT = Path(__file__).parents[1]
ASKED = (
    *sorted((ROOT / "search" / "geometry").glob("*.py")),
    *(ROOT / "search" / "duplicates" / name for name in ("answer_values.py", "judging.py", "picture_facts.py")),
    ROOT / "indexer" / "file_facts.py",
    ROOT / "indexer" / "stored_pictures.py",
)
PINNED = (5, "234737cf6554b2ae")


def code_of(source: str) -> str:
    """Return a module as it runs: without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def fingerprint() -> str:
    """Return what changes with the code that answers come from, but not with ANSWERS itself."""
    digest = hashlib.sha256()
    for path in ASKED:
        if path.name != "answer_version.py":
            digest.update(f"{path.name}\n{code_of(path.read_text())}\n".encode())
    return digest.hexdigest()[:16]


def test_who_changes_what_pixels_answer_says_so() -> None:
    assert (ANSWERS, fingerprint()) == PINNED, (
        "the code that answers questions about pixels has changed. If the same pictures may get another answer, raise "
        f"ANSWERS in search/geometry/answer_version.py; in any case set PINNED here to (ANSWERS, {fingerprint()!r})"
    )


def test_comments_and_docstrings_are_no_change_and_numbers_are() -> None:
    one = 'def f():\n    """Says."""\n    return 1\n'
    assert code_of(one) == code_of('def f():\n    """Says more."""  # why\n\n    return 1\n')
    assert code_of(one) != code_of(one.replace("1", "2"))
