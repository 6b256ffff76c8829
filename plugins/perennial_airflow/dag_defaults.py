"""What all DAGs have in common."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from perennial.specs import DatasetSpec, ModelSpec

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 3.0,
    "max_retry_delay": timedelta(minutes=10),
}


LONGEST = timedelta(hours=1)  # of a task that is no stage; a stage's own limit is in its spec


def dag_defaults(spec: DatasetSpec | ModelSpec, kind: str, manual: str) -> dict[str, Any]:
    """Arguments for `DAG(...)`.

    Args:
        spec: dataset or model that the DAG serves; its owner answers for the DAG.
        kind: what the DAG does, the second half of its name.
        manual: docstring of the DAG file, with `{name}`, `{title}` and (for a model) `{dataset}` to be filled in.
    """
    names = {"name": spec.name, "title": spec.title, "dataset": getattr(spec, "dataset", spec.name)}
    return common_defaults(f"{spec.name}_{kind}", manual.format(**names), {"perennial", kind, spec.name}, owner=spec.owner)


def common_defaults(dag_id: str, manual: str, tags: set[str], *, owner: str) -> dict[str, Any]:
    """Arguments for `DAG(...)` of one that serves no single dataset or model; the first line of its manual describes it."""
    return {
        "dag_id": dag_id,
        "description": manual.strip().split("\n", 1)[0].lstrip("# ").rstrip("."),
        "doc_md": manual,
        "tags": tags,
        "default_args": {"owner": owner, **RETRIES, "execution_timeout": LONGEST},
        "max_active_runs": 1,
        "catchup": False,
    }
