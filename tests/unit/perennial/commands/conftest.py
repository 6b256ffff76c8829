"""What tests of several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial import discovery
from perennial.quality import suites


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout to which datasets and models are added, and in which they are found."""
    (tmp_path / "great_expectations").mkdir()
    monkeypatch.setattr(suites, "folder", lambda: tmp_path / "great_expectations")
    with discovery.also_in(tmp_path):
        yield tmp_path
