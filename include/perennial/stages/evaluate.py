"""Evaluate a candidate on its test split, next to the champion on the same rows, and both on the champion's older test days.

$ perennial evaluate --model flight_delays --digest DIGEST --run-id RUN
"""

from __future__ import annotations

import io
import json
import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perennial import discovery
from perennial.alarms import ABOVE
from perennial.data.labels import ALL_KNOWN, UnknownLabels
from perennial.data.snapshots import label_of, snapshot_at, unknown_of
from perennial.data.splits import columns_of_split, groups_of, labels_of_part, part_of
from perennial.encoding import Columns, rows_from_columns, text
from perennial.errors import CandidateRefused
from perennial.lineage.ledger import Entry, Ledger
from perennial.lineage.manifest import Manifest, require_code
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.pages import shortened
from perennial.registry.promotion import Drawn
from perennial.registry.signatures import Changes, compare
from perennial.results import EvaluateResult
from perennial.settings import Settings
from perennial.specs import DatasetSpec, JoinSpec, ModelSpec, SplitSpec
from perennial.stages._groups import groups_of_snapshot
from perennial.stages._snapshots import as_trained, with_joins_of
from perennial.stages.train import RECORD
from perennial.store import Store
from perennial.training.alarm_facts import alarm_facts
from perennial.training.confusion import confusion
from perennial.training.evaluation import (
    calibration_curve,
    difference_intervals,
    interval_of,
    metrics,
    per_row_loss,
    predict,
    resampled,
    simple_rule,
    slice_metrics,
)
from perennial.training.recalibration import read_recalibration
from perennial.training.report import page, rows_words
from perennial.training.residuals import residuals
from perennial.training.scoring import load_features, score
from perennial.training.slice_intervals import slice_intervals

if TYPE_CHECKING:
    import pandas

DRAWN: dict[str, Drawn] = {"time": "days", "group": "groups", "random": "rows"}  # by how the split was made
WORST_ROWS = 10  # are shown by their key
MOST_SCORES, MOST_LETTERS = 3, 80  # of a row that cannot be measured, in a sentence
log = logging.getLogger("perennial.evaluate")


@dataclass(frozen=True)
class Sealed:
    """A version on this machine."""

    manifest: Manifest
    folder: Path
    number: int | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What its training wrote down: days of its split, metrics, history."""
        document: dict[str, Any] = json.loads((self.folder / RECORD).read_text())
        return document

    @property
    def signature(self) -> dict[str, Any]:
        """What callers send, what an answer means, and the label's column."""
        document: dict[str, Any] = json.loads((self.folder / "signature.json").read_text())
        return {**document, "label": self.manifest.parameters.get("label")}

    @property
    def inputs(self) -> list[str]:
        """The columns that it reads."""
        return [given["name"] for given in self.signature["inputs"]]

    @property
    def joins(self) -> list[JoinSpec]:
        """The joins that it was trained with."""
        return [used.join for used in self.manifest.joined]

    @property
    def split(self) -> SplitSpec:
        """How its snapshot was split; versions from before splits could be by anything else than time say nothing of it."""
        return SplitSpec.model_validate(self.record.get("split", {}))

    def days_of(self, part: str) -> tuple[datetime, datetime]:
        """The first day of a part of its split, and the day after the last."""
        first, end = (datetime.fromisoformat(day) for day in self.record["bounds"][part])
        return first, end

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Spans of days that shaped its scores, first day and day after the last: those of its training, of its recalibration."""
        spans = [(self.record["bounds"]["train"][0], self.record["bounds"]["validation"][1])]
        if recalibrated := read_recalibration(self.folder):
            first, last = recalibrated[1]["fitted_days"]
            spans.append((first, str(date.fromisoformat(last) + timedelta(days=1))))
        return spans


@dataclass(frozen=True)
class Compared:
    """Rows on which versions are measured: labels, days, and each version's scores."""

    columns: Columns
    labels: np.ndarray
    days: np.ndarray  # datetime64[D]
    scores: dict[str, np.ndarray] = field(default_factory=dict)  # "candidate", "champion"
    unknown: UnknownLabels = ALL_KNOWN  # labels of these days that are no class
    drawn: Drawn = "days"  # what is drawn when figures are drawn again
    groups: np.ndarray | None = None  # numbers of the rows' groups, where groups are drawn

    @property
    def units(self) -> np.ndarray:
        """A number for each row: equal numbers are drawn together. All are equal where rows are drawn."""
        if self.drawn == "groups" and self.groups is not None:
            return self.groups
        return np.zeros(len(self.days), np.int64) if self.drawn == "rows" else self.days.astype(np.int64)


