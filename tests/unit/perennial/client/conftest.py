"""What tests of the notebook's functions share: a connection to a store of their own, and a workload environment that plays the stages."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import perennial
from perennial import discovery, testing
from perennial.client import connection
from perennial.data.snapshots import table_of
from perennial.results import Result
from perennial.store import FolderStore, Store

# Plays `python -m perennial.cli STAGE ... --result=FILE`: says, logs and answers what lies in files of the stage's name beside it.
PLAYED = """#!/bin/sh
here=$(dirname "$0")/played
echo "$@" >> "$here/asked"
stage=$3
for last; do :; done
env > "$here/environment"
[ -f "$here/$stage.says" ] && . "$here/$stage.says"
[ -f "$here/$stage.json" ] && cp "$here/$stage.json" "${last#--result=}"
exit $(cat "$here/$stage.code")
"""


class Stages:
    """The played workload environment of a home."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "venvs/workload/bin/played"
        self.folder.mkdir(parents=True)
        python = self.folder.with_name("python")
        python.write_text(PLAYED)
        python.chmod(0o755)

    def play(self, stage: str, result: Result | None = None, code: int = 0, says: str = "") -> None:
        """Let a stage run these shell commands, answer that, and end with that code."""
        (self.folder / f"{stage}.code").write_text(str(code))
        (self.folder / f"{stage}.says").write_text(says)
        if result is not None:
            (self.folder / f"{stage}.json").write_text(result.model_dump_json())

    @property
    def asked(self) -> list[list[str]]:
        """The arguments of every call, after `perennial`."""
        return [line.split()[2:] for line in (self.folder / "asked").read_text().splitlines()]

    @property
    def environment(self) -> dict[str, str]:
        """What the last process was given."""
        lines = (self.folder / "environment").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)


@pytest.fixture(autouse=True)
def connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> connection.Connection:
    """A connection to a home of the test's own, whose gateway and MLflow do not run."""
    monkeypatch.setattr(connection, "_named", None)
    ports = dict(zip(("gateway_port", "mlflow_port"), testing.free_ports(2), strict=True))
    return perennial.connect(home=tmp_path / "home", **ports)


@pytest.fixture
def store(connected: connection.Connection) -> Store:
    """The store that it names."""
    Path(connected.settings.store).mkdir(parents=True)
    return FolderStore(connected.settings.store)


@pytest.fixture
def stages(connected: connection.Connection) -> Stages:
    """Its workload environment."""
    return Stages(connected.settings.home)


@pytest.fixture
def digits(store: Store) -> Callable[[str, str], int]:
    """`digits(first, last)` takes these days in, and returns the version of the table."""

    def take_in(first: str, last: str) -> int:
        module, spec = discovery.dataset_module("digits"), discovery.dataset("digits")
        rows = pa.concat_tables([table for _, table in module.land(date.fromisoformat(first), date.fromisoformat(last))])
        table = table_of(store, spec)
        return table.append(rows.cast(table.expected), first.ljust(64, "0"), key=spec.key, event_time=spec.event_time)

    return take_in


def answer(kind: type[Result], **fields: Any) -> Result:
    """A result of a stage."""
    return kind.model_validate({"sentence": "It is done.", **fields})


def as_json(document: dict[str, Any]) -> bytes:
    """A document as the store has it."""
    return json.dumps(document).encode()
