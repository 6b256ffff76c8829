"""What a look depends on: whatever changes it shows, nothing that stays does, and it costs the same however long the history."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.monitoring.report.numbers import ArmCounts, Gateway
from perennial.results import MonitorResult
from perennial.settings import Settings
from perennial.specs import JoinSpec
from perennial.stages import _last_look, monitor
from perennial.stages._last_look import LastLook, World, last_look, note_look, unchanged_until, world_of
from perennial.store import FolderStore
from perennial.store.numbered import count_numbered
from perennial.testing import small_dataset, small_model

MODEL, NOON = small_model(), datetime(2026, 3, 4, 12, tzinfo=timezone.utc)
SILENT = Gateway(sentence="It serves nothing.", versions={})
HEAVY = ("numpy", "pyarrow", "pandas", "duckdb", "deltalake", "scipy", "sklearn", "mlflow", "onnxruntime")


class CountingStore(FolderStore):
    """A folder that counts what is asked of it, and what its lists have."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.asked = Counter[str]()

    def read(self, key: str) -> bytes:
        self.asked["read"] += 1
        return super().read(key)

    def stat(self, key: str) -> Any:
        self.asked["stat"] += 1
        return super().stat(key)

    def list(self, prefix: str) -> Any:
        found = list(super().list(prefix))
        self.asked["list"] += 1
        self.asked["listed"] += len(found)
        return iter(found)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CountingStore:
    """An empty store, and the small model's dataset."""
    monkeypatch.setattr(discovery, "dataset", lambda name: small_dataset())
    monkeypatch.setattr(discovery, "dataset_of", lambda spec: small_dataset())
    monkeypatch.setattr(discovery, "model", lambda name: MODEL)
    return CountingStore(str(tmp_path / "store"))


def seen(
    store: FolderStore, *, spec: Any = MODEL, gateway: Gateway = SILENT, windows: Any = (), known: Any = None, **settings: Any
) -> World:
    """The world as a look sees it."""
    return world_of(Settings(home=Path("h"), store=store.root, **settings), store, spec, gateway, windows, known or {})


def commit(store: FolderStore, table: str, number: int) -> None:
    """A commit of a table."""
    store.write(f"tables/{table}/_delta_log/{number:020d}.json", b"{}")


def release(store: FolderStore, number: int) -> None:
    """Version `number` gets all traffic."""
    ledger = Ledger(store, MODEL.name)
    last = ledger.last()
    ledger.append(
        "released",
        version=number,
        champion=number,
        weights={number: 10_000},
        versions={number: f"{number:064d}"},
        reason="r",
        actor="a",
        after_seq=last.seq if last else None,
    )


def trained(store: FolderStore) -> None:
    """A training's version is sealed, and judged by the gate."""
    digest = "b" * 64
    store.write(f"models/{MODEL.name}/by_run/{'c' * 24}.json", json.dumps({"digest": digest}).encode())
    store.write(f"reports/{MODEL.name}/{digest}/gate.json", b"{}")


W = "2026-03-01_2026-03-03"
CHANGES = {
    "predictions come": lambda store: commit(store, f"{MODEL.name}_predictions", 1),
    "outcomes come": lambda store: commit(store, f"{MODEL.name}_outcomes", 1),
    "rows land": lambda store: commit(store, MODEL.dataset, 1),
    "an incident opens": lambda store: Incidents(store, MODEL.name).open("drift", "temp", "warning", "It moved."),
    "a person judges": lambda store: Incidents(store, MODEL.name).verdict("1", "known", "jo"),
    "a training is asked for": lambda store: Inbox(store, MODEL.name).ask("manual", 1, {}),
    "a training takes it": lambda store: Inbox(store, MODEL.name).claim("00000001-manual", "run"),
    "a version is released": lambda store: release(store, 1),
    "another is": lambda store: release(store, 2),
    "its evaluation is made again": lambda store: store.write(f"reports/{MODEL.name}/{2:064d}/evaluation.json", b"{}"),
    "a server logs": lambda store: store.write(f"predictions/{MODEL.name}/2.jsonl", b"{}"),
    "a caller tells outcomes": lambda store: store.write(f"outcomes/{MODEL.name}/2.jsonl", b"{}"),
    "a line is set aside": lambda store: store.write(f"predictions/{MODEL.name}/damaged/00000001-1.jsonl", b"x"),
    "the layout is made again": lambda store: store.write(f"profiles/{MODEL.dataset}/layout.json", b"{}"),
    "another window is the newest": lambda store: store.write(f"reports/{MODEL.name}/newest_window.json", b"{}"),
    "a window is looked at by hand": lambda store: store.write(f"views/windows/{MODEL.name}.json", b"{}"),
    "its sizes are noted": lambda store: store.write(f"views/drift/{MODEL.name}.json", b"{}"),
    "a report is written": lambda store: store.write(f"reports/{MODEL.name}/windows/{W}/report.json", b"{}"),
    "its page is": lambda store: store.write(f"reports/{MODEL.name}/windows/{W}/index.html", b"{}"),
    "it is written again": lambda store: store.write(f"reports/{MODEL.name}/windows/{W}/report.json", b"[]"),
    "it is deleted": lambda store: store.delete(f"reports/{MODEL.name}/windows/{W}/report.json"),
    "it is counted": lambda store: store.write(f"reports/{MODEL.name}/windows/{W}/inputs.parquet", b"{}"),
    "scores are counted": lambda store: store.write(f"reports/{MODEL.name}/windows/{W}/scores.parquet", b"{}"),
}  # fmt: skip


