"""Decide whether a training starts, on which snapshot and why; check the data it would use.

The usual answer of a night is "nothing new": it is found without loading Great Expectations, MLflow or pandas.

    $ perennial validate --model flight_delays --cause manual
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from perennial import discovery
from perennial.counted import counted
from perennial.data.labels import Coverage
from perennial.data.snapshots import Snapshot, empty_dataset, model_snapshot, sentence_case
from perennial.errors import DataRefused, TrainingRefused
from perennial.incidents.inbox import Inbox, Request
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger, retired_words
from perennial.lineage.manifest import Manifest, Parameter, code_digest, lock_digest, run_code, training_parameters
from perennial.lineage.trainings import judged, last_training, trained_on
from perennial.lineage.version_folder import read_manifest
from perennial.monitoring.policy import Situation, Skip, Training, should_train
from perennial.registry.model_registry import ModelRegistry
from perennial.results import ValidateResult
from perennial.settings import Settings
from perennial.specs import Cause, DatasetSpec, ModelSpec
from perennial.stages import _agreement
from perennial.stages._snapshots import digests_since, newest_trained, served_with
from perennial.store import Store

if TYPE_CHECKING:
    import pandas

LIKE_CODE = (
    "task",
    "inputs",
    "label",
    "labels",
    "served_since",
    "joins",
    "classes",
)  # of a spec: what the model reads and says; a change asks for a training as one of the code does
log = logging.getLogger("perennial.validate")


def run(
    settings: Settings,
    store: Store,
    model: str,
    *,
    cause: Cause = "schedule",
    snapshot: int | None = None,
    labels: int | None = None,
    predictions: int | None = None,
    joined: Mapping[str, int] | None = None,
    force: bool = False,
    reason: str = "",
    run_url: str = "",
) -> ValidateResult:
    """Decide, check the data, claim the retraining request that the training answers.

    Raises:
        UnknownName: there is no such snapshot.
        SpecBroken: a file of the model cannot be read.
        TrainingRefused: the data must not be trained on, or a person asked for a training that cannot be.
        RegistryDiffers: the registry is not the one that the ledger tells of.
        ServiceUnreachable: MLflow does not answer, and a training would start.
    """
    spec = discovery.model(model)
    code = run_code(spec)  # at once: it is what was loaded just now
    dataset = discovery.dataset_of(spec)
    asked_by_person = force or cause == "manual"
    retired = Ledger(store, model).retirement()
    if retired and not asked_by_person:
        return ValidateResult(outcome="skipped", sentence=f"Nothing is trained by itself: {retired_words(retired)}", cause=cause)
    if spec.learns_from_outcomes and labels is None:
        from perennial.stages._logs import take_in

        take_in(store, spec, dataset)
    source = model_snapshot(store, spec, snapshot, labels, predictions, joined)
    if source is None:
        coverage, too_small = None, f"{empty_dataset(store, spec)} has no snapshot yet: ingest a batch first."
    else:
        coverage = source.coverage(spec.label) if source.labels else None
        too_small = "" if source.served else _too_small(spec, dataset, source)  # predictions are not in the table's statistics
        too_small = too_small or (_too_few_labels(spec, source, coverage) if coverage else "")
    inbox = Inbox(store, model)
    if source is None or too_small:
        if asked_by_person:
            raise TrainingRefused(too_small)
        return ValidateResult(outcome="skipped", sentence=too_small, cause=cause)
    request = settle(inbox, store, model)
    situation = _situation(spec, source, store, cause=cause, force=force, request=request, coverage=coverage)
    decision = should_train(situation, spec.retrain)
    if request and situation.same:
        # Trained on these inputs: the request has its answer, whether or not a person forces another run.
        inbox.end(
            request.key,
            "refused",
            f"Nothing new since {situation.same.name} (snapshot {situation.same.snapshot}): the request waits for no other data.",
        )
        request = None
    if isinstance(decision, Skip):
        if request and situation.quality_break:  # no run will take it; what is found in mended data asks anew
            inbox.end(request.key, "refused", decision.why)
        held = "HeldBack" if situation.quality_break and not situation.same else ""
        return ValidateResult(outcome="skipped", sentence=decision.why, fault=held, **_versions(source), cause=cause, rows=source.count())
    _agreement.require(store, ModelRegistry(settings), model)  # before a GPU is asked for what the gate would then refuse
    joined_rows = _find(spec, source)
    links, left_out = _check(settings, store, spec, source, coverage, inbox=inbox, request=request)
    if request and inbox.claim(request.key, run_url or f"by hand {uuid.uuid4().hex[:12]}") is None:
        raise TrainingRefused(f"The retraining request {request.key} of {model} has ended: {inbox.get(request.key).sentence}")
    words = f" ({reason})" if reason else ""
    why = f"{decision.why}{words} {joined_rows} {left_out} {coverage.sentence() if coverage else ''}".strip()
    begins = f"Training starts on {source.words}, cause {decision.cause}"
    if not run_url:  # by hand: no run goes on with it
        begins = f"A training on {source.words} may start, cause {decision.cause}"
        given = {**_versions(source), "cause": decision.cause, "request": request.key if request else None}
        options = " ".join(f"--{name} {value}" for name, value in given.items() if value is not None)
        why += (
            f" Nothing was started, since no DAG run asked: train by hand with perennial train --model {model} {options}, or trigger the "
            f"DAG {model}_training{' with force' if force else ''}."
        )
    return ValidateResult(
        sentence=f"{begins}: {why}",
        links=links,
        **_versions(source),
        cause=decision.cause,
        request=request.key if request else None,
        rows=source.count(),
        code=code,
    )


def settle(inbox: Inbox, store: Store, model: str) -> Request | None:
    """The active retraining request, after ending it if a version that was trained for it has been judged by the gate."""
    request, last = inbox.active(), last_training(store, model)
    if request and last and last[1].request == request.key:
        inbox.end(request.key, "trained", f"Candidate {last[0][:12]} was trained on snapshot {last[1].snapshot}.")
        return None
    return request


def training_of(store: Store, dataset: DatasetSpec, digest: str, manifest: Manifest) -> Training:
    """A training as the retraining policies see it."""
    number = next((line.version for line in Ledger(store, manifest.model).lines() if line.digest == digest), None)
    name = f"candidate {digest[:12]}" if number is None else f"version {number}"
    newest = newest_trained(served_with(Snapshot(dataset, manifest.snapshot, store), manifest), manifest)
    return Training(name, manifest.snapshot, manifest.code_digest, newest, manifest.labels.snapshot if manifest.labels else None)


def _situation(
    spec: ModelSpec, source: Snapshot, store: Store, *, cause: Cause, force: bool, request: Request | None, coverage: Coverage | None
) -> Situation:
    code = code_digest(spec.name)
    last, entry = last_training(store, spec.name), Ledger(store, spec.name).last()
    # A new champion alone is no reason to train again on what was learned already.
    parameters = training_parameters(spec, begins_with=str(last[1].parameters.get("warm_start", "")) if last else "")
    same = trained_on(
        store, spec.name, digests_since(source, last[1] if last else None), code, lock_digest(), parameters, spec.training.seed
    )
    champion = entry.versions[entry.champion] if entry and entry.champion is not None else None

    def known(digest: str | None) -> Training | None:
        return None if digest is None else training_of(store, source.dataset, digest, read_manifest(store, spec.name, digest))

    return Situation(
        cause=cause,
        snapshot=source.version,
        newest=_newest(source, coverage),
        code_digest=code,
        labels=source.labels.version if source.labels else None,
        forced=force,
        same=known(same if same and judged(store, spec.name, same) else None),
        last=known(last[0] if last else None),
        changed=() if last is None else _changed(last[1].parameters, parameters),
        champion=known(champion),
        request=(request.key, request.cause) if request else None,
        quality_break=next((incident.sentence for incident in Incidents(store, spec.name).open_ones() if incident.blocks_training), ""),
    )


def _changed(then: Mapping[str, Parameter], now: Mapping[str, Parameter]) -> tuple[str, ...]:
    """What the spec says otherwise than at a training. One that recorded nothing of it, long ago, had the same; but for where labels
    come from, which is recorded where it is not the rows alone."""
    return tuple(
        name for name in LIKE_CODE if (name in then or name in ("labels", "served_since", "joins")) and then.get(name) != now.get(name)
    )


def _too_small(spec: ModelSpec, dataset: DatasetSpec, source: Snapshot) -> str:
    """A sentence if the snapshot spans too few days for the split; empty if it does not. From the table's statistics alone."""
    try:
        oldest, newest = source.days()
    except TrainingRefused as why:
        return str(why)
    rows = source.count()
    if spec.split.by != "time":
        return _too_few_rows(spec, dataset, source, rows)
    days = (newest.date() - oldest.date()).days + 1
    wanted = spec.split.test_days + spec.split.validation_days + 1 + math.ceil(dataset.label_delay_days)
    if days < wanted:
        return (
            f"Snapshot {source.version} of {dataset.name} spans {counted(days, 'day')}; {spec.name} needs {wanted} at least "
            f"({spec.split.test_days} for test, {spec.split.validation_days} for validation): ingest {wanted - days} more."
        )
    return _too_few_rows(spec, dataset, source, rows)


