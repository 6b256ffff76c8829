"""The rows of a model that people can be asked about: those of its table without a label, or its predictions without an outcome."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from perennial import discovery
from perennial.data.label_feed import KnownLabels
from perennial.data.snapshots import Snapshot, latest_snapshot, model_snapshot
from perennial.data.splits import part_of
from perennial.errors import UnknownName
from perennial.labelling.answers import Key, Target
from perennial.labelling.choosing import Floats
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.monitoring.anomalies import fit_watch
from perennial.monitoring.outcomes import join, outcomes_of
from perennial.monitoring.performance import event_days, logged_scores
from perennial.monitoring.windows import Window
from perennial.profiles.reference import watched
from perennial.served_tables import INPUT
from perennial.specs import CALENDAR_SLICES, NO_SCALARS, DatasetSpec, ModelSpec
from perennial.stages._references import References
from perennial.stages._traffic import Traffic
from perennial.stages.evaluate import Sealed, calendar_slices
from perennial.stages.train import RECORD
from perennial.store import Store
from perennial.training.scoring import load_features, score

MOST_WORDS = 100  # different labels that may be words to choose from
FIRST, LAST = datetime(1, 1, 2, tzinfo=timezone.utc), datetime(9999, 12, 30, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Model:
    """A model with the version that is its champion, fetched to this machine."""

    store: Store
    spec: ModelSpec
    dataset: DatasetSpec
    number: int | None  # of the champion; None if nothing serves
    digest: str
    folder: Path

    @property
    def feed(self) -> DatasetSpec | None:
        """The label feed; None if labels are outcomes."""
        return discovery.dataset(self.spec.feed.dataset) if self.spec.feed else None

    @property
    def has_own_label(self) -> bool:
        """Whether the rows of its table have their label."""
        return self.spec.labels is None and self.spec.label in {column.name for column in self.dataset.columns}

    @property
    def target(self) -> Target:
        """What people label."""
        return Target.of_feed(self.feed) if self.feed else Target.of_outcomes(self.spec)

    @property
    def name(self) -> str:
        """The champion for a person; empty if there is none."""
        return "" if self.number is None else f"{self.spec.name}/{self.number}"

    @cached_property
    def snapshot(self) -> Snapshot:
        """The newest rows of its table with every label that its feed has, however young the rows are; found once, so all that is asked of
        it is of the same rows. Raises UnknownName where nothing was ingested yet."""
        snapshot = model_snapshot(self.store, self.spec) or latest_snapshot(self.store, self.dataset)
        if snapshot is None:
            raise UnknownName(f"{self.dataset.name} has no rows yet: land a file and ingest it first.")
        if not isinstance(snapshot.labels, KnownLabels):
            return replace(snapshot, labels=None)  # what was served and has no outcome is offered as predictions
        return replace(snapshot, labels=replace(snapshot.labels, delay_days=0))

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Inputs of the champion, else of the spec."""
        if self.number is None:
            return self.spec.inputs
        return tuple(given["name"] for given in json.loads((self.folder / "signature.json").read_text())["inputs"])

    @cached_property
    def features(self) -> Any:
        """The champion's features.py, else the model's own."""
        return load_features(self.folder) if self.number is not None else discovery.model_part(self.spec.name, "features")


@contextmanager
def opened(store: Store, name: str) -> Iterator[Model]:
    """A model with its champion, for as long as it is needed."""
    spec = discovery.model(name)
    last = Ledger(store, name).last()
    number = last.champion if last else None
    digest = last.versions[number] if last and number is not None else ""
    with TemporaryDirectory(prefix="perennial-labels-") as scratch:
        folder = fetch(store, name, digest, Path(scratch) / "champion") if digest else Path(scratch)
        yield Model(store, spec, discovery.dataset_of(spec), number, digest, folder)