def run(settings: Settings, store: Store, model: str, digest: str, run_id: str, code: str = "") -> EvaluateResult:
    """Write `reports/<model>/<digest>/`: evaluation.json, losses.parquet (a row for each row and part) and evaluation.html.

    Raises:
        TrainingRefused: the model's files are not those that the run began with.
        CandidateRefused: no test row has a known label, or a version's score or loss of one is no finite number.
        UnknownName: the store has no such version.
        StoredDataDamaged: a file of a version is not as it was sealed.
    """
    spec = discovery.model(model)
    require_code(spec, code)
    dataset = discovery.dataset_of(spec)
    last = Ledger(store, model).last()
    now = last.champion if last else None
    with tempfile.TemporaryDirectory(prefix="perennial-evaluate-") as scratch:
        candidate = Sealed(read_manifest(store, model, digest), fetch(store, model, digest, Path(scratch) / "candidate"))
        champion, changes = _champion(store, spec, candidate, last, Path(scratch))
        incomparable = ""
        if changes.meaning:
            champion, incomparable = None, f"The champion, version {now}, means something else: {'; '.join(changes.meaning)}."
        parts = {"test": measure(store, spec, dataset, candidate, candidate, champion)}
        if champion:
            parts["old_context"] = measure(store, spec, dataset, champion, candidate, champion)
        rule, groups = of_training_rows(store, spec, dataset, candidate)
        document = describe(spec, dataset, candidate, champion, parts, rule) | {
            "run_id": run_id,
            "incomparable": incomparable,
            "incomparable_with": now if incomparable else None,
            "signature": changes.as_json(),
            "groups": groups,
        }
    prefix = f"reports/{model}/{digest}"
    document["losses"] = f"{prefix}/losses.parquet"
    shown = page(spec, document).encode()
    encoded = json.dumps(document, indent=1, sort_keys=True, allow_nan=False).encode()
    store.write(document["losses"], losses_table(spec, dataset, parts))
    store.write(f"{prefix}/evaluation.html", shown)
    store.write(f"{prefix}/evaluation.json", encoded)
    figures: dict[str, float] = document["parts"]["test"]["candidate"]["metrics"]
    return EvaluateResult(
        sentence=_sentence(spec, document),
        links={"Evaluation": settings.report_url(f"{prefix}/evaluation.html")},
        digest=digest,
        run_id=run_id,
        evaluation=f"{prefix}/evaluation.json",
        champion=champion.number if champion else None,
        metrics=figures,
    )


