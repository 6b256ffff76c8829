"""Suites say what pictures, arrays, texts and lists must be like, by their measures."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from perennial.data.readers import schema
from perennial.pictures import as_png
from perennial.quality import suites
from perennial.quality.validation import validate, validate_snapshot
from perennial.specs import Column, DatasetSpec

PARTS = DatasetSpec(
    name="parts", title="Parts", owner="tests", row_id="content", event_time="",
    columns=(
        Column(name="photo", type="image", shape=(4, 4), mode="L", nullable=True),
        Column(name="heat", type="array", of="float", shape=(2,), nullable=True),
        Column(name="note", type="text"),
    ),
)  # fmt: skip


def expectation(kind, severity="critical", **kwargs):
    return {"type": kind, "kwargs": kwargs, "meta": {}, "severity": severity}


def test_measures_are_columns_of_a_suite(tmp_path, monkeypatch):
    """DM-10, DM-15: Too dark a picture, too large a one, an array full of gaps and an empty text are told by row, in batch and snapshot."""
    (tmp_path / "expectations").mkdir()
    monkeypatch.setattr(suites, "folder", lambda: tmp_path)
    rules = [
        expectation("expect_column_values_to_be_between", column="photo[brightness]", min_value=20),
        expectation("expect_column_values_to_be_between", column="photo[width]", min_value=4, max_value=4, severity="warning"),
        expectation("expect_column_values_to_be_between", column="heat[missing]", max_value=0.4),
        expectation("expect_column_values_to_be_between", column="note[words]", min_value=1),
    ]
    (tmp_path / "expectations" / "parts.json").write_text(json.dumps({"name": "parts", "expectations": rules, "meta": {}}))
    light, dark, wide = (as_png(np.full(shape, value, np.uint8)) for shape, value in (((4, 4), 90), ((4, 4), 5), ((4, 8), 90)))
    rows = [
        {"photo": light, "heat": [1.0, 2.0], "note": "well made"},
        {"photo": dark, "heat": None, "note": "fine"},
        {"photo": wide, "heat": [np.nan, 2.0], "note": "!"},
        {"photo": None, "heat": [1.0, 2.0], "note": "fine"},
    ]
    table = pa.Table.from_pylist(rows, schema(PARTS))
    for verdict in (validate(table, PARTS, "monday"), validate_snapshot(table.to_pandas(), PARTS, "snapshot 1")):
        assert {(f.column, f.severity, f.row_numbers) for f in verdict.failures} == {
            ("photo[brightness]", "critical", (2,)), ("photo[width]", "warning", (3,)),
            ("heat[missing]", "critical", (3,)), ("note[words]", "critical", (3,)),
        }  # fmt: skip
        assert not verdict.passed
    assert validate(table.slice(0, 1), PARTS, "tuesday").passed
