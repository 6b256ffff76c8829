"""The replay of a model's own history, from the table to the figures."""

import importlib
import json
from datetime import date

import pyarrow as pa
import pytest

from perennial import cli, discovery
from perennial.commands import replay
from perennial.data.tables import Table
from perennial.errors import Fault, TrainingRefused, UnknownName
from perennial.monitoring.replay import policies
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.training import boosted

FIRST, LAST = date(2024, 1, 1), date(2024, 1, 18)
NOTHING = {"first": None, "last": None, "policies": None, "delay_days": None, "jobs": 1}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """All digits, taken in."""
    return taken_in(FolderStore(str(tmp_path_factory.mktemp("store"))), FIRST, LAST)


def taken_in(store, first, last):
    rows = pa.concat_tables([day for _, day in discovery.dataset_module("digits").land(first, last)])
    fields = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    Table(store, "digits").append(rows.cast(pa.schema(fields)), "all")
    return store


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """A machine of its own, and trees small enough for a test."""
    monkeypatch.setattr(boosted, "TREES", {**boosted.TREES, "max_iter": 3, "max_leaf_nodes": 8})
    return Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})


def figures(store):
    (key,) = (s.key for s in store.list("reports/digits/replays") if s.key.endswith("replay.json"))
    return key, json.loads(store.read(key))


def test_policies_side_by_side(store, settings, fits, capsys):
    """MN-10: Each policy has its line, its days are in the JSON beside the picture, the spec's own is marked, and no training was fitted
    twice."""
    assert replay.run(settings, store, model="digits", **NOTHING) == 0
    told = capsys.readouterr()
    key, found = figures(store)
    known = policies(discovery.model("digits").retrain)
    assert [p["name"] for p in found["policies"]] == list(known)
    assert all(policy.title in told.out for policy in known.values())
    assert "* the spec's own" in told.out
    assert "stand in for the model" in told.out
    assert "no gate and no canary" in told.out
    assert (found["first"], found["last"], found["delay_days"]) == ("2024-01-07", "2024-01-18", 0)
    assert all(len(p["days"]) == 12 for p in found["policies"])
    assert store.read(key.replace(".json", ".svg")).startswith(b"<?xml")
    assert len(fits) == 12  # a training of every night, shared by all
    assert sorted(fits) == fits
    assert "Trainings: 12 of 12" in told.err  # lines where the output is no terminal


def test_it_goes_on_where_it_stopped(tmp_path, settings, fits, monkeypatch, capsys):
    """DE-22: Killed after three trainings, the same command fits only the others; a third one fits nothing, and the figures are the
    same."""
    store = taken_in(FolderStore(str(tmp_path / "store")), FIRST, LAST)
    fit = boosted.fit

    def dies(*given):
        if len(fits) == 3:
            raise KeyboardInterrupt
        return fit(*given)

    with monkeypatch.context() as patch:
        patch.setattr(boosted, "fit", dies)
        with pytest.raises(KeyboardInterrupt):
            replay.run(settings, store, model="digits", **NOTHING)
    assert not list(store.list("reports"))
    assert "the same command goes on from there" in capsys.readouterr().err
    replay.run(settings, store, model="digits", **NOTHING)
    assert len(fits) == 12
    assert "3 of 12 trainings are there already" in capsys.readouterr().err
    first = figures(store)
    replay.run(settings, store, model="digits", **NOTHING)
    assert len(fits) == 12
    assert figures(store) == first


def test_several_processes_say_the_same(tmp_path, store):
    """DE-22: Two processes give the figures that one gives, to the last bit."""
    given = {**NOTHING, "first": date(2024, 1, 17), "policies": "weekly"}
    documents = []
    for jobs in (1, 2):
        settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / str(jobs))})
        replay.run(settings, store, model="digits", **{**given, "jobs": jobs})
        documents.append(json.loads(store.read("reports/digits/replays/2024-01-17_2024-01-18_delay_0/replay.json")))
    assert documents[0] == documents[1]
    assert [p["name"] for p in documents[0]["policies"]] == ["never", "nightly", "weekly", "spec"]