def measure(store: Store, spec: ModelSpec, dataset: DatasetSpec, source: Sealed, candidate: Sealed, champion: Sealed | None) -> Compared:
    """Scores of both versions on the test days of `source`, from the snapshot that `source` was trained on; rows with a known label, or all
    rows where the model learns without.

    Labels of a feed are those that the candidate's training knew, for the champion's older days too: what was corrected since counts.
    """
    versions = {"candidate": candidate} | ({"champion": champion} if champion else {})
    # A champion may read what the dataset has no more: the table has it still, of the batches that had it.
    inputs = [name for version in versions.values() for name in version.inputs]
    joins_otherwise = champion is not None and champion.joins != candidate.joins
    if champion and joins_otherwise:
        of_joins = {name for join in champion.joins for name in join.names}
        inputs = [name for name in inputs if name in candidate.inputs or name not in of_joins]
    names = [*_names(dataset, source.split), *inputs]
    frame = _rows_of(store, dataset, source, candidate, "test", names)
    columns = {name: frame[name].to_numpy() for name in frame.columns}
    labels = label_of(frame, load_features(candidate.folder), spec)
    known = ~np.isnan(labels) | (spec.task == "anomaly")
    if not known.any():
        raise CandidateRefused(
            f"Of {len(known):,} test rows of snapshot {source.manifest.snapshot} of {spec.dataset} none has a known label, so nothing can "
            "be measured: wait for labels, or give the split more test rows."
        )
    unknown = unknown_of(spec, frame, labels)
    columns = {name: values[known] for name, values in columns.items()}
    read = dict.fromkeys(versions, columns)
    if champion and joins_otherwise:  # each reads what its own joins bring
        own = _rows_of(store, dataset, source, candidate, "test", [dataset.time_column, *champion.inputs], joined_as=champion)
        read["champion"] = {name: own[name].to_numpy()[known] for name in champion.inputs}
    scores = {who: score(version.folder, read[who], threads=2) for who, version in versions.items()}
    days = columns[dataset.time_column].astype("datetime64[D]")
    groups = groups_of(frame[known], source.split.group)[0] if source.split.by == "group" else None
    return Compared(columns, labels[known], days, scores, unknown, DRAWN[source.split.by], groups)


def of_training_rows(store: Store, spec: ModelSpec, dataset: DatasetSpec, candidate: Sealed) -> tuple[list[float], list[dict[str, Any]]]:
    """What a rule that knows the candidate's training rows, and of a row to score nothing, always answers (`evaluation.simple_rule`); and
    coverage, labels and gaps by group of its training and test rows, for the columns in `groups` of its dataset."""
    if not dataset.groups:
        return [] if spec.task == "anomaly" else _simple_rule(spec, _training_labels(store, spec, dataset, candidate)), []
    learned, labels = _rows_and_labels(store, spec, dataset, candidate, "train")
    test, test_labels = _rows_and_labels(store, spec, dataset, candidate, "test")
    rule = [] if spec.task == "anomaly" else _simple_rule(spec, labels)
    return rule, groups_of_snapshot(spec, dataset, learned, test, {"train": labels, "test": test_labels})


def _simple_rule(spec: ModelSpec, labels: np.ndarray) -> list[float]:
    return simple_rule(spec.task, labels[~np.isnan(labels)], len(spec.classes))


def _training_labels(store: Store, spec: ModelSpec, dataset: DatasetSpec, candidate: Sealed) -> np.ndarray:
    """The labels of a candidate's training rows, NaN where they are not known; nothing else of them is read."""
    snapshot = as_trained(snapshot_at(store, dataset, candidate.manifest.snapshot), candidate.manifest)
    first, end = candidate.days_of("train")
    return labels_of_part(snapshot, spec, load_features(candidate.folder), candidate.split, "train", (first, end))


def _rows_and_labels(
    store: Store, spec: ModelSpec, dataset: DatasetSpec, candidate: Sealed, part: str
) -> tuple[pandas.DataFrame, np.ndarray]:
    """The rows of a part of a candidate's snapshot, and their labels, NaN where they are not known."""
    frame = _rows_of(store, dataset, candidate, candidate, part, _names(dataset, candidate.split))
    return frame, label_of(frame, load_features(candidate.folder), spec)


def _names(dataset: DatasetSpec, split: SplitSpec) -> list[str]:
    """The columns of a table's rows, and those that say in which part of a split a row is."""
    return [*(column.name for column in dataset.table_columns), *columns_of_split(split, dataset)]


