"""Tasks for people: rows with the model's answer, as Label Studio imports them, and as plain CSV.

A task holds the key columns, so that what comes back joins (also as one field, `_key`: flat exports of Label Studio put their own number
over a column `id`), the inputs of the model, and why it was chosen. Nothing else leaves the store.

    >>> from perennial.labelling.answers import Target
    >>> from perennial.labelling.tasks import Form, Task, label_studio
    >>> from perennial.specs import Column
    >>> target = Target("verdicts", (Column(name="claim", type="int"),), (Column(name="fraud", type="string"),), "known")
    >>> form = Form(target, ("no", "yes"))
    >>> task = Task({"claim": 7}, {"sum": 9.5}, "unsure", 1.0, answer="yes", score=0.6, version="frauds/3")
    >>> tasks = label_studio([task], form)
    >>> tasks[0]["data"]["claim"], tasks[0]["predictions"][0]["result"][0]["value"]
    (7, {'choices': ['yes']})
"""

from __future__ import annotations

import base64
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from perennial.labelling.answers import Target
from perennial.labelling.exports import KEY, PERSON
from perennial.specs import Column

INPUTS, REASON, PROBABILITY, GIVEN = "_inputs", "_chosen_by", "_probability", "_given"  # names that no column of a dataset has
PICTURE = "_picture_"  # before the name of an input that is a picture
ANSWER, SCORE, VERSION = "_answer", "_score", "_model_version"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # with which a table program takes a text for a formula


@dataclass(frozen=True)
class Task:
    """One row that a person is asked about.

    Attributes:
        key: its key columns.
        inputs: the model's inputs.
        reason: why it was chosen.
        probability: with which it was chosen.
        answer: the model's, as a value of the label column; empty if there is none.
        score: that the model gives its answer.
        version: that answered, as `model/number`.
        given: label that it has already; empty if none.
    """

    key: Mapping[str, Any]
    inputs: Mapping[str, Any]
    reason: str
    probability: float
    answer: str = ""
    score: float | None = None
    version: str = ""
    given: str = ""


@dataclass(frozen=True)
class Form:
    """What a person fills in.

    Attributes:
        target: the columns that name a row and those to fill in.
        choices: values of the label that the model predicts, in the order of its classes; none where no single value means a class.
        label: the column that the model predicts; the first if empty.
        pictures: inputs that are pictures.
    """

    target: Target
    choices: Sequence[str]
    label: str = ""
    pictures: Sequence[str] = ()

    @property
    def predicted(self) -> Column:
        """The label column that the model predicts."""
        return self.target.label(self.label)

    def choices_of(self, column: Column) -> Sequence[str]:
        """Values to choose from; none where any may be given."""
        if column.name == self.predicted.name and self.choices:
            return self.choices
        return ("false", "true") if column.type == "bool" else ()


def label_studio(tasks: Sequence[Task], form: Form) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them, with the model's answer as a prediction."""
    return [_label_studio(task, form) for task in tasks]


def _label_studio(task: Task, form: Form) -> dict[str, Any]:
    plain = {name: value for name, value in task.inputs.items() if name not in form.pictures}
    data = {**_json(task.key), KEY: _json(task.key), INPUTS: _json(plain), REASON: task.reason, PROBABILITY: task.probability}
    data |= {PICTURE + name: _data_uri(task.inputs[name]) for name in form.pictures if isinstance(task.inputs.get(name), bytes)}
    if task.given:
        data[GIVEN] = task.given
    if not task.answer:
        return {"data": data}
    column = form.predicted
    kind, value = ("choices", [task.answer]) if form.choices_of(column) else ("number", float(task.answer))
    result = {"from_name": column.name, "to_name": "row", "type": kind, "value": {kind: value}}
    prediction = {"model_version": task.version, "result": [result]} | ({} if task.score is None else {"score": round(task.score, 6)})
    return {"data": data, "predictions": [prediction]}


def labelling_config(form: Form) -> str:
    """The labelling interface of Label Studio that fits the tasks: a table of the inputs, and a field for each label column."""
    pictures = [f"  <Image name={quoteattr(PICTURE + name)} value={quoteattr(f'${PICTURE}{name}')}/>" for name in form.pictures]
    lines = ["<View>", *pictures, f'  <Table name="row" value="${INPUTS}"/>']
    for column in form.target.labels:
        name, needed = quoteattr(column.name), "true" if column.name in form.target.deciding else "false"
        lines.append(f"  <Header value={quoteattr(column.meaning or column.name)}/>")
        if choices := form.choices_of(column):
            lines.append(f'  <Choices name={name} toName="row" choice="single" required="{needed}">')
            lines += [f"    <Choice value={quoteattr(choice)}/>" for choice in choices]
            lines.append("  </Choices>")
        elif column.type in ("int", "float"):
            lines.append(f'  <Number name={name} toName="row" required="{needed}"/>')
        else:
            lines.append(f'  <TextArea name={name} toName="row" maxSubmissions="1" required="{needed}"/>')
    return "\n".join([*lines, "</View>", ""])


def plain_csv(tasks: Sequence[Task], form: Form) -> str:
    """Tasks as CSV: the label columns and `_person` are to be filled in; the model's answer stands beside them, and counts for nothing."""
    key, labels = [c.name for c in form.target.key], [c.name for c in form.target.labels]
    inputs = [name for name in (tasks[0].inputs if tasks else ()) if name not in key]
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    heads = [f"_input_{name}" if name in labels else name for name in inputs]  # what is to be filled in has its name alone
    writer.writerow([*key, *labels, PERSON, KEY, ANSWER, SCORE, VERSION, GIVEN, REASON, PROBABILITY, *heads])
    choices = form.choices_of(form.predicted)
    for task in tasks:
        shown = [_shown(value) for value in _json({name: task.inputs[name] for name in inputs}).values()]
        answer, given = (_shown(word) if choices else word for word in (task.answer, task.given))  # without choices they are numbers
        about = [answer, "" if task.score is None else f"{task.score:.6g}", task.version, given, task.reason, task.probability]
        named = json.dumps(_json(task.key), ensure_ascii=False)  # a table program may write numbers and times of a column in its own way
        writer.writerow([*map(_shown, _json(task.key).values()), *("" for _ in labels), "", named, *about, *shown])
    return sink.getvalue()


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: times as text, what is missing as null."""
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if value is None or value != value:  # noqa: PLR0124 - NaN and NaT alone differ from themselves
        return None
    if isinstance(value, bytes):
        return f"({len(value):,} bytes)"
    if isinstance(value, float) and math.isinf(value):
        return str(value)  # JSON has no such number
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return value if isinstance(value, (bool, int, float, str)) else str(value)


def _data_uri(content: bytes) -> str:
    """A picture as a page shows it without asking anybody for it."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _shown(value: Any) -> Any:
    """A value for a table program: a text is never taken for a formula."""
    if isinstance(value, list):
        value = json.dumps(value)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