def _too_few_rows(spec: ModelSpec, dataset: DatasetSpec, source: Snapshot, rows: int) -> str:
    if rows < spec.split.min_train_rows:
        return (
            f"Snapshot {source.version} of {dataset.name} has {counted(rows, 'row')}; {spec.name} needs {spec.split.min_train_rows} to "
            "train on: ingest more batches."
        )
    return ""


def _newest(source: Snapshot, coverage: Coverage | None) -> datetime:
    """The newest event time; with a label feed, the newest day that has a label."""
    return datetime.combine(coverage.labelled_days[-1], datetime.min.time()) if coverage else source.newest()


def _versions(source: Snapshot) -> dict[str, Any]:
    """The table versions that the training is told to use."""
    labels, served, joins = source.labels, source.served, source.joins
    return {
        "snapshot": source.version,
        "labels": labels.version if labels else None,
        "predictions": served.predictions if served else None,
        "joined": ",".join(f"{name}={version}" for name, version in joins.versions.items()) if joins else None,
    }


def _too_few_labels(spec: ModelSpec, source: Snapshot, coverage: Coverage) -> str:
    """A sentence if the labels that are known span too few days or rows for the split; empty if they do not."""
    known, cut = coverage.labelled_days, spec.split
    assert source.labels, "it has a coverage"
    verb, what = source.labels.kind
    days = (known[-1] - known[0]).days + 1 if known else 0
    wanted = cut.test_days + cut.validation_days + 1
    if cut.by == "time" and days < wanted:
        return (
            f"{sentence_case(source.words)} has a {spec.label} for rows of {counted(days, 'day')}; {spec.name} needs {wanted} at least "
            f"({cut.test_days} for test, {cut.validation_days} for validation): {verb} more {what}. {coverage.sentence()}"
        )
    if coverage.labelled < cut.min_train_rows:
        return (
            f"{sentence_case(source.words)} has {counted(coverage.labelled, 'row')} with a {spec.label}; {spec.name} needs "
            f"{cut.min_train_rows} to train on: {verb} more {what}. {coverage.sentence()}"
        )
    return ""