def _rows_of(
    store: Store,
    dataset: DatasetSpec,
    source: Sealed,
    candidate: Sealed,
    part: str,
    names: Iterable[str],
    joined_as: Sealed | None = None,
) -> pandas.DataFrame:
    """The rows of a part of a version's snapshot, with those columns, the labels that the candidate's training knew, and what its joins
    bring, or those of another version."""
    first, end = source.days_of(part)
    snapshot = as_trained(snapshot_at(store, dataset, source.manifest.snapshot), candidate.manifest)
    if joined_as:
        snapshot = with_joins_of(snapshot, joined_as.manifest)
    frame = snapshot.rows(list(dict.fromkeys([*names, *snapshot.brought])), first, end)
    if source.split.by == "time":
        return frame
    return frame[part_of(frame, source.split, dataset) == part].reset_index(drop=True)  # its days have rows of all parts


def describe(
    spec: ModelSpec,
    dataset: DatasetSpec,
    candidate: Sealed,
    champion: Sealed | None,
    parts: dict[str, Compared],
    rule: Sequence[float] = (),
) -> dict[str, Any]:
    """The evaluation as JSON can carry it.

    Args:
        spec: of the model.
        dataset: of the model.
        candidate: the version that is evaluated.
        champion: the one that it is compared with, if any.
        parts: `test`, and with a champion `old_context`.
        rule: what a rule without inputs always answers (`of_training_rows`), to be measured beside them.

    Raises:
        CandidateRefused: a version's score or loss of a row is no finite number.
    """
    for part in parts.values():
        _refuse_no_figures(spec, dataset, part)
    first, end = candidate.record["bounds"]["test"]
    document: dict[str, Any] = {
        "model": spec.name,
        "task": spec.task,
        "digest": candidate.manifest.digest,
        "snapshot": candidate.manifest.snapshot,
        "bounds": candidate.record["bounds"],
        "split": {"by": candidate.split.by, "group": list(candidate.split.group)},
        "coverage": candidate.record.get("coverage", {}),  # with a label feed: rows and labelled rows of each day
        "champion": {"version": champion.number, "digest": champion.manifest.digest} if champion else None,
        # A champion that was trained or recalibrated on some of these days has an advantage that a new one can never have.
        "champion_saw_test_days": bool(champion and any(begin < end and last > first for begin, last in _seen(champion, candidate))),
        "parts": {},
    }
    for name, part in parts.items():
        facts: dict[str, Any] = {"rows": len(part.labels), "days": [str(part.days.min()), str(part.days.max())], "drawn": part.drawn}
        facts["units"] = len(np.unique(part.units))  # days or groups
        facts["classes"] = {name: int((part.labels == place).sum()) for place, name in enumerate(spec.classes)}
        facts["unknown_labels"] = part.unknown.as_json()
        if spec.task == "anomaly":
            facts["labelled"] = int(np.isfinite(part.labels).sum())
        drawn: dict[str, dict[str, list[float]]] = {}
        for who, scores in part.scores.items():
            facts[who] = {"metrics": metrics(spec.task, part.labels, scores), "slices": _slices(spec, dataset, part, scores)}
            if name == "test":
                drawn[who] = resampled(spec.task, part.labels, scores, part.units, spec.training.seed)
                facts[who]["intervals"] = {metric: interval_of(values) for metric, values in drawn[who].items()}
                facts[who]["curve"] = calibration_curve(spec.task, part.labels, scores) if spec.classes else []
                facts[who] |= _closer(spec, part, scores)
                if spec.task == "anomaly":
                    facts[who] |= _told_by_training(
                        candidate if who == "candidate" or champion is None else champion, facts[who]["metrics"]
                    )
        if "champion" in drawn:
            facts["difference"] = {"metrics": difference_intervals(drawn["candidate"], drawn["champion"]), "slices": {}}
        for column in spec.slices if drawn else ():
            names = _slice_column(part, dataset, column).astype(str)
            ends = slice_intervals(spec.task, part.labels, part.scores, part.units, names, seed=spec.training.seed)
            for who in part.scores:
                facts[who].setdefault("slice_intervals", {})[column] = ends[who]
            if "difference" in ends:
                facts["difference"]["slices"][column] = ends["difference"]
        document["parts"][name] = facts
    test = parts["test"]
    document["parts"]["test"]["worst"] = worst_rows(spec, dataset, test)
    if rule:
        always = np.tile(rule, (len(test.labels), 1))
        document["parts"]["test"]["rule"] = {"metrics": metrics(spec.task, test.labels, always)}
    return document


