"""Tasks as tools read them."""

from __future__ import annotations

import base64
import csv
import io
import json
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from perennial.labelling.answers import Target
from perennial.labelling.tasks import Form, Task, label_studio, labelling_config, plain_csv
from perennial.pictures import as_png
from perennial.specs import Column

LABELS = (
    Column(name="price", type="float", meaning="Price & fee"),
    Column(name="note", type="string", nullable=True),
    Column(name="ok", type="bool"),
)
TARGET = Target("prices", (Column(name="flat", type="string"),), LABELS, "known")
TASK = Task(
    {"flat": "=1+1"},
    {"rooms": np.int64(3), "area": np.nan, "built": pd.Timestamp("1990-05-01 10:00"), "words": np.array(["a", "b"]), "note": "=cmd()"},
    "unsure", 1.0, answer="9.5", version="flats/2",
)  # fmt: skip


def test_values_of_every_kind() -> None:
    """DM-10: Numbers, times, lists and what is missing, as JSON has them; a number is predicted where the label is one."""
    (task,) = json.loads(json.dumps(label_studio([TASK], Form(TARGET, ())), allow_nan=False))
    inputs = {"rooms": 3, "area": None, "built": "1990-05-01T10:00:00", "words": ["a", "b"], "note": "=cmd()"}
    assert task["data"]["_inputs"] == inputs
    (result,) = task["predictions"][0]["result"]
    assert (result["from_name"], result["type"], result["value"]) == ("price", "number", {"number": 9.5})
    config = labelling_config(Form(TARGET, ()))
    assert '<Number name="price" toName="row" required="true"/>' in config
    assert '<TextArea name="note" toName="row" maxSubmissions="1" required="false"/>' in config
    assert '<Header value="Price &amp; fee"/>' in config


def test_a_table_program_computes_nothing() -> None:
    """DM-10: Texts of the inputs are never formulas; the key is exact in `_key`, and the answer is in no column that counts."""
    (row,) = csv.DictReader(io.StringIO(plain_csv([TASK], Form(TARGET, ()))))
    assert (row["flat"], row["note"], row["_input_note"]) == ("'=1+1", "", "'=cmd()")  # `note` is to be filled in
    assert (json.loads(row["_key"]), row["price"], row["_answer"]) == ({"flat": "=1+1"}, "", "9.5")


def test_an_answer_is_no_formula_either() -> None:
    """DM-10: Classes may be called like formulas; a number is left as it is."""
    form = Form(Target("t", TARGET.key, (Column(name="kind", type="string"),), "known"), ("=cmd()", "-"))
    task = Task({"flat": "1"}, {}, "unsure", 1.0, answer="=cmd()", given="-")
    (row,) = csv.DictReader(io.StringIO(plain_csv([task], form)))
    assert (row["_answer"], row["_given"]) == ("'=cmd()", "'-")
    (row,) = csv.DictReader(io.StringIO(plain_csv([replace(task, answer="-1.5", given="")], Form(TARGET, ()))))
    assert (row["_answer"], row["_given"]) == ("-1.5", "")


def test_infinite_inputs_are_shown() -> None:
    """DM-10: JSON has no infinite number: it is shown as text, in lists too."""
    task = Task({"flat": "1"}, {"area": np.float64(np.inf), "each": np.array([1.0, -np.inf, np.nan])}, "random", 0.5)
    (shown,) = json.loads(json.dumps(label_studio([task], Form(TARGET, ())), allow_nan=False))
    assert shown["data"]["_inputs"] == {"area": "inf", "each": [1.0, "-inf", None]}


def test_keys_come_back_as_they_left() -> None:
    """DM-10: Times and numbers beyond 2^53 too."""
    target = Target("t", (Column(name="at", type="timestamp"), Column(name="n", type="int")), TARGET.labels, "known")
    task = Task({"at": datetime(2024, 1, 2, 3), "n": 2**60 + 1}, {}, "random", 0.5)
    (row,) = csv.DictReader(io.StringIO(plain_csv([task], Form(target, ()))))
    assert target.key_of(json.loads(row["_key"])) == target.key_of({"at": "2024-01-02T03:00:00", "n": str(2**60 + 1)})


def test_pictures_are_shown() -> None:
    """DM-10: A picture is an image of the interface, whole in the task; a table program gets its size."""
    content = as_png(np.zeros((2, 2), dtype=np.uint8))
    form, task = Form(TARGET, (), pictures=("scan",)), Task({"flat": "a"}, {"scan": content, "rooms": 3}, "random", 0.5)
    (written,) = json.loads(json.dumps(label_studio([task], form)))
    assert (written["data"]["_inputs"], written["data"]["_picture_scan"][:22]) == ({"rooms": 3}, "data:image/png;base64,")
    assert base64.b64decode(written["data"]["_picture_scan"][22:]) == content
    assert '<Image name="_picture_scan" value="$_picture_scan"/>' in labelling_config(form)
    (row,) = csv.DictReader(io.StringIO(plain_csv([task], form)))
    assert row["scan"] == f"({len(content)} bytes)"
