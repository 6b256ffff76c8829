"""A test's docstring says what it promises."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("file", sorted(TESTS.rglob("test_*.py")), ids=lambda f: str(f.relative_to(TESTS)))
def test_every_test_says_what_it_promises(file: Path) -> None:
    """Whoever sees it fail knows what is broken without reading it."""
    tests = [n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]
    assert tests
    assert not [t.name for t in tests if not ast.get_docstring(t)]
