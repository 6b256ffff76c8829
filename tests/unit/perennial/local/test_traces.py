"""How the platform of one machine is told where its spans go."""

import sys
from pathlib import Path

import pytest

from perennial import tracing
from perennial.errors import SettingMissing
from perennial.local import airflow_programs, span_receiver, stack
from perennial.local.supervisor import NOT_INHERITED
from perennial.settings import Settings
from perennial.store import open_store

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A home of its own, and an environment that says nothing of spans."""
    for name in (ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SERVICE_NAME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "venvs").symlink_to(Path(sys.executable).parents[2])
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})


def of_traces(environment):
    """The variables that have to do with spans."""
    return {name: value for name, value in environment.items() if name.startswith(("OTEL_", "AIRFLOW__TRACES__"))}


def test_airflows_own_tracing_is_switched_on_with_the_platforms(settings):
    """MN-13: Airflow's switch is on, its exporter speaks HTTP, and a receiver that does not answer holds a task for seconds only."""
    assert of_traces(airflow_programs.environment(settings)) == {}
    tracing.keep(settings.home, {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SERVICE_NAME": "shop"})
    assert of_traces(airflow_programs.environment(settings)) == {
        ENDPOINT: "http://127.0.0.1:4318",
        "OTEL_SERVICE_NAME": "shop-airflow",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "AIRFLOW__TRACES__TASK_RUNNER_FLUSH_TIMEOUT_MILLISECONDS": "3000",
    }
    tracing.keep(settings.home, {ENDPOINT: "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_TIMEOUT": "9"})
    assert airflow_programs.environment(settings)["OTEL_EXPORTER_OTLP_TIMEOUT"] == "9"


def test_the_machines_own_receiver_is_a_part_of_the_platform(settings):
    """MN-13: With PERENNIAL_TRACES a receiver starts with the others, at a port of its own."""
    store = open_store(settings.store)
    assert span_receiver.NAME not in stack._parts(settings, store)
    part = stack._parts(settings.model_copy(update={"traces": True, "traces_port": 14318}), store)[span_receiver.NAME]
    assert part.command[1:] == ["-m", "perennial.local.span_receiver"]
    assert part.ports == {"traces_port": ("127.0.0.1", 14318)}
    assert stack._where_spans_go(settings) == {}
    assert stack._where_spans_go(settings.model_copy(update={"traces": True, "traces_port": 14318})) == {ENDPOINT: "http://127.0.0.1:14318"}


def test_variables_that_cannot_work_stop_the_platform_before_it_starts(settings, monkeypatch):
    """MN-13: A person hears at once that spans would go nowhere."""
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(SettingMissing, match="OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'"):
        stack._where_spans_go(settings)


def test_programs_do_not_inherit_the_starters_trace():
    """MN-13: What a program sends is in its definition: switched off there, it is off, whatever shell brought the platform up."""
    assert {"OTEL_", "TRACEPARENT", "TRACESTATE"} <= set(NOT_INHERITED)
