"""Where a version comes from and where it went: files, snapshot, training, version and traffic as one picture.

>>> import tempfile
>>> from perennial.store import open_store
>>> lineage_view(open_store(tempfile.mkdtemp()), "digits").sentence
'No version of digits is sealed yet.'
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from pydantic import Field

from perennial import discovery
from perennial.counted import counted
from perennial.data.receipts import Receipt
from perennial.errors import PerennialError, StoredDataDamaged, UnknownName
from perennial.lineage.learned import How, Learned, Reached, Visible, all_of, learned, numbers_of, readers_of_scores
from perennial.lineage.ledger import Ledger, known_models
from perennial.lineage.served_windows import ServedWindow, served_windows
from perennial.lineage.version_folder import read_manifest
from perennial.store import Store
from perennial.views.data import batches_of, days_of, listed, snapshots_of, windows_words
from perennial.views.view import View

FILES, READ, CHOICES = 300, 10_000, 100  # files that are shown, receipts that are read, and versions to choose from, at most


class SourceFile(View):
    """A landed file of which a version had rows."""

    id: str
    name: str
    dataset: str
    time: datetime = Field(description="When it was taken in, UTC.")
    rows: int = Field(description="Rows that it brought into the table.")
    days: tuple[date, date] | None
    how: How = Field(description="Whether the version learned from the rows, or was only measured on them.")
    removed: bool = Field(description="Whether somebody took it out of the table since.")


class SourceSnapshot(View):
    """A version of a table that a training read."""

    dataset: str
    version: int
    digest: str = Field(description="Identity of its content; empty for the table of a label feed.")
    files: int = Field(description="Files of which the version had rows.")
    rows: int = Field(description="Rows that these files brought into the table.")


class LineageView(View):
    """One version from its files to its traffic."""

    model: str
    version: int | None = Field(description="Its number; none if there is no version, or it was never registered.")
    digest: str = Field(description="Content address of its folder; empty if there is no version.")
    versions: tuple[int, ...] = Field(description="Numbers of versions to choose from, newest first.")
    files: tuple[SourceFile, ...] = Field(description="Those that it learned from first, newest first; at most 300.")
    snapshots: tuple[SourceSnapshot, ...]
    reads: dict[str, tuple[int, ...]] = Field(description="Versions of other models whose scores it learned from, by model.")
    read_by: tuple[Reached, ...] = Field(description="Versions of other models that learned from its scores, by model and number.")
    days: dict[str, tuple[date, date]] = Field(description="First and last day of each part of its split, event time.")
    rows: dict[str, int] = Field(description="Rows of each part of its split.")
    run_key: str = Field(description="Identity of its training.")
    cause: str = Field(description="Why it was trained.")
    reason: str = Field(description="A person's words for that; empty if there are none.")
    parents: tuple[int, ...] = Field(description="Versions that it followed.")
    trained: datetime | None = Field(description="When it was sealed, UTC.")
    windows: tuple[ServedWindow, ...] = Field(description="When it served and with which share, oldest first.")
    sentence: str = Field(description="All of this in a sentence.")
    remark: str = Field(description="What is left out, as a sentence; empty if nothing is.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def lineage_view(store: Store, name: str, version: int | None = None, visible: Visible = all_of) -> LineageView:
    """Where a version of a model comes from and where it went.

    Args:
        store: has all of it.
        name: of the model.
        version: number of the version; the one that serves if absent, else the newest.
        visible: of some models, those that may be named.

    Raises:
        UnknownName: there is no such model, or no such version of it.
    """
    discovery.models_asked_about(name, known_models(store))
    damage: list[str] = []
    digests = {number: digest for digest, number in numbers_of(store, name, damage).items()}
    windows: dict[int, list[ServedWindow]] = {}
    serving = None
    try:
        ledger = Ledger(store, name)
        windows = served_windows(reversed(ledger.lines()))
        serving = moved.champion if (moved := ledger.last_move()) else None
    except StoredDataDamaged as error:
        damage.append(str(error))
    number = version if version is not None else serving if serving in digests else max(digests, default=None)
    if number is None:
        return _nothing(name, damage)
    if number not in digests:
        raise UnknownName(f"{name} has no version {number}: it has {', '.join(map(str, sorted(digests)[-12:])) or 'none'}.")
    digest, broken = digests[number], dict[str, str]()
    known = next((one for one in learned(store, name, broken) if one.digest == digest), None)
    if known is None:
        damage.append(broken.get(digest) or f"The folder of version {number} of {name} is gone: what it learned from is not known.")
    files, snapshots, remark = _sources(store, known, damage) if known else ((), (), "")
    reason, parents = _words(store, name, digest)
    numbers = {digest: number for number, digest in digests.items()}
    served = tuple(windows.get(number, ()))
    reads = {model: versions for model, versions in known.scores.items() if visible({model})} if known else {}
    read_by = tuple(readers_of_scores(store, name, number, damage, visible))
    return LineageView(
        model=name,
        version=number,
        digest=digest,
        versions=tuple(sorted(digests, reverse=True)[:CHOICES]),
        files=files,
        snapshots=snapshots,
        reads=reads,
        read_by=read_by,
        days=known.days if known else {},
        rows=known.rows if known else {},
        run_key=known.run_key if known else "",
        cause=known.cause if known else "",
        reason=reason,
        parents=tuple(numbers[parent] for parent in parents if parent in numbers),
        trained=known.created if known else None,
        windows=served,
        sentence=_sentence(name, number, known, snapshots, served) + _fed(reads, read_by),
        remark=remark,
        damage=tuple(dict.fromkeys(damage)),
    )


def _sources(store: Store, known: Learned, damage: list[str]) -> tuple[tuple[SourceFile, ...], tuple[SourceSnapshot, ...], str]:
    """The files that are shown, the snapshots, and what is left out."""
    files: list[tuple[str, Receipt, How]] = []
    snapshots, remarks = [], []
    for dataset in known.datasets:
        read = known.read_of(dataset)
        if read is None:
            continue
        batches = batches_of(store, dataset)
        own: list[tuple[str, Receipt, How]] = []
        for place, receipt in enumerate(batches.newest_first()):
            if place == READ:
                remarks.append(f"Only the newest {READ:,} files of {dataset} were looked at.")
                break
            since, until = snapshots_of(receipt)
            if since is None or since > read or (until is not None and until <= read):
                continue
            if how := known.how(dataset, days_of(receipt)):
                own.append((dataset, receipt, how))
        digest = known.snapshot_digest if dataset == known.dataset else ""
        rows = sum(_rows(receipt) for _, receipt, _ in own)
        snapshots.append(SourceSnapshot(dataset=dataset, version=read, digest=digest, files=len(own), rows=rows))
        files += sorted(own, key=lambda one: one[2] != "learned")
        damage += batches.damage
        if batches.left_out:
            remarks.append(f"{counted(batches.left_out, 'older file')} of {dataset} will be looked at after the next ingestion.")
    if len(files) > FILES:
        remarks.append(f"{counted(len(files) - FILES, 'more file is', 'more files are')} not listed.")
    if known.predictions is not None:
        remarks.append("It learned from its predictions and their outcomes too, which come from no file.")
    return tuple(_file(*one) for one in files[:FILES]), tuple(snapshots), " ".join(remarks)


def _file(dataset: str, receipt: Receipt, how: How) -> SourceFile:
    return SourceFile(
        id=receipt.id,
        name=receipt.name,
        dataset=dataset,
        time=receipt.time,
        rows=_rows(receipt),
        days=days_of(receipt),
        how=how,
        removed=receipt.outcome == "removed",
    )


def _rows(receipt: Receipt) -> int:
    """Rows that a file brought into the table."""
    return receipt.counts.stored if receipt.counts else receipt.rows or 0


def _words(store: Store, model: str, digest: str) -> tuple[str, list[str]]:
    """A person's words for a training, and the versions that it followed."""
    try:
        manifest = read_manifest(store, model, digest)
    except PerennialError:  # its damage is told with what it learned from
        return "", []
    return manifest.reason, manifest.parents


