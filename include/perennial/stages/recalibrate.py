"""Recalibrate the champion: fit scale and shift of its scores to newly labelled days, and register the result if it is better.

A recalibrated version is a version like any other: a folder of its own, a number, a release, entries in the ledger. It is no
training: it keeps its training's snapshot and run key, so what it is reproduced from and what drift is measured against stay.

    $ perennial recalibrate --model flight_delays
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from perennial import discovery
from perennial.column_types import cells
from perennial.data.tables import Table
from perennial.encoding import Columns
from perennial.errors import CandidateRefused
from perennial.incidents.inbox import Inbox
from perennial.incidents.incidents import Incidents
from perennial.lineage.learned import note_learned
from perennial.lineage.ledger import AGAINST, Entry, Ledger
from perennial.lineage.making import note_making
from perennial.lineage.manifest import Manifest
from perennial.lineage.registrations import note_registration
from perennial.lineage.trainings import kin, verdict_key
from perennial.lineage.version_folder import MANIFEST, fetch, publish, read_manifest
from perennial.lineage.version_notes import card_key, note_versions
from perennial.monitoring.outcomes import join, outcomes_of
from perennial.monitoring.performance import event_days, is_labelled, rows_by_day
from perennial.registry.model_registry import CANDIDATE, COMPARED_WITH, RECALIBRATES, ModelRegistry, Version, same_weights
from perennial.registry.promotion import Check, Losses, Verdict, improves
from perennial.results import RecalibrateResult
from perennial.served_tables import INPUT, outcomes_name, predictions_name
from perennial.settings import Settings
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages import _agreement
from perennial.stages._inspection import inspected
from perennial.stages._logs import take_in
from perennial.stages._run_facts import facts_of, told_of_run
from perennial.stages._versions import as_of
from perennial.stages.register import is_decided, readme
from perennial.store import Store
from perennial.training.evaluation import per_row_loss
from perennial.training.recalibration import Recalibration, fit_recalibration, recalibrate, split_days, take_away, weight_for
from perennial.training.scoring import score

log = logging.getLogger("perennial.recalibrate")

ROWS_AT_ONCE = 2_000_000  # predictions whose outcomes are looked for at a time, unless a single day has more
MOST_ROWS = 200_000  # that are scored; of more every second, third ... counts
LABELS = "labels"  # tag of a recalibrated version: identity of the labels that it was fitted to and judged on
KNOWN = ["prediction_id", "served_at", "event_time"]
UTC = pa.timestamp("us", "UTC")


def run(settings: Settings, store: Store, model: str, *, run_url: str = "") -> RecalibrateResult:
    """Take in what was logged; if days were labelled since the last look, fit, judge and register. Repeating it changes nothing.

    Args:
        settings: where MLflow and the serving environment are.
        store: where everything durable is.
        model: name of the model.
        run_url: the orchestrator's run, for the record.

    Raises:
        CandidateRefused: the recalibrated version does not give the same scores where it is served.
        RegistryDiffers: the registry is not the one that the ledger tells of.
        ServiceUnreachable: MLflow does not answer.
        StoredDataDamaged: the champion's files were changed.
    """
    spec = discovery.model(model)
    if not spec.retrain.recalibrate:
        return _nothing(f"{model} is not recalibrated: its spec says so (retrain.recalibrate).")
    if spec.task == "anomaly":
        return _nothing(f"{model} is not recalibrated: its scores are no probabilities, and its threshold follows from its budget.")
    last, registry = Ledger(store, model).last(), ModelRegistry(settings)
    if last is None or last.champion is None:
        return _nothing(f"{model} has no champion yet: its first version must be released first.")
    agreed = _agreement.require(store, registry, model)
    waiting = agreed.having(CANDIDATE)
    is_ours = waiting and last.candidate is None and waiting.tags.get(RECALIBRATES) == str(last.champion) and not is_decided(waiting)
    if waiting and is_ours and _is_to_be_told(store, spec, waiting):
        return _registered(registry, waiting, {}, f"Version {waiting.number} of {model} waits for its release.")
    if why_not := _hindrance(store, spec, registry, last, waiting, agreed.versions):
        return _nothing(why_not, last.champion)
    own = as_of(store, spec, last.versions[last.champion])
    return Fit(settings, store, own, discovery.dataset_of(spec), registry, last).run(run_url)


def _hindrance(
    store: Store, spec: ModelSpec, registry: ModelRegistry, last: Entry, waiting: Version | None, known: Mapping[int, Version]
) -> str:
    """Why no other version may be made now; empty if one may."""
    assert last.champion is not None
    broken = next((i for i in Incidents(store, spec.name).open_ones() if i.blocks_training), None)
    if broken:
        return (
            f"The newest data of {spec.name} are not fitted to: {broken.sentence} "
            f"Correct the feed, or say in the incident {broken.id} that the change is known."
        )
    ledger = Ledger(store, spec.name)
    family = kin(store, spec.name, ledger.digests(), last.champion)
    back = next(
        (line for line in ledger.lines() if line.kind in AGAINST and line.version in family and line.version != last.champion), None
    )
    undone = registry.version(spec.name, back.version) if back else None
    if back and undone and undone.tags.get(RECALIBRATES):
        return (
            f"Version {undone.number} of {spec.name}, a recalibration, was {back.kind.replace('_', ' ')}: "
            "the champion is left as it is until the next training."
        )
    if last.candidate is not None:
        return f"The release of version {last.candidate} of {spec.name} is under way: the champion is recalibrated once that has ended."
    if waiting and not is_decided(waiting) and waiting.tags.get(COMPARED_WITH) in same_weights(registry, spec.name, last.champion, known):
        return f"Version {waiting.number} of {spec.name} waits for its release: the champion is recalibrated once that has ended."
    request = Inbox(store, spec.name).active()
    if request and request.state == "claimed":
        return (
            f"A training of {spec.name} is under way for the request {request.key}: its candidate is compared with the champion as it is."
        )
    return ""


def _is_to_be_told(store: Store, spec: ModelSpec, waiting: Version) -> bool:
    """Whether a recalibrated version that waits has to be announced: its stage died before it could be, or nobody needs to be asked."""
    record = _record_key(spec.name, waiting.tags[LABELS])
    if store.exists(record):
        return spec.release.mode == "automatic"
    _keep(store, record, {"passed": True, "sentence": waiting.tags["gate"], "version": waiting.number, "digest": waiting.digest})
    return True


@dataclass(frozen=True)
class Labelled:
    """Labelled days, oldest first."""

    fitted: tuple[date, ...]
    judged: tuple[date, ...]
    left_out: tuple[date, ...]  # between them: days of a broken feed
    ids: pa.Table  # prediction_id and outcome of their rows, in order of id
    digest: str  # identity of all that

    @property
    def said(self) -> str:
        """The fitted days for a person."""
        less = f"; {len(self.left_out)} of a broken feed until {self.judged[-1]} are left out" if self.left_out else ""
        return f"{len(self.fitted)} days ({self.fitted[0]} to {self.fitted[-1]}{less})"


@dataclass(frozen=True)
class Fit:
    """One attempt to recalibrate one champion."""

    settings: Settings
    store: Store
    spec: ModelSpec  # with the champion's own inputs
    dataset: DatasetSpec
    registry: ModelRegistry
    last: Entry

    def run(self, run_url: str) -> RecalibrateResult:
        """Fit to the newest labelled days, if there are enough that were not fitted before."""
        assert self.last.champion is not None
        champion, digest = self.last.champion, self.last.versions[self.last.champion]
        manifest = read_manifest(self.store, self.spec.name, digest)
        labelled = self._labelled(manifest)
        if isinstance(labelled, str):
            return _nothing(labelled, champion)
        record = _record_key(self.spec.name, labelled.digest)
        if self.store.exists(record):
            said = json.loads(self.store.read(record))["sentence"]
            return _nothing(f"No label of {self.spec.name} came in since the last look. It said: {said}", champion)
        columns, outcomes, days = self._rows(labelled)
        with tempfile.TemporaryDirectory(prefix="perennial-recalibrate-") as scratch:
            serving = fetch(self.store, self.spec.name, digest, Path(scratch) / "champion")
            folder = fetch(self.store, self.spec.name, digest, Path(scratch) / "candidate")
            (folder / MANIFEST).unlink()
            newest = np.isin(days, np.array(labelled.judged, dtype="datetime64[D]"))
            fitted = self._fit(folder, {name: values[~newest] for name, values in columns.items()}, outcomes[~newest], len(labelled.fitted))
            facts = {
                "champion": digest,
                "labels": labelled.digest,
                "fitted_days": [str(labelled.fitted[0]), str(labelled.fitted[-1])],
                "fitted_rows": int((~newest).sum()),
            }
            recalibrate(folder, fitted, facts)
            check = self._check(serving, folder, {n: v[newest] for n, v in columns.items()}, outcomes[newest], days[newest])
            days_told = {
                "judged_days": [str(labelled.judged[0]), str(labelled.judged[-1])],
                "left_out_days": list(map(str, labelled.left_out)),
            }
            evidence = {**facts, **days_told, **_numbers(fitted)}
            what = f"Version {champion} of {self.spec.name}, recalibrated on {labelled.said},"
            if not check.passed:
                verdict = Verdict(False, f"{what} is left as it is: {check.sentence}.", (check,))
                _keep(self.store, record, {**verdict.as_json(), **evidence})
                return _nothing(verdict.sentence, champion, {**evidence, **verdict.as_json()})
            made = publish(self.store, self.spec.name, folder, recalibrated(manifest, digest))
        note_making(self.store, self.spec.name, made)
        note_learned(self.store, self.spec.name)
        golden, served = inspected(self.settings, self.store, self.spec, made)
        refused = [one.sentence for one in (golden, *served) if not one.passed]
        verdict = Verdict(
            not refused,
            f"{what} is {'refused' if refused else 'registered'}: {'; '.join(refused) or check.sentence}.",
            (check, golden, *served),
        )
        if refused:
            _keep(self.store, record, {**verdict.as_json(), **evidence})
            raise CandidateRefused(verdict.sentence)
        version = self._register(made, verdict, evidence, run_url)
        if is_decided(version):  # it was released before, and another look must not bring it back
            return _nothing(f"{what} is version {version.number} already, on which a release has decided.", champion)
        self.store.write(verdict_key(self.spec.name, made), json.dumps({**verdict.as_json(), **evidence}, indent=1).encode())
        note_versions(self.store, self.spec.name)
        _keep(self.store, record, {**verdict.as_json(), **evidence, "version": version.number, "digest": made})
        return _registered(self.registry, version, {**evidence, **verdict.as_json()}, f"{verdict.sentence} It is version {version.number}.")

    def _labelled(self, manifest: Manifest) -> Labelled | str:
        """The newest labelled days that the champion's training has not seen, or why there are too few."""
        predicted, happened = Table(self.store, predictions_name(self.spec.name)), Table(self.store, outcomes_name(self.spec.name))
        take_in(self.store, self.spec, self.dataset)
        if predicted.version() is None or happened.version() is None:
            return f"{self.spec.name} has no {'predictions' if predicted.version() is None else 'outcomes'} yet: nothing to recalibrate on."
        logged = predicted.scan(None, pc.scalar(False)).column_names
        lacking = next((name for name in self.spec.inputs if INPUT + name not in logged), None)
        if lacking:
            return f"No prediction of {self.spec.name} has logged the input {lacking} yet: nothing to recalibrate on."
        if gone := [name for name in self.spec.inputs if name not in {column.name for column in self.dataset.columns}]:
            return (
                f"Version {self.last.champion} of {self.spec.name} reads {', '.join(gone)}, which the dataset no longer has: "
                "nothing is recalibrated until the next training."
            )
        wanted = self.spec.retrain
        begin = untrained_from(manifest)
        field = pc.field("event_time")
        latest = datetime.now(timezone.utc) + timedelta(days=1)  # a caller may name any time
        where = (field >= pa.scalar(begin, UTC)) & (field <= pa.scalar(latest, UTC)) & ~pc.field("shadow")
        for name in self.spec.inputs:
            if not self.dataset.column(name).nullable:  # null where it was answered before the spec had this input
                where &= pc.field(INPUT + name).is_valid()
        over = rows_by_day(predicted.scan(["event_time"], where)["event_time"])
        if over:
            del over[max(over)]  # it may go on: all others have a later day
        incidents = Incidents(self.store, self.spec.name).all()
        broken = tuple(day for day in over if any(incident.spoils(day) for incident in incidents))
        days, known = self._newest_labelled(predicted, happened, where, {day: n for day, n in over.items() if day not in broken})
        fitted, judged = split_days(days, wanted.recalibrate_days, wanted.recalibrate_judged_days)
        if not fitted:
            less = f" ({len(broken)} days of a broken feed are left out)" if broken else ""
            return (
                f"{self.spec.name} has {len(judged)} labelled days since {begin:%Y-%m-%d}, "
                f"where the training of version {self.last.champion} ended{less}: "
                f"{wanted.recalibrate_judged_days + 1} are needed to fit and to judge."
            )
        day = event_days(known["event_time"])
        ids = known.filter(pa.array(np.isin(day, np.array(fitted + judged, dtype="datetime64[D]")))).select(["prediction_id", "outcome"])
        ids = ids.sort_by("prediction_id")
        rows = int(np.isin(day, np.array(fitted, dtype="datetime64[D]")).sum())
        if rows < wanted.recalibrate_min_labels:
            return (
                f"{self.spec.name} has {rows} labelled predictions from {fitted[0]} to {fitted[-1]}: "
                f"{wanted.recalibrate_min_labels} are needed to fit to (retrain.recalibrate_min_labels)."
            )
        left_out = tuple(day for day in broken if fitted[0] < day < judged[-1])
        return Labelled(fitted, judged, left_out, ids, _identity(manifest.digest, fitted, judged, ids))

    def _newest_labelled(
        self, predicted: Table, happened: Table, where: pc.Expression, days: Mapping[date, int]
    ) -> tuple[list[date], pa.Table]:
        """The newest labelled days, oldest first, and all that is labelled of them and of the days between.

        There are at least as many as are fitted and judged, if there can be. Only a few days' predictions are in memory at a time,
        and of the outcomes only theirs, whenever those came.

        Args:
            predicted: predictions.
            happened: outcomes.
            where: which predictions count.
            days: days that are over, oldest first, with the predictions of each.
        """
        wanted = self.spec.retrain.recalibrate_days + self.spec.retrain.recalibrate_judged_days
        field, waiting = pc.field("event_time"), list(days)
        newest: list[date] = []
        known = [
            pa.table({"prediction_id": pa.array([], pa.string()), "outcome": pa.array([], pa.float64()), "event_time": pa.array([], UTC)})
        ]
        while waiting and len(newest) < wanted:
            read = [waiting.pop()]  # days that are read together, the newest first
            while waiting and len(read) < wanted and sum(map(days.__getitem__, read)) + days[waiting[-1]] <= ROWS_AT_ONCE:
                read.append(waiting.pop())
            rows = predicted.scan(KNOWN, where & (field >= _begin(read[-1])) & (field < _begin(read[0] + timedelta(days=1))))
            rows = rows.filter(pa.array(np.isin(event_days(rows["event_time"]), np.array(read, dtype="datetime64[D]"))))
            joined, _ = join(rows, outcomes_of([rows], happened.dataset()))
            newest = [*labelled_days(joined), *newest]
            known.append(joined.filter(pc.is_valid(joined["outcome"])).select(known[0].column_names))
        return newest, pa.concat_tables(known)

    def _rows(self, labelled: Labelled) -> tuple[Columns, np.ndarray, np.ndarray]:
        """Inputs, outcomes [rows] and days [rows] of the labelled rows, whichever version answered them; at most MOST_ROWS."""
        ids = labelled.ids.take(np.arange(0, labelled.ids.num_rows, -(-labelled.ids.num_rows // MOST_ROWS)))
        field = pc.field("event_time")
        where = (field >= _begin(labelled.fitted[0])) & (field < _begin(labelled.judged[-1] + timedelta(days=1))) & ~pc.field("shadow")
        where &= pc.field("prediction_id").isin(ids["prediction_id"].combine_chunks())
        columns_read = [*KNOWN, *(INPUT + name for name in self.spec.inputs)]
        predictions = Table(self.store, predictions_name(self.spec.name)).scan(columns_read, where)
        named = ids.append_column("time", pa.nulls(ids.num_rows, UTC)).append_column("source", pa.array([""] * ids.num_rows))
        rows, _ = join(predictions, named.append_column("line", pa.array(np.arange(ids.num_rows))))
        rows = rows.sort_by("prediction_id")
        columns = {name: cells(rows[INPUT + name].to_pylist()) for name in self.spec.inputs}
        return columns, rows["outcome"].to_numpy().astype(np.float64), event_days(rows["event_time"])

    def _fit(self, folder: Path, columns: Columns, outcomes: np.ndarray, days: int) -> Recalibration:
        take_away(folder)
        assert self.spec.task != "anomaly", "it is not recalibrated"
        weight = weight_for(self.spec.retrain.recalibrate_weight, days, self.spec.retrain.recalibrate_days)
        return fit_recalibration(self.spec.task, score(folder, columns, threads=2), outcomes, weight)

    def _check(self, champion: Path, candidate: Path, columns: Columns, outcomes: np.ndarray, days: np.ndarray) -> Check:
        ours, theirs = (per_row_loss(self.spec.task, outcomes, score(folder, columns, threads=2)) for folder in (candidate, champion))
        return improves(Losses(ours, theirs, days), self.spec.retrain.recalibrate_alpha, self.spec.gate.resamples)

    def _register(self, digest: str, verdict: Verdict, evidence: Mapping[str, Any], run_url: str) -> Version:
        manifest = read_manifest(self.store, self.spec.name, digest)
        numbers = {name: value for name, value in verdict.checks[0].numbers.items() if name.endswith("_loss")} | _numbers_of(evidence)
        facts = facts_of(self.store, manifest, {})
        run_id = self.registry.record_run(manifest, numbers, [], digest, key=f"{manifest.run_key}-{digest[:12]}", facts=facts)
        gate = json.dumps({**verdict.as_json(), **evidence}, indent=1).encode()
        self.registry.annotate(run_id, {"gate": "passed"} | told_of_run(run_url), files={"gate.json": gate})
        champion = str(self.last.champion)
        tags = {"gate": verdict.sentence, COMPARED_WITH: champion, RECALIBRATES: champion, LABELS: str(evidence["labels"])}
        card = _card(self.spec, champion, verdict, evidence)
        self.store.write(card_key(self.spec.name, digest), card.encode())
        version = self.registry.register(self.spec.name, run_id, digest, tags, card)
        note_registration(self.store, self.spec.name, version.number, digest, {**version.tags, **tags})
        if not is_decided(version):
            self.registry.set_alias(self.spec.name, CANDIDATE, version.number)
        return version


def recalibrated(manifest: Manifest, champion: str) -> Manifest:
    """The manifest of a recalibrated version: that of its training, with another cause and parent; `seal` adds its files."""
    made = {
        "cause": "recalibration",
        "reason": "",
        "request": "",
        "parents": [champion],
        "created": datetime.now(timezone.utc),
        "files": {},
    }
    return manifest.model_copy(update=made)


def untrained_from(manifest: Manifest) -> datetime:
    """The first day that shaped neither weights nor calibration of a training, UTC: the one after its validation days."""
    trained = datetime.fromisoformat(manifest.event_time_end)
    validation = int(manifest.parameters.get("validation_days") or 0)
    return datetime(trained.year, trained.month, trained.day, tzinfo=timezone.utc) + timedelta(days=1 + validation)


def labelled_days(joined: pa.Table) -> list[date]:
    """The days that may be judged by their labels, as everywhere (`is_labelled`), oldest first.

    Args:
        joined: predictions with a column `outcome` (`outcomes.join`), of whole days.
    """
    known = joined["outcome"].is_valid().to_numpy()
    names, place = np.unique(event_days(joined["event_time"]), return_inverse=True)
    predictions, labels = np.bincount(place, minlength=len(names)), np.bincount(place, weights=known, minlength=len(names))
    days: list[date] = names.astype(object).tolist()
    return [day for place, day in enumerate(days) if is_labelled(predictions[place], labels[place])]


def _begin(day: date) -> pa.Scalar:
    return pa.scalar(datetime(day.year, day.month, day.day, tzinfo=timezone.utc), UTC)


def _identity(champion: str, fitted: tuple[date, ...], judged: tuple[date, ...], ids: pa.Table) -> str:
    digest = hashlib.sha256(json.dumps([champion, [str(day) for day in fitted], [str(day) for day in judged]]).encode())
    digest.update("\n".join(ids["prediction_id"].to_pylist()).encode())
    digest.update(ids["outcome"].to_numpy().astype("<f8").tobytes())
    return digest.hexdigest()[:24]


def _record_key(model: str, labels: str) -> str:
    return f"reports/{model}/recalibrations/{labels}.json"


def _keep(store: Store, record: str, said: Mapping[str, Any]) -> None:
    """Write down what was made of some labels: last of all, since no look comes back to them."""
    store.write(record, json.dumps(said, indent=1).encode())


def _numbers(fitted: Recalibration) -> dict[str, Any]:
    return {"scale": fitted.scale, "shift": list(fitted.shift)}


def _numbers_of(evidence: Mapping[str, Any]) -> dict[str, float]:
    """Scale and shifts as MLflow's figures."""
    return {"scale": evidence["scale"], **{f"shift_{place}": value for place, value in enumerate(evidence["shift"])}}


def _card(spec: ModelSpec, champion: str, verdict: Verdict, evidence: Mapping[str, Any]) -> str:
    """The version's model card in Markdown."""
    checks = "\n".join(f"* {check.name}: {check.sentence}" for check in verdict.checks)
    shifts = ", ".join(f"{value:+.4f}" for value in evidence["shift"])
    first, last = evidence["fitted_days"]
    return (
        f"{readme(spec)}\n\n## This version\n\n"
        f"The weights of version {champion}, recalibrated: scale {evidence['scale']:.4f}, shift {shifts}, "
        f"fitted to {evidence['fitted_rows']:,} labelled predictions of {first} to {last}, owner {spec.owner}.\n\n{checks}\n"
    )


def _registered(registry: ModelRegistry, version: Version, evidence: dict[str, object], sentence: str) -> RecalibrateResult:
    links = {"Model version": registry.version_url(version.model, version.number), "MLflow run": registry.run_url(version.run_id)}
    champion = version.tags.get(RECALIBRATES, "")
    return RecalibrateResult(
        sentence=sentence,
        links=links,
        version=version.number,
        champion=int(champion) if champion else None,
        digest=version.digest,
        run_id=version.run_id,
        evidence=evidence,
    )


def _nothing(sentence: str, champion: int | None = None, evidence: dict[str, object] | None = None) -> RecalibrateResult:
    return RecalibrateResult(outcome="skipped", sentence=sentence, champion=champion, evidence=evidence or {})