@dataclass(frozen=True)
class Rows:
    """Rows that people can be asked about, in the order of their keys.

    Attributes:
        source: what they are, for a sentence.
        target: has the columns that name them.
        keys: of each row.
        frame: key columns, inputs, slices and event time, under the names of the dataset.
        scores: the model's, [rows, classes]; None if there is no champion.
        versions: that gave them.
        given: number of the class, or value, that a row is labelled with; NaN where it has no label.
    """

    source: str
    target: Target
    keys: Sequence[Key]
    frame: pd.DataFrame
    scores: Floats | None
    versions: Sequence[str]
    given: Floats

    def take(self, places: Sequence[int]) -> Rows:
        """Some of the rows."""
        at = np.asarray(places, dtype=np.int64)
        return replace(
            self,
            keys=[self.keys[place] for place in places],
            frame=self.frame.iloc[at].reset_index(drop=True),
            scores=None if self.scores is None else self.scores[at],
            versions=[self.versions[place] for place in places],
            given=self.given[at],
        )

    def slice_values(self, column: str, event_time: str) -> list[str]:
        """The values of a slice column, or of the calendar."""
        if column in self.frame.columns or column not in CALENDAR_SLICES:
            values = self.frame[column].to_numpy()
        else:
            values = calendar_slices(self.frame[event_time].to_numpy())[column]
        return [slice_name(value) for value in values.tolist()]


def slice_name(value: object) -> str:
    """A slice as it is compared: a whole number is the same with and without its point."""
    return str(value).removesuffix(".0")


def table_rows(model: Model, first: datetime | None, last: datetime | None, *, labelled: bool = False) -> Rows:
    """Rows of the model's table whose label nobody knows yet; or, with all columns, those that have one.

    Raises:
        UnknownName: nothing was ingested yet.
    """
    snapshot = model.snapshot
    time = model.dataset.time_column
    slices = [name for name in model.spec.slices if name in {column.name for column in model.dataset.columns}]
    target = model.target if model.feed else Target.of_rows(model.dataset)
    every = [column.name for column in model.dataset.table_columns] if labelled else []  # a label may be made of any
    wanted = [*(column.name for column in target.key), *model.inputs, *slices, time, *every]
    brought = snapshot.labels.columns if snapshot.labels else ()
    label = [name for name in (*brought, model.spec.label) if snapshot.labels or name in {c.name for c in model.dataset.columns}]
    frame = snapshot.rows(list(dict.fromkeys([*wanted, *label])), first, last)
    has_label = frame[model.spec.label].notna().to_numpy() if model.spec.label in frame.columns else np.zeros(len(frame), bool)
    if not snapshot.labels and model.feed:  # the rows' own column of that name is not what the model learns from
        has_label = np.zeros(len(frame), bool)
    frame = frame[has_label if labelled else ~has_label].reset_index(drop=True)
    values = {name: frame[name].to_numpy() for name in frame.columns}
    scores = score(model.folder, values) if model.number is not None and len(frame) else None
    given = np.asarray(model.features.label(values), dtype=float) if labelled and len(frame) else np.full(len(frame), np.nan)
    rows = Rows(f"rows of {snapshot.words}", target, _keys(frame, target), frame, scores, [model.name] * len(frame), given)
    return _in_order(rows)


def unseen(model: Model) -> Rows | str:
    """Labelled rows of the table that the champion was not trained on; or why they cannot be told."""
    if not (model.folder / RECORD).exists():
        return f"{model.name} does not say which rows its training saw."
    champion = Sealed(read_manifest(model.store, model.spec.name, model.digest), model.folder, model.number)
    if champion.split.by != "time":
        rows = table_rows(model, None, None, labelled=True)
        return rows.take(np.flatnonzero(part_of(rows.frame, champion.split, model.dataset) == "test").tolist())
    return table_rows(model, datetime.fromisoformat(max(end for _, end in champion.seen)), None, labelled=True)


