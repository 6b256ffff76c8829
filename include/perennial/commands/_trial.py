"""A trial: one file of rows becomes a dataset, a model and a measured version, in this process and in a folder that is thrown away.

Nothing here is made for trials alone: files are proposed as by `perennial add`, the file is ingested, a version is trained, measured and
scored by the code of the stages and of serving. Only the registry is left out, since no version comes of it.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial import discovery
from perennial.commands._new_dataset import dataset_files
from perennial.commands._new_model import MOST_CLASSES, model_files
from perennial.commands._sample import Sample, read_sample, rows_of_table
from perennial.commands.add import write_files
from perennial.data.readers.proposals import declaration
from perennial.encoding import rows_from_columns
from perennial.errors import Fault, UnknownName
from perennial.ids import names_rows
from perennial.learner_words import counts, name_of
from perennial.quality import suites
from perennial.settings import Settings
from perennial.specs import NO_SCALARS, DatasetSpec, FileForm, Learner, ModelSpec
from perennial.store import FolderStore

ROWS_SEEN = 250_000  # by training, over all its passes: a trial should take less than a minute
LEAST_EPOCHS = 3
ROWS_SPLIT = 50_000_000  # by trees, over all their rounds
LEAST_ROUNDS = 20
SCORED_ROWS = 5
LEAST_ROWS = 50  # with a known label: of fewer, a part of ten in a hundred says nothing
LEAST_OF_A_CLASS = 5

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What a person asked to be tried."""

    name: str
    data: Path
    label: str
    task: str | None
    inputs: tuple[str, ...]
    event_time: str | None
    key: str | None
    learner: Learner = "lightning"


@dataclass(frozen=True)
class Trial:
    """What came of a trial."""

    data: str  # path of the file
    sample: Sample
    dataset: DatasetSpec
    model: ModelSpec
    chosen: list[str]  # a line for each thing that was decided or left out
    files: dict[Path, str]  # of dataset, suite and model, as they lie in a project
    evaluation: dict[str, Any]
    page: str
    rows: list[dict[str, Any]]  # some test rows, as a request has them
    outcomes: list[str]  # what came of these
    scores: np.ndarray  # [rows, classes], or [rows, 1] of a regression: what serving answers
    taken: str  # what ingestion said

    @property
    def test(self) -> dict[str, Any]:
        """The part of the evaluation that is about the test rows: metrics of the model and of the simplest rule."""
        part: dict[str, Any] = self.evaluation["parts"]["test"]
        return part


def run(
    settings: Settings,
    asked: Asked,
    scratch: Path,
    progress: Progress,
    accept: Callable[[dict[Path, str]], None],
    written: Mapping[Path, str] | None = None,
) -> Trial:
    """Try it.

    Args:
        settings: where the tools are.
        asked: what to try.
        scratch: an empty folder for everything that is made.
        progress: is told what begins.
        accept: is given the files of dataset, suite and model before they are used, and raises if they cannot be kept.
        written: files of dataset, suite and model that are there and edited: they are tried as they are, and none is proposed.

    Raises:
        UnknownName: something must be said, or the label cannot be learned.
        BatchRefused: the dataset that was made from the file refuses it.
        TrainingRefused: the rows give no model.
    """
    with discovery.also_in(scratch):
        (scratch / "great_expectations").mkdir()
        shutil.copy(suites.folder() / "great_expectations.yml", scratch / "great_expectations")
        store = FolderStore(str(scratch / "store"))
        if written:
            files, chosen = dict(written), [f"nothing: the files that you edited are used ({', '.join(path.name for path in written)})"]
            for path, text in written.items():
                (scratch / path).parent.mkdir(parents=True, exist_ok=True)
                (scratch / path).write_text(text)
            importlib.invalidate_caches()
            dataset, model = discovery.dataset(asked.name), discovery.model(asked.name)
            chosen += _said_by(dataset, model)
            taken = _ingest(settings, store, dataset, asked.data, progress)
            sample = rows_of_table(store, dataset)
            if sample is None:
                raise Fault(f"Nothing of the file came into the table {dataset.name}.")
            refuse_label(sample, dataclasses.replace(asked, label=model.label, task=model.task))
        else:
            progress(f"Reading {asked.data}")
            sample = read_sample(asked.data)
            refuse_label(sample, asked)
            progress(f"Describing {len(sample.rows):,} rows: dataset, suite, model")
            described, chosen = dataset_files(asked.name, sample, asked.key, asked.event_time, asked.label)
            files = _kept(described, scratch, settings, accept)
            described, also_chosen = model_files(
                asked.name, asked.name, asked.label, asked.task, sample, asked.inputs, learner=asked.learner
            )
            files |= _kept(described, scratch, settings, accept)
            chosen += also_chosen
            dataset, model = discovery.dataset(asked.name), discovery.model(asked.name)
            taken = _ingest(settings, store, dataset, asked.data, progress)
        measured = _train_and_measure(store, dataset, model, scratch / "version", progress)
        return Trial(
            data=str(asked.data),
            sample=sample,
            dataset=dataset,
            model=model,
            chosen=chosen,
            files=files,
            taken=taken,
            **measured,
        )