def _refuse_no_figures(spec: ModelSpec, dataset: DatasetSpec, part: Compared) -> None:
    """Raises CandidateRefused where no figure would say anything, since a loss is no finite number."""
    for who, scores in part.scores.items():
        with np.errstate(over="ignore", invalid="ignore"):
            wrong = ~(np.isfinite(scores).all(axis=1) & np.isfinite(per_row_loss(spec.task, part.labels, scores)))
        if not wrong.any():
            continue
        place = int(np.flatnonzero(wrong)[0])
        key = rows_from_columns({name: part.columns[name][[place]] for name in dataset.key_columns}, dataset.key_columns)[0]
        row = ", ".join(f"{name} {shortened(text(value) or 'missing', MOST_LETTERS)}" for name, value in key.items())
        said = ", ".join(f"{value:.4g}" for value in scores[place][:MOST_SCORES])
        about = "of" if spec.classes else f"for the label {part.labels[place]:.4g} of"
        raise CandidateRefused(
            f"The loss of the {who} is no finite number on {int(wrong.sum()):,} of {len(wrong):,} test rows, so that no figure would say "
            f"anything: it answers {said} {about} the row {row}. Look for extreme values in that row, and bound them in the dataset's "
            "suite, in features.py or in the model."
        )


def worst_rows(spec: ModelSpec, dataset: DatasetSpec, part: Compared) -> list[dict[str, Any]]:
    """The rows on which the candidate loses most, the worst first: key in words, what is actual, and what each version said: the value, or
    the class and the score that it gave to the actual one. Of an anomaly model the least usual rows, with the scores."""
    ours = part.scores["candidate"]
    unlike = ours[:, 0] if spec.task == "anomaly" else per_row_loss(spec.task, part.labels, ours)
    places = np.argsort(-unlike, kind="stable")[:WORST_ROWS]
    keys = rows_from_columns({name: part.columns[name][places] for name in dataset.key_columns}, dataset.key_columns)
    rows = []
    for place, key in zip(places, keys, strict=True):
        label = part.labels[place]
        row: dict[str, Any] = {"key": {name: text(value) or "" for name, value in key.items()}}
        if spec.task == "regression":
            row |= {"actual": float(label), **{who: float(scores[place, 0]) for who, scores in part.scores.items()}}
        elif spec.task == "anomaly":
            row |= {"actual": float(label) if np.isfinite(label) else None}
            row |= {who: float(scores[place, 0]) for who, scores in part.scores.items()}
        else:
            row["actual"] = spec.classes[int(label)]
            for who, scores in part.scores.items():
                row[who] = [spec.classes[predict(spec.task, scores[place : place + 1])[0]], float(scores[place, int(label)])]
        rows.append(row)
    return rows


def losses_table(spec: ModelSpec, dataset: DatasetSpec, parts: dict[str, Compared]) -> bytes:
    """Parquet: part, day, unit (equal numbers are drawn together), key (JSON), slice columns, candidate loss and, if there is one,
    champion loss of every row."""
    tables = []
    for name, part in parts.items():
        columns: dict[str, Any] = {
            "part": [name] * len(part.labels),
            "day": pa.array(part.days),
            "unit": pa.array(part.units),
            "key": [json.dumps(list(row.values())) for row in rows_from_columns(part.columns, dataset.key_columns)],
            **{f"slice_{column}": [str(value) for value in _slice_column(part, dataset, column).tolist()] for column in spec.slices},
            **{who: per_row_loss(spec.task, part.labels, scores) for who, scores in part.scores.items()},
        }
        tables.append(pa.table(columns))
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(tables), sink, compression="zstd")
    return sink.getvalue()


