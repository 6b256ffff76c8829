"""A value means the same, or is refused alike, in a landed file, a request and what a server logged; training reads the table's."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from perennial import encoding
from perennial.data.readers import read_batch
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.errors import BatchRefused
from perennial.monitoring.prediction_table import collect_predictions
from perennial.serving.request import BadRequest, read_request, read_signature
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.store import FolderStore

ZONE = "America/New_York"
DATASET = DatasetSpec(
    name="values", title="Values", owner="tests", key=("k",), event_time="at", time_zone=ZONE,
    columns=(
        Column(name="k", type="int"), Column(name="at", type="timestamp"), Column(name="int", type="int", nullable=True),
        Column(name="float", type="float", nullable=True), Column(name="timestamp", type="timestamp", nullable=True),
    ),
)  # fmt: skip
MODEL = ModelSpec(
    name="model", title="Model", owner="tests", dataset="values", task="regression", label="float", inputs=("int", "float", "timestamp"),
    gate=GateSpec(metric="rmse", floors={}),
)  # fmt: skip
SIGNATURE = read_signature(
    {"inputs": [{"name": name, "type": name, "nullable": True} for name in MODEL.inputs], "time_zone": ZONE},
)
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc).isoformat()

CASES = [  # type, JSON, and what it means; None where it is refused
    ("int", "0", 0),
    ("int", "-3", -3),
    ("int", "9007199254740992", 2**53),
    ("int", "9007199254740993", 2**53 + 1),
    ("int", "9223372036854775807", 2**63 - 1),
    ("int", "-9223372036854775808", -(2**63)),
    ("int", "9223372036854775808", None),
    ("int", "1e19", None),
    ("int", "-1e308", None),
    ("int", "9007199254740991", 2**53 - 1),
    ("int", "9007199254740993.0", None),
    ("int", "9007199254740994.0", None),
    ("int", "1.5", None),
    ("int", "2.0", 2),
    ("int", "1e3", 1000),
    ("float", "1.5", 1.5),
    ("float", "-1e308", -1e308),
    ("float", "3", 3.0),
    ("float", "9007199254740993", 2.0**53),
    ("float", "9223372036854775807", 2.0**63),
    ("float", "123456789012345678901234567890", 123456789012345678901234567890.0),
    ("float", "1e400", None),
    ("timestamp", '"2013-02-01T06:00:00"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-02-01T06:00:00-05:00"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-02-01T11:00:00Z"', datetime(2013, 2, 1, 6)),
    ("timestamp", '"2013-07-01 12:00:00+02:00"', datetime(2013, 7, 1, 6)),
    ("timestamp", '"2050-07-01T10:00:00Z"', datetime(2050, 7, 1, 6)),
    ("timestamp", '"2013-11-03T01:30:00"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"2013-11-03T05:30:00Z"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"2013-11-03T06:30:00Z"', datetime(2013, 11, 3, 1, 30)),
    ("timestamp", '"9999-12-31T23:59-14:00"', None),
    ("timestamp", '"0001-01-01T00:00+14:00"', None),
    ("timestamp", '"tomorrow"', None),
]  # fmt: skip

BY_A_FLOAT = ("9007199254740993.0", "9007199254740994.0")  # whole numbers that a float does not tell apart


def in_file(folder: Path, kind: str, written: str, extension: str) -> object:
    """What training reads of a landed file, or None if it is refused."""
    others = {"k": "1", "at": '"2013-02-01"', "int": "null", "float": "null", "timestamp": "null", kind: written}
    file = folder / f"a{extension}"
    if extension == ".csv":
        cells = ["" if value == "null" else value.strip('"') for value in others.values()]
        file.write_text(f"{','.join(others)}\n{','.join(cells)}\n")
    else:
        file.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in others.items()) + "}\n")
    store = FolderStore(str(folder / extension))
    try:
        Table(store, "values").append(read_batch(file, DATASET), "digest")
    except BatchRefused:
        return None
    column = latest_snapshot(store, DATASET).rows([kind])[kind].to_numpy()
    return (encoding.times(column) if kind == "timestamp" else column)[0].item()


def in_request(kind: str, written: str) -> object:
    """What features get of a request, or None if it is refused."""
    body = f'{{"data": {{"rows": [{{"{kind}": {written}}}]}}}}'
    try:
        column = read_request(body, SIGNATURE).columns[kind]
    except BadRequest:
        return None
    return column[0].item()


def in_log(folder: Path, kind: str, written: str) -> object:
    """What monitoring reads of a logged line, or None if it is set aside."""
    store = FolderStore(str(folder / "logged"))
    line = f'{{"id": "a-0", "version": 1, "time": "{NOW}", "scores": [1.0], "ms": 1, "row": {{"{kind}": {written}}}}}\n'
    store.write("predictions/model/a.jsonl", line.encode())
    table = Table(store, "model_predictions")
    if collect_predictions(store, MODEL, DATASET, table).damaged:
        return None
    found = table.scan()[f"input_{kind}"].to_pylist()[0]
    return found.replace(tzinfo=None) if kind == "timestamp" else found


@pytest.mark.parametrize(("kind", "written", "meant"), CASES)
def test_a_value_means_the_same_everywhere(tmp_path, kind, written, meant):
    """DM-18: File, table, training, request and log agree on times, whole numbers beyond 2^53 and infinity, or refuse them."""
    assert in_request(kind, written) == meant
    assert in_file(tmp_path, kind, written, ".jsonl") == meant
    assert in_file(tmp_path, kind, written, ".csv") == meant
    if written not in BY_A_FLOAT:  # an older release took it as that number
        assert in_log(tmp_path, kind, written) == meant


def test_category_codes_of_huge_numbers_agree():
    """DM-18: Neighbours beyond 2^53 are two categories, in training and in serving, with nulls and without."""
    ids = [2**53 + 1, 2**53 + 3, 2**53 + 5]
    for more in ([], [None]):
        trained = encoding.Category.fit({"int": encoding.whole_numbers([*ids, *more])}, "int")
        assert trained.values == tuple(map(str, ids))
        body = json.dumps({"data": {"rows": [{"int": value} for value in [*ids, *more]]}})
        assert trained.encode(read_request(body, SIGNATURE).columns)[:, 0].tolist() == [1, 2, 3, *([0] if more else [])]


def test_nullable_whole_numbers_of_a_snapshot_are_exact(tmp_path):
    """DM-18: A column of numbers beyond 2^53 that has nulls reaches training as it was landed."""
    file = tmp_path / "a.csv"
    file.write_text("k,at,int,float,timestamp\n1,2013-01-01,9007199254740993,,\n2,2013-01-02,,,\n3,2013-01-03,5,,\n")
    store = FolderStore(str(tmp_path / "store"))
    Table(store, "values").append(read_batch(file, DATASET), "digest")
    assert latest_snapshot(store, DATASET).rows(["int"])["int"].tolist() == [2**53 + 1, None, 5]


def test_parquet_follows_the_rule(tmp_path):
    """DM-18, DM-10: Zoned times are converted; whole numbers that came as floats from 2^53 on, and infinity, are refused with their row."""
    moment = pa.array([datetime(2013, 2, 1, 11, tzinfo=timezone.utc)], pa.timestamp("ns", "Asia/Tokyo"))
    right = {"k": [1], "at": moment, "int": [2**53 + 1], "float": [1.0], "timestamp": moment}
    file = tmp_path / "a.parquet"

    def read(**changes):
        pyarrow.parquet.write_table(pa.table({**right, **changes}), file)
        return read_batch(file, DATASET)

    assert read().to_pylist() == [
        {"k": 1, "at": datetime(2013, 2, 1, 6), "int": 2**53 + 1, "float": 1.0, "timestamp": datetime(2013, 2, 1, 6)}
    ]
    assert read(int=[2.0**53 - 1])["int"].to_pylist() == [2**53 - 1]
    assert read(float=[2**53 + 1])["float"].to_pylist() == [2.0**53]
    with pytest.raises(BatchRefused, match=r"int is '9007199254740992.0' in row 1, from 2\^53 on"):
        read(int=[2.0**53])
    with pytest.raises(BatchRefused, match="float is '-inf' in row 1, which is not finite"):
        read(float=[-np.inf])
