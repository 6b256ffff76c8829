"""Encoders that are fitted to rows piece by piece."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import perennial_models
from perennial.encoding import Category, Columns, Encoder, Number, Series, Steps, Tensor, Words
from perennial.engine.room import Room
from perennial.training.fitting import fit_in_pieces, fits_in_pieces

SOURCE = """
from perennial.encoding import Category, Encoder, Number
from elsewhere import Steps

def derive(columns):
    return {**columns, "more": columns["x"] * 2}

def other(columns):
    return columns

class Words:
    pass

def fit(columns):
    found = derive(columns)
    return Encoder({"x": [Number.fit(found, name) for name in ("x", "more")], "c": [Category.fit(columns, "c", min_rows=2)]})

def encode(encoder, columns):
    return encoder.encode(derive(columns))
"""


@pytest.mark.parametrize(
    ("line", "instead", "allowed"),
    [
        ("", "", True),
        ("Number.fit(found, name)", "Number.fit(derive(columns), name)", True),
        ("Number.fit(found, name)", "Number.fit(derive(derive(columns)), name)", True),
        ("    found = derive(columns)\n", "    found = more = derive(columns)\n", True),
        ("Number.fit(found, name)", "Number.fit(other(columns), name)", False),
        ("Number.fit(found, name)", "Number.fit({**found}, name)", False),
        ("Number.fit(found, name)", "Steps.fit(found, name)", False),
        ("Number.fit(found, name)", "Words.fit(found, name)", False),
        ("Number.fit(found, name)", "Number.made(found, name)", False),
        ("Number.fit(found, name)", "Number.fit(name, found)", False),
        ("Number.fit(found, name)", "Number.fit(columns=found)", False),
        ("    found = derive(columns)\n", "    found = derive(columns)\n    most = max(found['x'])\n", False),
        ("    found = derive(columns)\n", "    found = derive(columns)\n    most = max(derive(columns)['x'])\n", False),
        ("    found = derive(columns)\n", "    found, other = derive(columns)\n", False),
        ("    found = derive(columns)\n", "    found = {}\n    found.update(derive(columns))\n", False),
        ("    found = derive(columns)\n", "    found = derive(columns, columns)\n", False),
        ("    found = derive(columns)\n", "    found = derive(columns, scale=2)\n", False),
        ("def fit(columns)", "def fit(columns, more)", False),
        ("def encode(encoder, columns)", "def encode(columns)", False),
        ("def fit(columns)", "def fitted(columns)", False),
        ("def encode(encoder, columns)", "def encoded(encoder, columns)", False),
        ("encoder.encode(derive(columns))", "encoder.encode(derive(encoder))", False),
        ("import Category, Encoder, Number\n", "import Category, Encoder, Number as N\n", False),
    ],
)
def test_what_may_be_fitted_in_pieces_is_told_by_its_source(line: str, instead: str, allowed: bool) -> None:
    """MO-23: Columns go to parts of ours alone, or through functions that encode rows of any number, too."""
    assert line in SOURCE
    assert fits_in_pieces(SOURCE.replace(line, instead, 1)) is allowed


def test_our_models_are() -> None:
    """MO-23: None of them needs all rows in memory."""
    sources = list(Path(perennial_models.__path__[0]).glob("*/features.py"))
    assert len(sources) >= 4
    assert all(fits_in_pieces(source.read_text()) for source in sources)


def every_part(columns: Columns) -> Encoder:
    """One of each part that is fitted."""
    return Encoder(
        {
            "numbers": [
                Number.fit(columns, "x", nulls=True),
                Steps.fit(columns, "x", intervals=7),
                Steps.fit(columns, "same"),
                Number.fit(columns, "none"),
            ],
            "categories": [Category.fit(columns, "c", min_rows=3)],
            "series": [Series.fit(columns, "list", 4)],
            "words": [Words.fit(columns, "text", 5, most=6)],
            "tensor": [Tensor.fit(columns, "list", (2,))],
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_parts_of_pieces_are_those_of_all_rows(seed: int, tmp_path: Path) -> None:
    """DE-22, MO-23: To the last bit, of pieces of any size, also those without a known value."""
    rng = np.random.default_rng(seed)
    rows = int(rng.integers(200, 40_000))
    values = rng.normal(size=rows) * 10.0 ** rng.integers(-3, 9, rows)
    words = np.array(["late", "early", "cancelled", "gate", "crew", "snow", "wind", "fog"])
    columns = {
        "x": np.where(rng.random(rows) < 0.2, np.nan, values),
        "same": np.full(rows, 3),
        "none": np.full(rows, np.nan),
        "c": np.array([None if part > 0.95 else f"c{int(rows * part * part / 20)}" for part in rng.random(rows)], dtype=object),
        "list": np.array([None, *([float(a), float(b)] for a, b in rng.normal(size=(rows - 1, 2)))], dtype=object),
        "text": np.array([" ".join(words[rng.integers(0, 8, 3)]) for _ in range(rows)], dtype=object),
    }
    whole = every_part(columns)
    begins = [0, *sorted(rng.integers(0, rows, 5).tolist()), rows]
    pieces = [{name: part[first:end] for name, part in columns.items()} for first, end in pairwise(begins)]
    found = fit_in_pieces(SimpleNamespace(fit=every_part), pieces, Room(0, tmp_path))
    assert found == whole
    assert found.to_json() == whole.to_json()
