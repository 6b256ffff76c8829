"""Fills the templates of files that `perennial add` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parents[1] / "templates"


def fill(template: str, values: Mapping[str, str]) -> str:
    """A template with its words replaced. Raises KeyError where one has no value."""
    return Template((TEMPLATES / f"{template}.tmpl").read_text()).substitute(values)


def quoted(name: str) -> str:
    """A name as Python writes it, whatever is in it."""
    return json.dumps(name, ensure_ascii=False)


def listed(names: Sequence[str]) -> str:
    """Names as they stand between the brackets of a tuple."""
    return ", ".join(map(quoted, names)) + ("," if len(names) == 1 else "")


def titled(name: str) -> str:
    """A name as people say it."""
    return name.replace("_", " ").capitalize()
