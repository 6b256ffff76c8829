"""A person's verdict on an incident is recorded through the command line, as a task does it."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from perennial import cli, discovery
from perennial.incidents.incidents import Incidents
from perennial.incidents.silences import Silences
from perennial.store import FolderStore
from perennial.testing import small_model


@pytest.fixture
def incidents(tmp_path, monkeypatch):
    """A model with one incident."""
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setattr(discovery, "models", lambda: {"small_delays": small_model()})
    found = Incidents(FolderStore(str(tmp_path / "store")), "small_delays")
    found.open("drift", "carrier", "warning", "`carrier` drifted.")
    return found


def _given(tmp_path, *arguments):
    file = tmp_path / "result.json"
    code = cli.main(["incident", "--model=small_delays", *arguments, f"--result={file}"])
    return code, json.loads(file.read_text())


@pytest.mark.parametrize(("verdict", "false"), [("real", 0), ("false alarm", 1), ("known", 0)])
def test_a_verdict_is_kept(incidents, tmp_path, verdict, false):
    """MN-11: With who gave it and why; the sentence tells the alarm rate that follows from it."""
    code, result = _given(tmp_path, "--id=1", f"--verdict={verdict}", "--by=ada", "--note=--as planned")
    assert (code, result["id"], result["verdict"]) == (0, "0001-drift", verdict)
    assert result["sentence"].startswith(f"ada judged 0001-drift of small_delays {verdict}: --as planned. 1.0 alarms a month")
    assert f"{false} of 1 judged were false" in result["sentence"]
    [kept] = incidents.all()
    assert (kept.verdict, kept.by, kept.note) == (verdict, "ada", "--as planned")


def test_an_incident_that_is_over_is_judged(incidents, tmp_path):
    """MN-11: A task that is tried again records the same once."""
    incidents.resolve("1", "Over.")
    for _ in range(2):
        assert _given(tmp_path, "--id=0001-drift", "--verdict=real", "--by=ada")[0] == 0
    assert incidents.get("1").verdict == "real"
    assert len(list(incidents.store.list("incidents/small_delays"))) == 3


def test_somebody_was_faster(incidents, tmp_path):
    """MN-11: A verdict that was given while a person was asked stays; whoever judges on purpose overrules it. A second try records the
    same."""
    asked = ("--id=1", "--verdict=real", "--by=ada", "--unless-judged")
    for _ in range(2):
        assert _given(tmp_path, *asked)[1]["outcome"] == "done"
    incidents.verdict("1", "known", "bob")
    code, result = _given(tmp_path, *asked)
    assert (code, result["outcome"], result["verdict"]) == (0, "skipped", "known")
    assert result["sentence"] == "bob was faster and judged 0001-drift of small_delays known: that stays."
    assert _given(tmp_path, *asked[:3])[1]["outcome"] == "done"
    assert [(i.verdict, i.by) for i in incidents.all()] == [("real", "ada")]


def test_an_unknown_incident_is_refused(incidents, tmp_path):
    """MN-11: A decision: not tried again."""
    code, result = _given(tmp_path, "--id=7", "--verdict=real")
    assert (code, result["outcome"]) == (2, "refused")
    assert "small_delays has no incident '7'" in result["sentence"]


def test_an_unknown_model_is_refused(incidents, capsys):
    """MN-11: With the name that was meant."""
    assert cli.main(["incident", "--model=small_delay", "--id=1", "--verdict=real"]) == 2
    assert "Did you mean small_delays?" in capsys.readouterr().err


def test_an_unknown_verdict_is_refused(incidents, capsys):
    """MN-11: By the command line, before anything is opened."""
    with pytest.raises(SystemExit):
        cli.main(["incident", "--model=small_delays", "--id=1", "--verdict=true"])
    assert "false alarm" in capsys.readouterr().err


def test_an_incident_of_what_is_broken_or_gone_is_judged(incidents, tmp_path, monkeypatch):
    """MN-11: People were told of it, and the alert names this command; the store knows the incident, whatever became of the files."""
    monkeypatch.setattr(discovery, "models", dict)
    assert _given(tmp_path, "--id=1", "--verdict=known", "--by=ada")[0] == 0
    assert incidents.get("1").verdict == "known"
    assert cli.main(["incident", "--model=nobody", "--id=1", "--verdict=known"]) == 2


@pytest.mark.parametrize(("said", "kind"), [("drift", "drift"), ("all", None), ("its kind", "drift")])
def test_a_kind_is_silenced_for_a_time(incidents, tmp_path, said, kind):
    """MN-09, SC-08: With who wants it and why; no verdict is recorded."""
    code, result = _given(tmp_path, f"--silence={said}", "--id=1", "--hours=4", "--by=ada", "--note=The source moves.")
    assert code == 0
    (silence,) = Silences(incidents.store, "small_delays").all()
    assert (silence.kind, silence.by, silence.reason) == (kind, "ada", "The source moves.")
    assert silence.until - silence.since == timedelta(hours=4)
    assert result["sentence"].startswith(f"small_delays: ada silenced {kind or 'all kinds'} until ")
    assert incidents.get("1").verdict is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--id=1",), "A verdict needs --id and --verdict"),
        (("--verdict=real",), "A verdict needs --id and --verdict"),
        (("--silence=drift", "--hours=4"), "A silence needs --hours, how long it holds, and --note, why"),
        (("--silence=drift", "--note=x"), "A silence needs --hours"),
        (("--silence=its kind", "--hours=4", "--note=x"), "give its --id"),
        (("--silence=its kind", "--hours=4", "--note=x", "--id=7"), "has no incident '7'"),
    ],
)
def test_half_a_wish_is_refused(incidents, tmp_path, arguments, words):
    """MN-09: In a sentence that names the other half; nothing is silenced."""
    code, result = _given(tmp_path, *arguments)
    assert code == 2
    assert words in result["sentence"]
    assert Silences(incidents.store, "small_delays").all() == []


@pytest.mark.parametrize("hours", ["0", "-1", "721", "x"])
def test_a_silence_has_an_end(incidents, tmp_path, hours, capsys):
    """MN-09: A month at most: who wants it for longer says so again."""
    with pytest.raises(SystemExit):
        _given(tmp_path, "--silence=drift", f"--hours={hours}", "--note=x")
