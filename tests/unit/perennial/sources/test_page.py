"""The page on sources shows specs that are valid, and connections that can be read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from perennial import specs
from perennial.sources.connections import read_connection
from perennial.specs import DatasetSpec, SourceSpec

PAGE = (Path(__file__).parents[4] / "docs" / "sources.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "DATASET = " in example])
def test_its_examples_are_datasets(example: str) -> None:
    """DM-01: As they stand there, with a source."""
    known: dict[str, object] = {name: getattr(specs, name) for name in specs.__all__}
    exec(example, known)
    assert isinstance(known["DATASET"], DatasetSpec)
    assert known["DATASET"].source


def test_every_kind_is_on_it() -> None:
    """DM-01: And none that there is not."""
    known = (getattr(specs, name) for name in specs.__all__)
    kinds = {kind.__name__ for kind in known if isinstance(kind, type) and issubclass(kind, SourceSpec) and kind is not SourceSpec}
    assert set(re.findall(r"^\| `(\w+Source)`", PAGE, re.MULTILINE)) == kinds


def test_its_connections_can_be_read(tmp_path: Path) -> None:
    """DM-01, SC-05: The file that a person writes by hand."""
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "connections.json"
    file.write_text(shown)
    os.chmod(file, 0o600)
    assert {read_connection(str(file), name).login for name in json.loads(shown)} == {"reader", "access key"}