def _champion(store: Store, spec: ModelSpec, candidate: Sealed, last: Entry | None, scratch: Path) -> tuple[Sealed | None, Changes]:
    """The champion by the ledger, if there is one other than the candidate, and what the candidate changes for its callers."""
    number = last.champion if last else None
    digest = last.versions[number] if last and number is not None else candidate.manifest.digest
    if digest == candidate.manifest.digest:
        return None, Changes()
    champion = Sealed(read_manifest(store, spec.name, digest), fetch(store, spec.name, digest, scratch / "champion"), number)
    return champion, compare(champion.signature, candidate.signature)


def _closer(spec: ModelSpec, part: Compared, scores: np.ndarray) -> dict[str, Any]:
    """How a version errs: by prediction and over time, or by class; of an anomaly model its scores and alarms. Time says something only
    where it made the split."""
    if spec.task == "anomaly":
        return {"alarms": alarm_facts(scores, part.labels, part.days)}
    if spec.task == "regression":
        days = part.days if part.drawn == "days" else None
        return {"residuals": residuals(part.labels, scores, part.units, days, seed=spec.training.seed)}
    return {"confusion": confusion(spec.classes, part.labels, predict(spec.task, scores), part.units, seed=spec.training.seed)}


def _told_by_training(version: Sealed, measured: dict[str, float]) -> dict[str, Any]:
    """The threshold of an anomaly model's alarms, and among its metrics how far refits agreed with it."""
    stable = version.record.get("stability", {})
    agreements = {name: value for name, value in stable.items() if name != "refits"}
    return {"alarm_above": version.signature[ABOVE], "stability": stable, "metrics": measured | agreements}


def _seen(champion: Sealed, candidate: Sealed) -> list[tuple[str, str]]:
    """The days of which the champion may have seen test rows of the candidate. None are of its training if both were split alike by
    group or at random: then a row that one tests on is one that the other tests on too, or did not have yet."""
    rules = [{**version.split.parameters(), "min_train_rows": None} for version in (champion, candidate)]
    alike = candidate.split.by != "time" and rules[0] == rules[1]
    return champion.seen[1:] if alike else champion.seen


def _slices(spec: ModelSpec, dataset: DatasetSpec, part: Compared, scores: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    return {
        column: slice_metrics(spec.task, part.labels, scores, _slice_column(part, dataset, column).astype(str)) for column in spec.slices
    }


def _slice_column(part: Compared, dataset: DatasetSpec, column: str) -> np.ndarray:
    """A column of the dataset, or `month`, `weekday` or `hour` of the event time where there is none of that name."""
    if column in part.columns:
        return part.columns[column]
    return calendar_slices(part.columns[dataset.time_column])[column]


def calendar_slices(times: np.ndarray) -> dict[str, np.ndarray]:
    """Slices that are no column of a dataset: `month`, `weekday` (Monday is 0) and `hour` of event times."""
    event = times.astype("datetime64[s]")
    return {
        "month": event.astype("datetime64[M]"),
        "weekday": (event.astype("datetime64[D]").astype(np.int64) + 3) % 7,
        "hour": event.astype("datetime64[h]").astype(np.int64) % 24,
    }


def _sentence(spec: ModelSpec, document: dict[str, Any]) -> str:
    test = document["parts"]["test"]
    metric = spec.gate.metric
    low, high = test["candidate"]["intervals"][metric]
    sentence = f"{metric.replace('_', ' ')} {test['candidate']['metrics'][metric]:.4f} ({low:.4f} to {high:.4f}) on " + rows_words(
        test, document["split"], document["bounds"]["test"]
    )
    if "rule" in test:
        sentence += f"; a simple rule has {test['rule']['metrics'][metric]:.4f}"
    if "champion" in test:
        sentence += f"; the champion, version {document['champion']['version']}, has {test['champion']['metrics'][metric]:.4f}"
    absent = [f"`{name}`" for name, rows in test["classes"].items() if not rows]
    lacking = f"No test row is {' or '.join(absent)}." if absent else ""
    compared = (
        f"Candidate {document['digest'][:12]}: {sentence}.",
        lacking,
        UnknownLabels(**test["unknown_labels"]).sentence,
        document["incomparable"],
    )
    return " ".join(part for part in compared if part)
