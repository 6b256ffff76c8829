"""`perennial labels import`: land the export of a labelling tool as a file of a label feed.

Read are Label Studio's exports JSON, JSON-MIN and CSV. An annotation becomes a row: the feed's key columns from the data of its task, its
label columns from the results of that name, and as the time at which the label became known the annotation's last change. What
was skipped, or submitted without a value, is left out and counted. The rows then pass the feed's suite like any other.

    $ perennial labels import project-7.json --dataset verdicts
"""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from perennial import discovery
from perennial.commands.land import land_files
from perennial.errors import BatchRefused
from perennial.settings import Settings
from perennial.specs import DatasetSpec
from perennial.store import Store

CHANGED = ("updated_at", "created_at")  # of an annotation: when its label became known
Row = dict[str, Any]


def run(settings: Settings, store: Store, action: str, file: Path, dataset: str) -> int:
    """Write the rows of an export into the landing zone of a label feed.

    Raises:
        UnknownName: there is no such dataset.
        BatchRefused: the file is no such export, or lacks a column of the feed; nothing is landed.
    """
    feed = discovery.dataset(dataset)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BatchRefused(f"{file} cannot be read ({error}): give an export of Label Studio as JSON, JSON-MIN or CSV.") from None
    annotations = list(csv.DictReader(io.StringIO(text))) if file.suffix.lower() == ".csv" else list(_annotations(file, text))
    rows = [row for number, each in enumerate(annotations, 1) if (row := label_row(feed, each, f"Annotation {number} of {file.name}"))]
    print(f"{len(rows)} labels in {file.name}; {len(annotations) - len(rows)} annotations without a value are left out.")
    if not rows:
        raise BatchRefused(f"{file.name} has no label for {feed.name}: nothing was landed.")
    with tempfile.TemporaryDirectory(prefix="perennial-labels-") as scratch:
        landed = Path(scratch) / f"{file.stem}.csv"
        with landed.open("w", newline="", encoding=feed.files.encoding) as sink:
            writer = csv.DictWriter(sink, [column.name for column in feed.columns], delimiter=feed.files.separator)
            writer.writeheader()
            writer.writerows(rows)
        return land_files(store, [landed], feed)


def label_row(feed: DatasetSpec, annotation: Mapping[str, Any], where: str) -> Row | None:
    """A row of the feed; None if the annotation has none of its label values.

    Args:
        feed: the label feed; its event time is when a label became known.
        annotation: flat: the data of the task, a value by name of each result, and the times.
        where: what the annotation is called in a sentence.
    """
    labels = [column.name for column in feed.columns if column.name not in (*feed.key, feed.event_time)]
    values = {name: _value(annotation.get(name), f"{where}: its {name}") for name in labels}
    if all(value in (None, "") for value in values.values()):
        return None
    told = (feed.event_time, *CHANGED)
    row = {**values, feed.event_time: next((annotation[name] for name in told if annotation.get(name)), None)}
    row |= {name: annotation.get(name) for name in feed.key if name != feed.event_time}
    if missing := [name for name in (*feed.key, feed.event_time) if row.get(name) in (None, "")]:
        has = ", ".join(sorted(map(str, annotation))) or "nothing"
        raise BatchRefused(f"{where} has no {missing[0]}, which {feed.name} needs (it has {has}): export the tasks with that column.")
    return row


def _annotations(file: Path, text: str) -> Iterator[Row]:
    """Each annotation of a JSON export, flat."""
    try:
        tasks = json.loads(text)
    except ValueError as error:
        raise BatchRefused(f"{file} is no JSON ({error}): give an export of Label Studio as JSON, JSON-MIN or CSV.") from None
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BatchRefused(f"{file} is no export of Label Studio: it should be a list of tasks.")
    for task in tasks:
        if "annotations" not in task:
            yield task  # JSON-MIN
            continue
        for annotation in task["annotations"] or ():
            results = {} if annotation.get("was_cancelled") else _results(file, annotation)
            yield {**task.get("data", {}), **{name: annotation.get(name) for name in CHANGED}, **results}


def _results(file: Path, annotation: Mapping[str, Any]) -> Row:
    """The value of each result by its name; relations between regions have neither."""
    values: Row = {}
    for result in annotation.get("result") or ():
        name, value = result.get("from_name"), result.get("value")
        if name in values and values[name] != value:
            raise BatchRefused(
                f"Annotation {annotation.get('id', '')} of {file.name} has several values of {name}, and a label is one value: export a "
                "project with one choice a task."
            )
        if name is not None:
            values[name] = value
    return values


def _value(value: Any, where: str) -> Any:
    """The one value of a result: its choice, number, rating or text."""
    while isinstance(value, dict | list):
        inner = list(value.values()) if isinstance(value, dict) else value
        if len(inner) > 1:
            raise BatchRefused(f"{where} is {json.dumps(value)[:80]}, and a label is one value: export a project with one choice a task.")
        value = inner[0] if inner else None
    return value
