"""The landed files of a dataset by day, what became of each, and which versions and stretches of traffic a batch reached.

>>> import tempfile
>>> from perennial.store import open_store
>>> data_view(open_store(tempfile.mkdtemp()), "flights").batches
()
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, datetime, timezone
from itertools import islice
from typing import Literal, get_args

from pydantic import Field

from perennial import discovery
from perennial.counted import counted
from perennial.data.batches import Batches, Place
from perennial.data.landing import waiting_files
from perennial.data.receipts import Receipt
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.learned import Reached, Readers, Visible, all_of, learned, readers_of_scores
from perennial.lineage.ledger import Ledger, known_models
from perennial.lineage.served_windows import ServedWindow, served_windows
from perennial.sources.collected import CollectedLog
from perennial.sources.cursors import as_value
from perennial.store import Store
from perennial.views.view import View

ROWS, READ, DAYS = 200, 3_000, 60  # batches that are shown, batches that are read, and days that are drawn, at most
LEAST = 6  # letters of a digest that name a batch
IDENTITY = re.compile("[A-Za-z0-9]{1,128}")  # of a landed file, as its receipt is stored

Only = Literal["", "refused", "late", "corrected", "removed"]
ONLY: tuple[Only, ...] = get_args(Only)
_FITS: dict[Only, Callable[[Receipt], bool]] = {
    "": lambda receipt: True,
    "refused": lambda receipt: receipt.outcome == "refused" or bool(receipt.counts and receipt.counts.refused),
    "late": lambda receipt: bool(receipt.late) and receipt.outcome in ("appended", "removed"),
    "corrected": lambda receipt: bool(receipt.counts and (receipt.counts.replaced or receipt.counts.deleted)),
    "removed": lambda receipt: receipt.outcome == "removed",
}


class DayOfData(View):
    """What came on a day, or what is of a day: files and rows."""

    day: date
    files: int
    accepted: int = Field(description="Rows that were added, of this day or a later one than the table had.")
    late: int = Field(description="Rows that were added, of days before the newest that the table had.")
    corrected: int = Field(description="Rows that replaced or deleted others.")
    refused: int = Field(description="Rows that were refused; of files that could not be read the rows are not known.")
    unreadable: int = Field(description="Files that were refused and of which the rows are not known.")


class BatchRow(View):
    """One landed file and what became of it."""

    id: str = Field(description="Identity of the landed file.")
    name: str
    digest: str = Field(description="SHA-256 of its content; empty if it was too large to be read.")
    time: datetime = Field(description="When it was taken or refused, UTC.")
    outcome: str
    rows: int | None = Field(description="Rows of the file; none if it could not be read.")
    counts: dict[str, int] = Field(description="What became of the rows; what there is none of is left out.")
    late: int | None = Field(description="Its rows of days before the newest that the table had when it came; none if not known.")
    days: tuple[date, date] | None = Field(description="First and last day of its rows, event time; none if not known.")
    since: int | None = Field(description="First snapshot with its rows; none if none has them.")
    until: int | None = Field(description="First snapshot without them again; none if they are in the newest.")
    sentence: str = Field(description="What became of it, and why.")
    report: str = Field(description="Path of the page on it below the reports; empty if there is none.")
    quarantine: str = Field(description="Folder in the store to which it, or rows of it, went.")
    run: str = Field(description="The orchestrator's run that dealt with it.")
    versions: tuple[Reached, ...] = Field(description="The versions that learned from it or were measured on it.")
    hidden: int = Field(description="Further ones, of models that whoever asks may not see.")


class SourceView(View):
    """Where a dataset's batches come from, and up to where that was read."""

    place: str = Field(description="What is read and where, without secrets.")
    every: str = Field(description="When it is looked at, a cron line in UTC; empty if a person asks.")
    pieces: int = Field(description="Pieces that were read of it.")
    last: datetime | None = Field(description="When the last piece was read, UTC; none if nothing was.")
    watermark: str = Field(description="Where reading goes on, in words; empty if nothing was read.")
    counts: dict[str, int] = Field(description="What became of the rows of the last piece; what there is none of is left out.")
    sentence: str = Field(description="All of it, for a person.")


