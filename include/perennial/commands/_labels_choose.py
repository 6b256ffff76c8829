"""Chooses the rows that are worth a label and writes them as tasks, prefilled with the model's answer."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from perennial.commands._labels_report import doubtful_labels, has_doubts_of_table, how_to_correct
from perennial.commands._labels_rows import Model, Rows, label_values, logged_rows, opened, slice_name, strangeness, table_rows, worst_slice
from perennial.encoding import text
from perennial.errors import EXIT_DONE, UnknownName
from perennial.labelling.answers import now_text, plain
from perennial.labelling.asked import Asked
from perennial.labelling.choosing import RANDOM, Chosen, Floats, choose, entropy, within
from perennial.labelling.imports import Imports
from perennial.labelling.tasks import Form, Task, label_studio, labelling_config, plain_csv
from perennial.results import on_terminal
from perennial.specs import Column
from perennial.store import Store

UNSURE, DRIFTED, WORST, MIXED, DOUBTFUL = "unsure", "drifted", "worst-slice", "mixed", "doubtful"
PROBES = (1.5, -2.0)  # labels of a regression that are values of the column come back as they are


def choose_rows(
    store: Store,
    file: Path,
    model: str,
    *,
    by: str,
    count: int,
    random_share: float,
    source: str | None,
    first: datetime | None,
    last: datetime | None,
    seed: int,
    again: bool,
) -> int:
    """Write tasks into a file, and the labelling interface of Label Studio beside it.

    Raises:
        UnknownName: there is no such model, nothing to ask about, or a reason cannot rank the rows.
    """
    if file.suffix.lower() not in (".json", ".csv"):
        raise UnknownName(f"{file} is neither .json (Label Studio) nor .csv: name one of these.")
    if file.exists():
        raise UnknownName(f"{file} is there already, and may hold the only copy of its tasks: name another file.")
    with opened(store, model) as opened_model:
        rows = _rows_to_ask_about(opened_model, by, source, first, last)
        asked = Asked(store, opened_model.target.name)
        waiting = set() if again else asked.keys() - {answer.key for answer in Imports(store, opened_model.target.name).answers}
        rows_left = rows.take([place for place, key in enumerate(rows.keys) if key not in waiting])
        if not rows_left.keys:
            raise UnknownName(
                f"There is nothing to ask about: all {len(rows.keys):,} {rows.source} wait for an answer already (--again asks once more)."
                if rows.keys
                else f"There is nothing to ask about: all {rows.source} of that time have a label."
            )
        if by == DOUBTFUL:
            chosen, remarks = [Chosen(place, by, 1.0) for place in range(min(count, len(rows_left.keys)))], list[str]()
        else:
            ranks, remarks = _ranks(opened_model, rows_left, by)
            chosen = choose(rows_left.keys, ranks, count, random_share=random_share, seed=seed)
        form = form_of(opened_model)
        tasks = tasks_of(rows_left, chosen, opened_model, form)
        config = write_tasks(file, tasks, form)
        asked.add(
            {
                "keys": [list(rows_left.keys[row.place]) for row in chosen],
                "reasons": [row.reason for row in chosen],
                "probabilities": [row.probability for row in chosen],
                "by": by, "seed": seed, "rows": len(rows_left.keys), "at": now_text(), "model": opened_model.name, "file": file.name,
            }
        )  # fmt: skip
    told = _summary(model, rows_left, len(rows.keys) - len(rows_left.keys), chosen, remarks, tasks, file, config)
    print(on_terminal("\n".join(told)))
    return EXIT_DONE


def _rows_to_ask_about(model: Model, by: str, source: str | None, first: datetime | None, last: datetime | None) -> Rows:
    """Rows of the table or predictions, as is asked for or else fits. Raises UnknownName where answers on them could not land."""
    of_table = has_doubts_of_table(model) if by == DOUBTFUL else model.feed is not None
    source = source or ("table" if of_table else "log")
    if source == "table" and not model.feed:
        if by == DOUBTFUL:
            raise UnknownName(
                f"{model.spec.name} has no label feed, so answers on its table's rows could not land. {how_to_correct(model)} The rows are "
                f"named by perennial labels report --model {model.spec.name}; --source log asks about its predictions instead."
            )
        raise UnknownName(
            f"{model.spec.name} has no label feed, so labels of its table's rows could not land: write labels=LabelSpec(...) into "
            "its spec, or have its predictions labelled (--source log)."
        )
    if by == DOUBTFUL:
        return _doubtful(model, logged=source == "log")
    return (table_rows if source == "table" else logged_rows)(model, first, last)


def _doubtful(model: Model, *, logged: bool) -> Rows:
    """Rows whose label is doubtful, the most doubtful first."""
    found, rows, about = doubtful_labels(model, logged=logged)
    if found is None or rows is None:
        raise UnknownName(f"There are no doubtful labels to ask about: {about}")
    return replace(rows.take(found.places), source=f"doubtful labels among {rows.source}")


def _ranks(model: Model, rows: Rows, by: str) -> tuple[dict[str, Floats], list[str]]:
    """How much each row is worth a label by each reason, and why some reasons cannot tell."""
    wanted = {MIXED: (UNSURE, DRIFTED, WORST), RANDOM: ()}.get(by, (by,))
    ranks: dict[str, Floats] = {}
    remarks: list[str] = []
    for reason in wanted:
        values = _rank(model, rows, reason)
        if isinstance(values, str):
            if by != MIXED:
                raise UnknownName(f"Rows cannot be chosen by {by}: {values} Choose by another reason, such as --by {RANDOM}.")
            remarks.append(f"Not by {reason}: {values}")
        else:
            ranks[reason], remark = values
            remarks += [remark] if remark else []
    return ranks, remarks


def _rank(model: Model, rows: Rows, reason: str) -> tuple[Floats, str] | str:
    if reason == DRIFTED:
        strange = strangeness(model, rows)
        return strange if isinstance(strange, str) else (strange, "")
    if reason == WORST:
        worst = worst_slice(model)
        if isinstance(worst, str):
            return worst
        column, value, loss, tested = worst
        names = rows.slice_values(column, model.dataset.time_column)
        members = np.array([name == slice_name(value) for name in names])
        metric = model.spec.gate.metric.replace("_", " ")
        told = f"The worst slice is {column} {value}: {metric} {loss:.4f} on {tested:,} test rows; {int(members.sum()):,} rows are of it."
        return within(members, entropy(rows.scores) if rows.scores is not None and model.spec.classes else None), told
    if rows.scores is None:
        return f"No version of {model.spec.name} serves yet, so none can be unsure."
    if not model.spec.classes:
        return "The scores of a regression do not tell how unsure it is."
    return entropy(rows.scores), ""


def form_of(model: Model) -> Form:
    """What a person fills in for this model."""
    target = model.target
    pictures = [name for name in model.inputs if model.dataset.column(name).type == "image"]
    if not model.feed:
        return Form(target, model.spec.classes, pictures=pictures)
    names = {column.name: column for column in target.labels}
    column = names.get(model.spec.label)
    if column is None:
        raise UnknownName(f"{target.name} has no column {model.spec.label}, which is the label of {model.spec.name}: correct its spec.")
    by_class = values_of_classes(model, column, label_values(model)) if model.spec.classes else {}
    choices = tuple(by_class[place] for place in sorted(by_class))
    return Form(target, choices, column.name, pictures)


def values_of_classes(model: Model, column: Column, seen: Sequence[str] = ()) -> dict[int, str]:
    """For each class the value of the label column that means it; empty where no single value does.

    Args:
        model: whose features make the classes.
        column: that a person fills in.
        seen: words that labels of the feed have, the most frequent first.
    """
    places = range(len(model.spec.classes))
    if column.type in ("int", "float"):
        if any(_label_of(model, column.name, between) in places for between in (-1.0, len(places) + 0.5)):
            return {}  # a class is made of a range of numbers
        tried: list[Any] = [float(number) for number in dict.fromkeys([*_numbers(model.spec.classes), *places])]
    else:
        tried = [False, True] if column.type == "bool" else [*model.spec.classes, *seen]
    by_class: dict[int, str] = {}
    for value in tried:
        place = _label_of(model, column.name, value)
        if place is not None and place in places:
            by_class.setdefault(int(place), plain(value, column))
    return by_class if len(by_class) == len(places) else {}


def _label_of(model: Model, name: str, value: Any) -> float | None:
    """What the model's features make of a value of the label column; None if nothing, or if that takes other columns too."""
    column = np.array([value], dtype=np.float64 if isinstance(value, float) else object)
    try:
        label = float(np.asarray(model.features.label({name: column}), dtype=float)[0])
    except (KeyError, ValueError, TypeError):
        return None
    return None if math.isnan(label) else label


