"""Columns of lists and texts in everything that walks columns: the table, corrections by key, row ids, the log of predictions, windows."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from perennial.column_types import cells
from perennial.data.added_columns import row_hashes, table_schema
from perennial.data.merging import Rule, merge, one_per_key
from perennial.data.readers import schema
from perennial.data.snapshots import latest_snapshot
from perennial.data.tables import Table
from perennial.encoding import Encoder, Series, Words
from perennial.monitoring.anomalies import fit_watch
from perennial.monitoring.prediction_table import collect_predictions, set_aside
from perennial.profiles.layout import fit_layout, measured_columns
from perennial.specs import Column, DatasetSpec, GateSpec, ModelSpec
from perennial.store import FolderStore
from perennial.training.export import golden_columns, signature

DATASET = DatasetSpec(
    name="orders", title="Orders", owner="tests", key=("order",), event_time="at",
    columns=(
        Column(name="order", type="int"), Column(name="at", type="timestamp"), Column(name="note", type="text", nullable=True),
        Column(name="prices", type="list", of="float", nullable=True),
        Column(name="sizes", type="list", of="int", longest=9, nullable=True),
        Column(name="tags", type="list", of="string"), Column(name="late", type="float", nullable=True),
    ),
)  # fmt: skip
MODEL = ModelSpec(
    name="late_orders", title="Late orders", owner="tests", dataset="orders", task="regression", label="late",
    inputs=("note", "prices", "sizes", "tags"), gate=GateSpec(metric="rmse", floors={}),
)  # fmt: skip
INPUTS = [
    {"note": 'Größe 🎉 "quoted"', "prices": [1.5, -0.0, 3], "sizes": [2**53 + 1], "tags": ["red hat", "", "שלום", "a,b]"]},
    {"note": None, "prices": [], "sizes": [], "tags": []},
    {"note": "[1, 2]", "prices": None, "sizes": None, "tags": ["null", "1"]},
]
AT = datetime(2026, 3, 2, 8)


def rows(inputs: list[dict[str, object]] = INPUTS) -> pa.Table:
    made = [{"order": place, "at": AT, **row, "late": 0.5} for place, row in enumerate(inputs)]
    return pa.Table.from_pylist(made, schema(DATASET))


def encoder(columns: dict[str, np.ndarray]) -> Encoder:
    return Encoder(
        {
            "note": [Words.fit(columns, "note", 8, min_rows=1)],
            "prices": [Series.fit(columns, "prices", 4)],
            "sizes": [Words.fit(columns, "sizes", 4, min_rows=1)],
            "tags": [Words.fit(columns, "tags", 4, min_rows=1)],
        }
    )


def test_a_table_gives_back_what_landed(tmp_path: Path) -> None:
    """DM-08: Lists and texts are stored and read in the types of the spec, empty and missing ones told apart, also later."""
    store = FolderStore(str(tmp_path))
    table = Table(store, "orders", table_schema(DATASET))
    table.append(rows(), "1f" * 32, key=("order",), event_time="at")
    more = rows([{"note": "more", "prices": [1.0], "sizes": None, "tags": ["x"]}]).set_column(0, "order", pa.array([7], pa.int64()))
    table.append(more, "2f" * 32, key=("order",), event_time="at")
    snapshot = latest_snapshot(store, DATASET)
    assert snapshot is not None
    frame = snapshot.rows()
    plain = [
        {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items() if name in MODEL.inputs}
        for row in frame.to_dict("records")
    ]
    assert [{**row, "note": row["note"] if isinstance(row["note"], str) else None} for row in plain[:3]] == INPUTS
    assert frame["note"].tolist()[3] == "more"
    trained = {name: frame[name].to_numpy() for name in MODEL.inputs}
    fitted = encoder(trained)
    logged = {name: cells([row[name] for row in INPUTS]) for name in MODEL.inputs}
    for name, tensor in fitted.encode(logged).items():
        assert np.array_equal(tensor, fitted.encode(trained)[name][:3]), name


def test_corrections_see_what_is_in_a_list() -> None:
    """DM-02: The same list is unchanged, another element a correction; identical rows of a file are one, and a hash names their content."""
    rule = Rule(("order",), by_row=True, on_known_key="replace")
    known = rows().append_column("_batch", pa.array(["monday.csv"] * 3))
    changed = [dict(row) for row in INPUTS]
    changed[1] = {**changed[1], "tags": ["now one"]}
    changed[2] = {**changed[2], "note": "[1, 2] "}
    merged = merge(rows(changed), known, rule)
    assert merged.counts.sentence() == "2 replaced, 1 unchanged"
    twice = pa.concat_tables([rows(), rows()])
    assert one_per_key(twice, rule)[0].num_rows == 3
    zeros = [{**INPUTS[0], "prices": [1.5, zero, 3]} for zero in (0.0, -0.0)]
    assert len(set(row_hashes(rows(zeros).drop_columns(["order"])))) == 1
    assert len(set(row_hashes(rows(changed)))) == 3
    assert row_hashes(rows())[0] == row_hashes(rows(changed))[0] == "7e144e77f5124726708466131970b342"


def test_what_was_served_is_read_back_from_the_log(tmp_path: Path) -> None:
    """MN-01: Lists and texts of requests are in the table of predictions as they were sent, and encode as they did."""
    store = FolderStore(str(tmp_path))
    now = datetime(2026, 1, 1, tzinfo=timezone.utc).isoformat()
    fixed = {"version": 1, "time": now, "scores": [1.0], "ms": 1}
    lines = [{"id": f"a-{place}", **fixed, "row": row} for place, row in enumerate(INPUTS)]
    damaged = [{"id": "b-0", **fixed, "row": {**INPUTS[0], **wrong}} for wrong in ({"prices": ["x"]}, {"sizes": 7}, {"note": ["a"]})]
    store.write("predictions/late_orders/a.jsonl", "".join(json.dumps(line) + "\n" for line in [*lines, *damaged]).encode())
    table = Table(store, "late_orders_predictions")
    collected = collect_predictions(store, MODEL, DATASET, table)
    assert (collected.rows, collected.damaged) == (3, 3)
    aside = set_aside(store, "predictions/late_orders")
    assert aside is not None
    assert "sizes is no list of what the column holds" in store.read(aside.newest).decode()
    read = table.scan(["prediction_id", *(f"input_{name}" for name in MODEL.inputs)]).sort_by("prediction_id")
    columns = {name: cells(read[f"input_{name}"].to_pylist()) for name in MODEL.inputs}
    assert [{name: columns[name][place] for name in MODEL.inputs} for place in range(3)] == INPUTS
    sent = {name: cells([row[name] for row in INPUTS]) for name in MODEL.inputs}
    for name, tensor in encoder(sent).encode(columns).items():
        assert np.array_equal(tensor, encoder(sent).encode(sent)[name]), name


def test_strange_requests_are_told_by_measures_of_lists_and_texts() -> None:
    """MN-01: A list far longer than all others, or a text of a thousand words, is an anomaly of its measure; no text is a category."""
    rng = np.random.default_rng(3)
    words = ["the", "parcel", "came", "late", "again", "and", "nobody", "told", "us", "why"]
    usual = [
        {"note": " ".join(rng.choice(words, rng.integers(4, 9))), "prices": rng.normal(5, 1, rng.integers(1, 6)).tolist(), "tags": []}
        for _ in range(600)
    ]
    table = rows([{**row, "sizes": [1, 2]} for row in usual]).select(["note", "prices"])
    layout = fit_layout(table, types={"note": "text"})
    days = np.datetime64("2026-01-01") + np.arange(600) % 30
    watch = fit_watch(measured_columns(table, layout), days, "univariate_max", 0)
    assert not isinstance(watch, str)
    strange = pa.table(
        {
            "note": [usual[0]["note"], "late " * 1000, usual[0]["note"]],
            "prices": pa.array([usual[0]["prices"], usual[0]["prices"], [5.0] * 500], pa.list_(pa.float64())),
        }
    )
    plain, long_text, long_list = watch.score(measured_columns(strange, layout)).tolist()
    assert min(long_text, long_list) > np.quantile(watch.held_out, 0.99) > plain


def test_a_signature_says_what_a_list_holds_and_golden_rows_have_its_borders() -> None:
    """MO-22: Callers read the type of elements and the limit; golden rows have a null, an empty list and words never seen."""
    inputs = {field["name"]: field for field in signature(MODEL, DATASET)["inputs"]}
    assert inputs["sizes"] == {"name": "sizes", "type": "list", "nullable": True, "of": "int", "longest": 9}
    assert inputs["note"] == {"name": "note", "type": "text", "nullable": True}
    golden = golden_columns(MODEL, DATASET, {name: cells([row[name] for row in INPUTS[:1]]) for name in MODEL.inputs})
    assert [] in golden["prices"].tolist()
    assert None in golden["prices"].tolist()
    assert "Never seen: 🎉" in golden["note"].tolist()


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ({"label": "note"}, "its label is note, which is a text"),
        ({"slices": ("tags",)}, "its slices name tags, which is a list"),
        ({"split": {"by": "group", "group": ("prices",)}}, "its split.group names prices, which is a list"),
    ],
)
def test_what_is_no_scalar_is_no_label_slice_or_group(role: dict[str, object], told: str) -> None:
    """DM-12: The sentence names the column and what it must be."""
    fault = ModelSpec.model_validate({**MODEL.model_dump(), **role}).misfit(DATASET)
    assert fault is not None
    assert fault[1] == f"{told}: it must be a number, a word or a time"
