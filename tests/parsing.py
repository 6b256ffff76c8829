"""What it costs to parse DAG files, counted: neither the machine nor what else runs on it changes the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Calls of functions in Python and in C. A DAG file of this project needs up to 145,000 of them, 0.15 CPU seconds of a machine that is
# quiet; boto3 alone would need 120,000 more.
MOST_CALLS = 250_000
# Airflow's DAG processor has these loaded before it parses; each file is parsed in a process forked from there, as Airflow does it.
PROGRAM = """
import json, os, runpy, sys, warnings
warnings.simplefilter("ignore")
import airflow.dag_processing.dagbag, airflow.providers.standard.operators.hitl, airflow.sdk, airflow.triggers.base
from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param, chain
from airflow.sdk.exceptions import TaskDeferred
{more}
def parse(file):
    calls = 0
    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
    sys.setprofile(count)
    runpy.run_path(file, run_name="a_dag_file")
    sys.setprofile(None)
    print("\\n" + json.dumps([file, calls, sorted(sys.modules)]), flush=True)
    os._exit(0)
for file in sys.argv[1:]:
    child = os.fork()
    if not child:
        parse(file)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{{file}} cannot be parsed")
"""


@dataclass(frozen=True)
class Parsed:
    """What the parsing of one file took."""

    calls: int
    modules: frozenset[str]

    @property
    def packages(self) -> set[str]:
        """The top names of all modules that are loaded afterwards."""
        return {module.split(".")[0] for module in self.modules}


def parsed(files: Iterable[Path], more: str = "", **environment: str) -> dict[Path, Parsed]:
    """Parse each file in a process of its own that has loaded what Airflow has, and `more`."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(more=more), *map(str, files)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {Path(file): Parsed(calls, frozenset(modules)) for file, calls, modules in said}
