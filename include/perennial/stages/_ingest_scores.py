"""Takes the scores of a model into a dataset whose rows they are: each commit of the table of scores once, and each row once.

The table of scores is written over by partition and has what several versions gave to a row. A dataset of scores keeps what was there: of a
row the first score that counts, with the version that gave it and when. Whether one counts (`score_datasets.why_not`) is decided commit by
commit, by the ledger and by what the version learned from, so that whoever looks later comes to the same rows.

    tables/<model>_scores     the commits that are looked through
    tables/<dataset>          each counting commit is a batch of it, under a digest of its own
    scores/<dataset>/looked   the newest commit that was looked at, and by which run; it may be deleted at any time
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial import discovery
from perennial.clock import zone
from perennial.counted import counted
from perennial.data.added_columns import table_schema
from perennial.data.batches import note_batches
from perennial.data.commits import FACT, log_key, missing
from perennial.data.merging import Rule
from perennial.data.receipts import Receipt, read_receipt, write_receipt
from perennial.data.removed import may_come_again
from perennial.data.row_counts import RowCounts
from perennial.data.snapshots import table_of
from perennial.data.tables import Batch, Table, counts_of
from perennial.errors import StoredDataDamaged
from perennial.lineage.learned import Learned, learned
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import key
from perennial.profiles.store import ProfileStore
from perennial.results import IngestResult
from perennial.score_datasets import KEY, SCORE, SCORED_AT, VERSION, Written, plain, why_not
from perennial.served_tables import scores_name
from perennial.specs import DatasetSpec
from perennial.stages.profile import profile_owed
from perennial.store import Store

log = logging.getLogger(__name__)

COMMIT = "scores"  # fact of a batch: the commit of the table of scores that it is
RECALIBRATION = "recalibration.json"  # of a version's folder
SHAPED = ("train", "validation")  # parts of a split whose labels shape a version


@dataclass
class _Taken:
    appended: dict[str, int] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    counts: RowCounts = field(default_factory=RowCounts)
    left_out: Counter[str] = field(default_factory=Counter)  # rows, by the reason


def take_scores(store: Store, spec: DatasetSpec, run: str, *, retry: bool = False) -> IngestResult:
    """Take in what was scored since the last look.

    Args:
        store: has the tables, the ledger and the versions.
        spec: of the dataset.
        run: the orchestrator's name for this run.
        retry: whether an earlier try of that run may have been killed: its result then belongs to this one.

    Raises:
        StoredDataDamaged: a commit of the table of scores is gone or cannot be read.
        StoreUnreachable: the store does not answer or is full.
    """
    scores, taken = Table(store, scores_name(spec.scores_of)), _Taken()
    newest, note = scores.version() or 0, _noted(store, spec)
    looked = note.since if retry and note.run == run else note.until  # what a killed try took in and did not tell is told now
    intake = _Intake(store, spec, run)
    for written in commits_since(store, scores.name, looked, newest):
        intake.take(written, taken)
    store.write(looked_key(spec), _Looked(run=run, since=looked, until=newest).model_dump_json().encode())
    note_batches(store, spec.name, spec.time_column)
    profile_owed(store, spec)
    return _result(spec, intake.table, taken, newest)


class _Intake:
    def __init__(self, store: Store, spec: DatasetSpec, run: str) -> None:
        self.store, self.spec, self.run = store, spec, run
        self.table, self.rule = table_of(store, spec), Rule.of(spec)
        self.profiles = ProfileStore(store, spec.name)
        self.source = discovery.model(spec.scores_of).dataset
        self.ledger = Ledger(store, spec.scores_of)
        self._learned = cache(lambda: {one.digest: one for one in learned(store, spec.scores_of, {})})

    def take(self, written: Written, taken: _Taken) -> None:
        """Bring one commit to its outcome."""
        if before := read_receipt(self.store, self.spec.name, written.digest):
            if before.run == self.run and before.outcome != "removed":
                _add(taken, before)
            return
        entry, shaped = self.ledger.served_at(written.time), None
        if entry is not None and written.version == entry.champion:
            shaped = shaping_days(self.store, self.spec.scores_of, self._learned().get(entry.versions[entry.champion]))
        made = scored_rows(self.store, self.spec, written)
        if not made.num_rows:
            return
        if why := why_not(written, self.source, entry.champion if entry else None, shaped):
            taken.left_out[why] += made.num_rows
            return
        name = f"{self.spec.scores_of} version {written.version}, {written.day}"
        label = f"{name} ({written.digest[:12]})"
        was_in = self.table.batch(written.digest)
        self.profiles.owe(written.digest, label)
        merged = self.table.merge(
            made,
            written.digest,
            self.rule,
            label=label,
            metadata={
                "file": written.digest,
                "name": name,
                "size": str(made.nbytes),
                "time_zone": self.spec.time_zone,
                COMMIT: f"{written.commit}",
            },
            event_time=self.spec.time_column if self.spec.time_column in self.spec.key_columns else "",
            again=was_in is not None and may_come_again(self.store, self.spec.name, was_in),
        )
        counts = merged.counts
        if counts is None:  # a try that was killed had appended it
            commit = self.table.commit_of(written.digest)
            counts = counts_of(commit) if commit else RowCounts(unchanged=made.num_rows)
        _add(taken, self._received(written, name, made, counts, merged.version))

    def _received(self, written: Written, name: str, made: pa.Table, counts: RowCounts, version: int) -> Receipt:
        if not counts.stored:
            self.profiles.forgive(written.digest)
        stays = counts.kept + counts.unchanged
        ends = pc.min_max(made[self.spec.time_column]).as_py()
        sentence = f"{name}: {counted(counts.added, 'score is', 'scores are')} in the table {self.spec.name} since snapshot {version}."
        if not counts.added:
            sentence = f"{name}: each of its {counted(made.num_rows, 'row')} had a score in {self.spec.name}, which stays."
        elif stays:
            sentence += f" {counted(stays, 'row had one already, which stays', 'rows had one already, which stays')}."
        receipt = Receipt(
            id=written.digest,
            name=name,
            size=made.nbytes,
            digest=written.digest,
            outcome="appended" if counts.stored else "duplicate",
            rows=counts.total,
            counts=counts,
            version=version,
            since=version if counts.stored else None,
            oldest=ends["min"],
            newest=ends["max"],
            sentence=sentence,
            run=self.run,
        )
        write_receipt(self.store, self.spec.name, receipt)
        log.info("%s", sentence)
        return receipt


def scored_rows(store: Store, spec: DatasetSpec, written: Written) -> pa.Table:
    """What a commit put into the table of scores, as the dataset has it."""
    dataset = discovery.dataset(discovery.model(spec.scores_of).dataset)
    of_it = (pc.field("day") == written.day) & (pc.field("source") == written.source) & (pc.field("version") == written.version)
    rows = Table(store, scores_name(spec.scores_of)).scan(None, of_it, written.commit)
    at = written.time.astimezone(zone(spec.time_zone)).replace(tzinfo=None)
    named: dict[str, Any] = {plain(name): rows[KEY + name] for name in dataset.key_columns}
    named[plain(dataset.time_column)] = rows["event_time"]
    named |= {name: rows[name] for name in rows.column_names if name.startswith(SCORE)}
    named |= {VERSION: pa.array([written.version] * len(rows)), SCORED_AT: pa.array([at] * len(rows), pa.timestamp("us"))}
    return pa.table({field.name: named[field.name].cast(field.type) for field in table_schema(spec)})


def scores_that_came(store: Store, spec: DatasetSpec, batch: Batch) -> pa.Table:
    """The rows with which a batch of a dataset of scores came. Raises StoredDataDamaged if its commit of the table of scores is gone."""
    commit = int(batch.added.metadata[f"perennial.{COMMIT}"])
    (written,) = commits_since(store, scores_name(spec.scores_of), commit - 1, commit)
    return scored_rows(store, spec, written)


def shaping_days(store: Store, model: str, version: Learned | None) -> list[tuple[date, date]] | None:
    """The days whose labels shaped a version: those of its training and of its recalibration; None if they are not known."""
    if version is None or not version.days:
        return None
    parts = [version.days[part] for part in SHAPED if part in version.days]
    spans = [(min(first for first, _ in parts), max(last for _, last in parts))]
    try:
        fitted = json.loads(store.read(f"{key(model, version.digest)}/{RECALIBRATION}"))["fitted_days"]
        spans.append((date.fromisoformat(fitted[0]), date.fromisoformat(fitted[1])))
    except KeyError:
        pass  # it is no recalibration
    return spans


def commits_since(store: Store, table: str, looked: int, newest: int) -> Iterator[Written]:
    """The commits after one that put scores into the table, oldest first."""
    for number in range(looked + 1, newest + 1):
        try:
            actions = [json.loads(line) for line in store.read(log_key(table, number)).splitlines()]
            info: dict[str, Any] = next(action["commitInfo"] for action in actions if "commitInfo" in action)
            added = [action["add"]["partitionValues"] for action in actions if "add" in action]
            if not added:
                continue
            of, files = added[0], sorted(json.loads(info[FACT]).values())
            digest = hashlib.sha256(json.dumps([table, number, files]).encode()).hexdigest()
            at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=int(info["timestamp"]))
            yield Written(number, date.fromisoformat(of["day"]), of["source"], int(of["version"]), at, digest)
        except KeyError:
            raise StoredDataDamaged(missing(table, number)) from None
        except (ValueError, TypeError, StopIteration):
            raise StoredDataDamaged(f"{log_key(table, number)} cannot be read: restore it from a backup.") from None


def _add(taken: _Taken, receipt: Receipt) -> None:
    counts = receipt.counts or RowCounts()
    taken.counts = taken.counts.plus(**counts.model_dump())
    if receipt.outcome == "appended":
        taken.appended[receipt.name] = taken.appended.get(receipt.name, 0) + counts.stored
    else:
        taken.duplicates.append(receipt.name)


def _result(spec: DatasetSpec, table: Table, taken: _Taken, newest: int) -> IngestResult:
    snapshot = table.version() or None
    said = []
    if taken.counts.total:
        added, stays = taken.counts.stored, taken.counts.kept + taken.counts.unchanged
        said.append(f"Took {counted(added, 'score')} of {spec.scores_of} into {spec.name}, now snapshot {snapshot}." if added else "")
        had = counted(stays, "row had a score", "rows had a score")
        said.append(f"{had} already, which stays: what was there at its moment does not change." if stays else "")
    said += [f"{counted(count, 'score')} {why}: left out." for why, count in taken.left_out.items()]
    if not said:
        said = [f"{spec.scores_of} has given no new scores since the last look: perennial score --model {spec.scores_of} makes some."]
        if not newest:
            said = [f"{spec.scores_of} has no scores in batches yet: set scoring in its spec, or run perennial score by hand."]
    several = taken.counts.total not in (taken.counts.added, taken.counts.unchanged)
    return IngestResult(
        outcome="done" if taken.counts.total else "skipped",
        sentence=" ".join(one for one in said if one),
        snapshot=snapshot,
        appended=taken.appended,
        counts=taken.counts.model_dump(exclude_defaults=True) if several else {},
        duplicates=tuple(taken.duplicates),
    )


class _Looked(BaseModel):
    """What was looked at last."""

    model_config = ConfigDict(frozen=True)

    run: str = ""
    since: int = Field(default=0, description="Commit after which that look began.")
    until: int = Field(default=0, description="The newest commit that it saw.")


def looked_key(spec: DatasetSpec) -> str:
    """Where it is noted which commits were looked at."""
    return f"scores/{spec.name}/looked"


def _noted(store: Store, spec: DatasetSpec) -> _Looked:
    try:
        return _Looked.model_validate_json(store.read(looked_key(spec)))
    except (KeyError, ValidationError):  # all commits are looked at again: each batch goes in once
        return _Looked()