def test_whatever_changes_shows(store):
    """MN-01: Each thing that a look depends on makes another world, and nothing makes one by itself."""
    commit(store, f"{MODEL.name}_predictions", 0)
    before = seen(store, windows=[W])
    for what, change in CHANGES.items():
        assert seen(store, windows=[W], known=before.counts) == before, f"before {what}"
        change(store)
        after = seen(store, windows=[W], known=before.counts)
        assert after != before, what
        before = after


def test_a_training_that_the_gate_judged_shows(store, monkeypatch):
    """MN-01: It may answer the request that waits."""
    before = seen(store)
    monkeypatch.setattr(_last_look, "last_training", lambda store, model: ("b" * 64, None))
    assert seen(store).training == "b" * 64
    assert seen(store) != before


def test_other_code_specs_settings_and_counts_of_the_gateway_show(store, monkeypatch):
    """MN-01: What is looked at, and with what."""
    before = seen(store)
    edited = MODEL.model_copy(update={"title": "Other"})
    busy = SILENT.model_copy(update={"versions": {"1": ArmCounts(requests=3, errors=0, p50_ms=None, p99_ms=None)}})
    assert seen(store, spec=edited).asked != before.asked
    assert seen(store, airflow_url="http://there").asked != before.asked
    assert seen(store, gateway=busy).gateway != before.gateway
    monkeypatch.setattr(discovery, "dataset_of", lambda spec: small_dataset().model_copy(update={"title": "Other"}))
    assert seen(store).asked != before.asked
    monkeypatch.setattr(_last_look, "code_digest", lambda: "other")
    assert seen(store).code == "other" != before.code


def test_tables_that_are_joined_are_watched(store):
    """MN-01: A commit of a joined dataset may be new data for a training."""
    joined = MODEL.model_copy(update={"joins": (JoinSpec(dataset="weather", key=("origin",), columns=("wind",), horizon_days=1),)})
    before = seen(store, spec=joined)
    commit(store, "weather", 0)
    assert seen(store, spec=joined).counts == {**before.counts, "tables/weather/_delta_log": 1}


