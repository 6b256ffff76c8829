"""What a task costs whose stage has nothing to do.

    python benchmarks/stage_start.py [--tasks 20] [--rounds 3] [--against TREE]

Runs in the environment `workload`. A platform of its own runs a DAG of so many tasks, one after the other; each is `ingest` of a dataset
for which nothing has landed. Printed for one task: CPU seconds of all processes of the platform, less what it takes while nothing happens,
and the seconds of a run, divided by its tasks. `--against` names another checkout in which `make setup` was run, measured by turns with
this one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import platforms
import processes
from costs import interpreter

from perennial.local import airflow_programs
from perennial.local.airflow_api import AirflowApi

QUIET = 15.0  # CPU seconds a minute
DAG = '''"""A chain of tasks with nothing to do."""
from airflow.sdk import DAG, chain

from perennial import discovery
from perennial_airflow.stage_task import stage_task

with DAG("nothing_to_do", schedule=None, max_active_runs=1):
    named = [{{"task_id": f"task_{{n}}", "trigger_rule": "all_done"}} for n in range({tasks})]
    chain(*(stage_task("ingest", discovery.dataset("digits"), task=task, run="{{{{ run_id }}}}") for task in named))
'''


def main() -> None:
    """Measure both trees by turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", default="", metavar="TREE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(given.tasks)))
        return
    ways = {**({"before": interpreter(given.against)} if given.against else {}), "now": interpreter()}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(given.rounds):
        for name, python in ways.items():
            command = [python, __file__, "--child", "--tasks", str(given.tasks)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print("| tree | CPU s a task | s a task |\n| --- | --- | --- |")
    for name, rounds in found.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        print(f"| {name} | {middle['cpu']:.2f} | {middle['seconds']:.2f} |", flush=True)


def measured(tasks: int) -> dict[str, float]:
    """CPU seconds and seconds of one task; the first run of the DAG, in which all is new, does not count."""
    with tempfile.TemporaryDirectory(prefix="perennial-project-") as folder:
        file = Path(folder, "dags", "nothing.py")
        file.parent.mkdir()
        file.write_text(DAG.format(tasks=tasks))
        with platforms.scratch(Path(folder)) as settings, platforms.running(settings) as supervisor:
            api = AirflowApi(settings.airflow_url, *airflow_programs.login(settings))
            api.until(lambda: True if "nothing_to_do" in api.dags() else None, "the DAG", 300)
            api.wait(api.trigger("nothing_to_do"), 600)
            platforms.settled(supervisor, QUIET)
            before, began = processes.cpu_seconds(supervisor), time.monotonic()
            time.sleep(20)
            idle = (processes.cpu_seconds(supervisor) - before) / (time.monotonic() - began)
            before, began = processes.cpu_seconds(supervisor), time.monotonic()
            run = api.wait(api.trigger("nothing_to_do"), 600)
            took = time.monotonic() - began
            cpu = processes.cpu_seconds(supervisor) - before - idle * took
            if run.state != "success" and set(api.tasks(run).values()) != {"skipped"}:
                raise SystemExit(f"The run ended as {run.state}: {api.tasks(run)}")
            return {"cpu": cpu / tasks, "seconds": run.seconds / tasks}


if __name__ == "__main__":
    main()
