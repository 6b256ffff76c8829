"""Rows of a dataset's table as a frame, and a model's split of them as a training sees it.

>>> import perennial, tempfile
>>> connected = perennial.connect(store=tempfile.mkdtemp())
>>> perennial.snapshot("digits")
Traceback (most recent call last):
  ...
perennial.errors.UnknownName: digits has no snapshot yet: ingest a batch first.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Literal

from perennial import discovery
from perennial.client.connection import connection
from perennial.errors import TrainingRefused, UnknownName
from perennial.specs import DatasetSpec, ModelSpec

if TYPE_CHECKING:
    import pandas

    from perennial.data.snapshots import Snapshot

Part = Literal["train", "validation", "test"]
Days = int | tuple[date | str, date | str]


def snapshot(dataset: str, version: int | None = None, *, days: Days | None = None, columns: list[str] | None = None) -> pandas.DataFrame:
    """The rows of a dataset's table as of a version, sorted by event time and key; the same version always gives the same frame.

    Args:
        dataset: its name.
        version: of the table; the newest if absent. `frame.attrs` says which it was.
        days: so many of the newest days, or the first and the last one, both included; all if absent.
        columns: which columns; all if absent.

    Raises:
        UnknownName: there is no such dataset, version or day.
    """
    source = table_rows(discovery.dataset(dataset), version)
    since, until = _bounds(source, days)
    frame = source.rows(columns, since, until)
    frame.attrs |= {"dataset": dataset, "snapshot": source.version}
    return frame


def rows(model: str, part: Part = "train", snapshot: int | None = None) -> pandas.DataFrame:
    """A part of the split that the model's next training would see: rows whose label is known, as the spec cuts them.

    Labels of a feed or outcomes are joined as of the snapshot. The column that the spec names as the label holds what `features.label`
    makes of each row: the class by its name, or the value of a regression.

    Args:
        model: its name.
        part: which of the three parts.
        snapshot: version of the dataset's table; the newest if absent. `frame.attrs` says which it was.

    Raises:
        UnknownName: there is no such model, part or version.
        TrainingRefused: the snapshot cannot give a model.
    """
    from perennial.data.snapshots import label_of
    from perennial.data.splits import PARTS, split
    from perennial.stages.train import mistakes_of

    if part not in PARTS:
        raise UnknownName(f"A split has no part {part!r}: it has {', '.join(reversed(PARTS))}.")
    spec = discovery.model(model)
    source = model_rows(spec, snapshot)
    features = discovery.model_part(model, "features")
    with mistakes_of(features, spec):
        cut = split(source, spec, features)
        frame: pandas.DataFrame = getattr(cut, part)
        labels = label_of(frame, features, spec)
    if spec.label:
        frame[spec.label] = [spec.classes[int(label)] for label in labels] if spec.classes else labels
    frame.attrs |= {"model": model, "part": part, "snapshot": source.version, "days": cut.bounds[part]}
    return frame


def table_rows(spec: DatasetSpec, version: int | None) -> Snapshot:
    """A version of a dataset's table, the newest if none is named. Raises UnknownName while there is none."""
    from perennial.data.snapshots import latest_snapshot, snapshot_at

    store = connection().store
    source = latest_snapshot(store, spec) if version is None else snapshot_at(store, spec, version)
    if source is None:
        raise UnknownName(f"{spec.name} has no snapshot yet: ingest a batch first.")
    return source


def model_rows(spec: ModelSpec, version: int | None) -> Snapshot:
    """The snapshot that a model learns from. Raises TrainingRefused while there is none."""
    from perennial.data.snapshots import empty_dataset, model_snapshot

    store = connection().store
    source = model_snapshot(store, spec, version)
    if source is None:
        raise TrainingRefused(f"{empty_dataset(store, spec)} has no snapshot yet: ingest a batch first.")
    return source


def _bounds(source: Snapshot, days: Days | None) -> tuple[datetime | None, datetime | None]:
    """First event time, and the one before which rows end."""
    if days is None:
        return None, None
    if isinstance(days, int):
        end = datetime.combine(source.newest(), time()) + timedelta(days=1)
        return end - timedelta(days=days), end
    try:
        first, last = (day if isinstance(day, date) else date.fromisoformat(day) for day in days)
    except (TypeError, ValueError):
        raise UnknownName(f'{days!r} names no days: give a number, or the first and the last like ("2024-01-01", "2024-01-07").') from None
    return datetime.combine(first, time()), datetime.combine(last, time()) + timedelta(days=1)
