"""Takes the answers of an export in: keeps each person's, hands the agreed labels on to the label feed or to the outcomes of the model."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perennial import discovery
from perennial.commands import outcomes
from perennial.commands.land import land_files
from perennial.counted import counted
from perennial.data.readers import read_batch
from perennial.encoding import TRUE
from perennial.errors import EXIT_DONE, BatchRefused, UnknownName
from perennial.labelling.answers import PREDICTION_ID, TIME, Target, now_text, people_of
from perennial.labelling.asked import Asked
from perennial.labelling.consensus import Agreed, Held, Rule, history
from perennial.labelling.exports import Export, read_export
from perennial.labelling.handing_on import new_answers, rows_to_hand_on
from perennial.labelling.imports import Import, Imports
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

SHOWN = 10  # rows without an agreed label that are named
_QUOTE, _NO_NAME = '"', re.compile(r"[^\w.() +@,-]")
LONGEST = 100  # letters of an export's name that the landed file has


def import_labels(settings: Settings, store: Store, file: Path, dataset: str | None, model: str | None, person: str, rule: Rule) -> int:
    """Take in an export and print what became of it.

    Raises:
        UnknownName: there is no such dataset or model, or neither is named.
        BatchRefused: the file is no such export, or lacks a column of the feed; nothing is taken in.
    """
    if dataset is None and model is None:
        raise UnknownName("Say whose labels these are: --dataset FEED, or --model MODEL.")
    feed = feed_of(dataset, model)
    target = Target.of_feed(feed) if feed else Target.of_outcomes(discovery.model(model or ""))
    if feed and not (target.key and target.labels and feed.event_time):
        raise UnknownName(
            f"{feed.name} is no label feed: it needs the key columns of the rows, label columns, and the time at which a label became "
            "known as its event time and part of its key."
        )
    export = read_export(file, target, person)
    print(f"{len(export.answers)} labels in {file.name}; {export.left_out} annotations without a value are left out.")
    if not export.answers:
        raise BatchRefused(f"{file.name} has no label for {target.name}: nothing was landed.")
    if sum(not answer.person for answer in export.answers):
        print("The labels of whom the export does not tell count as one person's: name him with --person.")
    if remark := _never_asked(store, target, export):
        print(on_terminal(remark))
    if not feed:  # who answers what is no outcome of the model is told so before anything is stored
        told = [(f"the label of {target.words_of(a.key)}", {PREDICTION_ID: a.key[0], **a.label, TIME: a.known}) for a in export.answers]
        outcomes.check(told, discovery.model(model or ""), file.name)
    else:
        _refuse_no_class(export, target, _models_of(feed, model), file.name)
    new = _record(store, target, export, file, rule, feed)
    imports = Imports(store, target.name)
    for one in imports.to_hand_on():
        with tempfile.TemporaryDirectory(prefix="perennial-labels-") as scratch:
            handed = Path(scratch) / landing_name(one.landed)
            write_rows(handed, one.rows, target, feed)
            if feed:
                land_files(settings, store, [handed], feed)
            else:
                outcomes.run(settings, store, model or "", handed)
        imports.note_handed_on(one)
    print(on_terminal("\n".join(_summary(imports, target, rule, new))))
    return EXIT_DONE


def feed_of(dataset: str | None, model: str | None) -> DatasetSpec | None:
    """The label feed of that name, or of a model; None if the model has none: then labels become outcomes of its predictions."""
    if dataset is not None:
        return discovery.dataset(dataset)
    labels = discovery.model(model or "").feed
    return discovery.dataset(labels.dataset) if labels else None


def landing_name(name: str) -> str:
    """A file's name as CSV that ingestion sees in the landing zone, whatever the export was called."""
    stem = _NO_NAME.sub("_", name.removesuffix(".csv")).strip(". ")[:LONGEST]
    return f"{stem or 'labels'}.csv"


def write_rows(file: Path, rows: Sequence[Agreed], target: Target, feed: DatasetSpec | None = None) -> None:
    """Write agreed labels as a file such as the feed declares; plain CSV without one. What people write is quoted, so that a word which
    the feed declares for a missing value stays a label."""
    columns = [*(c.name for c in target.key), *(c.name for c in target.labels), target.known]
    form = feed.files if feed else None
    types = {c.name: c.type for c in (*target.key, *target.labels)}
    headers = {name: form.fields.get(name, name) if form else name for name in columns}
    separator, mark = (form.separator, form.decimal) if form else (",", ".")

    def field(name: str, value: str) -> str:
        if types.get(name) == "float":
            value = value.replace(".", mark)
        plain = types.get(name) in ("int", "float", "bool") and separator not in value
        return value if not value or plain else f'"{value.replace(_QUOTE, 2 * _QUOTE)}"'

    with file.open("w", newline="", encoding=form.encoding if form else "utf-8") as sink:
        sink.write(separator.join(field("", header) for header in headers.values()) + "\r\n")
        for row in rows:
            values = {**dict(zip((c.name for c in target.key), row.key, strict=True)), **row.label, target.known: row.known}
            sink.write(separator.join(field(name, values[name]) for name in columns) + "\r\n")


