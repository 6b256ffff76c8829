"""The command `perennial outcomes`."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial import discovery
from perennial.commands import outcomes
from perennial.data.tables import Table
from perennial.errors import BatchRefused
from perennial.settings import Settings
from perennial.specs import GateSpec, ModelSpec
from perennial.store import FolderStore

MODEL = ModelSpec(
    name="delays",
    title="Delays",
    owner="tests",
    dataset="flights",
    task="binary",
    classes=("on_time", "late"),
    label="late",
    inputs=("carrier",),
    gate=GateSpec(floors={}),
)
GOOD = "prediction_id,outcome,time\na-0,late,2013-02-01T06:00\nb-0,0,\n"


@pytest.fixture
def take(tmp_path, monkeypatch):
    """Runs the command over a file of that name and content."""
    monkeypatch.setattr(discovery, "model", lambda name: MODEL)
    store = FolderStore(str(tmp_path / "store"))

    def run(name, content):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return outcomes.run(Settings(), store, "delays", file)

    run.table = Table(store, "delays_outcomes")
    run.store = store
    return run


def test_a_file_is_taken_once_and_counted(take, capsys):
    """MN-03, SY-32: Its rows are in the table with number and time; the same content again, under another name too, changes nothing."""
    assert take("a.csv", GOOD) == 0
    said = capsys.readouterr().out
    assert said.startswith("2 outcomes of delays taken in: 2 new. 0 outcomes match a collected prediction. 2 outcomes wait for")
    assert "collected from the servers' log by the next monitoring (perennial monitor --model delays)" in said
    assert "look at the ids of a.csv" in said
    rows = sorted(take.table.scan().to_pylist(), key=lambda r: r["prediction_id"])
    assert [(r["prediction_id"], r["outcome"], r["source"], r["line"]) for r in rows] == [
        ("a-0", 1.0, "a.csv", 1),
        ("b-0", 0.0, "a.csv", 2),
    ]
    assert rows[0]["time"].isoformat() == "2013-02-01T06:00:00+00:00"
    assert take("b.csv", GOOD) == 0
    assert "taken in before" in capsys.readouterr().out
    assert take.table.count() == 2


def test_a_contradiction_is_counted(take, capsys):
    """MN-03: What is known, and by which rows it is contradicted."""
    take("a.csv", GOOD)
    take("b.csv", "prediction_id,outcome\na-0,late\nb-0,late\nc-0,late\n")
    said = capsys.readouterr().out
    assert "3 outcomes of delays taken in: 1 new, 1 known already, 1 unlike what was known (the one with the later time counts)." in said


def test_outcomes_whose_predictions_are_collected_wait_for_nothing(take, capsys):
    """MN-03: They match, and nothing is said of waiting."""
    Table(take.store, "delays_predictions").append(pa.table({"prediction_id": ["a-0", "b-0"]}), "served")
    take("a.csv", GOOD)
    assert capsys.readouterr().out == "2 outcomes of delays taken in: 2 new. 2 outcomes match a collected prediction.\n"


def test_all_formats_say_the_same(take, tmp_path):
    """MN-03, SY-32: CSV, JSON lines, their gzip forms and Parquet."""
    rows = [{"prediction_id": "a-0", "outcome": 1}, {"prediction_id": "b-0", "outcome": 0}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    lines = "".join(json.dumps(r) + "\n" for r in rows)
    for name, content in (
        ("a.csv", "prediction_id,outcome\na-0,1\nb-0,0\n"),
        ("b.jsonl", lines + "\n"),
        ("crlf.jsonl", lines.replace("\n", "\r\n")),
        ("c.jsonl.gz", gzip.compress(lines.encode(), mtime=0)),
        ("p.parquet", (tmp_path / "p.parquet").read_bytes()),
    ):
        before = take.table.count()
        take(name, content)
        assert take.table.count() == before + 2
    assert {(r["prediction_id"], r["outcome"]) for r in take.table.scan().to_pylist()} == {("a-0", 1.0), ("b-0", 0.0)}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (
            "a.csv",
            "prediction_id,outcome\na-0,1\nb-0,maybe\n",
            "line 3: outcome 'maybe' is not one of on_time, late or their numbers 0 to 1",
        ),
        ("a.csv", "prediction_id,outcome\n,1\n", "line 2 has no prediction_id"),
        ("a.csv", "prediction_id,outcome,time\na-0,1,yesterday\n", "line 2: time 'yesterday' is not like"),
        ("a.csv", "prediction_id,outcome\n" + ",1\n" * 5, "and 2 more rows"),
        ("a.csv", "prediction_id,result\na-0,1\n", "lacks outcome"),
        ("a.csv", "prediction_id,outcome,tme\na-0,1,x\n", "unknown column 'tme'"),
        ("a.csv", "prediction_id,outcome\na-0,1,2,3\n", "line 2: it has not as many fields"),
        ("a.csv", "prediction_id,outcome\n", "has no rows"),
        ("a.csv", b"prediction_id,outcome\n\xff,1\n", "is not UTF-8"),
        ("a.jsonl", '{"prediction_id": "a", "outcome": 1}\nnonsense\n', "line 2: it is no JSON object"),
        ("a.jsonl", '{"prediction_id": 7, "outcome": 1}\n', "line 1 has no prediction_id"),
        ("a.jsonl.gz", b"not gzip", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b"x", mtime=0)[:10] + b"\xff" * 9, "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.xlsx", b"x", "none of .csv, .jsonl, .parquet"),
    ],
)
def test_a_wrong_file_is_refused_whole(take, name, content, words):
    """MN-03: The sentence names the row and what is wrong with it; nothing is taken in."""
    with pytest.raises(BatchRefused, match="^" + name) as refusal:
        take(name, content)
    assert words in str(refusal.value)
    assert take.table.version() is None


def test_a_missing_file_is_named(take, tmp_path):
    """MN-03: The path and what to give instead."""
    with pytest.raises(BatchRefused, match=r"none\.csv cannot be read"):
        outcomes.run(Settings(), take.store, "delays", tmp_path / "none.csv")
