"""Train a candidate and seal its version folder. The same snapshot, code, lock file, parameters and seed train once only.

$ perennial train --model flight_delays --snapshot 12 --cause manual
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np

from perennial import discovery, tracing
from perennial.data.labels import UnknownLabels
from perennial.data.snapshots import Snapshot, empty_dataset, model_snapshot
from perennial.data.splits import PartRows, groups_of, split
from perennial.encoding import Columns, Encoder
from perennial.engine.room import Room, room_of
from perennial.errors import EXIT_DONE, CodeBroken, PerennialError, TrainingRefused
from perennial.learner_words import counts, learnt
from perennial.lineage.learned import note_learned
from perennial.lineage.making import note_making
from perennial.lineage.manifest import Manifest, code_digest, lock_digest, require_code, run_code, run_key, training_parameters
from perennial.lineage.progress import Note, watched
from perennial.lineage.trainings import trained_on
from perennial.lineage.usage import Meter
from perennial.lineage.version_folder import WEIGHTS, key, publish, read_manifest, read_weights
from perennial.prices import Prices
from perennial.registry.model_registry import CHAMPION, ModelRegistry
from perennial.results import TrainResult
from perennial.settings import Settings
from perennial.specs import Cause, DatasetSpec, ModelSpec
from perennial.stages import _agreement
from perennial.stages._run_facts import facts_of, told_of_run
from perennial.stages._snapshots import joins_used, labels_used, scores_used
from perennial.store import Store
from perennial.training.processes import is_helper
from perennial.training.row_weights import row_weights

if TYPE_CHECKING:
    import pandas

    from perennial.training.checkpoints import Checkpoints

log = logging.getLogger("perennial.train")

RECORD = "training.json"  # what training measured; part of the version folder


def run(
    settings: Settings,
    store: Store,
    *,
    model: str,
    snapshot: int,
    labels: int | None = None,
    predictions: int | None = None,
    joined: Mapping[str, int] | None = None,
    cause: Cause = "manual",
    request: str = "",
    max_epochs: int | None = None,
    reason: str = "",
    run_url: str = "",
    code: str = "",
) -> TrainResult:
    """Train on a snapshot, seal and publish the version folder, record the run.

    Raises:
        TrainingRefused: the snapshot cannot give a model, or the model's files are not those that the run began with.
        StoredDataDamaged: a file of the snapshot is not as it was written.
        RegistryDiffers: the registry is not the one that the ledger tells of.
        ServiceUnreachable: MLflow does not answer.
    """
    spec = discovery.model(model)
    code = code or run_code(spec)
    require_code(spec, code)
    dataset = discovery.dataset_of(spec)
    registry = ModelRegistry(settings)
    champion = _agreement.require(store, registry, model).having(CHAMPION)
    source = model_snapshot(store, spec, snapshot, labels, predictions, joined)
    if source is None:
        raise TrainingRefused(f"{empty_dataset(store, spec)} has no snapshot yet: ingest a batch first.")
    manifest = begin_manifest(
        spec, source, max_epochs, cause=cause, reason=reason, request=request, parents=[champion.digest] if champion else []
    )
    digest = trained_on(store, model, source.digests, manifest.code_digest, manifest.lock_digest, manifest.parameters, manifest.seed)
    already, begun = digest is not None, time.monotonic()
    meter = Meter(spec.compute, Prices.read(settings.prices))
    meter.within(spec.training.budget, model)  # a budget of money without prices is told before anything is read
    if already and is_helper(spec.compute):
        sys.exit(EXIT_DONE)  # the first process finds it too, records it and answers
    if digest is None:
        from perennial.training.checkpoints import Checkpoints

        if not is_helper(spec.compute):
            source.refuse_damaged(rows=bool(source.labels))
        checkpoints = Checkpoints(settings.home / "runs" / manifest.run_key, store, f"models/{model}/runs/{manifest.run_key}")
        run_shown = nullcontext() if is_helper(spec.compute) else shown_as_running(registry, manifest, run_url)
        with run_shown, tempfile.TemporaryDirectory(prefix="perennial-version-") as scratch:
            with nullcontext() if is_helper(spec.compute) else watched(store, model) as told:
                is_first = fill_version_folder(
                    Path(scratch),
                    spec,
                    dataset,
                    source,
                    checkpoints=checkpoints,
                    max_epochs=max_epochs,
                    told=told,
                    beat=told.beat if told else None,
                    begins_with=begun_with(store, manifest),
                    meter=meter,
                    vouched=not (source.labels or is_helper(spec.compute)),
                    room=room_of(settings.home / "rows", settings.rows_gb),
                )
            if not is_first:
                sys.exit(
                    EXIT_DONE
                )  # a helper of a training over several devices: the first process seals the version and alone may write a result
            require_code(spec, code)  # what was loaded in between, and is now sealed, was the same
            record = json.loads((Path(scratch) / RECORD).read_text())
            digest = publish(store, model, Path(scratch), manifest.model_copy(update={"event_time_end": record["event_time_end"]}))
            note_learned(store, model)
        checkpoints.remove()
    usage = None if already else meter.usage()
    note_making(store, model, digest, seconds=None if already else round(time.monotonic() - begun, 1), usage=usage)
    manifest = read_manifest(store, model, digest)
    record = json.loads(store.read(f"{key(model, digest)}/{RECORD}"))
    measured = {f"validation_{name}": value for name, value in record["metrics"].items()} | (usage.figures() if usage else {})
    with tracing.span("record the MLflow run", model=model, digest=digest) as note:
        run_id = registry.record_run(manifest, measured, record["history"], digest, facts=facts_of(store, manifest, record))
        note(run_id=run_id)
    if already and (said := told_of_run(run_url)):  # the run of a training that was begun here says it
        registry.annotate(run_id, said, {}, {})
    figures = ", ".join(
        f"{name.replace('_', ' ')} {record['metrics'][name]:.4f}"
        for name in ("log_loss", "roc_auc", "rmse", "alarm_share")
        if name in record["metrics"]
    )
    what = "was trained before on these inputs" if already else learnt(spec.learner, record["epochs"], record["rows"]["train"])
    return TrainResult(
        sentence=f"Candidate {digest[:12]} of {model} {what}; validation: {figures}. "
        f"{f'{usage.sentence} ' if usage else ''}{UnknownLabels(**record.get('unknown_labels', {})).sentence}".strip(),
        links={"MLflow run": registry.run_url(run_id)},
        digest=digest,
        run_id=run_id,
        epochs=record["epochs"],
        metrics=record["metrics"],
    )


@contextlib.contextmanager
def shown_as_running(registry: ModelRegistry, manifest: Manifest, run_url: str) -> Iterator[None]:
    """While the block trains, the registry shows its run as running; one that breaks, as failed, or killed where it was asked to end.

    A process that is killed outright says nothing: the stage `close` does.
    """
    run_id = registry.begin_run(manifest, told_of_run(run_url))
    try:
        yield
    except BaseException as error:
        status: Literal["FAILED", "KILLED"] = "FAILED" if isinstance(error, Exception) else "KILLED"
        try:
            registry.end_run(run_id, status, str(error) or type(error).__name__)
        except PerennialError as unsaid:  # how the training ends does not hang on it
            log.warning("The registry goes on showing the training as running: %s", unsaid)
        raise


def begin_manifest(
    spec: ModelSpec,
    source: Snapshot,
    max_epochs: int | None,
    *,
    cause: Cause,
    reason: str = "",
    request: str = "",
    parents: list[str] | None = None,
) -> Manifest:
    """The manifest of a training that is about to start; its files and the end of its event time follow."""
    parameters = training_parameters(spec, max_epochs, begins_with=(parents or [""])[0])
    code, lock, content = code_digest(spec.name), lock_digest(), source.digest
    return Manifest(
        model=spec.name,
        run_key=run_key(spec.name, content, code, lock, parameters, spec.training.seed),
        dataset=spec.dataset,
        snapshot=source.version,
        snapshot_digest=content,
        labels=labels_used(source, spec.label),
        joined=joins_used(source),
        scores=scores_used(source),
        code_digest=code,
        lock_digest=lock,
        parameters=parameters,
        seed=spec.training.seed,
        cause=cause,
        reason=reason,
        request=request,
        parents=parents or [],
        event_time_end="",
    )


def begun_with(store: Store, manifest: Manifest) -> bytes:
    """The weights that a training begins with; empty for one that begins with random ones, as the first of every model does.

    Raises:
        StoredDataDamaged: the version to begin with is not as it was sealed.
    """
    parent = manifest.parameters.get("warm_start")
    return read_weights(store, manifest.model, str(parent)) if parent else b""


def fill_version_folder(
    folder: Path,
    spec: ModelSpec,
    dataset: DatasetSpec,
    source: Snapshot,
    *,
    checkpoints: Checkpoints,
    max_epochs: int | None = None,
    told: Note | None = None,
    beat: Callable[[], None] | None = None,
    begins_with: bytes = b"",
    halved: bool = False,
    meter: Meter | None = None,
    vouched: bool = False,
    room: Room | None = None,
) -> bool:
    """Train and write every file of the version folder but its manifest; False in a helper process of a training over several devices.

    `begins_with` are weights as `begun_with` gives them, for a warm start. `halved` repeats a training for which memory had been short:
    its record says `accumulate`. `meter` counts what it uses, and with it the spec's budget ends it. `beat` is called at each step.
    With `vouched` each file of the table is held against its hash before its rows are read. `room` is what rows may take in memory; without
    one all of them are there.
    """
    features, timer = discovery.model_part(spec.name, "features"), meter or Meter(spec.compute)
    with timer.part("read"), mistakes_of(features, spec):
        weighing = [spec.training.sample_weight] if spec.training.sample_weight else []
        cut = split(source, spec, features, [*spec.inputs, *weighing], vouched=vouched, room=room)
        train, held_out = cut.parts["train"], cut.parts["validation"]
        labels = {"train": train.labels(), "validation": held_out.labels()}
    refuse_untrainable(spec, source, labels["train"], labels["validation"])
    with timer.part("encode"), mistakes_of(features, spec):
        known = columns_of(held_out.frame(spec.inputs), spec.inputs)
        encoder = _fitted(features, spec, train, room)
    log.info("%s: %d rows to train on (%s to %s), %d to validate.", spec.name, len(train), *cut.bounds["train"], len(held_out))

    from perennial.training.encoded import encode_rows
    from perennial.training.evaluation import metrics
    from perennial.training.export import calibration_of, export
    from perennial.training.learners import Encoded, Lesson, learner_of
    from perennial.training.refits import stability
    from perennial.training.scoring import score

    with timer.part("encode"), mistakes_of(features, spec):
        encode, pieces = partial(features.encode, encoder), (columns_of(piece) for piece in train.frames(spec.inputs))
        mapped = room if spec.learner in ("lightning", "boosted") else None  # the others take all rows in memory
        weights = row_weights(spec, train.frame(weighing), labels["train"]) if weighing else row_weights(spec, None, labels["train"])
        training = Encoded(encode_rows(encode, pieces, len(train), mapped), labels["train"], weights, mapped)
        validation = Encoded(encode(known), labels["validation"])
    within = (
        meter.within(spec.training.budget, spec.name, counted=counts(spec.learner), resumes=spec.learner == "lightning") if meter else None
    )

    def spent(seconds: float, epochs: int, limit: int) -> None:
        if beat:
            beat()
        if within:
            within(seconds, epochs, limit)

    lesson = Lesson(spec, encoder, training, validation, checkpoints, max_epochs, told, begins_with, halved, spent, timer.add)
    begun = time.monotonic()
    with timer.learning():
        learned = learner_of(spec).learn(lesson)
    if learned is None:
        return False
    with timer.part("export"):
        calibration = calibration_of(learned, validation)
        export(
            folder,
            spec=spec,
            dataset=dataset,
            features=features,
            encoder=encoder,
            learned=learned,
            calibration=calibration,
            inputs=validation.inputs,
            columns=known,
        )
    stable: dict[str, float] = {}
    if spec.anomaly:
        with timer.part("refits"):
            stable = stability(lesson, learned, units_of(train, spec), begun)
    if spec.training.warm_start:
        (folder / WEIGHTS).write_bytes(learned.weights())
    by_time = spec.split.by == "time"
    figures = metrics(spec.task, labels["validation"], score(folder, known, threads=spec.compute.cpus))
    record = {
        "epochs": learned.epochs,
        "history": learned.history,
        "metrics": figures,
        "calibration": {"scale": calibration.scale, "shift": list(calibration.shift)} if calibration else None,
        "rows": {name: len(cut.parts[name]) for name in ("train", "validation", "test")},
        **learned.record(),
        **({"stability": stable} if spec.anomaly else {}),
        "unknown_labels": cut.unknown.as_json(),
        "bounds": cut.bounds,
        **({"coverage": cut.coverage.as_json()} if source.labels else {}),
        **({} if by_time else {"split": spec.split.model_dump(exclude={"test_days", "validation_days", "train_days"})}),
        "event_time_end": max(_newest(part.times()) for part in ([train] if by_time else [train, held_out])),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True, allow_nan=False))
    return True


@contextlib.contextmanager
def mistakes_of(features: ModuleType, spec: ModelSpec) -> Iterator[None]:
    """Say in a sentence what broke in a model's features.py, such as a column that it reads and the dataset
    has no more: trying again would not help."""
    try:
        yield
    except (PerennialError, MemoryError, OSError):
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == features.__file__]
        if not lines:
            raise
        raise CodeBroken(
            f"{spec.name} cannot learn from {spec.dataset}: its features.py, line {lines[-1]}, "
            f"broke with {type(error).__name__}: {error}. Mend that file."
        ) from error


def _fitted(features: ModuleType, spec: ModelSpec, train: PartRows, room: Room | None) -> Encoder:
    """The encoder of the training rows, fitted piece by piece where they are not in memory and the model's `fit` allows it."""
    if not train.in_memory and room:
        from perennial.training.fitting import fit_in_pieces, fits_in_pieces

        if fits_in_pieces(Path(str(features.__file__)).read_text()):
            return fit_in_pieces(features, (columns_of(piece) for piece in train.frames(spec.inputs)), room)
        log.warning(
            "The fit of %s's features.py looks at its columns itself, not by parts alone: it takes the inputs of all %d training rows "
            "in memory.", spec.name, len(train),
        )  # fmt: skip
    encoder: Encoder = features.fit(columns_of(train.frame(spec.inputs)))
    return encoder


