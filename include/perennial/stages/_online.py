"""Exports the newest values of a joined dataset by key, for the servers of the models that join it.

One file for each key by which a model of now, or a version that serves, joins the dataset. It is written whole, and named by a note last.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perennial import discovery, encoding
from perennial.clock import zone
from perennial.column_types import cells
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.lineage.version_folder import read_manifest
from perennial.online_values import Note, key_text, note_key, write_values
from perennial.specs import JoinSpec
from perennial.store import Store

log = logging.getLogger(__name__)


def export_values(store: Store, dataset: str) -> list[str]:
    """Write the values of a dataset's newest snapshot where they are not yet exported; the notes that were written.

    Nothing where no model joins it, or it has no snapshot.
    """
    from perennial.data.snapshots import latest_snapshot

    wanted: dict[tuple[tuple[str, ...], str], set[str]] = {}
    for join in _joins_of(store, dataset):
        there = tuple(name for _, name in join.key_pairs)
        wanted.setdefault((there, join.known_at), set()).update(join.columns)
    source = latest_snapshot(store, discovery.dataset(dataset)) if wanted else None
    if source is None:
        return []
    written = []
    for (key, known_at), columns in wanted.items():
        known = {column.name for column in source.dataset.table_columns}
        if not {*key} <= known:
            continue  # of an older version, whose key the dataset has no more
        join = JoinSpec(dataset=dataset, key=key, columns=tuple(sorted(columns & known)), known_at=known_at, horizon_days=1)
        if note := _export(store, join, source):
            written.append(note)
    return written


def _joins_of(store: Store, dataset: str) -> Iterator[JoinSpec]:
    """The joins of a dataset: of the models as they are now, and of the versions that serve."""
    for spec in discovery.models().values():
        joins = list(spec.joins)
        if last := Ledger(store, spec.name).last():
            serving = {*last.weights, last.champion, last.shadow}
            for number, digest in last.versions.items():
                if number in serving:
                    joins += _joins_of_version(store, spec.name, digest)
        yield from (join for join in joins if join.dataset == dataset)


def _joins_of_version(store: Store, model: str, digest: str) -> list[JoinSpec]:
    try:
        return [used.join for used in read_manifest(store, model, digest).joined]
    except (UnknownName, StoredDataDamaged) as error:
        log.warning("What the version %s of %s joins is not known: %s", digest[:12], model, error)
        return []


def _export(store: Store, join: JoinSpec, source: Any) -> str | None:
    from perennial.data.joins import JoinedTable, newest_values

    place = note_key(join.dataset, join.key, join.known_at)
    before = _note(store, place)
    if before and (before.version, before.columns) == (source.version, join.columns):
        return None
    now = datetime.now(zone(source.dataset.time_zone)).replace(tzinfo=None)

    def rows() -> Iterator[tuple[str, datetime, dict[str, Any]]]:
        for batch in newest_values(JoinedTable(join, source), join.columns, now):
            keys = zip(*(batch[name].to_pylist() for name in join.key), strict=True)
            columns = {name: cells(batch[name].to_pylist()) for name in join.columns}
            values = encoding.rows_from_columns(columns, list(join.columns))  # as a request has them
            yield from zip(map(key_text, keys), batch["_time"].to_pylist(), values, strict=True)

    with tempfile.TemporaryDirectory(prefix="perennial-online-") as scratch:
        path = Path(scratch, "values.sqlite")
        count = write_values(path, rows())
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        file = f"{place.removesuffix('.json')}/{source.version}-{digest[:12]}.sqlite"
        store.upload(path, file)
    note = Note(file=file, sha256=digest, version=source.version, columns=join.columns, keys=count, made=datetime.now(timezone.utc))
    store.write(place, note.model_dump_json(indent=1).encode())
    kept = {file, before.file if before else file}  # a server may be fetching the one before
    for stored in list(store.list(place.removesuffix(".json"))):
        if stored.key not in kept and stored.key.endswith(".sqlite"):
            store.delete(stored.key)
    log.info("%s has %d values of version %d of %s by %s.", file, count, source.version, join.dataset, ", ".join(join.key))
    return place


def _note(store: Store, place: str) -> Note | None:
    try:
        return Note.model_validate_json(store.read(place))
    except (KeyError, ValueError):
        return None  # none yet, or damaged: it is written anew