class DataView(View):
    """What landed for one dataset."""

    dataset: str
    datasets: tuple[str, ...] = Field(description="All that the model reads which was asked about; else this one.")
    source: SourceView | None = Field(description="Where its batches come from beside the files that land; none if nowhere.")
    only: Only = Field(description="Which batches are shown: all, or those alone.")
    came: tuple[DayOfData, ...] = Field(description="By the day on which they came, UTC, oldest first.")
    of_days: tuple[DayOfData, ...] = Field(description="The same by the first day of their rows, where that is known.")
    waiting: int = Field(description="Files that lie in the landing zone and were neither taken nor refused yet.")
    batches: tuple[BatchRow, ...] = Field(description="Newest first.")
    older: str = Field(description="After this place come batches that are older than those that are shown; empty if there are none.")
    remark: str = Field(description="What is left out, as a sentence; empty if nothing is.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


class ReachedVersion(View):
    """A version that a batch reached, and the traffic that it answered."""

    version: Reached
    windows: tuple[ServedWindow, ...] = Field(description="When it served and with which share, oldest first.")


class BatchView(View):
    """One batch and how far it reached: its blast radius."""

    dataset: str
    batch: BatchRow
    reached: tuple[ReachedVersion, ...] = Field(description="By model and number.")
    fed: tuple[Reached, ...] = Field(description="Versions of other models that learned from scores of these, by model and number.")
    sentence: str = Field(description="How far it reached, in a sentence.")
    command: str = Field(description="What to type next: takes it out, or lets it come back; empty if there is nothing to do.")
    namesakes: tuple[str, ...] = Field(description="Identities of other files of that name.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def data_view(store: Store, name: str, *, dataset: str = "", only: Only = "", before: str = "", visible: Visible = all_of) -> DataView:
    """What landed for a dataset.

    Args:
        store: has receipts, their notes and the versions.
        name: of a dataset, or of a model: then of the dataset that it learns from.
        dataset: which one, where a model reads several.
        only: which batches are shown.
        before: show those that come after this place, the `older` of another view.
        visible: of some models, those that may be named.

    Raises:
        UnknownName: nothing is called so, or there is no such place.
    """
    names = datasets_of(store, name)
    chosen = dataset if dataset in names else names[0]
    batches, damage = batches_of(store, chosen), list[str]()
    read = list(islice(batches.newest_first(_place(before)), READ + 1))
    more, read = len(read) > READ, read[:READ]
    fitting = [receipt for receipt in read if _FITS[only](receipt)]
    shown = fitting[:ROWS]
    readers = Readers(store, chosen, damage, visible)
    last = shown[-1] if len(fitting) > ROWS else read[-1] if more else None
    remark = f"{counted(batches.left_out, 'older file is', 'older files are')} shown after the next ingestion." if batches.left_out else ""
    return DataView(
        dataset=chosen,
        datasets=names,
        source=_source(store, chosen, damage),
        only=only,
        came=_by_day(read, lambda receipt: receipt.time.date()),
        of_days=_by_day(read, lambda receipt: receipt.oldest.date() if receipt.oldest else None),
        waiting=sum(map(len, waiting_files(store, chosen, 0))),
        batches=tuple(_row(receipt, readers) for receipt in shown),
        older=f"{last.time.isoformat()}~{last.id}" if last else "",
        remark=remark,
        damage=tuple(dict.fromkeys((*batches.damage, *damage))),
    )


def batch_view(store: Store, name: str, batch: str, *, dataset: str = "", visible: Visible = all_of) -> BatchView:
    """How far one batch reached.

    Args:
        store: has receipts, versions and ledgers.
        name: of a dataset, or of a model that reads it.
        batch: identity or name of the landed file, or the beginning of the digest of its content.
        dataset: which one, where a model reads several; all of them are looked through if empty.
        visible: of some models, those that may be named.

    Raises:
        UnknownName: nothing is called so.
        StoredDataDamaged: its receipt cannot be read.
    """
    names = datasets_of(store, name)
    names = (dataset,) if dataset in names else names
    for chosen in names:
        batches, damage = batches_of(store, chosen), list[str]()
        receipt, namesakes = _find(batches, batch)
        if receipt is None:
            continue
        readers = Readers(store, chosen, damage, visible)
        row = _row(receipt, readers)
        served = {model: _windows(store, model, damage) for model in {version.model for version in row.versions}}
        reached = tuple(
            ReachedVersion(version=version, windows=tuple(served[version.model].get(version.number or 0, ()))) for version in row.versions
        )
        fed = _fed(store, row.versions, damage, visible)
        further = f" From scores of these {listed([one.words for one in fed])} learned." if fed else ""
        return BatchView(
            dataset=chosen,
            batch=row,
            reached=reached,
            fed=fed,
            sentence=_reach(row, reached) + further,
            command=_command(chosen, row),
            namesakes=namesakes,
            damage=tuple(dict.fromkeys(damage)),
        )
    raise UnknownName(
        f"No file {batch} has landed for {' or '.join(names)}: give its name, its identity, or the beginning of its digest as "
        f"`perennial show data {names[0]}` has them."
    )


def datasets_of(store: Store, name: str) -> tuple[str, ...]:
    """The datasets that a name is of: itself, or those that the model of that name reads.

    Raises:
        UnknownName: nothing is called so.
    """
    model = discovery.models().get(name)
    if model:
        return tuple(dict.fromkeys(model.datasets))
    if name in discovery.datasets() or name in store.folders("receipts"):
        return (name,)
    if name not in {*(left_out.name for left_out in discovery.broken()), *known_models(store)}:
        known = sorted({*discovery.datasets(), *discovery.models(), *store.folders("receipts")})
        raise UnknownName(f"There is no dataset or model {name!r}. {discovery.hint(name, known)}")
    read = {dataset: None for one in learned(store, name, {}) for dataset in one.datasets}
    if not read:
        raise UnknownName(
            f"Which dataset {name} reads is not known: no version of it is left, and its spec cannot be read. Mend perennial_models/{name}."
        )
    return tuple(read)


def batches_of(store: Store, dataset: str) -> Batches:
    """The landed files of a dataset, whether or not its spec is still there."""
    spec = discovery.datasets().get(dataset)
    return Batches(store, dataset, spec.time_column if spec else "")


def days_of(receipt: Receipt) -> tuple[date, date] | None:
    """First and last day of the rows of a file, event time; None if not known."""
    return (receipt.oldest.date(), receipt.newest.date()) if receipt.oldest and receipt.newest else None


def snapshots_of(receipt: Receipt) -> tuple[int | None, int | None]:
    """First snapshot that has rows of a file, and first that has them no more; None and None if none ever had them."""
    if receipt.outcome == "removed":
        return receipt.since, receipt.version
    return (receipt.since or receipt.version, None) if receipt.outcome == "appended" else (None, None)


def windows_words(windows: Sequence[ServedWindow]) -> str:
    """When a version served, as a clause."""
    answered = [window for window in windows if window.share]
    if not answered:
        return "in the shadow only" if windows else "never served"
    end = answered[-1].end
    until = f"to {end:%Y-%m-%d %H:%M}" if end else "until now"
    return (
        f"served from {answered[0].begin:%Y-%m-%d %H:%M} {until} UTC with up to {100 * max(w.share for w in answered):g} % of the traffic"
    )


def _source(store: Store, dataset: str, damage: list[str]) -> SourceView | None:
    spec = discovery.datasets().get(dataset)
    if spec is None or spec.source is None:
        return None
    source, newest = spec.source, None
    try:
        newest = CollectedLog(store, dataset, "").newest()
    except StoredDataDamaged as error:
        damage.append(str(error))
    when = f"It is looked at by {source.every} (UTC)" if source.every else "It is looked at when a person asks"
    if newest is None:
        return SourceView(
            place=source.place, every=source.every or "", pieces=0, last=None, watermark="", counts={},
            sentence=f"Source: {source.place}. Nothing was read of it yet. {when}.",
        )  # fmt: skip
    up_to = ", ".join(
        f"{name} {as_value(value) if name == 'cursor' else value}" for name, value in newest.watermark.items() if _is_short(value)
    )
    other = "" if newest.place == source.place else f" That was {newest.place}: another source than the spec names now."
    said = f"{counted(newest.number, 'piece was', 'pieces were')} read, the last at {newest.time:%Y-%m-%d %H:%M} UTC"
    return SourceView(
        place=source.place,
        every=source.every or "",
        pieces=newest.number,
        last=newest.time,
        watermark=up_to,
        counts={name: count for name, count in newest.tally if count},
        sentence=f"Source: {source.place}. {said}{f', up to {up_to}' if up_to else ''}.{other} {when}.",
    )


def _is_short(value: object) -> bool:
    return isinstance(value, (int, float, str)) and len(str(value)) < 100


def _row(receipt: Receipt, readers: Readers) -> BatchRow:
    since, until = snapshots_of(receipt)
    days = days_of(receipt)
    reached = readers.of(since, until, days) if since is not None else []
    versions = tuple(version for version in reached if version.model in readers.models)
    return BatchRow(
        id=receipt.id,
        name=receipt.name,
        digest=receipt.digest,
        time=receipt.time,
        outcome=receipt.outcome,
        rows=receipt.rows,
        counts={name: count for name, count in receipt.counts if count} if receipt.counts else {},
        late=receipt.late,
        days=days,
        since=since,
        until=until,
        sentence=receipt.sentence,
        report=receipt.report.removeprefix("reports/"),
        quarantine=receipt.quarantine,
        run=receipt.run,
        versions=versions,
        hidden=len(reached) - len(versions),
    )


def _place(text: str) -> Place | None:
    time, _, id = text.partition("~")
    try:
        when = datetime.fromisoformat(time) if text else None
        return ((when if when.tzinfo else when.replace(tzinfo=timezone.utc)).astimezone(timezone.utc), id) if when else None
    except (ValueError, OverflowError):
        raise UnknownName(f"{text[:60]} is no place among the files: begin with the newest.") from None


def _by_day(receipts: Sequence[Receipt], day_of: Callable[[Receipt], date | None]) -> tuple[DayOfData, ...]:
    sums: dict[date, dict[str, int]] = {}
    for receipt in receipts:
        if receipt.outcome == "duplicate" or (day := day_of(receipt)) is None:
            continue
        of_day = sums.setdefault(day, {"files": 0, "accepted": 0, "late": 0, "corrected": 0, "refused": 0, "unreadable": 0})
        of_day["files"] += 1
        counts = receipt.counts
        if counts is None:
            of_day["unreadable"] += receipt.outcome == "refused"
            continue
        late = min(receipt.late or 0, counts.added)
        of_day["late"] += late
        of_day["accepted"] += counts.added - late
        of_day["corrected"] += counts.replaced + counts.deleted
        of_day["refused"] += counts.refused
    return tuple(DayOfData(day=day, **sums[day]) for day in sorted(sums)[-DAYS:])


def _find(batches: Batches, wanted: str) -> tuple[Receipt | None, tuple[str, ...]]:
    """The newest file that is meant, and the identities of others of its name."""
    exact = batches.one(wanted) if IDENTITY.fullmatch(wanted) else None
    if exact:
        return exact, ()
    matching = [
        receipt
        for receipt in batches.newest_first()
        if wanted == receipt.name or (len(wanted) >= LEAST and (receipt.digest.startswith(wanted) or receipt.id.startswith(wanted)))
    ]
    return (matching[0], tuple(receipt.id for receipt in matching[1:ROWS])) if matching else (None, ())


def _windows(store: Store, model: str, damage: list[str]) -> dict[int, list[ServedWindow]]:
    """When each version of a model served."""
    try:
        return served_windows(reversed(Ledger(store, model).lines()))
    except StoredDataDamaged as error:
        damage.append(f"When versions of {model} served is not known. {error}")
        return {}


def _fed(store: Store, versions: Sequence[Reached], damage: list[str], visible: Visible) -> tuple[Reached, ...]:
    """The versions of other models that learned from scores of versions, and of their scores in turn."""
    found: dict[str, Reached] = {}
    waiting = [version for version in versions if version.how == "learned"]
    while waiting:
        one = waiting.pop()
        for reader in readers_of_scores(store, one.model, one.number, damage, visible) if one.number else ():
            if reader.digest not in found:
                found[reader.digest] = reader
                waiting.append(reader)
    return tuple(sorted(found.values(), key=lambda one: (one.model, one.number is None, one.number or 0)))


def _reach(row: BatchRow, reached: Sequence[ReachedVersion]) -> str:
    if row.since is None:
        taken = "it is in no snapshot, and no version learned from it"
        return f"{row.name} was refused: {taken}." if row.outcome == "refused" else f"{row.name}: {taken} by itself. {row.sentence}"
    snapshots = f"snapshots {row.since} to {row.until - 1}" if row.until else f"snapshot {row.since} and all later ones"
    names = [one.version.words for one in reached if one.version.how == "learned"]
    measured = [one.version.words for one in reached if one.version.how == "measured"]
    answered = [one.version.words for one in reached if any(window.share for window in one.windows)]
    learned_from = f"{listed(names)} learned from it" if names else "no version learned from it"
    also = f"; {listed(measured)} {'was' if len(measured) == 1 else 'were'} only measured on it" if measured else ""
    traffic = f" Of these, {listed(answered)} answered requests." if answered else " None of these answered a request." if reached else ""
    hidden = f" {counted(row.hidden, 'version')} of models that you may not see had it too." if row.hidden else ""
    return f"{row.name} is in {snapshots}; {learned_from}{also}.{traffic}{hidden}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence; of many the first twelve."""
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _command(dataset: str, row: BatchRow) -> str:
    commands = {"appended": '--reason "why"', "removed": '--again --reason "why"'}
    return f"perennial remove-batch {dataset} {row.digest[:12]} {commands[row.outcome]}" if row.outcome in commands else ""
