"""The review of a model: what counts in its time, its words, and the command that prints it."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from perennial import discovery
from perennial.cli import main
from perennial.commands import review as command
from perennial.errors import UnknownName
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.lineage.making import note_making
from perennial.lineage.trainings import verdict_key
from perennial.lineage.usage import Usage
from perennial.monitoring.report.timeline import note_windows
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import publish_small_version, small_model
from perennial.views.review import ReviewView, review_view, sections

from ....window_reports import window_report

NAME = "small_delays"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """A release that failed, a candidate that was refused, three incidents with two verdicts, and a window with outcomes."""
    monkeypatch.setattr(discovery, "_models", lambda: ({NAME: small_model()}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    store = FolderStore(str(tmp_path / "store"))
    now = datetime.now(timezone.utc)
    told = {"versions": {1: "1" * 64, 2: "2" * 64}, "actor": "perennial"}
    for kind, version, champion, days, reason in (
        ("started", 1, None, 50, "The first."), ("released", 1, 1, 50, "The first."),
        ("started", 2, 1, 3, "Better."), ("rolled_back", 2, 1, 2, "It `errs`."),
    ):  # fmt: skip
        ledger = Ledger(store, NAME)
        last = ledger.last()
        ledger.append(
            kind, version=version, champion=champion, weights={champion: 10_000} if champion else {}, reason=reason,
            after_seq=last.seq if last else None, now=now - timedelta(days=days), **told,
        )  # fmt: skip
    digest = publish_small_version(store, tmp_path / "made", model=NAME)
    used = Usage(wall_seconds=3600, cpu_seconds=7200, gpu_seconds=0, memory_gb=1, energy_wh=1, money=2.5, currency="EUR")
    note_making(store, NAME, digest, seconds=3600, usage=used)
    store.write(verdict_key(NAME, digest), json.dumps({"passed": False, "sentence": "Its loss is larger."}).encode())
    incidents = Incidents(store, NAME)
    for key, verdict in (("a", "false alarm"), ("b", "real"), ("c", None)):
        id = incidents.open("drift", key, "warning", f"`{key}` drifted.")
        if verdict:
            incidents.verdict(id, verdict, "jo")
            incidents.resolve(id, "As before.")
    metrics = {"labelled": 80, "units": "days", "metrics": {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}}}
    for days, more in ((2, {"metrics": metrics, "realised": 0.5}), (45, {"metrics": metrics}), (1, {})):
        report = window_report(NAME, (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0), **more)
        store.write(f"reports/{NAME}/windows/{report.name}/report.json", report.encoded())
    note_windows(store, NAME)
    return store


def test_what_happened_in_the_time_is_told(store: FolderStore) -> None:
    """OP-11, DE-20, MN-09: Releases, refusals, incidents with verdicts, false alarms, windows, what trainings used, and what is open."""
    view = review_view(store, NAME)
    assert [(one.version, one.end) for one in view.releases] == [(2, "rolled back")]
    assert [one.sentence for one in view.refusals] == ["Its loss is larger."]
    assert [(one.key, one.verdict) for one in view.incidents] == [("c", None), ("b", "real"), ("a", "false alarm")]
    assert (view.alarms, view.judged, view.false) == (3, 2, 1)
    assert [bool(one.metrics) for one in view.windows] == [True, False]
    assert (view.delivery.ended, view.delivery.failed) == (1, 1)
    assert (view.use.trainings, view.use.noted, view.use.hours, view.use.cpu_hours, view.use.money) == (1, 1, 1, 2, {"EUR": 2.5})
    assert view.use.cpu_share == pytest.approx(2 / small_model().compute.cpus)
    assert any("`c` drifted." in one for one in view.open)
    assert "The newest candidate was refused: Its loss is larger." in view.open
    assert ReviewView.model_validate_json(view.model_dump_json()) == view


def test_the_time_has_borders(store: FolderStore) -> None:
    """OP-11: What was before or came after is not told; what is open is, whenever it opened."""
    now = datetime.now(timezone.utc)
    whole = review_view(store, NAME, now - timedelta(days=60))
    assert [one.version for one in whole.releases] == [2, 1]
    assert len(whole.windows) == 3
    before = review_view(store, NAME, now - timedelta(days=60), now - timedelta(days=40))
    assert ([one.version for one in before.releases], before.incidents, before.refusals, len(before.windows)) == ([1], (), (), 1)
    assert any("`c` drifted." in one for one in before.open)


def test_the_words_are_the_same_for_mail_terminal_and_page(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    """OP-11: `perennial review` prints what the sections say; JSON reads back."""
    view = review_view(store, NAME)
    parts = sections(view)
    assert list(parts) == [
        "What is open", "Delivery", "Releases, newest first", "Refused by the gate, newest first",
        "Incidents, newest first: 3 alarms, 1 of 2 judged were false (50.0 %)", "Metrics of live traffic, newest window first",
        "What trainings used",
    ]  # fmt: skip
    assert parts["Metrics of live traffic, newest window first"][0].endswith("80 outcomes: Accuracy 0.8 (0.7 to 0.9)")
    share = 100 * 2 / small_model().compute.cpus
    assert parts["What trainings used"] == [
        f"1 training: 1 hours, 2 CPU hours, {share:.1f} % of the CPUs that the spec reserves, 0 GPU hours, 2.5 EUR."
    ]
    settings = Settings(home=Path("/nowhere"), store="unused")
    assert command.run(settings, store, model=NAME) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{view.row.title} ({NAME}), ")
    for head, told in parts.items():
        assert f"{head}:\n  {told[0]}"[:60] in printed
    assert command.run(settings, store, model=NAME, since=date(2020, 1, 1), json=True) == 0
    assert len(ReviewView.model_validate_json(capsys.readouterr().out).releases) == 2


def test_a_day_that_has_not_come_and_a_model_that_is_none(store: FolderStore) -> None:
    """OP-11: One sentence each."""
    settings = Settings(home=Path("/nowhere"), store="unused")
    with pytest.raises(UnknownName, match="2999-01-01 has not come yet"):
        command.run(settings, store, model=NAME, since=date(2999, 1, 1))
    with pytest.raises(UnknownName):
        review_view(store, "nobody")


def test_the_command_has_its_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """OP-11: By its name, with a day."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path / "store"))
    assert main(["review", "--model", "digits", "--since", "2026-01-01"]) == 0
    assert "No release ended" in capsys.readouterr().out


def test_what_is_damaged_is_said_and_the_rest_is_told(store: FolderStore) -> None:
    """MN-18: A ledger entry, a window: the review names them and goes on."""
    store.write(f"ledger/{NAME}/00000002.json", b"no")
    view = review_view(store, NAME)
    assert any("Entry 2" in one for one in view.damage)
    assert sections(view)["What could not be read"] == list(view.damage)
    assert len(view.incidents) == 3


def test_of_many_windows_the_newest_are_in_words(store: FolderStore) -> None:
    """OP-11: A mail of a month has the newest eight, and says how many more there are."""
    view = review_view(store, NAME)
    (known,) = [one for one in view.windows if one.metrics]
    told = sections(view.model_copy(update={"windows": tuple(known.model_copy(update={"version": n}) for n in range(1, 11))}))
    metrics = told["Metrics of live traffic, newest window first"]
    assert [line.split("version ")[1].split(",")[0] for line in metrics[:8]] == [str(n) for n in range(10, 2, -1)]
    assert metrics[8:] == ["2 earlier windows with metrics."]
