"""`perennial served-at` and `perennial ledger show` answer from the ledger alone; `ledger verify` holds it against the registry."""

from datetime import datetime, timedelta, timezone

import pytest

from perennial.commands import ledger as ledger_command
from perennial.commands import served_at
from perennial.errors import UnknownName
from perennial.lineage.ledger import Ledger
from perennial.registry.model_registry import NOTED
from perennial.settings import Settings
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, small_model

BEGIN = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
SETTINGS = Settings.from_environment({})


@pytest.fixture
def store(tmp_path, monkeypatch):
    store = FolderStore(str(tmp_path))
    ledger = Ledger(store, "small_delays")
    digests = {1: "a" * 64, 2: "b" * 64}
    common = {"versions": digests, "actor": "perennial"}
    ledger.append("released", version=1, champion=1, weights={1: 10_000}, reason="The first.", after_seq=None, now=BEGIN, **common)
    ledger.append(
        "weights", version=2, champion=1, weights={1: 9500, 2: 500}, reason="Ready.", after_seq=0, now=BEGIN + timedelta(hours=1), **common
    )
    ledger.append(
        "rolled_back",
        version=2,
        champion=1,
        weights={},
        shadow=2,
        reason="It failed.",
        after_seq=1,
        now=BEGIN + timedelta(hours=2),
        **common,
    )
    for module in (served_at, ledger_command):
        monkeypatch.setattr(module.discovery, "models", lambda: {"small_delays": small_model()})
        monkeypatch.setattr(module.discovery, "model", small_model)
    return store


@pytest.fixture
def registry(monkeypatch):
    registry = RegistryInMemory()
    registry.add("small_delays", "a" * 64, "champion")
    registry.add("small_delays", "b" * 64)
    monkeypatch.setattr(ledger_command, "ModelRegistry", lambda settings: registry)
    return registry


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (-1, ["nothing served"]),
        (0.5, ["version 1 (aaaaaaaaaaaa) 100 %", "The first.", "entry 0"]),
        (1.5, ["version 1 (aaaaaaaaaaaa) 95 %, version 2 (bbbbbbbbbbbb) 5 %", "Ready."]),
        (3, ["nothing served", "It failed."]),
    ],
)
def test_served_at_names_versions_weights_and_reason(store, capsys, hours, words):
    """SC-03: The entry that held at that time, before the first and after the last included."""
    assert served_at.run(SETTINGS, store, time=BEGIN + timedelta(hours=hours)) == 0
    printed = capsys.readouterr().out
    for word in words:
        assert word in printed


def test_ledger_show_prints_every_entry(store, capsys):
    """SC-03: One line for each, oldest first."""
    assert ledger_command.run(SETTINGS, store, action="show", model="small_delays") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "small_delays: 3 entries"
    assert [line.split()[3] for line in lines[1:]] == ["released", "weights", "rolled_back"]
    assert "1:95% 2:5%" in lines[2]


def test_ledger_verify_says_sound_or_which_entry_is_not(store, registry, capsys):
    """SC-03: Exit code 0 and the last hash, or 1 and the damaged entry."""
    assert ledger_command.run(SETTINGS, store, action="verify") == 0
    assert (
        f"3 entries, the last of 2026-11-21 12:00:00 UTC with hash {Ledger(store, 'small_delays').last().hash}" in capsys.readouterr().out
    )
    store.write("ledger/small_delays/00000001.json", store.read("ledger/small_delays/00000001.json").replace(b"Ready", b"Steady"))
    assert ledger_command.run(SETTINGS, store, action="verify") == 1
    assert "entry 1 was changed" in capsys.readouterr().out
    assert ledger_command.run(SETTINGS, store, action="verify", model="digits") == 0
    assert "it is empty" in capsys.readouterr().out


def test_ledger_verify_finds_a_cut_end_by_the_registry(store, registry, capsys):
    """SC-03: What release noted there must be in the ledger; exit code 1 names each entry that is not."""
    registry.tag_version("small_delays", 2, {NOTED: Ledger(store, "small_delays").last().note})
    assert ledger_command.run(SETTINGS, store, action="verify") == 0
    store.delete("ledger/small_delays/00000002.json")
    capsys.readouterr()
    assert ledger_command.run(SETTINGS, store, action="verify") == 1
    assert "is damaged: entry 2, which was noted for version 2, is not there." in capsys.readouterr().out


def test_ledger_verify_without_the_registry_claims_no_more_than_it_knows(store, registry, capsys):
    """SC-03: Exit code 1, in one line why; damage inside the chain is found all the same."""
    registry.unreachable = True
    assert ledger_command.run(SETTINGS, store, action="verify", model="small_delays") == 1
    whole, unknown = capsys.readouterr().out.splitlines()
    assert "sound" not in whole
    assert "unbroken as far as it goes: 3 entries" in whole
    assert unknown == (
        "Whether entries were cut off the end of the ledger of small_delays could not be verified: MLflow does not answer. Start it."
    )
    store.delete("ledger/small_delays/00000001.json")
    assert ledger_command.run(SETTINGS, store, action="verify", model="small_delays") == 1
    assert "entry 1 is missing" in capsys.readouterr().out


def test_ledger_verify_tells_of_a_registry_that_is_another(store, registry, capsys):
    """SC-03: A whole ledger beside an empty registry, or one with other content or another champion, is exit code 1 and the next step."""
    registry._versions.clear()
    registry._aliases.clear()
    assert ledger_command.run(SETTINGS, store, action="verify") == 1
    printed = capsys.readouterr().out
    assert "The ledger of small_delays is sound" in printed
    assert "lacks versions 1, 2 of small_delays" in printed
    assert "perennial registry rebuild --model small_delays" in printed
    registry.add("small_delays", "a" * 64, "champion")
    registry.add("small_delays", "c" * 64)
    assert ledger_command.run(SETTINGS, store, action="verify") == 1
    assert "other content than the ledger under version 2 of small_delays (cccccccccccc, not bbbbbbbbbbbb)" in capsys.readouterr().out


def test_a_model_whose_folder_is_gone_is_answered_by_its_ledger(store, registry, monkeypatch, capsys):
    """SC-03: By name, and where all are asked about: the store knows what served, whatever became of the files."""
    monkeypatch.undo()
    monkeypatch.setattr(ledger_command, "ModelRegistry", lambda settings: registry)
    for model in (None, "small_delays"):
        assert served_at.run(SETTINGS, store, time=BEGIN + timedelta(hours=0.5), model=model) == 0
        assert "version 1 (aaaaaaaaaaaa) 100 %" in capsys.readouterr().out
        assert ledger_command.run(SETTINGS, store, action="show", model=model) == 0
        assert "small_delays: 3 entries" in capsys.readouterr().out
        assert ledger_command.run(SETTINGS, store, action="verify", model=model) == 0
        assert "The ledger of small_delays is sound" in capsys.readouterr().out
    with pytest.raises(UnknownName, match="no model 'nobody'"):
        served_at.run(SETTINGS, store, time=BEGIN, model="nobody")
