"""The examples at the top of the modules of `perennial` can be pasted."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import perennial

ROOT = Path(perennial.__file__).parent
WITH_EXAMPLES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py") if "\n    >>> " in path.read_text())


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=str)
def test_an_example_does_what_it_shows(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line runs, in an empty folder, and prints what stands below it."""
    monkeypatch.chdir(tmp_path)
    parts = ("perennial", *path.with_suffix("").parts)
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    shown = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert shown.attempted
    assert shown.failed == 0
