"""What a task hands on of its trace to the stage that it starts."""

import pytest
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from perennial_airflow.operators import process_stage
from perennial_airflow.trace_context import give_trace, handed_on, of_a_stage

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def task():
    """A task's span is the current one."""
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(SpanContext(TRACE, SPAN, False, TraceFlags(1)))))
    yield
    context.detach(token)


@pytest.fixture
def traced(monkeypatch):
    """Airflow's tracing is on."""
    monkeypatch.setenv("AIRFLOW__TRACES__OTEL_ON", "True")


def test_a_stage_gets_the_trace_of_its_task(task, traced):
    """MN-13: The child process has the task's trace as TRACEPARENT, and a service name that is not Airflow's."""
    assert handed_on() == {"TRACEPARENT": PARENT}
    assert of_a_stage({"OTEL_SERVICE_NAME": "shop-airflow"}) == {"TRACEPARENT": PARENT, "OTEL_SERVICE_NAME": "shop-stage"}
    assert of_a_stage({}) == {"TRACEPARENT": PARENT}


def test_a_process_of_a_stage_has_it_in_its_environment(task, traced, monkeypatch):
    """MN-13: What a stage's process inherits is its own task's trace, whatever Airflow was started in."""
    monkeypatch.setenv("TRACEPARENT", "of another")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "perennial-airflow")
    environment = process_stage._environment(process_stage.Settings.from_environment({}))
    assert (environment["TRACEPARENT"], environment["OTEL_SERVICE_NAME"]) == (PARENT, "perennial-stage")


def test_a_pod_gets_the_trace_of_its_task(task, traced):
    """MN-13: The stage's container has it too, instead of what a template says; others do not."""
    pod = {
        "spec": {
            "containers": [{"name": "base", "env": [{"name": "TRACEPARENT", "value": "old"}, {"name": "A", "value": "b"}]}, {"name": "x"}]
        }
    }
    base, other = give_trace(pod)["spec"]["containers"]
    assert base["env"] == [{"name": "A", "value": "b"}, {"name": "TRACEPARENT", "value": PARENT}]
    assert other == {"name": "x"}
    assert give_trace({"spec": {"containers": [{"name": "base"}]}})["spec"]["containers"][0]["env"][0]["value"] == PARENT


def test_without_airflows_tracing_nothing_is_handed_on(task):
    """MN-13: Airflow's own switch decides: a trace that nobody keeps is none, and a pod stays as it is."""
    assert handed_on() == {}
    assert of_a_stage({}) == {}
    assert give_trace({"spec": {"containers": [{"name": "base"}]}}) == {"spec": {"containers": [{"name": "base"}]}}


def test_a_task_without_a_span_hands_on_nothing(traced):
    """MN-13: Nothing is made up where there is no span."""
    assert handed_on() == {}