def _said_by(dataset: DatasetSpec, model: ModelSpec) -> list[str]:
    """A line for form, key, event time and split, as edited files say them."""
    form = declaration(dataset.files) if dataset.files != FileForm() else "as usual"
    split = ", ".join(f"{name}={value!r}" for name, value in model.split.parameters().items() if value is not None)
    return [
        f"files: {form}",
        f"key: {', '.join(dataset.key) or 'none'}",
        f"event time: {dataset.event_time or 'none'}",
        f"split: {split}",
    ]


def _kept(files: Mapping[Path, str], scratch: Path, settings: Settings, accept: Callable[[dict[Path, str]], None]) -> dict[Path, str]:
    """Write files so that they are found, if they are accepted; returns them as they were written."""
    texts = {path: (scratch / path).read_text() for path in write_files(files, scratch, settings)}
    accept(texts)
    importlib.invalidate_caches()
    return texts


def refuse_label(sample: Sample, asked: Asked) -> None:
    """Raises UnknownName where the label's values say before any training that it cannot be learned."""
    label, file = asked.label, asked.data
    if label not in sample.names:
        near = next((name for name in sample.names if name.casefold() == label.casefold()), "")
        near = near or next(iter(difflib.get_close_matches(label, sample.names, 1)), "")
        meant = f" Did you mean {near}?" if near else ""
        raise UnknownName(f"{file} has no column {label}: choose the label among {', '.join(sample.names)}.{meant}")
    known = sample.rows[label].dropna()
    if known.empty:
        raise UnknownName(f"{label} is known in no row of {file}: give a file that has outcomes, or another --label.")
    if len(known) < LEAST_ROWS:
        raise UnknownName(
            f"{label} is known in {len(known)} rows of {file}, and a trial needs {LEAST_ROWS} to train and to test on: give a larger file."
        )
    kind = next(column.type for column in sample.columns if column.name == label)
    if kind == "timestamp" or kind in NO_SCALARS:
        a = "an" if kind in ("image", "array") else "a"
        what = "time" if kind == "timestamp" else kind
        raise UnknownName(f"{label} is {a} {what}, and a model predicts a class or a number: choose another --label.")
    counts = known.value_counts()
    if len(counts) == 1:
        raise UnknownName(f"{label} is {counts.index[0]} in every row of {file}, so there is nothing to predict: choose another --label.")
    if asked.task == "regression" or kind == "float":
        return
    if names_rows(len(counts), len(known)):
        advice = " If it is a number to be predicted, add --task regression." if kind == "int" else ""
        raise UnknownName(
            f"{label} has {len(counts):,} different values in {len(known):,} rows, as an id has: choose another --label.{advice}"
        )
    if len(counts) <= MOST_CLASSES and counts.iloc[-1] < LEAST_OF_A_CLASS:
        raise UnknownName(
            f"{label} is {counts.index[-1]} in {counts.iloc[-1]} rows of {file}, and a trial needs {LEAST_OF_A_CLASS} of each class "
            "to train and to test on: leave these rows out, or give a larger file."
        )


