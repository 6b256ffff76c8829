"""`perennial suite suggest` on a table of a person's own."""

from __future__ import annotations

import hashlib
import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perennial import discovery
from perennial.commands import suite
from perennial.data.snapshots import table_of
from perennial.errors import SettingMissing, UnknownName
from perennial.profiles.store import ProfileStore
from perennial.quality import suites
from perennial.quality.validation import validate
from perennial.settings import Settings
from perennial.specs import Column, DatasetSpec
from perennial.stages import profile
from perennial.store import FolderStore

SPEC = DatasetSpec(
    name="rides", title="Rides", owner="fleet", key=["ride"], event_time="start",
    columns=[
        Column(name="ride", type="int"), Column(name="start", type="timestamp"), Column(name="end", type="timestamp", nullable=True),
        Column(name="km", type="float"), Column(name="city", type="string"),
    ],
)  # fmt: skip


def rides(day: int) -> pa.Table:
    """Forty rides of a day of March."""
    rng, begin = np.random.default_rng(day), datetime(2024, 3, 1) + timedelta(days=day)
    starts = [begin + timedelta(minutes=20 * i) for i in range(40)]
    return pa.table(
        {
            "ride": pa.array([100 * day + i for i in range(40)]),
            "start": pa.array(starts, pa.timestamp("us")),
            "end": pa.array([None if i == 7 else s + timedelta(minutes=5 + i % 9) for i, s in enumerate(starts)], pa.timestamp("us")),
            "km": pa.array(rng.gamma(2, 3, 40)),
            "city": pa.array(rng.choice(["Rome", "Oslo"], 40)),
        }
    )


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderStore:
    """Twelve batches; a folder of suites without one."""
    monkeypatch.setattr(discovery, "dataset", lambda name: SPEC)
    (tmp_path / "great_expectations" / "expectations").mkdir(parents=True)
    (tmp_path / "great_expectations" / "great_expectations.yml").write_text((suites.folder() / "great_expectations.yml").read_text())
    monkeypatch.setattr(suites, "folder", lambda: tmp_path / "great_expectations")
    store = FolderStore(str(tmp_path / "store"))
    for day in range(12):
        name = f"day-{day:02}.csv"
        digest = hashlib.sha256(name.encode()).hexdigest()
        table_of(store, SPEC).append(rides(day), digest, label=f"{name} ({digest[:12]})", key=("ride",), event_time="start")
        ProfileStore(store, "rides").owe(digest, f"{name} ({digest[:12]})")
    return store


def ask(store: FolderStore, *, write: bool = False, json: bool = False, first: date | None = None, last: date | None = None) -> int:
    return suite.run(Settings(), store, "suggest", "rides", first, last, write, json)


