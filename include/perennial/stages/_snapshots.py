"""The snapshot of a version, as its manifest records it, and what a manifest records of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time

from perennial import discovery
from perennial.data.label_feed import KnownLabels
from perennial.data.served_rows import KnownOutcomes
from perennial.data.snapshots import Snapshot, joined_with, snapshot_at
from perennial.lineage.learned import numbers_of
from perennial.lineage.manifest import JoinUsed, LabelsUsed, Manifest, OutcomesUsed
from perennial.score_datasets import VERSION
from perennial.specs import DatasetSpec
from perennial.store import Store


def snapshot_of(store: Store, dataset: DatasetSpec, manifest: Manifest) -> Snapshot:
    """The snapshot that a version was trained on: its rows, with the labels that were known then and what its joins brought.

    Raises:
        UnknownName: a table has no such version, or there is no such label feed or joined dataset any more.
    """
    return as_trained(snapshot_at(store, dataset, manifest.snapshot), manifest)


def as_trained(source: Snapshot, manifest: Manifest) -> Snapshot:
    """The rows of a snapshot with the labels that were known when a version was trained, and with what its joins bring.

    Raises:
        UnknownName: there is no such label feed or joined dataset any more, or its table has no such version.
    """
    source = with_joins_of(source, manifest)
    used = manifest.labels
    if used is None:
        return source
    if isinstance(used, OutcomesUsed):
        return served_with(source, manifest)
    feed = snapshot_at(source.store, discovery.dataset(used.feed.dataset), used.snapshot)
    return replace(source, labels=KnownLabels(used.feed, feed, used.known_by, used.delay_days))


def with_joins_of(source: Snapshot, manifest: Manifest) -> Snapshot:
    """The rows of a snapshot with what the joins of a version bring, from the tables as it read them; without joins if it had none.

    Raises:
        UnknownName: there is no such dataset any more, or its table has no such version.
    """
    versions = {used.join.dataset: used.snapshot for used in manifest.joined}
    joined = joined_with(source, [used.join for used in manifest.joined], versions)
    assert joined, "each version is named"
    return joined


def served_with(source: Snapshot, manifest: Manifest) -> Snapshot:
    """The rows of a snapshot, with the predictions that were among them when a version was trained; as they are if it had none."""
    used = manifest.labels
    if not isinstance(used, OutcomesUsed):
        return source
    known = KnownOutcomes(manifest.model, source, used.predictions, used.snapshot, used.known_by, used.delay_days, used.since)
    known.refuse_gone()
    return replace(source, labels=known)


def digests_since(source: Snapshot, last: Manifest | None) -> tuple[str, ...]:
    """The digests under which a training on a snapshot may be known.

    Args:
        source: the snapshot.
        last: of the last training, if there is one. Where predictions alone have come since, none of which has an outcome, or joined rows
            that none of its rows can find, the snapshot is the same as that one's.
    """
    if last is None or not (source.served or source.joins):
        return source.digests
    before, now = last.labels.snapshot if last.labels else None, source.labels.version if source.labels else None
    if (source.version, now) != (last.snapshot, before) or _finds_more(source, last):
        return source.digests
    return (*source.digests, last.snapshot_digest)


def joins_used(source: Snapshot) -> list[JoinUsed]:
    """What a manifest records of a snapshot's joins."""
    joined = source.joins.joined if source.joins else ()
    return [JoinUsed(join=one.spec, snapshot=one.source.version, digest=one.identity) for one in joined]


def _finds_more(source: Snapshot, last: Manifest) -> bool:
    """Whether the rows of a snapshot, which were those of the last training, may find more in joined tables than they did."""
    joined = source.joins.joined if source.joins else ()
    if [one.spec for one in joined] != [used.join for used in last.joined]:
        return True
    newer = [(one, used.snapshot) for one, used in zip(joined, last.joined, strict=True) if one.source.version != used.snapshot]
    return bool(newer) and any(one.shows_more(since, source.newest()) for one, since in newer)


def labels_used(source: Snapshot, label: str) -> LabelsUsed | OutcomesUsed | None:
    """What a manifest records of a snapshot's labels; None if it has neither a label feed nor outcomes."""
    known = source.labels
    if known is None:
        return None
    newest_day = max(source.coverage(label).labelled_days, default=None)
    if isinstance(known, KnownOutcomes):
        return OutcomesUsed(
            predictions=known.predictions,
            predictions_digest=known.predictions_digest,
            snapshot=known.version,
            digest=known.digest,
            rows_digest=source.rows_digest,
            known_by=known.known_by,
            delay_days=known.delay_days,
            since=known.since,
            newest_day=newest_day,
        )
    return LabelsUsed(
        feed=known.spec,
        snapshot=known.feed.version,
        digest=known.feed.digest,
        rows_digest=source.rows_digest,
        known_by=known.known_by,
        delay_days=known.delay_days,
        newest_day=newest_day,
    )


def scores_used(source: Snapshot) -> dict[str, dict[int, str]]:
    """The versions of other models whose scores are among the rows of a snapshot, or of the tables that it joins: by model and number, with
    their digests."""
    used: dict[str, dict[int, str]] = {}
    for read in (source, *(one.source for one in (source.joins.joined if source.joins else ()))):
        if not read.dataset.scores_of:
            continue
        numbers = read.table.scan([VERSION], version=read.version)[VERSION].unique().to_pylist()
        digests = {number: digest for digest, number in numbers_of(source.store, read.dataset.scores_of, []).items()}
        used[read.dataset.scores_of] = {number: digests.get(number, "") for number in sorted(numbers)}
    return used


def newest_trained(source: Snapshot, manifest: Manifest) -> datetime:
    """Up to when a version knows the data: the newest event time of its snapshot, or the newest day that had a label where labels came
    after the rows.

    Args:
        source: the rows of its snapshot.
        manifest: of the version.
    """
    labels = manifest.labels
    return datetime.combine(labels.newest_day, time()) if labels and labels.newest_day else source.newest()
