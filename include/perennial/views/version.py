"""One version: what the gate said of it and why, its card, its figures, what it learned from and how it was made.

>>> import tempfile
>>> from pathlib import Path
>>> from perennial.lineage.registrations import note_registration
>>> from perennial.store import open_store
>>> from perennial.testing import publish_small_version
>>> store = open_store(tempfile.mkdtemp())
>>> digest = publish_small_version(store, Path(tempfile.mkdtemp()) / "version", model="digits")
>>> note_registration(store, "digits", 1, digest, {"gate": "There is no champion yet."})
>>> view = version_view(store, "digits", "1")
>>> view.line.sentence, view.data.snapshot
('There is no champion yet.', 1)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from pydantic import Field

from perennial import discovery
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.learner_words import counts
from perennial.lineage.making import Making, making
from perennial.lineage.manifest import LabelsUsed, Manifest
from perennial.lineage.measurements import Measurement, measurements
from perennial.lineage.trainings import verdict_key
from perennial.lineage.version_folder import key, read_manifest
from perennial.lineage.version_notes import Figure, card_key, evaluation_key, figures_of, is_number, part_of, versions_newest_first
from perennial.store import Store
from perennial.views.model import row_of
from perennial.views.models import ModelRow
from perennial.views.versions import VersionLine, chosen, version_line
from perennial.views.view import View

SLICES = 40  # values of one column that are shown
EPOCHS = 500  # of a learning curve; of more every n-th is shown
PARTS = ("train", "validation", "test")  # of the split, in order
LETTERS = 20_000  # of a card


class Check(View):
    """One check of the gate."""

    name: str
    passed: bool
    sentence: str


class Slice(View):
    """The figures of the test rows that have one value of a column."""

    column: str
    value: str
    rows: int
    figures: tuple[Figure, ...]


class DataWindow(View):
    """What a version learned from."""

    dataset: str
    snapshot: int = Field(description="Version of the dataset's table.")
    digest: str = Field(description="Identity of the snapshot's content.")
    rows: dict[str, int] = Field(description="Rows of each part of the split; empty if that is not recorded.")
    spans: dict[str, tuple[date, date]] = Field(description="First and last day of each part.")
    labels: str = Field(description="Where labels came from that came after the rows, and by when they were known; empty if none did.")
    newest: str = Field(description="Newest event time of the training rows, as text.")

    def days(self, part: str) -> int | None:
        """How many days a part spans; None if that is not recorded."""
        span = self.spans.get(part)
        return (span[1] - span[0]).days + 1 if span else None


class VersionView(View):
    """All that is known of one version."""

    row: ModelRow
    line: VersionLine
    checks: tuple[Check, ...] = Field(description="What the gate looked at; empty if its verdict cannot be read.")
    took: tuple[Measurement, ...] = Field(description="What it was measured to take, oldest first; empty for one from before that.")
    measured: str = Field(description="Which rows its figures are of; empty without an evaluation.")
    slices: tuple[Slice, ...]
    more_slices: int = Field(description="How many more values there are than are shown.")
    parameters: dict[str, str] = Field(description="What spec and run asked for, the seed included.")
    data: DataWindow | None = Field(description="None if its folder is gone.")
    parents: tuple[str, ...] = Field(description="Digests of the versions that it followed.")
    code_digest: str
    lock_digest: str
    made: Making | None = Field(description="How it was made; none for a version from before that was noted.")
    counted: str = Field(description="What its training counted, epoch or round; empty where there was nothing to count.")
    epochs: int | None = Field(description="How many of them were trained; none where there was nothing to count.")
    history: tuple[dict[str, float], ...] = Field(description="Figures of each epoch or round, first to last; empty without them.")
    curve: tuple[tuple[float, float, float], ...] = Field(
        description="Calibration: mean score, share that came true and share of the rows, for tenths of the score."
    )
    card: str = Field(description="Its model card, in Markdown.")
    card_is_of_today: bool = Field(description="Whether the card is the model's description of now, since none was kept with the version.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def version_view(store: Store, name: str, which: str) -> VersionView:
    """One version of a model.

    Args:
        store: has its folder, verdict and evaluation.
        name: of the model.
        which: its number, or the first signs of its digest: a refused candidate has no number.

    Raises:
        UnknownName: there is no such model, or no such version of it.
    """
    row = row_of(store, name)
    return view_of_line(store, row, version_line(store, row, chosen(versions_newest_first(store, name), name, which)))


def view_of_line(store: Store, row: ModelRow, line: VersionLine) -> VersionView:
    """All about the version of a line."""
    name, digest, damage = row.name, line.digest, [line.damage] if line.damage else []
    manifest = manifest_or_none(store, name, digest, damage, "is not in the store: what it was trained on is not known any more.")
    record = _document(store, f"{key(name, digest)}/training.json", damage)
    evaluation = _document(store, evaluation_key(name, digest), damage)
    test = part_of(evaluation, "parts", "test")
    slices, more = slices_of(part_of(test, "candidate"))
    card, of_today = _card(store, name, digest)
    counted = counts(manifest.learner) if manifest else "epoch"
    return VersionView(
        row=row,
        line=line,
        checks=_checks(_document(store, verdict_key(name, digest), damage)),
        took=_took(store, name, digest, damage),
        measured=_measured(test),
        slices=slices,
        more_slices=more,
        parameters={**{k: str(v) for k, v in sorted(manifest.parameters.items())}, "seed": str(manifest.seed)} if manifest else {},
        data=_data(manifest, record) if manifest else None,
        parents=tuple(manifest.parents) if manifest else (),
        code_digest=manifest.code_digest if manifest else "",
        lock_digest=manifest.lock_digest if manifest else "",
        made=_made(store, name, digest, damage),
        counted=counted,
        epochs=record["epochs"] if counted and isinstance(record.get("epochs"), int) else None,
        history=_history(record.get("history")),
        curve=_curve(part_of(test, "candidate").get("curve")),
        card=card,
        card_is_of_today=of_today,
        damage=tuple(dict.fromkeys(damage)),
    )


def slices_of(measured: Mapping[str, Any]) -> tuple[tuple[Slice, ...], int]:
    """The slices of what was measured, and how many more there are than so many of each column."""
    shown: list[Slice] = []
    more = 0
    columns = measured.get("slices")
    for column, values in columns.items() if isinstance(columns, dict) else ():
        every = values.items() if isinstance(values, dict) else ()
        intervals = part_of(measured, "slice_intervals", column)
        for place, (value, figures) in enumerate(every):
            rows = figures.get("rows") if isinstance(figures, dict) else None
            if place >= SLICES or not is_number(rows):
                more += 1
                continue
            metrics = {name: figure for name, figure in figures.items() if name != "rows"}
            shown.append(Slice(column=column, value=value, rows=int(rows), figures=figures_of(metrics, intervals.get(value))))
    return tuple(shown), more


def manifest_or_none(store: Store, name: str, digest: str, damage: list[str], gone: str) -> Manifest | None:
    """What a version was made of; where that cannot be read a sentence is added to the damage: `gone` where its folder is not there."""
    try:
        return read_manifest(store, name, digest)
    except UnknownName:
        damage.append(f"The folder of {digest[:12]} {gone}")
    except StoredDataDamaged as error:
        damage.append(str(error))
    return None


def _took(store: Store, name: str, digest: str, damage: list[str]) -> tuple[Measurement, ...]:
    try:
        return measurements(store, name, digest)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return ()


def _made(store: Store, name: str, digest: str, damage: list[str]) -> Making | None:
    try:
        return making(store, name, digest)
    except StoredDataDamaged as error:
        damage.append(str(error))
        return None


def _document(store: Store, place: str, damage: list[str]) -> dict[str, Any]:
    """A JSON object of the store; empty if it is not there, with a sentence if it cannot be read."""
    try:
        document = json.loads(store.read(place))
    except KeyError:
        return {}
    except ValueError:
        document = None
    if isinstance(document, dict):
        return document
    damage.append(f"{place} cannot be read: restore it from a copy of the store.")
    return {}


def _checks(verdict: Mapping[str, Any]) -> tuple[Check, ...]:
    listed = verdict.get("checks")
    return tuple(
        Check(name=str(check.get("name", "")), passed=bool(check.get("passed")), sentence=str(check.get("sentence", "")))
        for check in (listed if isinstance(listed, list) else ())
        if isinstance(check, dict)
    )


def _measured(test: Mapping[str, Any]) -> str:
    rows, days = test.get("rows"), test.get("days")
    if rows is None or not is_number(rows):
        return ""
    span = f" of {days[0]} to {days[-1]}" if isinstance(days, list) and days else ""
    return f"{int(rows):,} test rows{span}"


def _data(manifest: Manifest, record: Mapping[str, Any]) -> DataWindow:
    counts = part_of(record, "rows")
    rows = {part: int(counts[part]) for part in PARTS if is_number(counts.get(part))}
    spans = {}
    for part, ends in part_of(record, "bounds").items():
        try:
            spans[str(part)] = date.fromisoformat(ends[0]), date.fromisoformat(ends[1]) - timedelta(days=1)
        except (TypeError, ValueError, IndexError):
            continue  # it is not known then
    return DataWindow(
        dataset=manifest.dataset,
        snapshot=manifest.snapshot,
        digest=manifest.snapshot_digest,
        rows=rows,
        spans=spans,
        labels=_labels(manifest),
        newest=manifest.event_time_end,
    )


def _labels(manifest: Manifest) -> str:
    used = manifest.labels
    if used is None:
        return ""
    source = f"{used.feed.dataset}, snapshot {used.snapshot}" if isinstance(used, LabelsUsed) else f"outcomes, snapshot {used.snapshot}"
    newest = f"; the newest day with one is {used.newest_day}" if used.newest_day else ""
    return f"{source}, as far as known by {_minute(used.known_by)}{newest}"


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _history(listed: Any) -> tuple[dict[str, float], ...]:
    epochs = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    step = -(-len(epochs) // EPOCHS) or 1
    return tuple({str(name): float(value) for name, value in each.items() if is_number(value)} for each in epochs[::step])


def _curve(points: Any) -> tuple[tuple[float, float, float], ...]:
    return tuple(
        (float(point[0]), float(point[1]), float(point[2]))
        for point in (points if isinstance(points, list) else ())
        if isinstance(point, list) and len(point) == 3 and all(map(is_number, point))
    )


def _card(store: Store, name: str, digest: str) -> tuple[str, bool]:
    """The version's card, or the model's description of now where none was kept."""
    try:
        return store.read(card_key(name, digest)).decode(errors="replace")[:LETTERS], False
    except KeyError:
        pass
    file = discovery.model_folder(name) / "README.md"
    return (file.read_text(errors="replace")[:LETTERS] if file.is_file() else ""), True
