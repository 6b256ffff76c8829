"""The look at all specs: broken ones, and models that serve without their folder, are incidents until they are mended."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest

from perennial import discovery
from perennial.discovery import Broken
from perennial.incidents import news
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.progress import Progress
from perennial.store import FolderStore
from perennial_airflow.operators import look_at_specs
from perennial_airflow.operators.look_at_specs import LookAtSpecs

from ..lateness import lateness

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:airflow")

BROKEN = [
    Broken("dataset", "trips", "it is empty", "perennial_datasets/trips.py"),
    Broken("model", "trips", "its dataset trips is broken, see perennial_datasets/trips.py", "perennial_models/trips/spec.py, line 7"),
]


@pytest.fixture
def store(home, monkeypatch, task_log):
    """The store of a test, and one model that is sound."""
    monkeypatch.setattr(discovery, "models", lambda: {"lateness": lateness()})
    monkeypatch.setattr(discovery, "broken", list)
    return FolderStore(str(home / "store"))


@pytest.fixture
def sent(monkeypatch):
    """The channel of a test: a list takes all that is told."""
    taken = []
    channel = SimpleNamespace(name="list", least="warning", data_only=False, send=lambda n: taken.append((n.model, n.incident.id, n.news)))
    monkeypatch.setattr(look_at_specs, "channels", lambda *_: [channel])
    return taken


def _look():
    return LookAtSpecs(task_id="look_at_specs").execute({})


def test_what_cannot_be_used_of_a_project_is_one_incident(store, sent, monkeypatch):
    """MN-09, DE-09: With a sentence for each thing, under the project's name; it ends once the last of them is mended."""
    several = [Broken("project", "ours", f"its dataset {name} has the name of another: rename it", f"ours/{name}.py") for name in "ab"]
    monkeypatch.setattr(discovery, "broken", lambda: several)
    _look()
    incidents = Incidents(store, "ours")
    (incident,) = incidents.open_ones()
    assert (incident.key, incident.sentence) == ("project", " ".join(broken.sentence for broken in several))
    monkeypatch.setattr(discovery, "broken", lambda: several[1:])
    _look()
    assert incidents.open_ones()
    monkeypatch.setattr(discovery, "broken", list)
    _look()
    assert incidents.open_ones() == []


def test_what_is_broken_is_told_once_and_ends_once_it_is_mended(store, sent, monkeypatch):
    """MN-09: Without a person: one incident for each broken file, with the sentence that its DAG shows; mending ends it, and that is told
    as well."""
    monkeypatch.setattr(discovery, "broken", lambda: BROKEN)
    assert _look()["wrong"] == [broken.sentence for broken in BROKEN]
    _look()
    incidents = Incidents(store, "trips")
    assert [(i.id, i.key, i.sentence) for i in incidents.open_ones()] == [
        ("0001-spec", "dataset", BROKEN[0].sentence),
        ("0002-spec", "model", BROKEN[1].sentence),
    ]
    monkeypatch.setattr(discovery, "broken", list)
    assert _look() == {"wrong": [], "failures": []}
    assert incidents.open_ones() == []
    assert sent == [("trips", id, news) for news in ("opened", "resolved") for id in ("0001-spec", "0002-spec")]


def test_a_model_that_serves_without_its_folder_is_an_incident(store, sent):
    """MN-09, SC-09: Its own DAGs are gone with the folder, so another one looks; one that serves no more is over."""
    ledgers = {name: Ledger(store, name) for name in ("lateness", "renamed")}
    common = {"version": 1, "versions": {1: "a" * 64}, "reason": "r", "actor": "jo"}
    for ledger in ledgers.values():
        ledger.append("released", champion=1, weights={1: 10_000}, after_seq=None, **common)
    (wrong,) = _look()["wrong"]
    assert wrong.startswith("renamed still serves version 1, and perennial_models/renamed is gone")
    (incident,) = Incidents(store, "renamed").open_ones()
    assert (incident.kind, incident.severity, incident.sentence) == ("service", "warning", wrong)
    assert Incidents(store, "lateness").all() == []
    ledgers["renamed"].append("rolled_back", champion=None, weights={}, after_seq=0, **common)
    assert _look()["wrong"] == []
    assert Incidents(store, "renamed").open_ones() == []
    assert sent == [("renamed", "0001-service", "opened"), ("renamed", "0001-service", "resolved")]


def test_notes_that_a_store_lacks_are_made(store, sent):
    """MN-09: A list of incidents reads notes; those of a store from before they were kept are there after the first look."""
    Incidents(store, "lateness").open("drift", "a", "warning", "A drifted.")
    store.delete("views/incidents/lateness/index.json")
    _look()
    assert store.exists("views/incidents/lateness/index.json")


def test_a_training_that_makes_no_step_is_told_until_it_goes_on(store, sent, monkeypatch):
    """MN-14, MN-09: Once, by the DAG that tells at once; a long epoch, and a training that has ended, are none."""
    long_ago = datetime.now(timezone.utc) - timedelta(minutes=31)
    note = Progress(began=long_ago, heard=long_ago, epoch=3, limit=30, seconds=5.0, loss=0.5)

    def leave(**changed):
        store.write("views/training/lateness.json", note.model_copy(update=changed).model_dump_json().encode())

    leave(seconds=700.0)
    assert _look()["wrong"] == []
    assert news.newest(store) == ""
    leave()
    (said,) = _look()["wrong"]
    told = news.newest(store)
    assert told
    _look()
    assert news.newest(store) == told, "nothing new is announced"
    incidents = Incidents(store, "lateness")
    (incident,) = incidents.all()
    assert (incident.kind, incident.key, incident.severity, incident.is_open) == ("pipeline", "stalled", "warning", True)
    assert said == f"Lateness: {incident.sentence}"
    assert f"no step since {long_ago:%Y-%m-%d %H:%M} UTC, after epoch 3 of at most 30: it hangs, or was killed" in said
    leave(heard=datetime.now(timezone.utc))
    assert _look()["wrong"] == []
    assert incidents.open_ones() == []
    assert news.newest(store) != told
    leave(epoch=0)
    assert "before its first epoch was done" in _look()["wrong"][0]
    store.delete("views/training/lateness.json")
    _look()
    assert incidents.open_ones() == []
    assert sent == [], "the task of the models' own DAGs tells"