def test_a_table_speaks_for_its_suite(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-10: Evidence beside each expectation; nothing is written unasked; what is written passes every batch of the table, and a second
    time there is nothing to write."""
    file = tmp_path / "great_expectations" / "expectations" / "rides.json"
    ask(store)
    said = capsys.readouterr().out
    kilometres = [km for day in range(12) for km in rides(day)["km"].to_pylist()]
    assert f"over 12 batches with 480 rows the smallest was {min(kilometres):.6g}, the largest {max(kilometres):.6g}" in said
    assert "city is one of Oslo, Rome  [warning; new]" in said
    assert "start is at most end  [warning; new]" in said
    assert "Nothing was written: --write does that." in said
    assert not file.exists()
    ask(store, write=True)
    assert '+      "type": "expect_column_pair_values_a_to_be_greater_than_b",' in capsys.readouterr().out
    written = file.read_text()
    verdicts = [validate(rides(day), SPEC, f"day-{day}", newest=datetime(2024, 3, 12)) for day in (0, 5, 11)]
    assert [verdict.failures for verdict in verdicts] == [(), (), ()]
    lost = rides(3).set_column(3, "km", pa.array([-9999.0] * 40))
    assert {f.severity for f in validate(lost, SPEC, "lost").failures if f.column == "km"} == {"critical"}
    ask(store, write=True)
    assert "has all of it: nothing is to be written" in capsys.readouterr().out
    assert file.read_text() == written


def test_profiles_that_are_kept_say_the_same(
    store: FolderStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DM-10: What was counted when a batch landed is not counted again, and a range of days leaves the others out."""
    ask(store, json=True)
    counted = json.loads(capsys.readouterr().out)
    monkeypatch.setattr(profile, "FIT_ROWS", 1)
    assert profile.profile_owed(store, SPEC) == 12
    ask(store, json=True)
    kept = json.loads(capsys.readouterr().out)
    assert [each["expectation"]["type"] for each in kept["proposals"]] == [each["expectation"]["type"] for each in counted["proposals"]]
    assert [each["evidence"] for each in kept["proposals"] if each["expectation"]["severity"] == "critical"] == [
        each["evidence"] for each in counted["proposals"] if each["expectation"]["severity"] == "critical"
    ]
    ask(store, json=True, first=date(2024, 3, 3), last=date(2024, 3, 8))
    part = json.loads(capsys.readouterr().out)
    assert (part["batches"], part["rows"], part["written"]) == (6, 240, False)


def test_days_without_rows_are_named(store: FolderStore) -> None:
    """DM-10: The sentence says which days, and what to do."""
    with pytest.raises(UnknownName, match=r"The table rides has no rows from 2025-01-01 to the last: ingest a batch first"):
        ask(store, first=date(2025, 1, 1))


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (b'{"expectations": [5]}', "number 1 of its expectations is none"),
        (b'{"expectations": [{"type": "t"}]}', "number 1 of its expectations is none"),
        (b'{"expectations": [{"type": "t", "kwargs": []}]}', "number 1 of its expectations is none"),
        (b'{"expectations": [{"type": "t", "kwargs": {"column_list": 5}}]}', "the column_list of number 1"),
        (b'{"expectations": [{"type": "t", "kwargs": {"mostly": "all"}}]}', "number 1 of its expectations mostly is no number"),
        (b'{"expectations": [{"type": "t", "kwargs": {}, "meta": "x"}]}', "or meta no object"),
        (b'{"name": "\xe9", "expectations": []}', "is not UTF-8"),
        (b'{"expectations": ' + b"[" * 100_000, "cannot be read"),
        (b'{"meta": {"expectations": [1]}, "expectations": []}', 'has more than one "expectations"'),
        (b'{"expectations": [], "expectations": []}', 'has more than one "expectations"'),
    ],
)
def test_what_a_person_wrote_stays(store: FolderStore, tmp_path: Path, written: bytes, why: str) -> None:
    """DM-10: A suite that cannot be read, or not be added to without breaking it, is refused with a sentence, and stays as it is."""
    file = tmp_path / "great_expectations" / "expectations" / "rides.json"
    file.write_bytes(written)
    with pytest.raises(SettingMissing, match=why):
        ask(store, write=True)
    assert file.read_bytes() == written


def test_bounds_that_are_no_numbers_are_no_ranges(store: FolderStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DM-10: Great Expectations takes times and other values as bounds, too: they are left alone."""
    kinds = ("between", {"min_value": "a", "max_value": 5}), ("in_set", {"value_set": 5}), ("not_be_in_set", {})
    expectations = [{"type": f"expect_column_values_to_be_{kind}", "kwargs": {"column": "km", **more}} for kind, more in kinds]
    file = tmp_path / "great_expectations" / "expectations" / "rides.json"
    file.write_text(json.dumps({"expectations": expectations}))
    ask(store, write=True)
    assert json.loads(file.read_text())["expectations"][:3] == expectations


def test_a_suite_is_written_whole_or_not_at_all(store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DM-10: Whoever is killed while the file is written leaves the suite that was there."""
    file = tmp_path / "great_expectations" / "expectations" / "rides.json"
    file.write_text('{"expectations": []}')
    write = Path.write_text

    def killed(path: Path, text: str, **given: Any) -> int:
        write(path, text[:100], **given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        ask(store, write=True)
    assert file.read_text() == '{"expectations": []}'