def _numbers(classes: tuple[str, ...]) -> list[float]:
    return [float(name) for name in classes if name.lstrip("-").replace(".", "", 1).isdecimal()]


def tasks_of(rows: Rows, chosen: list[Chosen], model: Model, form: Form) -> list[Task]:
    """The chosen rows with the model's answers."""
    names = [column.name for column in model.target.key]
    answers = _answers(rows, model, form)
    inputs = [name for name in model.inputs if name in rows.frame.columns]
    frame = rows.frame[list(dict.fromkeys([*names, *inputs]))]
    tasks = []
    for row in chosen:
        values: Mapping[str, Any] = {name: frame[name].iloc[row.place] for name in frame.columns}
        answer, score = answers[row.place]
        keys = {name: _key_value(values[name], key) for name, key in zip(names, rows.keys[row.place], strict=True)}
        tasks.append(
            Task(
                keys,
                {name: values[name] for name in inputs},
                row.reason,
                row.probability,
                answer,
                score,
                rows.versions[row.place],
                _given(rows.given[row.place], model, form),
            )
        )
    return tasks


def _given(number: float, model: Model, form: Form) -> str:
    """The label that a row has already, as a value of the label column; empty if none, or if no single value means its class."""
    if math.isnan(number):
        return ""
    return form.choices[int(number)] if form.choices else "" if model.spec.classes else text(number) or ""