def logged_rows(model: Model, first: datetime | None, last: datetime | None, *, labelled: bool = False) -> Rows:
    """Predictions without an outcome; or those that have one.

    Raises:
        UnknownName: labels land in a label feed, and a request does not have its key.
    """
    key = [column.name for column in model.target.key]
    if model.feed and not set(key) <= set(model.inputs):
        raise UnknownName(
            f"Labels of {model.spec.name} land in {model.feed.name} by {', '.join(key)}, which requests do not have: choose rows of the "
            "table (--source table)."
        )
    traffic = Traffic(model.store, model.spec, model.dataset)
    traffic.collect()
    predictions = traffic.predictions(Window(first or FIRST, last or LAST))
    if not predictions.num_rows:
        raise UnknownName(f"{model.spec.name} answered no request from {first or 'the beginning'} to {last or 'now'}.")
    joined = join(predictions, outcomes_of([predictions], traffic.outcomes()))[0]
    inputs = {name.removeprefix(INPUT): joined[name] for name in joined.column_names if name.startswith(INPUT)}
    about = {"prediction_id": joined["prediction_id"], model.dataset.time_column: joined["event_time"].cast(pa.timestamp("us"))}
    frame = pa.table({**about, **inputs}).to_pandas()
    given = np.asarray(joined["outcome"].to_numpy(zero_copy_only=False), dtype=float)
    keys = _keys(frame, model.target)
    versions = [f"{model.spec.name}/{number}" for number in joined["model_version"].to_pylist()]
    rows = Rows("predictions", model.target, keys, frame, logged_scores(joined), versions, given)
    newest = {key: place for place, key in sorted(enumerate(keys), key=lambda item: (frame[model.dataset.time_column][item[0]], item[0]))}
    known = set(_labelled_keys(model)) if model.feed else set()
    wanted = [place for key, place in newest.items() if (key in known or not np.isnan(given[place])) == labelled]
    return _in_order(rows.take(sorted(wanted)))


def strangeness(model: Model, rows: Rows) -> Floats | str:
    """How unlike the reference each row is, by the anomaly detector of monitoring; or a sentence that says why it cannot be told."""
    if model.number is None:
        return f"No version of {model.spec.name} serves yet: there is no reference to be unlike."
    references = References(model.store, model.spec, model.dataset, {model.number: model.digest})
    names = [name for name in watched(references.as_of(model.number), model.dataset)[0] if name in rows.frame.columns]
    columns = [name for name in names if model.dataset.column(name).type not in NO_SCALARS]
    if not columns:
        return "No input is watched."
    past = references.sampled(model.number, [model.dataset.time_column, *columns])
    days = event_days(past[model.dataset.time_column])
    watch = fit_watch(past.select(columns), days, model.spec.monitoring.anomaly_detector, model.spec.training.seed)
    if isinstance(watch, str):
        return watch
    return watch.score(pa.table({name: pa.array(rows.frame[name], past.schema.field(name).type, from_pandas=True) for name in columns}))


def worst_slice(model: Model) -> tuple[str, str, float, int] | str:
    """Column, value, loss and rows of the slice with the worst loss in the champion's evaluation; or why there is none."""
    if not model.spec.slices:
        return f"{model.spec.name} has no slices: write slices=(...) into its spec, and evaluate it."
    try:
        document = json.loads(model.store.read(f"reports/{model.spec.name}/{model.digest}/evaluation.json"))
    except KeyError:
        return f"The champion of {model.spec.name} has no evaluation."
    metric = model.spec.gate.metric
    found = [
        (figures[metric], column, value, int(figures["rows"]))
        for column, values in document["parts"]["test"]["candidate"]["slices"].items()
        for value, figures in values.items()
        if metric in figures
    ]
    if not found:
        return "No slice of the champion's evaluation has enough rows."
    loss, column, value, rows = max(found)
    return column, value, loss, rows


def label_values(model: Model) -> list[str]:
    """Words that the labels of the feed have, the most frequent first; not more than `MOST_WORDS`."""
    labels = model.snapshot.labels
    values = labels.latest[model.spec.label].drop_null().value_counts().to_pylist() if labels else []
    words = [value["values"] for value in sorted(values, key=lambda value: (-value["counts"], str(value["values"])))]
    return [word for word in words[:MOST_WORDS] if isinstance(word, str)]


def _labelled_keys(model: Model) -> list[Key]:
    """Keys that have a label in the feed."""
    labels = model.snapshot.labels
    if labels is None:
        return []
    latest = labels.latest.to_pandas()
    return _keys(latest[latest[model.spec.label].notna()], model.target)


def _keys(frame: pd.DataFrame, target: Target) -> list[Key]:
    names = [column.name for column in target.key]
    columns = [[_value(value) for value in frame[name].tolist()] for name in names]
    return [target.key_of(dict(zip(names, values, strict=True))) for values in zip(*columns, strict=True)]


def _value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _in_order(rows: Rows) -> Rows:
    return rows.take(sorted(range(len(rows.keys)), key=lambda place: rows.keys[place]))
