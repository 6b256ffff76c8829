"""What all DAGs have in common."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from airflow.sdk import get_parsing_context

from perennial.specs import DatasetSpec, ModelSpec

RETRIES: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=10),
    "retry_exponential_backoff": 3.0,
    "max_retry_delay": timedelta(minutes=10),
}


_Spec = TypeVar("_Spec", DatasetSpec, ModelSpec)
LONGEST = timedelta(hours=1)  # of a task that is no stage; a stage's own limit is in its spec


def wanted(specs: Iterable[_Spec], kind: str) -> Iterator[_Spec]:
    """The specs of which a DAG file makes its DAGs: all, or where a task of one DAG is to run, that DAG's own."""
    only = get_parsing_context().dag_id
    return (spec for spec in specs if only in (None, dag_id(spec, kind)))


def dag_id(spec: DatasetSpec | ModelSpec, kind: str) -> str:
    """Name of the DAG of this kind."""
    return f"{spec.name}_{kind}"


def dag_defaults(spec: DatasetSpec | ModelSpec, kind: str, manual: str) -> dict[str, Any]:
    """Arguments for `DAG(...)`.

    Args:
        spec: dataset or model that the DAG serves; its owner answers for the DAG.
        kind: what the DAG does, the second half of its name.
        manual: docstring of the DAG file, with `{name}`, `{title}` and (for a model) `{dataset}` to be filled in.
    """
    names = {"name": spec.name, "title": spec.title, "dataset": getattr(spec, "dataset", spec.name)}
    return common_defaults(dag_id(spec, kind), manual.format(**names), {"perennial", kind, spec.name}, owner=spec.owner)


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