def _refuse_unreadable(rows: Sequence[Agreed], target: Target, feed: DatasetSpec, export: str) -> None:
    """Raises BatchRefused where ingestion could not read the labels as they are meant: once they are stored it would be too late."""
    with tempfile.TemporaryDirectory(prefix="perennial-labels-") as scratch:
        file = Path(scratch) / landing_name(export)
        try:
            write_rows(file, rows, target, feed)
            read = read_batch(file, feed)
        except (BatchRefused, UnicodeError) as error:
            raise BatchRefused(
                f"The labels of {export} cannot be written as a file of {feed.name}, so none was taken in: {str(error).rstrip('.')}. "
                f"Correct them, or what the spec of {feed.name} says of its files."
            ) from None
    for column in target.labels:
        given = sum(bool(row.label.get(column.name)) for row in rows)
        if given != len(read) - read[column.name].null_count:
            raise BatchRefused(
                f"A label of {export} is a word for a missing value of {feed.name}, and would take the label back: rename that choice of "
                f"{column.name}, or take the word out of files.nulls in the spec of {feed.name}."
            )


def _models_of(feed: DatasetSpec, model: str | None) -> list[ModelSpec]:
    """The model that is named, else all that learn from the feed."""
    if model is not None:
        return [discovery.model(model)]
    return [spec for spec in discovery.models().values() if spec.feed and spec.feed.dataset == feed.name]


def _refuse_no_class(export: Export, target: Target, models: Sequence[ModelSpec], name: str) -> None:
    """Raises BatchRefused where a label means no class of a model that learns from it: its rows would never be learned from."""
    for spec in models:
        column = next((column for column in target.labels if column.name == spec.label), None)
        if column is None or not spec.classes or column.type == "timestamp":
            continue
        words = [word for word in dict.fromkeys(answer.label.get(column.name, "") for answer in export.answers) if word]
        values: list[Any] = [float(word) for word in words] if column.type in ("int", "float") else list(words)
        if column.type == "bool":
            values = [word in TRUE for word in words]
        given = np.array(values, dtype=np.float64 if column.type in ("int", "float") else object)
        try:
            places = np.asarray(discovery.model_part(spec.name, "features").label({column.name: given}), dtype=float)
        except (KeyError, ValueError, TypeError):  # its class takes other columns too: no label alone tells it
            continue
        if strange := [word for word, place in zip(words, places, strict=True) if place not in range(len(spec.classes))]:
            more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
            raise BatchRefused(
                f"{name} is refused: {', '.join(map(repr, strange[:SHOWN]))}{more} in {column.name} means no class of {spec.name} "
                f"({', '.join(spec.classes[:SHOWN])}{', ...' if len(spec.classes) > SHOWN else ''}). Correct it, or leave the label empty "
                "where a person cannot tell; nothing was taken in."
            )


def _never_asked(store: Store, target: Target, export: Export) -> str:
    """A sentence on labels of rows that no tasks were written of; empty if there are none, or none were ever written."""
    asked = Asked(store, target.name).keys()
    strange = list(dict.fromkeys(answer.key for answer in export.answers if answer.key not in asked)) if asked else []
    if not strange:
        return ""
    return (
        f"{len(strange)} of the rows were never written as tasks; the first has {target.words_of(strange[0])}. "
        "Look whether its key is written as in the table: a label whose key no row has is nobody's."
    )


def _record(store: Store, target: Target, export: Export, file: Path, rule: Rule, feed: DatasetSpec | None) -> Import | None:
    """Store what the export brings that was not known; None if that is nothing."""
    while True:
        imports, at = Imports(store, target.name), now_text()
        seen = any(one.export == export.digest for one in imports.all)
        new = new_answers(imports.answers, export.answers, target, at, seen=seen)
        rows = rows_to_hand_on(history([*imports.answers, *new], target, rule), imports.handed_on, target, at)
        if not new and not rows:
            return None
        number = imports.all[-1].number + 1 if imports.all else 1
        if feed and rows:
            _refuse_unreadable(rows, target, feed, file.name)
        taken = {landing_name(one.landed) for one in imports.all}
        stem = landing_name(f"{file.stem}.csv").removesuffix(".csv")[: LONGEST - 10]
        tried = (f"{stem}.csv", *(f"{stem}-{number + more}.csv" for more in range(len(taken) + 1)))
        name = next(name for name in map(landing_name, tried) if name not in taken)
        one = Import(number, export.digest, file.name, at, rule.words, tuple(new), tuple(rows), name if rows else "")
        if imports.add(one):
            return one


def _summary(imports: Imports, target: Target, rule: Rule, new: Import | None) -> list[str]:
    known = history(imports.answers, target, rule)
    held = [why for _, why in known.values() if why]
    agreed = sum(bool(steps) and why is None for steps, why in known.values())
    brought = "Nothing is new"
    if new:
        agreed_ones = counted(len(new.rows), "agreed one was", "agreed ones were")
        brought = f"{counted(len(new.answers), 'label is', 'labels are')} new, and {agreed_ones} handed on"
    lines = [
        f"{brought}. {target.name} has labels of {len(known)} rows by "
        f"{counted(len(people_of(imports.answers)), 'person', 'people')}: "
        f"{agreed} agreed on, {len(held)} held back. Agreed: {rule.words}.",
        *(f"  held back: {held_words(one, target, imports)}" for one in held[:SHOWN]),
    ]
    return [*lines, f"  and {len(held) - SHOWN} more."] if len(held) > SHOWN else lines


def held_words(one: Held, target: Target, imports: Imports) -> str:
    """A row without an agreed label: its key, why, and the label that was agreed on before and stays."""
    before = imports.handed_on.get(one.key)
    stays = f"; {', '.join(before[-1].label.values())} was agreed on before, and stays" if before else ""
    return f"{target.words_of(one.key)}: {one.why}{stays}"
