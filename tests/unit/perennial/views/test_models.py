"""The list of models says of each who serves, since when and why, and what somebody has to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perennial import discovery
from perennial.commands import _show_models, show
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Entry, Ledger
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import verdict_key
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import publish_small_version, small_model
from perennial.views.models import ModelRow, ModelsView, model_row, models, served

NAME = "small_delays"
SPEC = small_model()
DIGESTS = {number: f"{number:064d}" for number in (1, 2, 3)}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(str(tmp_path))


def write(store: FolderStore, kind: str, version: int = 1, **facts: object) -> Entry:
    ledger = Ledger(store, NAME)
    last = ledger.last()
    fields = {"champion": version, "weights": {version: 10_000}, "versions": DIGESTS, "reason": "It is better.", "actor": "jo"}
    return ledger.append(kind, version=version, after_seq=last.seq if last else None, **{**fields, **facts})


def row(store: FolderStore) -> ModelRow:
    return model_row(store, NAME, SPEC)


def test_a_model_without_a_version_says_what_it_waits_for(store: FolderStore) -> None:
    """Nothing is trained yet: the row says so, and what begins the first training."""
    assert (row(store).state, row(store).serving, row(store).since) == ("nothing trained", (), None)
    assert "once its dataset" in row(store).sentence


def test_a_model_whose_dataset_has_rows_says_where_its_training_is_seen(store: FolderStore) -> None:
    """Once there are rows the row no longer says that they lack: it names the DAG that trains."""
    store.write(f"tables/{SPEC.dataset}/_delta_log/00000000000000000000.json", b"{}")
    assert f"{NAME}_training" in row(store).sentence
    assert "once its dataset" not in row(store).sentence


@pytest.mark.parametrize(
    ("verdict", "told"),
    [
        (b'{"passed": false, "sentence": "Its loss is too large."}', "was refused: Its loss is too large."),
        (b'{"passed": true, "sentence": "Fine."}', "No version of it is trained yet."),
        (b"[]", "cannot be read: restore reports/"),
    ],
)
def test_why_the_first_candidate_was_refused_is_said(store: FolderStore, tmp_path: Path, verdict: bytes, told: str) -> None:
    """MO-13: A model without a version whose candidate the gate refused says why; a verdict that is damaged is named."""
    digest = publish_small_version(store, tmp_path / "made", model=NAME)
    store.write(verdict_key(NAME, digest), verdict)
    assert told in row(store).sentence


def test_a_version_that_waits_names_the_command(store: FolderStore) -> None:
    """A version that passed the gate waits for its release, before the first one and beside a champion."""
    note_registration(store, NAME, 1, DIGESTS[1], {})
    assert (row(store).state, row(store).newest) == ("waiting", 1)
    write(store, "released", 1, versions={1: DIGESTS[1]})
    assert row(store).state == "serving"
    note_registration(store, NAME, 2, DIGESTS[2], {})
    assert row(store).state == "waiting"
    assert f"perennial release --model {NAME}" in row(store).sentence


def test_who_serves_is_told_with_weights_and_the_way_back(store: FolderStore) -> None:
    """SE-06: During a canary the row has both versions with their shares and roles, since when and why, and what a rollback goes to."""
    write(store, "released", 1)
    last = write(store, "started", 2, champion=1, good=(3,), weights={1: 9_000, 2: 1_000, 3: 0}, reason="Begins.")
    shown = row(store)
    assert [(part.version, part.share, part.role) for part in shown.serving] == [
        (1, 0.9, "champion"), (2, 0.1, "candidate"), (3, 0.0, "last good"),
    ]  # fmt: skip
    assert (shown.state, shown.since, shown.reason, shown.actor, shown.back_to) == (
        "releasing",
        last.time,
        "Begins.",
        "jo",
        1,
    )  # ends the release
    write(store, "paused", 2, champion=1, weights={1: 9_000, 2: 1_000})
    assert row(store).state == "paused"
    write(store, "promoted", 2, good=(1,))
    assert row(store).back_to == 1


def test_a_shadow_has_no_share(store: FolderStore) -> None:
    """SE-07: A version in the shadow runs and has no share of the traffic."""
    entry = write(store, "released", 1, shadow=2)
    assert [(part.version, part.share, part.role) for part in served(entry)] == [(1, 1.0, "champion"), (2, 0.0, "shadow")]


def test_the_first_version_has_all_traffic_while_it_starts(store: FolderStore) -> None:
    """SE-06: A first release has no champion and no weights yet: the candidate is what runs."""
    entry = write(store, "started", 1, champion=None, weights={})
    assert [(part.version, part.share, part.role) for part in served(entry)] == [(1, 1.0, "candidate")]


def test_a_rejection_moves_nothing(store: FolderStore) -> None:
    """SE-06: A version that was turned down changes neither what serves nor since when."""
    first = write(store, "released", 1)
    write(store, "rejected", 2, champion=1, weights={1: 10_000})
    assert (row(store).state, row(store).since) == ("serving", first.time)


def test_a_retired_model_says_how_it_serves_again(store: FolderStore) -> None:
    """SE-06: A retired model serves nothing; the row names the command that brings it back."""
    write(store, "released", 1)
    write(store, "retired", 1, champion=None, weights={})
    assert (row(store).state, row(store).serving) == ("retired", ())
    assert "perennial release" in row(store).sentence


def test_what_is_damaged_is_said_and_hides_nothing_else(store: FolderStore) -> None:
    """A ledger that cannot be read is one sentence in its row; incidents are still counted."""
    write(store, "released", 1)
    store.write(f"ledger/{NAME}/00000000.json", b"{}")
    Incidents(store, NAME).open("drift", "distance", "critical", "It moved.")
    shown = row(store)
    assert (shown.state, shown.serving, shown.incidents.open) == ("unknown", (), 1)
    assert "perennial ledger verify" in shown.sentence


def test_the_worst_open_incident_is_told(store: FolderStore) -> None:
    """MN-09: Of the open incidents the count and the worst; those that are over do not count."""
    incidents = Incidents(store, NAME)
    incidents.open("drift", "a", "critical", "The worst.")
    incidents.open("drift", "b", "warning", "Not so bad.")
    over = incidents.open("service", "c", "critical", "Over.")
    incidents.resolve(over, "It is well.")
    shown = row(store).incidents
    assert (shown.open, shown.severity, shown.sentence) == (2, "critical", "The worst.")
    assert model_row(store, "other", None).incidents.severity is None


def test_broken_and_forgotten_models_are_listed(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose spec is broken, and one whose folder is gone while its ledger is there, are rows with a next step; those first
    that somebody has to look at."""
    broken = discovery.Broken("model", "bad", "its label is no column", "perennial_models/bad/spec.py, line 3")
    monkeypatch.setattr(discovery, "broken", lambda: [broken])
    monkeypatch.setattr(discovery, "models", lambda: {"fine": SPEC.model_copy(update={"name": "fine"})})
    write(store, "released", 1)
    view = models(store)
    assert [(shown.name, shown.state) for shown in view.rows] == [("bad", "broken"), (NAME, "unknown"), ("fine", "nothing trained")]
    assert "line 3" in view.rows[0].sentence
    assert f"perennial retire {NAME}" in view.rows[1].sentence


def test_the_terminal_and_json_say_the_same(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`perennial show models` prints the rows for people, and with --json the whole view, which reads back."""
    monkeypatch.setattr(discovery, "broken", list)
    monkeypatch.setattr(discovery, "models", lambda: {NAME: SPEC})
    write(store, "started", 2, champion=1, weights={1: 9_000, 2: 1_000}, reason="Begins \x1b[2J.")
    Incidents(store, NAME).open("drift", "a", "warning", "It moved.")
    show.run(Settings.from_environment({}), store, what="models")
    told = capsys.readouterr().out
    for part in (
        "releasing",
        "version 1 90 % (champion), version 2 10 % (candidate)",
        "1 open, the worst is warning: It moved.",
        "\\x1b[2J",
    ):
        assert part in told
    show.run(Settings.from_environment({}), store, what="models", json=True)
    assert ModelsView.model_validate(json.loads(capsys.readouterr().out)) == models(store)


def test_without_a_model_the_list_says_how_to_begin(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list is a sentence with the next step."""
    monkeypatch.setattr(_show_models, "models", lambda _: ModelsView(rows=()))
    assert "perennial add model" in _show_models.show(store)[1][0]
