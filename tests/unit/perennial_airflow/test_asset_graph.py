"""Airflow's graph of assets: its query says the path itself, which PostgreSQL reads as one, and not as a parameter of type text."""

from __future__ import annotations

import airflow
import pytest
from sqlalchemy import literal, select
from sqlalchemy.dialects import postgresql

from perennial_airflow.ui import asset_graph

PATH = '{"dag","it\'s"}'


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch):
    """The module of Airflow that makes the query, as it was after the test."""
    from airflow.models import serialized_dag

    monkeypatch.setattr(serialized_dag, "literal", literal)
    return serialized_dag


def test_a_text_stands_in_the_query(queries) -> None:
    """DE-15: Where it was a parameter before; what is no text stays one."""
    path = select(queries.SerializedDagModel._data.op("#>")(queries.literal(PATH)))
    assert "'{" not in str(path.compile(dialect=postgresql.dialect()))
    asset_graph.MendedAssetGraph(lambda *_: None)
    path = select(queries.SerializedDagModel._data.op("#>")(queries.literal(PATH)))
    written = path.compile(dialect=postgresql.psycopg.dialect())
    assert "#> '{\"dag\",\"it''s\"}'" in str(written)
    assert not written.params
    assert queries.literal(True).compare(literal(True))


def test_another_version_of_airflow_is_left_as_it_is(queries, monkeypatch: pytest.MonkeyPatch) -> None:
    """DE-15: It may have mended it itself: whoever moves the pin looks at it anew."""
    monkeypatch.setattr(airflow, "__version__", "3.3.3")
    asset_graph.mend()
    assert queries.literal is literal


def test_the_pinned_version_is_the_one_that_is_mended() -> None:
    """DE-15: A new pin without a look at the mend is noticed here."""
    assert airflow.__version__ == asset_graph.MENDED