def _newest(times: np.ndarray) -> str:
    newest: datetime = times[~np.isnat(times)].max().astype("datetime64[us]").item()
    return newest.isoformat()


def units_of(rows: PartRows, spec: ModelSpec) -> np.ndarray:
    """A number for each row, as the split was made: its day, its group, or one number for all. Equal numbers are drawn together."""
    if spec.split.by == "group":
        return groups_of(rows.frame(spec.split.group), spec.split.group)[0]
    if spec.split.by == "random":
        return np.zeros(len(rows), np.int64)
    days: np.ndarray = rows.times().astype("datetime64[D]").astype(np.int64)
    return days


def columns_of(frame: pandas.DataFrame, names: tuple[str, ...] | None = None) -> Columns:
    """Columns of a frame as arrays; only the named ones, so that nothing else can reach the model."""
    return {name: frame[name].to_numpy() for name in (names or tuple(frame.columns))}


def refuse_untrainable(spec: ModelSpec, source: Snapshot, train: np.ndarray, validation: np.ndarray) -> None:
    """Raises TrainingRefused where the labels cannot give a model."""
    where = source.words
    if spec.task == "anomaly":
        return  # it learns without labels
    if spec.task == "regression":
        if np.ptp(train) == 0:
            raise TrainingRefused(
                f"{spec.name} cannot learn from {where}: its label {spec.label} is {train[0]:g} in every training row. "
                "Ingest more varied days."
            )
        return
    strange = sorted({float(value) for value in np.concatenate([train, validation])} - {float(c) for c in range(len(spec.classes))})
    if strange:
        raise TrainingRefused(
            f"{spec.name} cannot learn from {where}: its label is {strange[0]:g} in some rows, "
            f"and the spec names {len(spec.classes)} classes, counted from 0. Correct features.label or the spec."
        )
    missing = [name for place, name in enumerate(spec.classes) if not (train == place).any()]
    if missing:
        raise TrainingRefused(
            f"{spec.name} cannot learn from {where}: no training row is {' or '.join(missing)}. Ingest days that have such rows."
        )
