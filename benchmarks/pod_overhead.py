"""What a stage costs as a pod and as a child process, side by side: seconds from the start of its task to its end, by a real Airflow.

    python benchmarks/pod_overhead.py [--image perennial/workload:dev] [--namespace NAME] [--times 7]

Both are tasks of one Airflow, each in a DAG file of its own, run by turns. The stage is `validate` on an empty store, which starts,
looks and refuses. Needs the airflow and workload environments, $KUBECONFIG, and an image that its cluster can pull; the first run of each
kind warms the caches and does not count.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.kubernetes.airflow.small_airflow import SmallAirflow, small_airflow  # noqa: E402

DAG = """
from airflow.sdk import DAG
from perennial import discovery
from perennial_airflow.operators.{module} import {operator}

with DAG(dag_id="{kind}", schedule=None, default_args={{"retries": 0}}):
    {operator}(task_id="stage", stage="validate", arguments={{"model": next(iter(discovery.models()))}})
"""
OPERATORS = {"process": ("process_stage", "ProcessStage"), "pod": ("pod_stage", "PodStage")}


def main() -> int:
    """Measure both and print a table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--image", default="perennial/workload:dev", help="image of the workload environment")
    options.add_argument("--namespace", default="default", help="namespace of the pods")
    options.add_argument("--times", type=int, default=7, help="runs of each kind that count")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-overhead-") as folder, airflow_with_both(Path(folder), given) as airflow:
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in OPERATORS}
        for number in range(given.times + 1):
            for kind, seconds in found.items():
                figures = one(airflow, kind)
                print(f"{kind:10}{figures['task']:8.1f} s{'  (not counted)' if not number else ''}", flush=True)
                if number:
                    seconds.append(figures)
    print(f"\n{'runtime':10}{'median':>8}{'least':>8}{'most':>8}{'stage itself':>14}   seconds, {given.times} runs each")
    for kind, runs in found.items():
        tasks = [run["task"] for run in runs]
        stage = statistics.median(run["stage"] for run in runs)
        print(f"{kind:10}{statistics.median(tasks):8.1f}{min(tasks):8.1f}{max(tasks):8.1f}{stage:14.1f}")
    return 0


def airflow_with_both(folder: Path, given: argparse.Namespace) -> AbstractContextManager[SmallAirflow]:
    """An Airflow with one DAG for each kind."""
    (folder / "dags").mkdir()
    for kind, (module, operator) in OPERATORS.items():
        (folder / "dags" / f"{kind}.py").write_text(DAG.format(kind=kind, module=module, operator=operator))
    (folder / "templates").mkdir()
    container = {"name": "base", "image": given.image, "imagePullPolicy": "IfNotPresent"}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": {"automountServiceAccountToken": False, "containers": [container]}}
    (folder / "templates" / "stage.yaml").write_text(yaml.safe_dump(pod))
    settings = {"PERENNIAL_POD_TEMPLATES": str(folder / "templates"), "PERENNIAL_POD_NAMESPACE": given.namespace}
    return small_airflow(folder / "home", folder / "dags", settings, {})


def one(airflow: SmallAirflow, kind: str) -> dict[str, float]:
    """Seconds from the start of a task to its end, and those that its stage counted itself."""
    run = airflow.run(kind)
    airflow.api.wait(run, 300)
    began, ended = airflow.times(run, "stage")
    return {"task": (ended - began).total_seconds(), "stage": float((airflow.api.result(run, "stage") or {"seconds": 0})["seconds"])}


if __name__ == "__main__":
    sys.exit(main())