def _key_value(value: Any, written: str) -> Any:
    """A whole number as a number, everything else as it is compared."""
    return int(written) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else written


def _answers(rows: Rows, model: Model, form: Form) -> list[tuple[str, float | None]]:
    """The model's answer and its score for each row; an empty one where no value of the label column means it."""
    if rows.scores is None:
        return [("", None)] * len(rows.keys)
    if not model.spec.classes:
        same = not model.feed or all(_label_of(model, form.predicted.name, probe) == probe for probe in PROBES)
        return [(text(float(value)) or "" if same and math.isfinite(value) else "", None) for value in rows.scores[:, 0]]
    likeliest = rows.scores.argmax(axis=1)
    return [
        (form.choices[place] if form.choices else "", float(scores[place])) if np.isfinite(scores).all() else ("", None)
        for place, scores in zip(likeliest, rows.scores, strict=True)
    ]


def write_tasks(file: Path, tasks: list[Task], form: Form) -> Path | None:
    """Write tasks, and the labelling interface beside those for Label Studio; its place."""
    if file.suffix.lower() == ".csv":
        file.write_text(plain_csv(tasks, form), encoding="utf-8")
        return None
    config = file.with_name(f"{file.stem}.interface.xml")
    config.write_text(labelling_config(form), encoding="utf-8")
    file.write_text(json.dumps(label_studio(tasks, form), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    return config


def _summary(
    model: str, rows: Rows, waiting: int, chosen: list[Chosen], remarks: list[str], tasks: list[Task], file: Path, config: Path | None
) -> list[str]:
    counts = Counter(row.reason for row in chosen)
    drawn = next((row.probability for row in chosen if row.reason == RANDOM), None)
    lines = [
        f"{len(chosen)} of {len(rows.keys):,} {rows.source} {'' if DOUBTFUL in counts else 'without a label '}are in {file}: "
        f"{', '.join(f'{number} {reason}' for reason, number in counts.items())}."
        + (f" {waiting:,} more wait for an answer already." if waiting else ""),
        *remarks,
    ]
    if drawn is not None:
        lines.append(
            f"The random ones were drawn with probability {drawn:.4g} each, the others for certain: weighted by 1 / _probability, all "
            f"answers together estimate rates of all {len(rows.keys):,} rows without bias."
        )
    elif len(chosen) < len(rows.keys):
        lines.append("None was drawn at random: these rows are unlike the others, so no rate of all rows can be estimated from them.")
    if tasks and not any(task.answer for task in tasks):
        lines.append("They have no answer of the model: none serves, or no single value of the label column means its classes.")
    lines.append("Besides the key and why it was chosen, a task has the model's inputs and its answer; nothing else leaves the store.")
    lines.append(
        f"Next: in Label Studio paste {config} as the labelling interface of a project, and import {file}."
        if config
        else "Next: have the label columns and _person filled in."
    )
    lines.append(f"Then: perennial labels import EXPORT --model {model}")
    return lines
