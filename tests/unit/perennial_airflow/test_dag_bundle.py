"""How the DAG processor hears of new and edited specs."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.models.dag import DagModel
from airflow.models.dagbag import DagPriorityParsingRequest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import sessionmaker

import perennial_models
from perennial import projects, spec_changes
from perennial_airflow.dag_bundle import SpecBundle

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture
def session(monkeypatch):
    """Airflow's tables of DAGs and of requests, in memory."""
    engine = create_engine("sqlite://")
    for model in (DagModel, DagPriorityParsingRequest):
        model.__table__.create(engine)
    make = sessionmaker(engine)

    @contextmanager
    def create_session():
        with make.begin() as session:
            yield session

    monkeypatch.setattr("airflow.utils.session.create_session", create_session)
    return create_session


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A folder in which models are looked for too."""
    monkeypatch.setattr(perennial_models, "__path__", [*perennial_models.__path__, str(tmp_path / "models")])
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def bundle(tmp_path, models):
    """A folder of two DAG files."""
    folder = tmp_path / "dags"
    folder.mkdir()
    for name in ("training", "release"):
        (folder / f"{name}.py").write_text("from airflow.sdk import DAG\n")
    return SpecBundle(name="dags-folder", path=str(folder))


def _asked(session):
    """Files that were asked for since; the processor takes them out of the table as it parses them."""
    with session() as open_session:
        rows = open_session.scalars(select(DagPriorityParsingRequest)).all()
        found = sorted((row.bundle_name, row.relative_fileloc) for row in rows)
        for row in rows:
            open_session.delete(row)
    return found


def test_a_new_model_is_asked_for_at_the_next_refresh(session, bundle, models, monkeypatch):
    """OP-05, DE-01: With every DAG file, since each makes DAGs of all models; and while nothing changes nothing is asked for, at however
    many refreshes."""
    bundle.refresh()
    bundle.refresh()
    assert _asked(session) == []
    (models / "late").mkdir()
    (models / "late" / "spec.py").write_text("MODEL = 1\n")
    bundle.refresh()
    both = [("dags-folder", "release.py"), ("dags-folder", "training.py")]
    assert _asked(session) == both
    bundle.refresh()
    assert _asked(session) == []
    now = spec_changes.AGAIN_SECONDS + 1
    monkeypatch.setattr("perennial_airflow.dag_bundle.time.monotonic", lambda: os.times().elapsed + 1e6 + now)
    bundle.refresh()
    assert _asked(session) == both


def test_what_is_asked_for_already_is_asked_once(session, bundle, models):
    """OP-05: Also by a person's click, or by another processor."""
    bundle.refresh()
    with session() as open_session:
        open_session.add(DagPriorityParsingRequest("dags-folder", "training.py"))
    (models / "spec.py").write_text("")
    bundle.refresh()
    assert _asked(session) == [("dags-folder", "release.py"), ("dags-folder", "training.py")]


def test_a_request_that_fails_is_made_again(session, bundle, models, monkeypatch):
    """OP-05: The database was away: at the next refresh the change is still one."""
    bundle.refresh()
    (models / "spec.py").write_text("")
    with monkeypatch.context() as patched:
        patched.setattr(bundle, "_request", lambda wanted: (_ for _ in ()).throw(ConnectionError()))
        with pytest.raises(ConnectionError):
            bundle.refresh()
    bundle.refresh()
    assert len(_asked(session)) == 2


def test_a_dag_that_airflow_put_away_is_looked_for_in_its_file(session, bundle):
    """OP-05: If the file is there; others' DAGs and files that are gone are left alone."""

    def put_away(dag, file, of="dags-folder"):
        with session() as open_session:
            open_session.add(DagModel(dag_id=dag, bundle_name=of, relative_fileloc=file, is_stale=True, fileloc=file))

    put_away("old_training", "training.py")
    bundle.refresh()
    put_away("a_training", "release.py")
    put_away("b_training", "removed.py")
    put_away("c_training", "training.py", of="project-ours")
    bundle.refresh()
    assert _asked(session) == [("dags-folder", "release.py")]


def test_projects_are_watched_too(session, bundle, tmp_path, monkeypatch):
    """OP-05, DE-09: What their specs may import lies in include and plugins."""
    (tmp_path / "ours" / "plugins").mkdir(parents=True)
    (tmp_path / "ours" / "include").mkdir()
    monkeypatch.setenv("PERENNIAL_PROJECT", str(tmp_path / "ours"))
    bundle.refresh()
    for place in ("include", "plugins"):
        (tmp_path / "ours" / place / "helpers.py").write_text("")
        bundle.refresh()
        assert len(_asked(session)) == 2, place


def test_airflow_finds_the_bundle(monkeypatch):
    """OP-05: By the option that `perennial up`, the containers and the chart give to it."""
    monkeypatch.setenv(projects.BUNDLES, json.dumps(projects.bundles([])))
    monkeypatch.setenv("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
    (found,) = DagBundlesManager().get_all_dag_bundles()
    assert (type(found), found.name) == (SpecBundle, "dags-folder")
