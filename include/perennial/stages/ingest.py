"""Ingest landed files: each is appended to the table exactly once, or goes to quarantine with the reasons.

Effects come in an order that lets the stage be killed anywhere and run again. A good file: append (a Delta transaction that happens
once; that of many small files is one), then receipt; its profile is noted as owed before and made at the end of the run, or by a later
one. A refused file: copy to quarantine, then receipt, then removal from the landing zone. `data/receipts.py` lists every outcome.
Receipts name the run, so that a retry tells what its run did before it was killed, and nothing goes unannounced.

    $ perennial ingest --dataset flights
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.counted import counted
from perennial.data.batches import note_batches
from perennial.data.landing import Landed, folder, landed_as, receipt_key, waiting_files
from perennial.data.receipts import Receipt, read_receipt, receipts, write_receipt
from perennial.data.row_counts import RowCounts
from perennial.discovery import dataset as dataset_spec
from perennial.errors import BatchRefused, Fault, PerennialError, StoreUnreachable
from perennial.results import IngestResult
from perennial.settings import Settings
from perennial.specs import LANDED, ROW, DatasetSpec
from perennial.stages._online import export_values
from perennial.stages.profile import profile_owed
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

    from perennial.data.cleaning import Cleaned
    from perennial.data.continuation import Continuation
    from perennial.data.merging import Merge
    from perennial.quality.validation import Verdict

log = logging.getLogger(__name__)

_SHOWN_KEYS = 20  # of refused rows, in their reasons
MANY = 50  # files that wait: fewer have a commit each, and so a snapshot of their own
SMALL = 2 << 20  # bytes of a file that is appended with others
TOGETHER, MOST_BYTES = 250, 16 << 20  # files, and bytes of them, that are appended together at most


@dataclass(frozen=True)
class _Days:
    """Of which time the rows of a file are."""

    oldest: datetime | None = None
    newest: datetime | None = None
    late: int | None = None  # rows of days before the newest day that the table had


@dataclass(frozen=True)
class _Staged:
    """A file that was read and checked, and is to be appended."""

    file: Landed
    digest: str
    rows: pa.Table  # one for each key
    landed: int  # rows of the file
    left_out: RowCounts  # counts of those that are not among `rows`
    cleaned: Cleaned
    verdict: Verdict | None
    days: _Days
    again: bool  # whether a person let it come back
    remark: str  # what its receipt says besides

    @property
    def label(self) -> str:
        """What its batch is called."""
        return f"{self.file.name} ({self.digest[:12]})"

    @property
    def simple(self) -> bool:
        """Whether every row of the file is to be added, so that its batch may go with others."""
        return self.rows.num_rows > 0 and self.left_out.total == 0 and not self.again


@dataclass
class _Summary:
    run: str = ""
    appended: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    duplicates: list[str] = field(default_factory=list)
    counts: RowCounts = field(default_factory=RowCounts)  # of the files of which not all rows were simply added
    refused_rows: dict[str, int] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)  # files that another run dealt with while this one read them
    broken: dict[str, str] = field(default_factory=dict)
    reports: list[str] = field(default_factory=list)
    left_out: int = 0  # rows, by the rules of the dataset's clean
    deleted: int = 0  # rows of the table that tombstones removed
    unprofiled: str = ""
    unexported: str = ""


def run(settings: Settings, store: Store, dataset: str, *, run: str = "", retry: bool = False) -> IngestResult:
    """Take in what has landed.

    Args:
        settings: where pages are shown.
        store: where everything is.
        dataset: name of the dataset.
        run: the orchestrator's name for this run.
        retry: whether an earlier try of that run may have been killed: its result then belongs to this one.

    Returns:
        `done` if files were appended, known already or refused (`refused` says which and why; good files are in all the same);
        `skipped` if nothing new has landed.

    Raises:
        UnknownName: there is no such dataset, or it has no suite.
        StoreUnreachable: the store does not answer or is full.
        Fault: a file could not be dealt with for another reason; all others have been.
    """
    spec = dataset_spec(dataset)
    if spec.scores_of:
        from perennial.stages._ingest_scores import take_scores

        return take_scores(store, spec, run, retry=retry)
    summary = _Summary(run)
    if run and retry:
        _recall(store, spec, summary)
    _finish_removals(store, spec, summary)
    ready, still = waiting_files(store, dataset, settings.landing_settle_seconds)
    summary.waiting += [file.name for file in still]
    try:
        if ready:
            _take_in_all(settings, store, spec, ready, summary)
    finally:
        note_batches(store, dataset, spec.time_column)
        _profile(store, spec, summary)
        _export(store, spec, summary)
    return _result(settings, store, spec, summary)


def _take_in_all(settings: Settings, store: Store, spec: DatasetSpec, ready: list[Landed], summary: _Summary) -> None:
    from perennial.quality.data_docs import write_index

    log.info("%s to take in for %s.", counted(len(ready), "file"), spec.name)
    intake = _Intake(settings, store, spec, summary)
    try:
        for group in _groups(spec, ready):
            _take_in_group(intake, group, len(ready))
    finally:
        if intake.pages_written:
            write_index(store, spec.name)
    if summary.broken:
        name, why = next(iter(summary.broken.items()))
        raise Fault(
            f"{len(summary.broken)} of {len(ready)} landed files of {spec.name} could not be dealt with; the others were. "
            f"The first is {name} ({why}). The log above shows where."
        )


def _groups(spec: DatasetSpec, ready: list[Landed]) -> Iterator[list[Landed]]:
    """Files that are read before any of them is appended, in their order: small ones, where many wait; their rows are in memory meanwhile.

    Where rows are taken one by one, each file is decided upon with those before it in the table. So is one that may continue another.
    """
    from perennial.data.merging import Rule
    from perennial.data.readers.packing import unrotated

    group: list[Landed] = []
    names, size = set[str](), 0
    for file in ready:
        name = unrotated(file.name)
        alone = len(ready) < MANY or file.size > SMALL or Rule.of(spec).by_row
        if group and (alone or len(group) == TOGETHER or size + file.size > MOST_BYTES or name in names):
            yield group
            group, names, size = [], set(), 0
        if alone:
            yield [file]
            continue
        group.append(file)
        names.add(name)
        size += file.size
    if group:
        yield group


def _take_in_group(intake: _Intake, group: list[Landed], of: int) -> None:
    """Read and check each file of a group, then append what is good: together as far as that goes, the rest one by one."""
    staged: list[_Staged] = []
    fault: PerennialError | None = None
    for file in group:
        try:
            found = _dealt_with(intake, file, of, functools.partial(intake.take_in, file))
        except StoreUnreachable:
            raise
        except PerennialError as error:  # what was read before it is appended first
            fault = error
            break
        if isinstance(found, _Staged):
            staged.append(found)
    together: dict[str, int] = {}
    try:
        together = intake.append_together(staged)
    except (StoreUnreachable, MemoryError, OSError):
        raise
    except Exception as error:
        log.warning("%s are appended one by one, since together they could not be.", counted(len(staged), "file"), exc_info=error)
    for one in staged:
        _dealt_with(intake, one.file, of, functools.partial(intake.append, one, together.get(one.file.id)))
    if fault:
        raise fault


def _dealt_with(intake: _Intake, file: Landed, of: int, deal: Callable[[], str | _Staged]) -> str | _Staged | None:
    """What came of a file, after it is logged; None if it could not be dealt with, and all others are to be."""
    summary = intake.summary
    try:
        found = deal()
    except (StoreUnreachable, MemoryError, OSError):
        raise
    except PerennialError as error:
        raise type(error)(f"{file.name}: {error}") from error
    except Exception as error:
        log.error("%s could not be dealt with.", file.name, exc_info=None if summary.broken else error)  # what follows is mostly the same
        summary.broken[file.name] = f"{type(error).__name__}: {error}"
        intake.number += 1
        return None
    if isinstance(found, str):
        intake.number += 1
        log.info("[%s/%s] %s", intake.number, of, found)
    return found


def _profile(store: Store, spec: DatasetSpec, summary: _Summary) -> None:
    """Make the profiles still to be made. If one fails, its batch stays in the table; the failure is reported, and the next run retries."""
    try:
        profile_owed(store, spec)
    except Exception as error:
        log.warning("The profiles of %s could not be made; the next run tries again.", spec.name, exc_info=error)
        summary.unprofiled = (
            f" Profiles could not be made ({type(error).__name__}: {str(error).rstrip('.')}): the next run makes up for them."
        )


def _export(store: Store, spec: DatasetSpec, summary: _Summary) -> None:
    """Export the newest values for the servers of models that join the dataset. If it fails, that is reported, and the next run retries."""
    try:
        export_values(store, spec.name)
    except Exception as error:
        log.warning("The values of %s for servers could not be exported; the next run tries again.", spec.name, exc_info=error)
        summary.unexported = (
            f" Its values for the servers of models that join it could not be exported ({type(error).__name__}: "
            f"{str(error).rstrip('.')}): the next run tries again."
        )


class _Intake:
    """Takes in one file after the other. Loads the heavy libraries once."""

    def __init__(self, settings: Settings, store: Store, spec: DatasetSpec, summary: _Summary) -> None:
        from perennial.data.merging import Rule
        from perennial.data.snapshots import table_of
        from perennial.profiles.store import ProfileStore
        from perennial.stages._groups import usual_groups

        self.settings, self.store, self.spec, self.summary = settings, store, spec, summary
        self.table = table_of(store, spec)
        self.batches = functools.cache(self.table.batches)  # the history is read once in a run, if at all
        self.rule = Rule.of(spec)
        self.profiles = ProfileStore(store, spec.name)
        self.usual = functools.cache(lambda: usual_groups(store, spec))  # read once in a run, if at all
        self.number = 0  # of the file that was dealt with last
        self.pages_written = False
        self.earlier: dict[str, str] | None = None  # where refused files of a name lie; looked up once a file is refused
        self._refuse_other_zone()
        self._refuse_other_shapes()
        self.newest = self._newest()

    def _refuse_other_zone(self) -> None:
        """Raises Fault if the rows that are in have wall times of another zone than the spec says now."""
        stored = self.table.newest_fact("time_zone")  # batches from before it was written down say nothing of it
        if stored and stored != self.spec.time_zone and self.table.count():
            raise Fault(
                f"The table {self.spec.name} has wall times of {stored}, and its spec says {self.spec.time_zone} now: rows of both could "
                f'not be told apart. Write time_zone="{stored}" into the spec again, or make another dataset of the other zone.'
            )

    def _refuse_other_shapes(self) -> None:
        """Raises Fault if the arrays that are in have other shapes than the spec says now: a table keeps their numbers in a row."""
        stored = self.table.newest_fact("shapes")  # none where a dataset has no arrays
        was = {name: tuple(shape) for name, shape in json.loads(stored or "{}").items()}
        changed = next((name for name, shape in _shapes(self.spec).items() if was.get(name, shape) != shape), None)
        if changed and self.table.count():
            raise Fault(
                f"The table {self.spec.name} has arrays of the shape {was[changed]} in {changed}, and its spec says "
                f"{_shapes(self.spec)[changed]} now: no model could tell one from the other. Write shape={was[changed]} into the "
                "spec again, or name the new column otherwise."
            )

    def _newest(self) -> datetime | None:
        from perennial.data.snapshots import latest_snapshot

        snapshot = latest_snapshot(self.store, self.spec)
        ends = snapshot.span() if snapshot else None
        return ends[1] if ends else None

    def take_in(self, file: Landed) -> str | _Staged:
        """Read and check one file; returns its outcome, for the log, or what is to be appended of it."""
        from perennial.data.readers import refuse_too_large

        try:
            refuse_too_large(file.size, self.spec, file.name)
        except BatchRefused as refusal:
            return self._refuse(file, file.id, str(refusal))
        with tempfile.TemporaryDirectory(prefix="perennial-ingest-") as scratch:
            path = Path(scratch) / Path(file.name).name
            try:
                self.store.download(file.key, path)
            except KeyError:
                return f"{file.name} is gone: somebody else took it."
            return self._overtaken(file) or self._take_in(file, path)

    def _take_in(self, file: Landed, path: Path) -> str | _Staged:
        import pyarrow.compute as pc

        from perennial.data.landed_rows import as_in_table, read_landed
        from perennial.data.readers import refuse_last_day, refuse_nulls
        from perennial.data.removed import may_come_again
        from perennial.quality.validation import validate

        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if self.table.has_batch(digest):
            return self._already_in(file, digest)
        landed = verdict = cleaned = None
        days = _Days()
        remarks: list[str] = []
        before = self.table.batch(digest)
        again = before is not None and may_come_again(self.store, self.spec.name, before)
        try:
            if before and before.removed and not again:
                raise BatchRefused(before.refusal(self.spec.name))
            landed, part = read_landed(self.store, self.spec, self.table, file, path, self.batches, remarks)
            if part and not part.rows.num_rows:
                return self._nothing_new(file, digest, part)
            cleaned = as_in_table(landed, self.spec, file, part)
            days = self._days(cleaned.rows)
            rows, left_out = self._one_per_key(cleaned)
            deletions = self.rule.tombstones(rows)
            living = rows.filter(pc.invert(deletions)) if self.rule.deleted else rows
            if living.num_rows:
                verdict = validate(
                    self._as_landed(living),
                    self.spec,
                    file.name,
                    digest=digest,
                    newest=self.newest,
                    store=self.store,
                    remark=cleaned.sentence,
                    usual=self.usual(),
                )
                self.pages_written = True
                if not verdict.passed:
                    raise BatchRefused(verdict.sentence(self._link(verdict.report_key)))
            refuse_nulls(living, self.spec)
            refuse_last_day(living, self.spec)
            refuse_nulls(rows, self.spec, self.rule.needed)
        except BatchRefused as refusal:
            self._forgive(digest)
            return self._refuse(file, digest, str(refusal), rows=landed.num_rows if landed else None, verdict=verdict, days=days)
        continued = ""
        if part:
            known = counted(part.known, "row was", "rows were")
            continued = f" It continues the batch {part.batch.label}, whose bytes it begins with: {known} in already."
        remark = f" {verdict.sentence(self._link(verdict.report_key))}" if verdict and verdict.worst_severity else ""
        self._look_for_newest(rows)
        return _Staged(
            file=file,
            digest=digest,
            rows=rows,
            landed=landed.num_rows,
            left_out=left_out,
            cleaned=cleaned,
            verdict=verdict,
            days=days,
            again=again,
            remark="".join([continued, *(f" {one}." for one in remarks), remark]),
        )

    def append_together(self, staged: list[_Staged]) -> dict[str, int]:
        """Append files in one commit, as far as all of their rows are simply added; the version that has them, by the files' ids."""
        from perennial.data.together import Staged

        first = {one.digest: one for one in reversed(staged)}  # of several files with the same content
        still = [one for one in staged if one.simple and first[one.digest] is one and not self._has_changed(one.file)]
        if len(still) < 2:
            return {}
        batches = []
        for one in still:
            self.profiles.owe(one.digest, one.label)
            batches.append(Staged(one.digest, one.label, one.rows, self._facts(one), ("time_zone", "shapes")))
        version, digests = self.table.append_together(batches, self.rule, self._pruned_by)
        return {one.file.id: version for one in still if one.digest in digests}

    def append(self, staged: _Staged, version: int | None = None) -> str:
        """Bring a file that was read and checked to its outcome; returns what it was, for the log.

        Args:
            staged: the file.
            version: that has it since it was appended with others; None if it is still to be appended.
        """
        file, digest, counts = staged.file, staged.digest, staged.left_out.plus(added=staged.rows.num_rows)
        if version is None:
            if overtaken := self._overtaken(file, staged.verdict):
                self.newest = self._newest()
                return overtaken
            if self.table.has_batch(digest):  # another file of the same content was read with it
                return self._already_in(file, digest)
            try:
                self.profiles.owe(digest, staged.label)
                merged = self.table.merge(
                    staged.rows,
                    digest,
                    self.rule,
                    label=staged.label,
                    metadata=self._facts(staged),
                    event_time=self._pruned_by,
                    again=staged.again,
                    before=staged.left_out,
                    planned=functools.partial(self._prepare, file, digest, staged.verdict),
                )
            except BatchRefused as refusal:
                self._forgive(digest)
                self.newest = self._newest()
                return self._refuse(file, digest, str(refusal), rows=staged.landed, verdict=staged.verdict, days=staged.days)
            if merged.counts is None:
                return self._already_in(file, digest)
            counts, version = merged.counts, merged.version
            if counts.added != staged.rows.num_rows:
                self.newest = self._newest()
        return self._taken(
            file.id, file.name, file.size, digest, counts, version, staged.remark, staged.verdict, staged.cleaned.left_out, staged.days
        )

    def _forgive(self, digest: str) -> None:
        """Owe no profile of a file that was refused, and none of batches from which it would have taken rows."""
        self.profiles.forgive(digest)
        if self.rule.by_row:
            self.profiles.forgive_others(digest)

    @property
    def _pruned_by(self) -> str:
        """The event time, if files of the table are searched for keys by it."""
        return self.spec.time_column if self.spec.time_column in self.spec.key_columns else ""

    def _facts(self, staged: _Staged) -> dict[str, str]:
        """What the commit of a file tells of it."""
        file, days, shapes = staged.file, staged.days, _shapes(self.spec)
        return {
            "file": file.id,
            "name": file.name,
            "size": str(file.size),
            "time_zone": self.spec.time_zone,
            **({"shapes": json.dumps(shapes)} if shapes else {}),
            **({"oldest": days.oldest.isoformat(), "newest": days.newest.isoformat()} if days.oldest and days.newest else {}),
            **staged.cleaned.facts,
        }

    def _has_changed(self, file: Landed) -> bool:
        """Whether a file is not this run's to deal with any more, or was written again."""
        done = self.store.exists(receipt_key(self.spec.name, file.id))
        return done or not file.is_unchanged(self.store.stat(file.key))

    def _days(self, rows: pa.Table) -> _Days:
        """Of which time rows are, and how many of them are late."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from perennial.data.snapshots import naive

        times = rows[self.spec.time_column]
        if not (pa.types.is_timestamp(times.type) and times.null_count < len(times)):
            return _Days()
        ends = pc.min_max(times).as_py()
        day = None if self.newest is None else pa.scalar(datetime.combine(self.newest, time()), pa.timestamp("us")).cast(times.type)
        late = 0 if day is None else pc.sum(pc.less(times, day)).as_py()
        return _Days(naive(ends["min"]), naive(ends["max"]), late or 0)

    def _overtaken(self, file: Landed, verdict: Verdict | None = None) -> str:
        """Why a file is not this run's to deal with any more, in words; empty while it is. The receipt that another run wrote meanwhile
        stands, and its page stays the newest one of the file."""
        receipt = read_receipt(self.store, self.spec.name, file.id)
        if receipt:
            if verdict and receipt.report and verdict.report_key != receipt.report and self.store.exists(receipt.report):
                self.store.write(receipt.report, self.store.read(receipt.report))
            self.summary.elsewhere.append(file.name)
            return f"Another run dealt with {file.name} meanwhile: {receipt.sentence}"
        now = self.store.stat(file.key)
        if now is None:
            return f"{file.name} is gone: somebody else took it."
        if file.is_unchanged(now):
            return ""
        self.summary.waiting.append(file.name)
        return f"{file.name} was written again while it was read; it waits."

    def _look_for_newest(self, rows: pa.Table) -> None:
        """Keep the newest event time in the table, as it will be once these rows are in."""
        import pyarrow.compute as pc

        newest = pc.max(rows[self.spec.time_column]).as_py()  # None if none of them has a time
        self.newest = max((time for time in (self.newest, newest) if time is not None), default=None)

    def _as_landed(self, rows: pa.Table) -> pa.Table:
        """The columns that files have, without those that the table adds."""
        return rows.select([name for name in rows.column_names if name not in (ROW, LANDED)])

    def _one_per_key(self, cleaned: Cleaned) -> tuple[pa.Table, RowCounts]:
        """One row for each key, and counts of the others and of those that were cleaned away."""
        from perennial.data.merging import one_per_key

        rows, gone = cleaned.rows, sum(cleaned.left_out.values())
        if any(rows[name].null_count and not self.spec.column(name).nullable for name in self.rule.needed):
            return rows, RowCounts(cleaned=gone)  # refused for its nulls, with what the suite says of them
        rows, counts = one_per_key(rows, self.rule)
        return rows, counts.plus(cleaned=gone)

    def _prepare(self, file: Landed, digest: str, verdict: Verdict | None, merge: Merge) -> None:
        """Do before the commit of a batch what a run that is killed right after it could not make up for."""
        import io

        import pyarrow.parquet

        from perennial.data.merging import shown
        from perennial.quality import data_docs
        from perennial.quality.quarantine import quarantine_rows, release_rows

        if merge.taken:
            digests = {batch.label: batch.digest for batch in self.table.batches()}
            for label in merge.taken:
                self.profiles.owe(digests[label], label, because=digest)
        name = _file_of_refused(file.name)
        if merge.refused is None:
            release_rows(self.store, self.spec.name, name, digest)
            return
        refused = merge.refused.num_rows
        keys = merge.refused.select(list(self.spec.key)).slice(0, _SHOWN_KEYS).to_pylist()
        sentence = (
            f"{counted(refused, 'row')} of {file.name} {'was refused: its key is' if refused == 1 else 'were refused: their keys are'} in "
            f"the table {self.spec.name} with other values, from batch {', '.join(merge.blocked_by[:3])}; the first is "
            f"{shown(keys[0], self.spec.key)}. The other rows were taken. "
            f'To take these too, set on_known_key="replace" in the spec and land {name}.'
        )
        page = data_docs.Page(dataset=self.spec.name, batch=name, digest=digest, rows=merge.refused.num_rows, status="refused")
        reasons = {"sentence": sentence, "digest": digest, "rows": page.rows, "report": page.key, "reasons": [], "keys": keys}
        content = io.BytesIO()
        pyarrow.parquet.write_table(self._as_landed(merge.refused).replace_schema_metadata(None), content)
        quarantine_rows(self.store, self.spec.name, name, digest, content.getvalue(), reasons)
        data_docs.write_refusal(self.store, page, sentence, verdict.report_key if verdict else "")

    def _taken(
        self,
        file_id: str,
        name: str,
        size: int,
        digest: str,
        counts: RowCounts,
        version: int | None,
        remark: str,
        verdict: Verdict | None = None,
        left_out: Mapping[str, int] | None = None,
        days: _Days = _Days(),
    ) -> str:
        """The receipt of a file whose batch is in the table, or changed nothing in it."""
        from perennial.data.cleaning import left_out_words

        changed, total, table = counts.stored + counts.deleted > 0, counted(counts.total, "row"), self.spec.name
        if not counts.stored:
            self.profiles.forgive(digest)
        if counts.added == counts.total:
            sentence = f"{name}: {counted(counts.total, 'row is', 'rows are')} in the table {table} since snapshot {version}."
        elif changed:
            sentence = f"{name}: {total} came, {counts.sentence()}; so the table {table} is since snapshot {version}."
        else:
            sentence = f"{name}: {total} came, {counts.sentence()}; the table {table} is as it was."
        place = f"quarantine/{table}/{digest[:12]}" if counts.refused else ""
        if place:
            sentence += f" Refused rows and the reasons lie in {place}: their keys are in the table with other values."
        if left_out:
            remark = f" {left_out_words(left_out, counts.total)}{remark}"
        receipt = Receipt(
            id=file_id,
            name=name,
            size=size,
            digest=digest,
            outcome="appended" if changed else "duplicate",
            rows=counts.total,
            counts=counts,
            left_out=dict(left_out or {}),
            version=version,
            since=version if changed else None,
            oldest=days.oldest,
            newest=days.newest,
            late=days.late,
            sentence=sentence + remark,
            report=verdict.report_key if verdict else "",
            quarantine=place,
        )
        return self._receive(receipt)

    def _receive(self, receipt: Receipt) -> str:
        receipt = receipt.model_copy(update={"run": self.summary.run})
        if write_receipt(self.store, self.spec.name, receipt):
            _note(self.summary, receipt)
        return receipt.sentence

    def _nothing_new(self, file: Landed, digest: str, part: Continuation) -> str:
        sentence = (
            f"{file.name} has grown by no row since the batch {part.batch.label} was taken: all of its "
            f"{counted(part.known, 'row is', 'rows are')} in the table {self.spec.name} already."
        )
        return self._duplicate(file, digest, part.known, part.batch.added.version, sentence)

    def _duplicate(self, file: Landed, digest: str, rows: int, version: int | None, sentence: str) -> str:
        """The receipt of a file of which every row was in the table already."""
        return self._receive(
            Receipt(
                id=file.id,
                name=file.name,
                size=file.size,
                digest=digest,
                outcome="duplicate",
                rows=rows,
                counts=RowCounts(unchanged=rows),
                version=version,
                sentence=sentence,
            )
        )

    def _already_in(self, file: Landed, digest: str) -> str:
        from perennial.data.tables import counts_of

        commit = self.table.commit_of(digest)
        version = commit.version if commit else None
        counts = counts_of(commit) if commit else RowCounts()
        if commit and "perennial.file" in commit.metadata:
            # The run that appended it may have died before its receipt; the file it came from may have been landed anew since.
            first, name = commit.metadata["perennial.file"], commit.metadata.get("perennial.name", file.name)
            size = int(commit.metadata.get("perennial.size", file.size))
            late, left_out = " It is told now: the run that appended them was cut short.", commit.metadata.get("perennial.left_out", "{}")
            said = self._taken(first, name, size, digest, counts, version, late, left_out=json.loads(left_out))
            if first == file.id:
                return said
        sentence = f"{file.name}: its content is in the table {self.spec.name} already; nothing was appended."
        return self._duplicate(file, digest, counts.total, version, sentence)

    def _refuse(
        self,
        file: Landed,
        digest: str,
        sentence: str,
        *,
        rows: int | None = None,
        verdict: Verdict | None = None,
        days: _Days = _Days(),
    ) -> str:
        from perennial.quality import data_docs
        from perennial.quality.quarantine import quarantine, quarantined

        if overtaken := self._overtaken(file, verdict):
            return overtaken
        if self.earlier is None:
            self.earlier = {name: place for place, name in quarantined(self.store, self.spec.name)}
        if (other := self.earlier.get(file.name)) and not other.endswith(f"/{digest[:12]}"):
            sentence += f" An earlier file of this name lies in {other}: if this one continues it, join the two and land them as one."
        by_suite = verdict is not None and not verdict.passed
        page = data_docs.Page(dataset=self.spec.name, batch=file.name, digest=digest, rows=rows, status="refused")
        report = verdict.report_key if verdict and by_suite else page.key
        reasons = verdict.reasons() if verdict and by_suite else []
        said = {"sentence": sentence, "digest": digest, "rows": rows, "report": report, "reasons": reasons}
        try:
            place = quarantine(self.store, self.spec.name, file.name, digest, file.key, said)
        except KeyError:
            return f"{file.name} is gone: somebody else took it."
        if not by_suite:
            data_docs.write_refusal(self.store, page, sentence, verdict.report_key if verdict else "")
            self.pages_written = True
        kept = digest if digest != file.id else ""
        receipt = Receipt(
            id=file.id,
            name=file.name,
            size=file.size,
            digest=kept,
            outcome="refused",
            rows=rows,
            counts=None if rows is None else RowCounts(refused=rows),
            oldest=days.oldest,
            newest=days.newest,
            late=days.late,
            sentence=sentence,
            report=report,
            quarantine=place,
        )
        self._receive(receipt)
        self.store.delete(file.key)
        return f"{file.name} was refused and lies in {place}: {sentence}"

    def _link(self, report: str) -> str:
        return self.settings.report_url(report)


def _recall(store: Store, spec: DatasetSpec, summary: _Summary) -> None:
    """The receipts that earlier tries of this run wrote; they may have died before they reported them.

    Reads all receipts: for retries alone.
    """
    for receipt in receipts(store, spec.name):
        if receipt.run == summary.run:
            _note(summary, receipt)
            log.info("An earlier try of this run: %s", receipt.sentence)


def _note(summary: _Summary, receipt: Receipt) -> None:
    counts = receipt.counts or RowCounts(added=receipt.rows or 0)
    if receipt.outcome == "appended":
        summary.appended[receipt.name] = counts.stored
        summary.deleted += counts.deleted
    elif receipt.outcome == "duplicate":
        summary.duplicates.append(receipt.name)
    elif receipt.outcome == "refused":  # what was taken out since is for nobody to announce
        summary.refused[receipt.name] = receipt.sentence
        if receipt.report:
            summary.reports.append(receipt.report)
    summary.left_out += counts.cleaned if receipt.outcome == "appended" else 0
    counts = counts.model_copy(update={"cleaned": 0})
    if receipt.outcome in ("appended", "duplicate") and counts.total not in (counts.added, counts.unchanged):
        summary.counts = summary.counts.plus(**counts.model_dump())
        if counts.refused:
            summary.refused_rows[receipt.name] = counts.refused


def _finish_removals(store: Store, spec: DatasetSpec, summary: _Summary) -> None:
    """Remove refused files whose run was cut short between receipt and removal; they have not been reported either."""
    from perennial.quality.quarantine import quarantined

    for name in sorted({name for _, name in quarantined(store, spec.name)}):
        file = landed_as(store, spec.name, name)
        receipt = read_receipt(store, spec.name, file.id) if file else None
        if file and receipt and receipt.outcome == "refused":
            store.delete(file.key)
            summary.refused[file.name] = receipt.sentence
            log.info("%s was refused by an earlier run that was cut short: %s", file.name, receipt.sentence)


def _result(settings: Settings, store: Store, spec: DatasetSpec, summary: _Summary) -> IngestResult:
    from perennial.data.tables import Table

    snapshot = Table(store, spec.name).version() or None  # version 0 is the empty table
    waiting = f" {_files_are(len(summary.waiting))} still being written: {', '.join(summary.waiting[:3])}." if summary.waiting else ""
    if summary.elsewhere:
        waiting += f" Another run dealt with {counted(len(summary.elsewhere), 'file')} meanwhile: {', '.join(summary.elsewhere[:3])}."
    acted = summary.appended or summary.duplicates or summary.refused
    sentence = _sentence(spec, summary, snapshot) if acted else _nothing_new(store, spec)
    report = summary.reports[0] if len(summary.reports) == 1 else f"reports/{spec.name}/docs/index.html"
    return IngestResult(
        outcome="done" if acted else "skipped",
        sentence=sentence + waiting + summary.unprofiled + summary.unexported,
        links={"Data Docs": settings.report_url(report)} if acted else {},
        snapshot=snapshot,
        appended=summary.appended,
        refused=summary.refused,
        refused_rows=summary.refused_rows,
        counts=summary.counts.model_dump(exclude_defaults=True),
        duplicates=tuple(summary.duplicates),
        waiting=tuple(summary.waiting),
    )


def _sentence(spec: DatasetSpec, summary: _Summary, snapshot: int | None) -> str:
    said = []
    if summary.appended:
        files, appended = counted(len(summary.appended), "file"), sum(summary.appended.values())
        said.append(
            f"Appended {counted(appended, 'row')} of {files} to {spec.name}, now snapshot {snapshot}."
            if appended or not summary.deleted
            else f"Deleted {counted(summary.deleted, 'row')} of {spec.name} by {files}, now snapshot {snapshot}."
        )
    if summary.left_out:
        said.append(f"Its clean left out {counted(summary.left_out, 'row')}.")
    if summary.duplicates:
        said.append(
            f"{_files_are(len(summary.duplicates))} in already: {', '.join(summary.duplicates[:3])}"
            f"{' ...' if len(summary.duplicates) > 3 else ''}."
        )
    if summary.counts.total:
        said.append(f"Of the rows with known keys or copies in their files: {summary.counts.sentence()}.")
    if summary.refused:
        name, why = next(iter(summary.refused.items()))
        said.append(why if len(summary.refused) == 1 else f"Refused {len(summary.refused)} files; the first is {name}: {why}")
    return " ".join(said)


def _shapes(spec: DatasetSpec) -> dict[str, tuple[int, ...]]:
    """The shape of each column of arrays."""
    return {column.name: tuple(column.shape) for column in spec.columns if column.type == "array"}


def _file_of_refused(name: str) -> str:
    """What the file in quarantine is called that has the refused rows of a landed file."""
    return f"{name}.refused.parquet"


def _nothing_new(store: Store, spec: DatasetSpec) -> str:
    newest = max((item.modified for item in store.list(f"receipts/{spec.name}")), default=None)
    if newest is None:
        return f"Nothing has landed for {spec.name} yet: put files into {store.uri(folder(spec.name))}/."
    return f"Nothing new has landed for {spec.name} since {datetime.fromtimestamp(newest, timezone.utc):%Y-%m-%d %H:%M:%S} UTC."


def _files_are(count: int) -> str:
    return counted(count, "file is", "files are")
