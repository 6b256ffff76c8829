"""What one window of live traffic shows beside the champion's snapshot: drift of inputs and of predictions, broken feeds, strange requests."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from perennial.data.snapshots import Snapshot
from perennial.errors import ServiceUnreachable, StoredDataDamaged
from perennial.lineage.manifest import Manifest
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.monitoring.anomalies import Anomalies, find_anomalies, fit_watch
from perennial.monitoring.drift import DriftVerdict, find_drift, in_order
from perennial.monitoring.feeds import Break, broken_feeds
from perennial.monitoring.performance import event_days, logged_scores
from perennial.monitoring.prediction_table import INPUT
from perennial.monitoring.scores import watched_scores
from perennial.monitoring.windows import Window
from perennial.profiles.layout import Layout, fit_layout
from perennial.profiles.profile import Profile, profile
from perennial.profiles.reference import reference, watched
from perennial.profiles.state import State
from perennial.profiles.store import ProfileStore, decode, encode
from perennial.specs import DatasetSpec, ModelSpec
from perennial.stages._versions import as_of
from perennial.stages.profile import layout_of
from perennial.stages.train import RECORD
from perennial.store import Store
from perennial.training.scoring import score

log = logging.getLogger("perennial.monitor")

SAMPLED_ROWS = 120_000  # of the reference, that strange requests are compared with
SCORED_ROWS = 20_000  # of the days that the training did not see, at most, that tell how scores are usually spread
PREDICTIONS = "predictions"
FEW_REQUESTS = 30  # a window of fewer tells nothing of the world: neither that it has changed nor that it is as it was


@dataclass(frozen=True)
class Judged:
    """What the drift test says of a window, and what it may mean."""

    version: int  # that answered most of it
    verdict: DriftVerdict
    by_version: Mapping[int, int]  # rows that each version answered
    breaks: tuple[Break, ...] = ()
    few: bool = False  # too few requests to tell anything: such a window opens no drift and ends no incident


@dataclass(frozen=True)
class Judge:
    """Judges windows of one model against the snapshots of its versions."""

    store: Store
    spec: ModelSpec
    dataset: DatasetSpec
    digests: Mapping[int, str]  # content address of each version that the ledger knows

    def folder(self, window: Window) -> str:
        """Where a window's report is."""
        return f"reports/{self.spec.name}/windows/{window.name}"

    def manifest(self, version: int) -> Manifest:
        """What a version was made of. Raises ServiceUnreachable while the ledger does not know the version."""
        return read_manifest(self.store, self.spec.name, self._digest(version))

    def snapshot(self, version: int) -> tuple[Snapshot, str]:
        """The snapshot that a version was trained on, and its digest. Raises ServiceUnreachable while the ledger does not know the version."""
        manifest = self.manifest(version)
        return Snapshot(self.dataset, manifest.snapshot, self.store), manifest.snapshot_digest

    def as_of(self, version: int) -> ModelSpec:
        """The spec with the inputs that a version reads. Raises ServiceUnreachable while the ledger does not know the version."""
        return as_of(self.store, self.spec, self._digest(version))

    def judge(self, window: Window, rows: pa.Table) -> Judged:
        """The drift test of a window, against the snapshot of the version that answered most of it."""
        versions, counts = np.unique(rows["model_version"].to_numpy(), return_counts=True)
        by_version = dict(zip(versions.tolist(), counts.tolist(), strict=True))
        version = int(versions[counts.argmax()])
        if rows.num_rows < FEW_REQUESTS:
            few = f"Too few to tell: the window has {rows.num_rows} prediction{'' if rows.num_rows == 1 else 's'}, and {FEW_REQUESTS} are needed."
            nothing = DriftVerdict(columns=(), reference_days=0, window_days=0, labellings=1, exact=True, power=few)
            return Judged(version, nothing, by_version, few=True)
        own = self.as_of(version)
        columns, skipped = watched(own, self.dataset)
        skipped |= {name: "is not in this version" for name in self.spec.inputs if name not in own.inputs}
        before = self._reference(version)
        known = [name for name in columns if INPUT + name in rows.column_names and name in before.layout.names]
        for name in (name for name in columns if name not in known):
            logged = INPUT + name in rows.column_names
            skipped[name] = "is younger than the dataset's layout" if logged else "was not logged when this window was served"
        before = before.only(known)
        after = self._profiled(window, "inputs", rows.num_rows, before.layout, lambda: self._count(rows, before.layout, by_version))
        scores_before = self._score_reference(version)
        alpha, days = self.spec.monitoring.alpha, len(after.blocks)
        half = self.spec.monitoring.model_copy(update={"alpha": alpha / 2})
        if isinstance(scores_before, str):
            skipped[PREDICTIONS] = scores_before
        elif 1 / comb(len(scores_before.blocks) + days, days) > half.alpha:
            skipped[PREDICTIONS] = f"{len(scores_before.blocks)} days that the training did not see are too few to tell {days} from chance"
        if isinstance(scores_before, str) or PREDICTIONS in skipped:
            verdict = find_drift(before, after, self.spec.monitoring, window.seed)
        else:
            scored = self._scores(rows.filter(pc.field("model_version") == version))
            layout = scores_before.layout
            scores_after = self._profiled(window, "scores", scored.num_rows, layout, lambda: profile(scored, layout, day="event_time"))
            verdict = _together(
                find_drift(before, after, half, window.seed),
                find_drift(scores_before, scores_after, half, window.seed, predictions=scores_before.layout.names),
                alpha,
            )
        breaks = broken_feeds(verdict, before, after, lambda column: self.dataset.column(column).meaning)
        return Judged(version, verdict.model_copy(update={"skipped": {**skipped, **verdict.skipped}}), by_version, breaks)

    def anomalies(self, version: int, rows: pa.Table, seed: int) -> Anomalies:
        """Requests that are unlike all rows of the reference."""
        columns = [name for name in watched(self.as_of(version), self.dataset)[0] if INPUT + name in rows.column_names]
        rows = rows.filter(pc.field("model_version").isin(self._with(columns, rows["model_version"].unique().to_pylist())))
        spec = self.spec.monitoring
        past = self._sampled(version, [self.dataset.event_time, *columns])
        watch = (
            "No input is watched."
            if not columns
            else fit_watch(past.select(columns), event_days(past[self.dataset.event_time]), spec.anomaly_detector, seed)
        )
        plain = rows.select([INPUT + name for name in columns]).rename_columns(columns)
        ids: list[str] = rows["prediction_id"].to_pylist()
        return find_anomalies(
            watch, plain, event_days(rows["event_time"]), ids, name=spec.anomaly_detector, alarms_per_day=spec.alarms_per_day
        )

    def _digest(self, version: int) -> str:
        try:
            return self.digests[version]
        except KeyError:
            raise ServiceUnreachable(
                f"Version {version} of {self.spec.name} answered predictions, but the ledger does not know it yet: look again once its release is recorded."
            ) from None

    def _reference(self, version: int) -> Profile:
        source, digest = self.snapshot(version)
        layout = layout_of(ProfileStore(self.store, self.dataset.name), source.table, source.version, self.dataset)
        assert layout is not None
        return reference(self.store, self.as_of(version), self.dataset, digest, layout, lambda wanted: self._newest_rows(source, wanted))

    def _newest_rows(self, source: Snapshot, columns: list[str]) -> pa.Table:
        """The reference days of a snapshot."""
        since = datetime.combine(source.newest().date() + timedelta(days=1 - self.spec.monitoring.reference_days), time())
        return source.table.scan(columns, pc.field(self.dataset.event_time) >= since, source.version)

    def _sampled(self, version: int, columns: list[str]) -> pa.Table:
        """Some rows of the reference days, drawn once for a snapshot and kept."""
        source, digest = self.snapshot(version)
        identity = json.dumps([digest, columns, self.spec.monitoring.reference_days, SAMPLED_ROWS])
        key = f"profiles/{self.spec.name}/samples/{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parquet"
        try:
            return pq.read_table(pa.BufferReader(self.store.read(key)))
        except KeyError:
            rows = self._newest_rows(source, columns)
        drawn = np.random.default_rng(SAMPLED_ROWS).permutation(rows.num_rows)[:SAMPLED_ROWS]
        rows = rows.take(np.sort(drawn))
        buffer = io.BytesIO()
        pq.write_table(rows, buffer)
        self.store.write(key, buffer.getvalue())
        return rows

    def _with(self, columns: Iterable[str], versions: Iterable[int]) -> list[int]:
        """Those of some versions that read all of some columns. One that the ledger does not know yet may read anything: it is none of them."""
        return [number for number in versions if number in self.digests and set(columns) <= set(self.as_of(number).inputs)]

    def _count(self, rows: pa.Table, layout: Layout, versions: Collection[int]) -> Profile:
        """The profile of a window's inputs: each column on the rows of those versions that read it, columns together where one reads them all."""

        def counted(some: Collection[int]) -> Profile:
            own = rows if len(some) == len(versions) else rows.filter(pc.field("model_version").isin(sorted(some)))
            plain = own.select(["event_time", *(INPUT + name for name in layout.names)]).rename_columns(["event_time", *layout.names])
            return profile(plain, layout, day="event_time")

        readers = {name: frozenset(self._with([name], versions)) for name in layout.names}
        together = frozenset.intersection(frozenset(versions), *readers.values())
        parts = {some: counted(some) for some in {*readers.values(), together, frozenset(versions)}}

        def of(day: date, some: frozenset[int]) -> State:
            return parts[some].blocks.get(day, State.zero(layout))

        days = {
            day: State(layout, whole.rows, {n: of(day, readers[n]).columns[n] for n in layout.names}, of(day, together).joint)
            for day, whole in parts[frozenset(versions)].blocks.items()
        }
        return Profile(layout, days)

    def _scores(self, rows: pa.Table) -> pa.Table:
        """What is watched of predictions: see `watched_scores`."""
        return pa.table({"event_time": rows["event_time"], **watched_scores(self.spec, logged_scores(rows))})

    def _profiled(self, window: Window, what: str, rows: int, layout: Layout, count: Callable[[], Profile]) -> Profile:
        """The profile of a window, kept beside its report and taken from there as long as no more predictions came in."""
        key = f"{self.folder(window)}/{what}.parquet"
        try:
            kept = decode(self.store.read(key), layout, key)
            if int(kept.rows().sum()) == rows:
                return kept
        except KeyError:
            pass
        except StoredDataDamaged as damage:  # of another version's layout, usually
            log.info("%s", damage)
        found = count()
        self.store.write(key, encode(found))
        return found

    def _score_reference(self, version: int) -> Profile | str:
        """How a version scores the days of its snapshot that its training did not see, made once; or why that cannot be told."""
        digest = self._digest(version)
        kept = ProfileStore(self.store, f"{self.spec.name}/scores/{digest[:16]}")
        if (layout := kept.layout()) is not None and kept.has(digest):
            found = kept.read()
            assert found is not None
            return found
        with tempfile.TemporaryDirectory(prefix="perennial-scores-") as scratch:
            folder = fetch(self.store, self.spec.name, digest, Path(scratch) / "version")
            if not (folder / RECORD).exists():
                return "the version does not say which days its training did not see"
            bounds = json.loads((folder / RECORD).read_text())["bounds"]
            first, end = (datetime.fromisoformat(day) for day in (bounds["validation"][0], bounds["test"][1]))
            inputs = [column["name"] for column in json.loads((folder / "signature.json").read_text())["inputs"]]
            if gone := [name for name in inputs if name not in {c.name for c in self.dataset.columns}]:
                return f"the version reads {', '.join(gone)}, which the dataset no longer has"
            frame = self.snapshot(version)[0].rows(list(dict.fromkeys((self.dataset.event_time, *inputs))), since=first, until=end)
            some = np.linspace(0, len(frame) - 1, min(len(frame), SCORED_ROWS)).astype(np.int64)
            frame = frame.iloc[some]
            scores = score(folder, {name: frame[name].to_numpy() for name in frame.columns}, threads=2)
        times = pa.array(frame[self.dataset.event_time].to_numpy().astype("datetime64[us]"))
        rows = pa.table({"event_time": times, **watched_scores(self.spec, scores)})
        layout = kept.keep_layout(layout or fit_layout(rows.drop_columns(["event_time"]), joint=()))
        found = profile(rows, layout, day="event_time")
        kept.write(digest, found)
        return found


def _together(inputs: DriftVerdict, predictions: DriftVerdict, alpha: float) -> DriftVerdict:
    """One verdict of two tests at half the false-alarm rate each: p-values are doubled (Bonferroni), so they compare with alpha."""
    told = [f.model_copy(update={"p_value": min(2 * f.p_value, 1.0)}) for f in (*inputs.columns, *predictions.columns)]
    smallest = min(2 * min(inputs.p_value, predictions.p_value), 1.0)
    return inputs.model_copy(
        update={
            "columns": in_order(told),
            "p_value": smallest,
            "significant": smallest <= alpha,
        }
    )
