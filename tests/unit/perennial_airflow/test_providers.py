"""The providers that a team's own DAGs begin with."""

from __future__ import annotations

import importlib

import pytest

OPERATORS = {
    "airflow.providers.common.sql.operators.sql": "SQLExecuteQueryOperator",
    "airflow.providers.postgres.hooks.postgres": "PostgresHook",
    "airflow.providers.http.operators.http": "HttpOperator",
    "airflow.providers.apache.kafka.operators.consume": "ConsumeFromTopicOperator",
}


@pytest.mark.parametrize(("module", "name"), OPERATORS.items())
def test_own_dags_can_begin_with_databases_services_and_topics(module: str, name: str) -> None:
    """Airflow's environment has what a DAG needs that asks a database or a service, or reads a topic; docs/how-to.md says so."""
    assert isinstance(getattr(importlib.import_module(module), name), type)
