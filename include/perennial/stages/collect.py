"""Collect new rows from a dataset's source: what is new lands as files, which `ingest` takes in like any other.

What a look reads is safe before the next is read (`perennial.sources`), so that a killed stage goes on where it was.

    $ perennial collect --dataset orders
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from perennial.counted import counted
from perennial.data.landing import folder
from perennial.data.readers import read_batch, refuse_nulls
from perennial.discovery import clean_of
from perennial.discovery import dataset as dataset_spec
from perennial.errors import BatchRefused, SourceRefused
from perennial.results import CollectResult
from perennial.settings import Settings
from perennial.sources.collected import CollectedLog, Entry
from perennial.sources.connections import Connection, read_connection
from perennial.sources.interface import ComeLater, Look, Reader, Tally
from perennial.specs import DatasetSpec, SourceSpec
from perennial.store import Store

log = logging.getLogger(__name__)


def run(settings: Settings, store: Store, dataset: str, *, run: str = "", anew: bool = False) -> CollectResult:
    """Read a dataset's source from where the last look ended.

    Args:
        settings: where connections are.
        store: has the log of what was collected, and gets the files.
        dataset: name of the dataset.
        run: the orchestrator's name for this run.
        anew: read from the beginning, whatever was read before.

    Returns:
        `done` if files landed; `skipped` if the source has nothing new, or asks to be left alone until `again_at`.

    Raises:
        UnknownName: there is no such dataset.
        SourceRefused: it has no source, the source is not as the spec says, or it is another one than was read before.
        SourceUnreachable: the source does not answer.
        SettingMissing: the connection is not known.
    """
    spec = dataset_spec(dataset)
    collected = CollectedLog(store, dataset, folder(dataset))
    late, newest = collected.finish()
    if late:
        log.info("%s landed that an earlier try had read: %s.", counted(len(late), "file"), ", ".join(late[:5]))
    if spec.source is None:
        raise SourceRefused(f"{dataset} has no source: files land in {store.uri(folder(dataset))}/. Name one in its spec (source=...).")
    if spec.source.days_of_answers is not None:
        collected.forget_answers(spec.source.days_of_answers)
    _refuse_other(spec.source, newest, dataset, anew=anew)
    connection = _connection(settings, spec.source)
    files, tally, notes, again_at = list(late), Tally(), list[str](), None
    with tempfile.TemporaryDirectory(prefix="perennial-collect-") as scratch:
        try:
            number = newest.number if newest else 0
            for piece in _reader(spec.source).pieces(_look(collected, spec, connection, None if anew else newest, Path(scratch), notes)):
                entry = collected.add(spec.source.place, piece, number, run)
                number, tally = entry.number, tally.plus(piece.tally)
                files += [file.name for file in entry.files]
                if entry.files:
                    rows = f"{counted(piece.tally.landed, 'row')} landed" if piece.tally.landed else "Landed"
                    log.info("%s: %s", rows, ", ".join(file.name for file in entry.files))
        except ComeLater as later:
            again_at = later.at
            notes.append(str(later).rstrip("."))
    return _result(spec, tally, files, notes, again_at)


def _refuse_other(source: SourceSpec, newest: Entry | None, dataset: str, *, anew: bool) -> None:
    """Raises SourceRefused where the watermark is of another place than the spec names now."""
    if newest and newest.place != source.place and not anew:
        raise SourceRefused(
            f"{dataset} was collected from {newest.place} until {newest.time:%Y-%m-%d %H:%M} UTC, and its spec names {source.place} now: "
            f"where reading goes on is not known there. Correct the spec, or read the new source from its beginning: "
            f"perennial collect --dataset {dataset} --anew"
        )


def _connection(settings: Settings, source: SourceSpec) -> Connection | None:
    return read_connection(settings.connections, source.connection) if source.connection else None


def _reader(source: SourceSpec) -> Reader:
    reader: Reader = importlib.import_module(f"perennial.sources.{source.kind}")
    return reader


def _look(
    collected: CollectedLog, spec: DatasetSpec, connection: Connection | None, newest: Entry | None, scratch: Path, notes: list[str]
) -> Look:
    memory = collected.download(newest.memory, scratch / "before.parquet") if newest and newest.memory else None
    if newest and memory:
        try:
            pq.read_metadata(memory)
        except (OSError, ValueError):
            raise collected.lost(newest.memory, "is damaged") from None
    return Look(spec, connection, newest.watermark if newest else None, memory, scratch, notes, partial(_unfit, spec))


def _unfit(spec: DatasetSpec, path: Path) -> str:
    """Why a file that is to land would be refused, without what its suite says; empty if it would not."""
    try:
        rows = read_batch(path, spec, hints=False)
        if spec.deleted:  # which may come with their key alone
            rows = rows.filter(pc.invert(pc.fill_null(rows[spec.deleted], False)))
        if clean_of(spec.name) is None:  # which may fill them
            refuse_nulls(rows, spec)
    except BatchRefused as refusal:
        return str(refusal)
    return ""


def _result(spec: DatasetSpec, tally: Tally, files: list[str], notes: list[str], again_at: datetime | None) -> CollectResult:
    assert spec.source is not None
    rows = f"{counted(tally.landed, 'row')} of {spec.source.place} landed for {spec.name} in {counted(len(files), 'file')}"
    said = rows if tally.landed else f"{counted(len(files), 'file')} of {spec.source.place} landed for {spec.name}"
    sentence = said if files else f"Nothing new in {spec.source.place} for {spec.name}"
    if tally.repeated:
        sentence += f"; {counted(tally.repeated, 'row')} of the overlap had landed before"
    if tally.changed:
        changed = counted(tally.changed, "row")
        sentence += f"; {changed} changed since" + (", in a file of their own, for no row of it may change" if spec.rows == "final" else "")
    if tally.unreadable:
        sentence += f"; {counted(tally.unreadable, 'record')} cannot be read, in a file of their own"
    return CollectResult(
        outcome="done" if files else "skipped",
        sentence=". ".join([sentence, *(note[0].upper() + note[1:] for note in notes)]) + ".",
        files=tuple(files),
        rows=tally.landed,
        repeated=tally.repeated,
        changed=tally.changed,
        unreadable=tally.unreadable,
        again_at=again_at.astimezone(timezone.utc).timestamp() if again_at else None,
    )
