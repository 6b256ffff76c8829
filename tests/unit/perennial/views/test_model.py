"""The page of one model: decisions, versions, windows and incidents, each said even where another cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.errors import UnknownName
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.registrations import note_registration
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import small_model
from perennial.views.model import DECISIONS, VERSIONS, ModelView, model_view

NAME = "small_delays"
DIGESTS = {number: f"{number:064d}" for number in range(1, 30)}


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model()}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    store = FolderStore(str(tmp_path))
    ledger, after = Ledger(store, NAME), None
    for number in range(1, 16):
        note_registration(store, NAME, number, DIGESTS[number], {"cause": "drift", "gate": f"Number {number} is better."})
        facts = {"champion": number, "weights": {number: 10_000}, "versions": DIGESTS, "good": (number - 1,) if number > 1 else ()}
        after = ledger.append("released", version=number, reason="It is better.", actor="jo", after_seq=after, **facts).seq
    Incidents(store, NAME).open("drift", "a", "warning", "First.")
    Incidents(store, NAME).open("drift", "b", "critical", "Second.")
    return store


def test_the_newest_decisions_and_versions_come_first(store: FolderStore) -> None:
    """SC-03: The last entries of the ledger with version, share, reason and who; the last versions with their role and cause."""
    view = model_view(store, NAME)
    assert [one.version for one in view.decisions] == list(range(15, 15 - DECISIONS, -1))
    assert (view.decisions[0].share, view.decisions[0].reason, view.decisions[0].actor) == (1.0, "It is better.", "jo")
    assert [one.number for one in view.versions] == list(range(15, 15 - VERSIONS, -1))
    assert (view.versions[0].role, view.versions[1].role) == ("champion", None)
    assert (view.versions[0].cause, view.versions[0].gate) == ("drift", "Number 15 is better.")
    assert [one.sentence for one in view.incidents] == ["Second.", "First."]
    assert ModelView.model_validate_json(view.model_dump_json()) == view


def test_numbers_that_were_given_to_nothing_are_passed_over(store: FolderStore) -> None:
    """MO-21: A number that the registry skipped is no version."""
    note_registration(store, NAME, 20, DIGESTS[20], {})
    assert [one.number for one in model_view(store, NAME).versions][:2] == [20, 15]


@pytest.mark.parametrize(
    ("key", "lost"),
    [
        (f"ledger/{NAME}/00000014.json", "decisions"),
        (f"models/{NAME}/numbers/00000015.json", "versions"),
        (f"reports/{NAME}/windows/2013-02-01_2013-02-02/report.json", "windows"),
        (f"incidents/{NAME}/00000000.json", "incidents"),
    ],
)
def test_what_is_damaged_hides_nothing_else(store: FolderStore, key: str, lost: str) -> None:
    """A document that cannot be read is one sentence with its place; all other parts of the page are there."""
    whole = model_view(store, NAME)
    store.write(key, b"{}")
    store.delete(f"views/incidents/{NAME}.json")
    view = model_view(store, NAME)
    assert any(key in sentence for sentence in (*view.damage, view.row.sentence))
    for part in {"decisions", "windows", "incidents"} - {lost}:
        assert getattr(view, part) == getattr(whole, part)


def test_a_model_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    """A name that neither a folder nor a ledger has."""
    with pytest.raises(UnknownName):
        model_view(FolderStore(str(tmp_path)), "nobody")


def test_a_version_has_the_figures_and_the_page_of_its_evaluation(store: FolderStore) -> None:
    """Metrics on the test rows, and where the page lies; a version whose evaluation is gone or damaged is shown without."""
    folder = f"reports/{NAME}/{DIGESTS[15]}"
    store.write(f"{folder}/evaluation.json", b'{"parts": {"test": {"candidate": {"metrics": {"log_loss": 0.25}}}}}')
    store.write(f"{folder}/evaluation.html", b"<p>")
    store.write(f"reports/{NAME}/{DIGESTS[14]}/evaluation.json", b"[]")
    newest, older, *_ = model_view(store, NAME).versions
    assert (newest.metrics, newest.evaluation) == ({"log_loss": 0.25}, f"{NAME}/{DIGESTS[15]}/evaluation.html")
    assert (older.metrics, older.evaluation) == ({}, "")


def test_a_first_version_that_starts_has_all_traffic(tmp_path: Path) -> None:
    """SE-06: A first release has no weights yet: its version's share is the whole."""
    ledger = Ledger(FolderStore(str(tmp_path)), NAME)
    ledger.append("started", version=1, champion=None, weights={}, versions=DIGESTS, reason="First.", actor="jo", after_seq=None)
    view = model_view(FolderStore(str(tmp_path)), NAME)
    assert view.decisions[0].share == 1.0
    assert "0 %" not in view.row.sentence


def test_the_terminal_says_what_the_page_says(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """`perennial show model` prints decisions, versions and incidents; the one model needs no name, and JSON reads back."""
    show.run(Settings.from_environment({}), store, what="model")
    told = capsys.readouterr().out
    for part in (
        "Decisions, newest first:",
        "released, version 15 at 100 %, by jo: It is better.",
        "15 (champion), registered",
        "critical drift",
    ):
        assert part in told
    show.run(Settings.from_environment({}), store, what="model", name=NAME, json=True)
    assert ModelView.model_validate_json(capsys.readouterr().out) == model_view(store, NAME)


def test_where_there_are_several_models_one_is_named(store: FolderStore) -> None:
    """Without a name and with several models the sentence lists them."""
    Ledger(store, "other").append(
        "released", version=1, reason="", actor="", after_seq=None, champion=1, weights={1: 10_000}, versions=DIGESTS
    )
    with pytest.raises(UnknownName, match=f"show model NAME.*other, {NAME}"):
        show.run(Settings.from_environment({}), store, what="model")
