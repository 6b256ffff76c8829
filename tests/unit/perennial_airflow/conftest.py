"""Stages that do what a test says, run as real child processes."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from .airflow_runs import Runs

# Airflow makes its folder and a configuration when it is imported: not in anybody's home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="perennial-airflow-"))

FAKE = """#!{python}
import json, os, signal, subprocess, sys, time
result_file = [a for a in sys.argv if a.startswith("--result=")][0].removeprefix("--result=")
given = sys.argv[3:-1]
def end(code, printed="", **result):
    if result:
        open(result_file, "w").write(json.dumps({{"outcome": "done", "sentence": "", "links": {{}}, "seconds": 0.1, **result}}))
    if printed:
        print(printed, flush=True)
    sys.exit(code)
{body}
"""


@pytest.fixture
def gone() -> Callable[..., bool]:
    """`gone(pid, seconds)`: whether a process ends in that time; one that nobody has buried counts as ended."""

    def gone(pid: int, seconds: float = 0.0) -> bool:
        end = time.monotonic() + seconds
        while True:
            try:
                if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                    return True
            except psutil.NoSuchProcess:
                return True
            if time.monotonic() >= end:
                return False
            time.sleep(0.02)

    return gone


class Stages:
    """Decides what the workload environment's Python does."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.python = home / "venvs" / "workload" / "bin" / "python"
        self.python.parent.mkdir(parents=True)

    def do(self, body: str) -> None:
        """Run this code as the stage; `given` are its arguments, `end(code, printed, **result)` ends it."""
        self.python.write_text(FAKE.format(python=sys.executable, body=body))
        self.python.chmod(0o755)


class TaskInstance:
    """Keeps what a task pushes; hands out what others pushed."""

    def __init__(self, try_number: int = 1, **pulled: Any) -> None:
        self.try_number = try_number
        self.pushed: dict[str, Any] = {}
        self.pulled = pulled

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep it."""
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str) -> Any:
        """Hand it out."""
        return self.pulled[task_ids]


class TaskLog:
    """Keeps what an operator writes into its task's log, as (level, text)."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def log(self, level: int, text: str, *values: Any) -> None:
        """Keep it."""
        self.lines.append((logging.getLevelName(level), text % values))

    def info(self, text: str, *values: Any) -> None:
        """Keep it."""
        self.log(logging.INFO, text, *values)

    def warning(self, text: str, *values: Any) -> None:
        """Keep it."""
        self.log(logging.WARNING, text, *values)

    def error(self, text: str, *values: Any) -> None:
        """Keep it."""
        self.log(logging.ERROR, text, *values)


@pytest.fixture
def task_log(monkeypatch: pytest.MonkeyPatch) -> TaskLog:
    """The log of every operator of a test."""
    from airflow.sdk import BaseOperator

    kept = TaskLog()
    monkeypatch.setattr(BaseOperator, "log", kept)
    return kept


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PERENNIAL_HOME of a test."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def stages(home: Path) -> Stages:
    """Stages of a test."""
    return Stages(home)


@pytest.fixture
def task_instance() -> type[TaskInstance]:
    """Makes stand-ins for Airflow's task instance."""
    return TaskInstance


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Airflow's database, empty."""
    return Runs(tmp_path / "airflow.db", monkeypatch)