def test_a_late_label_is_known_late(tmp_path, settings):
    """MN-10: With labels three days late the same morning has a training of three days before; `--delay-days` says so, whatever the
    dataset's own delay."""
    store = taken_in(FolderStore(str(tmp_path / "store")), FIRST, LAST)
    replay.run(settings, store, model="digits", **{**NOTHING, "policies": "nightly", "delay_days": 2.5, "first": date(2024, 1, 10)})
    _, found = figures(store)
    assert found["delay_days"] == 3
    nightly = next(p for p in found["policies"] if p["name"] == "nightly")
    assert {d["day"]: d["training"] for d in nightly["days"]}["2024-01-15"] == "2024-01-11"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"policies": "weakly"}, "There is no policy 'weakly'. Did you mean weekly?"),
        ({"first": date(2024, 1, 10), "last": date(2024, 1, 9)}, "run backwards: give the earlier one to --from"),
        ({"first": date(2023, 1, 1)}, "the days 2024-01-01 to 2024-01-18, and --from is 2023-01-01"),
        ({"last": date(2025, 1, 1)}, "--to is 2025-01-01: choose a day among them"),
    ],
)
def test_what_cannot_be_asked(store, settings, fits, given, said):
    """MN-10: An unknown policy and days that the history has not are refused in one sentence, before anything is fitted."""
    with pytest.raises(UnknownName, match=said.replace("?", r"\?")):
        replay.run(settings, store, model="digits", **{**NOTHING, **given})
    assert not fits


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"first": date(2024, 1, 3)},
            "200 labelled rows of it are known, 0 days after the end of their day; a training of digits needs 300",
        ),
        ({"delay_days": 15.0}, "give a later --from, or ingest more"),
        ({"first": LAST}, "at least two days with labels are needed"),
    ],
)
def test_a_history_too_short(store, settings, fits, given, said):
    """MN-10: Too few labels before the first day, or too few days, are refused in one sentence."""
    with pytest.raises(TrainingRefused, match=said):
        replay.run(settings, store, model="digits", **{**NOTHING, **given})
    assert not fits


def test_without_a_row(tmp_path, settings):
    """MN-10: A dataset that was never ingested is named, with what to do."""
    with pytest.raises(UnknownName, match="digits has no rows yet, so there is nothing to replay: land and ingest"):
        replay.run(settings, FolderStore(str(tmp_path / "empty")), model="digits", **NOTHING)


def test_without_a_label(tmp_path, settings):
    """MN-10: Rows alone are no history."""
    store = FolderStore(str(tmp_path / "store"))
    _, rows = next(iter(discovery.dataset_module("digits").land(FIRST, FIRST)))
    fields = [pa.field(f.name, pa.timestamp("us") if pa.types.is_timestamp(f.type) else f.type) for f in rows.schema]
    rows = rows.cast(pa.schema(fields)).set_column(rows.schema.get_field_index("digit"), "digit", pa.nulls(rows.num_rows, pa.int64()))
    Table(store, "digits").append(rows, "unlabelled")
    with pytest.raises(TrainingRefused, match="no row with a known digit"):
        replay.run(settings, store, model="digits", **NOTHING)


def test_a_process_that_is_killed_is_a_sentence(tmp_path, store, monkeypatch):
    """MN-18: Where memory runs out in a process of the replay, the person is told what to do."""
    (tmp_path / "dying.py").write_text("import os, signal\n\n\ndef die(shared, item):\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.syspath_prepend(tmp_path)  # a process that is spawned looks where its parent looked
    monkeypatch.setattr(replay, "_fit", importlib.import_module("dying").die)
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path)})
    with pytest.raises(Fault, match="give --jobs a smaller number"):
        replay.run(settings, store, model="digits", **{**NOTHING, "jobs": 2})


def test_the_command_line(store, settings, monkeypatch, capsys):
    """MN-10: `perennial replay` reads its options, and refuses with exit code 2."""
    monkeypatch.setenv("PERENNIAL_STORE", store.root)
    monkeypatch.setenv("PERENNIAL_HOME", str(settings.home))
    assert cli.main(["replay", "--model", "digits", "--policies", "sometimes", "--jobs", "1"]) == 2
    assert "There is no policy 'sometimes'" in capsys.readouterr().err
    assert (
        cli.main(["replay", "--model", "digits", "--from", "2024-01-16", "--delay-days", "1", "--jobs", "1", "--policies", "monthly"]) == 0
    )
    assert "every 30 days" in capsys.readouterr().out