def _check(
    settings: Settings,
    store: Store,
    spec: ModelSpec,
    source: Snapshot,
    coverage: Coverage | None,
    *,
    inbox: Inbox,
    request: Request | None,
) -> tuple[dict[str, str], str]:
    """Hold the rows that training would use against the suite, and their labels against the classes; links to the page, and what is left
    out. The labels of a feed were held against its own suite when they landed, predictions against the version's inputs when they
    were asked for. Raises TrainingRefused."""
    from perennial.quality.validation import validate_snapshot
    from perennial.stages._groups import usual_groups

    cut = spec.split
    newest = _newest(source, coverage).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    # The newest days may have no labels yet: the split then reaches as much further back.
    days = (cut.train_days or 0) + cut.validation_days + cut.test_days + math.ceil(source.dataset.label_delay_days)
    since = None if cut.train_days is None else newest - timedelta(days=days)
    rows, labelled = source.landed_and_labelled(since)
    if source.served and rows.empty:
        return {}, _left_out(spec, source, labelled)
    verdict = validate_snapshot(rows, source.dataset, f"snapshot {source.version}", store=store, usual=usual_groups(store, source.dataset))
    link = settings.report_url(verdict.report_key) if verdict.report_key else ""
    if verdict.passed:
        log.info("%s", verdict.sentence())
        try:
            return ({"Data Docs": link} if link else {}), _left_out(spec, source, labelled)
        except TrainingRefused as refusal:
            if request:
                inbox.end(request.key, "refused", str(refusal))
            raise
    sentence = f"{spec.name} must not be trained on snapshot {source.version}. {verdict.sentence(link)}"
    if request:
        inbox.end(request.key, "refused", sentence)
    raise DataRefused(sentence, {"Data Docs": link} if link else {})


def _find(spec: ModelSpec, source: Snapshot) -> str:
    """For how many rows joins find something, as sentences; empty without joins. Raises TrainingRefused where one finds nothing."""
    if not source.joins:
        return ""
    time_column = source.dataset.time_column
    rows = source.read([*source.joins.needed(source.joins.columns), time_column])
    every = source.joins.found(rows, time_column)
    for one in every:
        if not one.found:
            history = (
                f" Where rows of {one.join.dataset} are a history that was loaded at once, say so in the join: history_until, and "
                "history_delay_hours for how long after its event time a row was usually known."
                if one.too_late and not one.join.history_until
                else ""
            )
            raise TrainingRefused(f"{spec.name} must not be trained on {source.words}: {one.sentence}{history}")
    return " ".join(one.sentence for one in every)


def _left_out(spec: ModelSpec, source: Snapshot, rows: pandas.DataFrame) -> str:
    """Labels that are no class, as a sentence; empty if all are.

    Raises TrainingRefused where they are too many, or where features.py breaks.
    """
    from perennial.data.labels import refuse_unknown
    from perennial.data.snapshots import label_of, unknown_of
    from perennial.stages.train import mistakes_of

    features = discovery.model_part(spec.name, "features")
    with mistakes_of(features, spec):
        labels = label_of(rows, features, spec)
    return refuse_unknown(spec, unknown_of(spec, rows, labels), source.words).sentence
