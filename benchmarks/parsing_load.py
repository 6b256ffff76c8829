"""What Airflow's DAG processor takes while nobody edits anything, and how soon the DAGs of a new model are there.

    python benchmarks/parsing_load.py [--models 2 100] [--seconds 120] [--rounds 3] [--against TREE]

Runs in the environment `workload`. PostgreSQL and the processor alone, with the settings of `perennial up`, in a folder of its own: a
project with so many models is parsed; then CPU seconds are counted for a while (the processor, what it forks, and PostgreSQL by itself),
and then one more model is written and its DAGs are waited for. `--against` names another checkout in which `make setup` was run, measured
by turns with this one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import platforms
import processes
from costs import interpreter

from perennial.local import airflow_programs, postgres
from perennial.local.supervisor import Supervisor
from perennial.settings import Settings

KINDS = 8  # DAGs of each model
PATIENCE = 900.0


def main() -> None:
    """Measure both trees by turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[2, 100])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", default="", metavar="TREE")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one, given.seconds)))
        return
    ways = {**({"before": interpreter(given.against)} if given.against else {}), "now": interpreter()}
    print("| models | tree | processor, CPU s/min | PostgreSQL, CPU s/min | a new model's DAGs, s |\n| --- | --- | --- | --- | --- |")
    for models in given.models:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
        for _ in range(given.rounds):
            for name, python in ways.items():
                command = [python, __file__, "--one", str(models), "--seconds", str(given.seconds)]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                found[name].append(json.loads(done.stdout.splitlines()[-1]))
        for name, rounds in found.items():
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            print(f"| {models} | {name} | {middle['processor']:.2f} | {middle['postgres']:.2f} | {middle['appears']:.0f} |", flush=True)


def measured(models: int, seconds: float) -> dict[str, float]:
    """CPU seconds a minute of the processor and of PostgreSQL, and seconds until a new model's DAGs are stored."""
    with tempfile.TemporaryDirectory(prefix="perennial-project-") as folder, platforms.scratch(Path(folder)) as settings:
        project = Path(folder)
        for number in range(models):
            write_model(project, f"m{number:03d}")
        supervisor = Supervisor(settings)
        supervisor.start()
        try:
            postgres.initialise(settings)
            supervisor.add_program("postgres", postgres.command(settings), {}, stop_signal="INT", stop_seconds=60)
            until(lambda: postgres.answers(settings), "PostgreSQL")
            postgres.create_databases(settings)
            airflow_programs.migrate(settings)
            environment = {**airflow_programs.environment(settings), "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True"}
            supervisor.add_program("airflow-dag-processor", airflow_programs.command(settings, "airflow-dag-processor"), environment)
            until(lambda: stored(settings) >= KINDS * models, "the DAGs of all models")
            time.sleep(15)  # the first round of parsing ends
            pids = {name: program.pid or 0 for name, program in supervisor.programs().items()}
            before = {name: processes.cpu_seconds(pid) for name, pid in pids.items()}
            time.sleep(seconds)
            took = {name: (processes.cpu_seconds(pid) - before[name]) * 60 / seconds for name, pid in pids.items()}
            known, began = stored(settings), time.monotonic()
            write_model(project, "newcomer")
            until(lambda: stored(settings) >= known + KINDS, "the DAGs of the new model")
            appears = time.monotonic() - began
        finally:
            supervisor.shutdown(last=("postgres",))
    return {"processor": took["airflow-dag-processor"], "postgres": took["postgres"], "appears": appears}


def write_model(project: Path, name: str) -> None:
    """A model like `digits`, of another name."""
    import perennial_models

    spec = Path(next(iter(perennial_models.__path__)), "digits", "spec.py").read_text()
    folder = project / "include" / "perennial_models" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "spec.py").write_text(spec.replace('name="digits"', f'name="{name}"', 1))


def stored(settings: Settings) -> int:
    """How many DAGs Airflow has."""
    import psycopg

    with psycopg.connect(postgres.address(settings, "airflow")) as connection:
        row = connection.execute("SELECT count(*) FROM dag WHERE NOT is_stale").fetchone()
        return int(row[0]) if row else 0


def until(there: Callable[[], bool], what: str) -> None:
    """Wait until it is there."""
    end = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {PATIENCE:.0f} s.")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
