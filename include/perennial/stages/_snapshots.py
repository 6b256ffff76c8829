"""The snapshot of a version, as its manifest records it, and what a manifest records of a snapshot."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time

from perennial import discovery
from perennial.data.label_feed import KnownLabels
from perennial.data.served_rows import KnownOutcomes
from perennial.data.snapshots import Snapshot, snapshot_at
from perennial.lineage.manifest import LabelsUsed, Manifest, OutcomesUsed
from perennial.specs import DatasetSpec
from perennial.store import Store


def snapshot_of(store: Store, dataset: DatasetSpec, manifest: Manifest) -> Snapshot:
    """The snapshot that a version was trained on: its rows, with the labels that were known then.

    Raises:
        UnknownName: a table has no such version, or there is no such label feed any more.
    """
    return with_labels_of(snapshot_at(store, dataset, manifest.snapshot), manifest)


def with_labels_of(source: Snapshot, manifest: Manifest) -> Snapshot:
    """The rows of a snapshot with the labels that were known when a version was trained; as they are if it had no label feed.

    Raises:
        UnknownName: there is no such label feed any more, or its table has no such version.
    """
    used = manifest.labels
    if used is None:
        return source
    if isinstance(used, OutcomesUsed):
        return served_with(source, manifest)
    feed = snapshot_at(source.store, discovery.dataset(used.feed.dataset), used.snapshot)
    return replace(source, labels=KnownLabels(used.feed, feed, used.known_by, used.delay_days))


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
        last: of the last training, if there is one. Where predictions alone have come since, none of which has an outcome, the snapshot
            is the same as that one's.
    """
    used = last.labels if last else None
    if last and source.served and used and (source.version, source.served.version) == (last.snapshot, used.snapshot):
        return (*source.digests, last.snapshot_digest)
    return source.digests


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


def newest_trained(source: Snapshot, manifest: Manifest) -> datetime:
    """Up to when a version knows the data: the newest event time of its snapshot, or the newest day that had a label where labels came
    after the rows.

    Args:
        source: the rows of its snapshot.
        manifest: of the version.
    """
    labels = manifest.labels
    return datetime.combine(labels.newest_day, time()) if labels and labels.newest_day else source.newest()