def _ingest(settings: Settings, store: FolderStore, dataset: DatasetSpec, data: Path, progress: Progress) -> str:
    """Land and ingest the file; returns what was said of its rows. Raises UnknownName if it is refused."""
    from perennial.data.landing import folder
    from perennial.stages import ingest

    pictures = [column.name for column in dataset.columns if column.type == "image"]
    looked_at = f"; each picture of {', '.join(pictures)} is opened and brought to one size, which may take minutes" if pictures else ""
    progress(f"Taking the file in, as the platform would: types, key, suite ({data.stat().st_size / 1e6:,.1f} MB{looked_at})")
    store.upload(data, f"{folder(dataset.name)}/{data.name}")
    here = settings.model_copy(update={"store": store.root, "landing_settle_seconds": 0.0})
    result = ingest.run(here, store, dataset.name)
    if result.refused:
        raise UnknownName(f"The dataset that was made from {data} would refuse it: {next(iter(result.refused.values()))}")
    return result.sentence


def _train_and_measure(store: FolderStore, dataset: DatasetSpec, model: ModelSpec, folder: Path, progress: Progress) -> dict[str, Any]:
    from perennial.data.snapshots import latest_snapshot
    from perennial.lineage.version_folder import seal
    from perennial.serving.request import read_request
    from perennial.serving.scorer import Scorer
    from perennial.stages import evaluate, train
    from perennial.training.checkpoints import Checkpoints
    from perennial.training.report import page

    snapshot = latest_snapshot(store, dataset)
    if snapshot is None:
        raise Fault(f"Nothing of the file came into the table {dataset.name}.")
    epochs = passes(model, snapshot.count())
    progress(f"Training {name_of(model.learner)}{f', at most {epochs} {counts(model.learner)}s' if counts(model.learner) else ''}")
    with interruptible():
        train.fill_version_folder(folder, model, dataset, snapshot, checkpoints=Checkpoints(folder.with_name("run")), max_epochs=epochs)
    progress("Measuring on the test rows, beside the simplest rule")
    begun = train.begin_manifest(model, snapshot, epochs, cause="manual")
    version = evaluate.Sealed(seal(folder, begun), folder)
    test = evaluate.measure(store, model, dataset, version, version, None)
    rule, _ = evaluate.of_training_rows(store, model, dataset, version)
    document = evaluate.describe(model, dataset, version, None, {"test": test}, rule) | {"incomparable": "", "incomparable_with": None}
    progress("Scoring some test rows, as serving does")
    scorer = Scorer(folder)
    if difference := scorer.replay():
        raise Fault(f"Serving does not give the scores of training: {difference}")
    shown = rows_shown(test.labels)
    rows = rows_from_columns({name: values[shown] for name, values in test.columns.items()}, model.inputs)
    request = read_request(json.dumps({"data": {"rows": rows}}), scorer.signature)
    return {
        "evaluation": document,
        "page": page(model, document),
        "rows": rows,
        "outcomes": [_outcome(model, label) for label in test.labels[shown]],
        "scores": scorer.score(request.columns),
    }


def passes(model: ModelSpec, rows: int) -> int:
    """Epochs or rounds at most: as the spec says, or fewer where there are many rows."""
    seen, least = (ROWS_SPLIT, LEAST_ROUNDS) if model.learner == "boosted" else (ROWS_SEEN, LEAST_EPOCHS)
    return min(model.training.max_epochs, max(least, seen // rows))


def rows_shown(labels: np.ndarray) -> list[int]:
    """The first rows, those of labels that were not there yet before those that repeat one."""
    _, first, of_row = np.unique(labels, return_index=True, return_inverse=True)
    new = sorted(first.tolist())[:SCORED_ROWS]
    more = [row for row in range(len(of_row)) if row not in new]
    return sorted([*new, *more[: SCORED_ROWS - len(new)]])


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt during a training too, which Lightning answers with `exit`."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise ended.__context__ from None
        raise


def _outcome(model: ModelSpec, label: float) -> str:
    return f"{label:,.6g}" if model.task == "regression" else model.classes[int(label)]
