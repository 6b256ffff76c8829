"""Reports how far people agree, and which labels are doubtful."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from perennial.commands._labels_rows import Model, Rows, logged_rows, opened, unseen
from perennial.errors import EXIT_DONE, UnknownName
from perennial.labelling.agreement import Agreement, agreement
from perennial.labelling.consensus import Rule, history, newest_answers
from perennial.labelling.doubtful import Doubt, find_doubtful
from perennial.labelling.imports import Imports
from perennial.labelling.report import DoubtfulLabel, Report, page, text
from perennial.results import on_terminal
from perennial.store import Store


def report_labels(store: Store, file: Path | None, model: str, rule: Rule, *, as_json: bool) -> int:
    """Print the report, and draw it into a file if one is named.

    Raises:
        UnknownName: there is no such model.
    """
    with opened(store, model) as opened_model:
        report = report_of(opened_model, rule)
    if file is not None:
        file.write_text(page(report), encoding="utf-8")
    if as_json:
        print(json.dumps(report.as_json(), indent=1, sort_keys=True))
        return EXIT_DONE
    print(on_terminal(text(report)))
    if file is not None:
        print(f"Drawn: {file}")
    return EXIT_DONE


def report_of(model: Model, rule: Rule) -> Report:
    """What is known of a model's labels."""
    found, rows, about = doubtful_labels(model, logged=not has_doubts_of_table(model))
    labels: list[DoubtfulLabel] = []
    if found and rows is not None and rows.scores is not None:
        for place, likely in zip(found.places, found.classes, strict=True):
            given, scores = int(rows.given[place]), rows.scores[place]
            key = rows.target.words_of(rows.keys[place])
            labels.append(
                DoubtfulLabel(key, model.spec.classes[given], model.spec.classes[likely], float(scores[likely]), float(scores[given]))
            )
    agreed_on, held, count = _agreement(model, rule)
    return Report(
        model.spec.name, model.spec.title, agreed_on, held, count, found, tuple(labels), about, model.spec.classes,
        how_to_correct(model) if model.has_own_label else "",
    )  # fmt: skip


def has_doubts_of_table(model: Model) -> bool:
    """Whether labels of its table's rows are looked at for doubtful ones, not those of its predictions."""
    return model.feed is not None or model.has_own_label


def how_to_correct(model: Model) -> str:
    """What to do about wrong labels that are in the rows of the table themselves."""
    dataset, label = model.dataset, model.spec.label
    if not dataset.key:
        return f"Look at these rows, and correct them where they come from: {dataset.name} has no key by which a row could be corrected."
    again = f"land those that are wrong again with the right {label} (perennial land FILE --dataset {dataset.name})"
    if dataset.rows == "corrected" and dataset.on_known_key == "replace":
        return f"Look at these rows, and {again}."
    return (
        f'Look at these rows, write rows="corrected", on_known_key="replace" into the spec of {dataset.name}, and {again}; or let labels '
        f"come from a label feed: labels=LabelSpec(...) in the spec of {model.spec.name}."
    )


def _agreement(model: Model, rule: Rule) -> tuple[Agreement | None, tuple[tuple[str, str], ...], int]:
    """How far people agree on the model's label, the rows that are held back, and how many are agreed on."""
    target = model.target
    imports = Imports(model.store, target.name)
    if not imports.all:
        return None, (), 0
    known = history(imports.answers, target, rule)
    agreed = {key: steps[-1].label for key, (steps, why) in known.items() if steps and why is None}
    held = tuple((target.words_of(key), why.why) for key, (_, why) in sorted(known.items()) if why)
    column = target.label(model.spec.label)
    numeric = column.type == "float" or (column.type == "int" and not model.spec.classes)
    newest = newest_answers(imports.answers, target)
    return agreement(newest, agreed, column.name, numeric=numeric, seed=model.spec.training.seed), held, len(agreed)


def doubtful_labels(model: Model, *, logged: bool) -> tuple[Doubt | None, Rows | None, str]:
    """The doubtful labels of rows that the champion was not trained on, these rows, and what was looked at or why nothing can be told.

    Args:
        model: whose labels.
        logged: whether to look at predictions and their outcomes, not at rows of the table.
    """
    if not model.spec.classes:
        return None, None, "Only labels of classes can be told to be doubtful, and a regression has none."
    if model.number is None:
        return None, None, f"No version of {model.spec.name} serves yet, so none can doubt."
    try:
        rows = logged_rows(model, None, None, labelled=True) if logged else unseen(model)
    except UnknownName as error:
        return None, None, str(error)
    if isinstance(rows, str):
        return None, None, rows
    known = np.isin(rows.given, np.arange(len(model.spec.classes)))  # and what the model has no numbers for tells nothing
    rows = rows.take(np.flatnonzero(known & (rows.scores is not None and np.isfinite(rows.scores).all(axis=1))).tolist())
    if not rows.keys or rows.scores is None:
        return None, None, f"No labelled row is one that {model.name} was not trained on."
    about = f"{len(rows.keys):,} labelled {rows.source} that {model.name} was not trained on."
    return find_doubtful(rows.given, rows.scores), rows, about
