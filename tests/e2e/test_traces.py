"""One trace from the trigger to the prediction, under real Airflow, at a real receiver of OTLP."""

from __future__ import annotations

from typing import Any

import pytest

from perennial.commands import trace
from perennial.lineage.ledger import Ledger
from perennial.lineage.making import making
from perennial.local.span_receiver import SpanFiles, folder
from perennial.registry.model_registry import TRACE, ModelRegistry
from perennial.views.trace import Part, waterfall

from .conftest import MODEL, Story, wait_until

pytestmark = pytest.mark.timeout(1500)


def whole(story: Story, verb: str, part: str) -> tuple[str, list[Part]]:
    """The first run of a DAG that came to some part and is over: its trace's identity and its parts."""

    def found() -> tuple[str, list[Part]] | None:
        by_trace: dict[str, list[Any]] = {}
        for span in SpanFiles(folder(story.settings)).spans():
            by_trace.setdefault(span["trace"], []).append(span)
        runs = [waterfall(spans) for spans in by_trace.values() if {f"dag_run.{MODEL}_{verb}", part} <= {span["name"] for span in spans}]
        first = min(runs, key=lambda run: run.began_ns, default=None)
        return (first.trace_id, list(first.parts)) if first else None

    said: tuple[str, list[Part]] = wait_until(found, 60, f"the trace of {MODEL}_{verb}")
    return said


def chain(parts: list[Part], name: str) -> list[str]:
    """The services and names of a part and of all that it is within, the outermost first."""
    place = next(number for number, part in enumerate(parts) if part.name == name)
    within, depth = [parts[place]], parts[place].depth
    for part in reversed(parts[:place]):
        if part.depth < depth:
            within, depth = [part, *within], part.depth
    return [f"{part.service.removeprefix('perennial-')}: {part.name}" for part in within]


def test_one_trace_leads_from_the_trigger_to_the_prediction(digits: Story, first_loop: object, capsys: Any) -> None:
    """MN-13, SY-24: The run that moved traffic is one trace, from Airflow's run through task, stage and look to the gateway and the
    version that predicts; its prediction leads on to the trace of the training, whose identity MLflow, the ledger and the version note."""
    training, parts = whole(digits, "training", "record the MLflow run")
    assert chain(parts, "record the MLflow run") == [
        f"airflow: dag_run.{MODEL}_training",
        "airflow: task_run.train",
        "airflow: worker.train",
        "stage: stage train",
        "stage: record the MLflow run",
    ]
    release, parts = whole(digits, "release", "predict")
    assert chain(parts, "predict") == [
        f"airflow: dag_run.{MODEL}_release",
        "airflow: task_run.move_traffic",
        "airflow: worker.move_traffic",
        "stage: stage release",
        "stage: ask through the gateway",
        "gateway: ingress",
        "server: predict",
    ]
    assert [part.links for part in parts if part.name == "predict"] == [(training,)]
    first = Ledger(digits.store, MODEL).entries()[0]
    assert first.evidence["trace"] == release
    registry = ModelRegistry(digits.settings)
    version = registry.version(MODEL, 1)
    assert version is not None
    assert registry.run_tags(version.run_id)[TRACE] == training
    made = making(digits.store, MODEL, version.digest)
    assert made is not None
    assert made.trace.split("-")[1] == training
    trace.run(digits.settings, digits.store, which=release)
    assert f"Has to do with trace {training}." in capsys.readouterr().out