def test_the_digest_of_the_code_is_that_of_its_files(tmp_path, monkeypatch):
    """MN-01: A changed line, another file or another library is another digest."""
    (tmp_path / "__init__.py").write_text("")
    libraries = tmp_path / "libraries"
    (libraries / "numpy-1.dist-info").mkdir(parents=True)
    monkeypatch.setattr(_last_look.perennial, "__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(_last_look.sysconfig, "get_paths", lambda: {"purelib": str(libraries)})
    found = [_last_look.code_digest.__wrapped__()]
    for change in (
        lambda: (tmp_path / "a.py").write_text("1"),
        lambda: (tmp_path / "a.py").write_text("2"),
        lambda: (tmp_path / "a.py").rename(tmp_path / "b.py"),
        lambda: (libraries / "numpy-1.dist-info").rename(libraries / "numpy-2.dist-info"),
    ):
        change()
        found.append(_last_look.code_digest.__wrapped__())
        assert _last_look.code_digest.__wrapped__() == found[-1]
    assert len(set(found)) == 5


@pytest.mark.parametrize("folder", ["tables/t/_delta_log", "incidents/m"])
def test_numbered_objects_are_counted_from_the_last_known_on(store, folder):
    """MN-01: Those behind it are asked for one by one; the folder is listed only where the last known one is gone."""
    digits = 20 if folder.endswith("_delta_log") else 8
    assert count_numbered(store, folder, digits=digits) == 0
    for number in range(7):
        store.write(f"{folder}/{number:0{digits}d}.json", b"{}")
    store.write(f"{folder}/00000000000000000005.checkpoint.parquet", b"{}")
    store.write(f"{folder}/{90:0{digits}d}.json.gone", b"{}")
    store.asked.clear()
    assert count_numbered(store, folder, digits=digits) == 7
    assert store.asked["list"] == 1
    store.asked.clear()
    assert [count_numbered(store, folder, known, digits) for known in (7, 5, 1)] == [7, 7, 7]
    assert (store.asked["list"], store.asked["stat"]) == (0, 2 + 4 + 8)
    store.delete(f"{folder}/{6:0{digits}d}.json")
    assert count_numbered(store, folder, 7, digits) == 6, "restored from an older copy"
    store.delete(f"{folder}/{0:0{digits}d}.json")
    assert count_numbered(store, folder, digits=digits) == 6, "the beginning may be gone"


def test_a_look_with_nothing_new_costs_the_same_however_long_the_history(store):
    """MN-01, OP-10: After 1,000 commits, incidents' events and releases as many objects are read, asked for and listed as after 10."""
    asked = []
    for length in (10, 1000):
        for number in range(length - 990 if length > 10 else 0, length):
            for table in (f"{MODEL.name}_predictions", f"{MODEL.name}_outcomes", MODEL.dataset):
                commit(store, table, number)
            for log in ("incidents", "requests"):
                store.write(f"{log}/{MODEL.name}/{number:08d}.json", b"{}")
        while (Ledger(store, MODEL.name).last() or SimpleEntry).seq + 1 < length // 10:
            release(store, 1)
        known = seen(store, windows=[W]).counts
        store.asked.clear()
        assert seen(store, windows=[W], known=known).counts == known
        asked.append(dict(store.asked))
    assert asked[0] == asked[1]
    assert asked[0]["listed"] == 0


class SimpleEntry:
    """Before the first entry."""

    seq = -1


def look(world: World, **changes: Any) -> LastLook:
    """A look at noon that left the world as it was."""
    given = {"time": NOON, "until": NOON + timedelta(hours=2), "settled": True, "windows": (W,), "world": world}
    return LastLook(**{**given, "result": MonitorResult(sentence="All is well."), **changes})


def test_an_answer_holds_while_the_world_stays_and_its_time_lasts(store):
    """MN-01: Not before it was given, not from its end on, not if the look changed something itself."""
    world = seen(store)
    other = world.model_copy(update={"ledger": "another"})
    noted = look(world)
    assert [noted.holds(world, NOON + timedelta(hours=hours)) for hours in (0, 1.9, 2)] == [True, True, False]
    assert not noted.holds(world, NOON - timedelta(seconds=1)), "the clock was set back"
    assert not noted.holds(other, NOON)
    assert not look(world, settled=False).holds(world, NOON)


def test_a_note_is_read_as_it_was_written(store):
    """MN-01: One that is gone, garbled or of another form is none."""
    assert last_look(store, "m") is None
    noted = look(seen(store))
    note_look(store, "m", noted)
    assert last_look(store, "m") == noted
    for content in (b"", b"[]", noted.model_copy(update={"form": 0}).model_dump_json().encode()):
        store.write("views/looks/m.json", content)
        assert last_look(store, "m") is None


def test_until_when_words_stay():
    """MN-01: To the second, and never a moment too long; to the end where they stay until then."""
    end = NOON + timedelta(hours=12)
    for seconds in (1.5, 60, 30_000.25, 43_199.9):
        change = NOON + timedelta(seconds=seconds)
        until = unchanged_until(lambda when, change=change: "before" if when < change else "after", NOON, end)
        assert change - timedelta(seconds=1) <= until < change
    assert unchanged_until(lambda when: "same", NOON, end) == end


def test_nothing_heavy_is_loaded_before_it_is_needed():
    """MN-01: The stage itself loads no library of tables, numbers or models: a look at which nothing is new needs none."""
    code = f"import sys, perennial.cli, perennial.stages.monitor; print([name for name in {HEAVY} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_a_second_look_at_an_empty_store_is_not_made(store, monkeypatch, tmp_path):
    """MN-01: Nothing is looked at again where nothing was found, and the answer is the same."""
    looks = []
    real = monitor._look_at
    monkeypatch.setattr(monitor, "_look_at", lambda *given: looks.append(1) or real(*given))
    monkeypatch.setattr(monitor, "note_service", lambda *given: ())
    settings = Settings(home=tmp_path / "home", store=store.root, mlflow_url="http://127.0.0.1:1")
    first = monitor.run(settings, store, MODEL.name)
    assert monitor.run(settings, store, MODEL.name) == first
    assert len(looks) == 1
    Incidents(store, MODEL.name).open("drift", "temp", "warning", "It moved.")
    monitor.run(settings, store, MODEL.name)
    assert len(looks) == 2
