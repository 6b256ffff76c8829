"""`perennial incidents` lists what was wrong and how often a model calls in vain."""

from __future__ import annotations

import re

import pytest

from perennial import cli, discovery
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.store import FolderStore
from perennial.testing import small_model
from perennial.views.incidents import IncidentsView


@pytest.fixture
def incidents(tmp_path, monkeypatch):
    """A model that was watched for a while, and whose folder is gone."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr(discovery, "models", lambda: {"other": small_model("other")})
    monkeypatch.setattr(discovery, "broken", list)
    found = Incidents(FolderStore(str(tmp_path / "store")), "small_delays")
    found.open("drift", "carrier", "warning", "`carrier` drifted.", {"Report": "http://r.test/w", "share": 0.1})
    found.open("service", "monitoring", "critical", "MLflow does not answer.")
    found.resolve("1", "Like before.")
    found.verdict("1", "false alarm", "ada", "A holiday.")
    found.missed("2", "webhook", "The webhook at hooks.test refuses alerts (404).")
    return found


def test_a_strangers_name_steers_no_terminal(incidents, capsys):
    """SC-01: A file's name or a category may hold signs that clear the screen or set a title: they are shown, not obeyed."""
    incidents.open("data quality", "file", "warning", "1 file was refused: \x1b]0;owned\x07\x9b2Jné.csv.")
    assert cli.main(["incidents", "--model", "small_delays"]) == 0
    assert cli.main(["incident", "--model", "small_delays", "--id", "3", "--verdict", "real", "--note", "\x1b[2J"]) == 0
    shown = capsys.readouterr().out
    assert not set(shown) & {"\x1b", "\x07", "\x9b"}
    assert r"refused: \x1b]0;owned\x07\x9b2Jné.csv." in shown
    assert r"real: \x1b[2J" in shown


def test_incidents_are_listed(incidents, capsys):
    """MN-11: Each with its times, its end, its verdict, its report, and what could not be told; the alarm rate above."""
    assert cli.main(["incidents", "--model", "small_delays"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "small_delays: 2 incidents, 1 open. 2.0 alarms a month (2 in 30 days); 1 of 1 judged were false (100 %)."
    assert shown[1].startswith("  0001-drift  warning  ")
    assert shown[1].endswith(": `carrier` drifted.")
    assert shown[2:5] == ["    over: Like before.", "    ada: false alarm, A holiday.", "    Report: http://r.test/w"]
    assert shown[5].endswith(" UTC, open: MLflow does not answer.")
    assert shown[6] == "    not told on webhook: The webhook at hooks.test refuses alerts (404)."
    assert shown[7:] == [
        "By kind:",
        "  drift: 1, 0 open, 1.0 alarms a month, 1 of 1 judged were false",
        "  service: 1, 1 open, 1.0 alarms a month",
    ]


def test_a_list_is_narrowed_and_is_what_show_shows(incidents, capsys):
    """MN-11: By state, kind and what nobody has judged; `perennial show incidents` prints the same lines, or the view as JSON."""
    for narrowed, there in (
        (["--state", "open"], {"0002-service"}),
        (["--state", "over"], {"0001-drift"}),
        (["--kind", "service"], {"0002-service"}),
        (["--unjudged"], {"0002-service"}),
        (["--page", "7"], {"0001-drift", "0002-service"}),  # the last page there is
    ):
        assert cli.main(["incidents", "--model", "small_delays", *narrowed]) == 0
        assert set(re.findall(r"^  (\d{4}-\w+)", capsys.readouterr().out, re.MULTILINE)) == there
    shown = []
    for command in (["incidents", "--model", "small_delays"], ["show", "incidents", "small_delays"]):
        assert cli.main(command) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert cli.main(["show", "incidents", "--json"]) == 0
    assert IncidentsView.model_validate_json(capsys.readouterr().out).count == 2


def test_of_many_the_newest_fifty_are_printed(incidents, capsys):
    """MN-11: And how to see the others."""
    for number in range(49):
        incidents.open("drift", f"x{number}", "info", "Seen.")
    assert cli.main(["incidents", "--model", "small_delays"]) == 0
    shown = capsys.readouterr().out
    assert "0001-drift" not in shown
    assert "  0002-service" in shown
    assert "Page 1 of 2: 50 of 51 incidents. `perennial incidents --model small_delays --page N` shows another." in shown
    assert cli.main(["incidents", "--page", "2"]) == 0
    assert "  0001-drift" in capsys.readouterr().out


def test_all_models_are_listed(incidents, capsys):
    """MN-11: Where none is named; one without incidents says so."""
    Incidents(incidents.store, "single").open("drift", "carrier", "warning", "`carrier` drifted.")
    assert cli.main(["incidents"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "other: 0 incidents, 0 open. 0.0 alarms a month (0 in 30 days); none was judged."
    assert shown[1].startswith("single: 1 incident, 1 open.")
    assert shown[3].startswith("small_delays: 2 incidents")


def test_a_model_that_served_and_is_gone_had_none(incidents, capsys):
    """MN-11: Its ledger remembers it, though it never had an incident: the answer is none, not that there is no such model."""
    Ledger(incidents.store, "stars").append(
        "released", version=1, champion=1, weights={1: 10_000}, versions={1: "a" * 64}, reason="first", actor="jo", after_seq=None
    )
    assert cli.main(["incidents", "--model", "stars"]) == 0
    assert capsys.readouterr().out.startswith("stars: 0 incidents, 0 open.")


def test_an_unknown_model_is_refused(incidents, capsys):
    """MN-11: As everywhere."""
    assert cli.main(["incidents", "--model", "nothing"]) == 2
    assert "There is no model 'nothing'" in capsys.readouterr().err