def _sentence(
    name: str, number: int, known: Learned | None, snapshots: tuple[SourceSnapshot, ...], windows: tuple[ServedWindow, ...]
) -> str:
    beginning = f"Version {number} of {name}"
    traffic = windows_words(windows)
    if known is None:
        return f"{beginning} {traffic}; what it learned from is not known."
    first = snapshots[0]
    ends = [end for part in ("train", "validation") if part in known.days for end in known.days[part]]
    days = f", days {min(ends)} to {max(ends)}" if ends else ""
    return (
        f"{beginning} was trained because of {known.cause} from snapshot {first.version} of {first.dataset} "
        f"({counted(first.files, 'file')}{days}); it {traffic}."
    )


def _fed(reads: Mapping[str, Sequence[int]], read_by: Sequence[Reached]) -> str:
    """What it read of other models, and who reads it, as sentences; empty if neither is so."""
    of = [f"{'version' if len(numbers) == 1 else 'versions'} {', '.join(map(str, numbers))} of {model}" for model, numbers in reads.items()]
    said = f" It learned from the scores of {' and '.join(of)}." if of else ""
    return said + (f" From its own scores {listed([one.words for one in read_by])} learned." if read_by else "")


def _nothing(name: str, damage: list[str]) -> LineageView:
    return LineageView(
        model=name,
        version=None,
        digest="",
        versions=(),
        files=(),
        snapshots=(),
        reads={},
        read_by=(),
        days={},
        rows={},
        run_key="",
        cause="",
        reason="",
        parents=(),
        trained=None,
        windows=(),
        sentence=f"No version of {name} is sealed yet.",
        remark="",
        damage=tuple(damage),
    )
