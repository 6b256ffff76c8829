"""The references for windows of live traffic: a version's snapshot as counts, as sampled rows, and as scored by the version."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from perennial.data.snapshots import Snapshot
from perennial.data.splits import columns_of_split, part_of
from perennial.errors import ServiceUnreachable
from perennial.lineage.manifest import Manifest
from perennial.lineage.version_folder import fetch, read_manifest
from perennial.monitoring.scores import watched_scores
from perennial.profiles.layout import Layout, fit_layout
from perennial.profiles.profile import Profile, profile
from perennial.profiles.reference import reference
from perennial.profiles.store import ProfileStore
from perennial.specs import DatasetSpec, ModelSpec, SplitSpec
from perennial.stages._snapshots import served_with, with_joins_of
from perennial.stages._versions import as_of
from perennial.stages.profile import layout_of
from perennial.stages.train import RECORD
from perennial.store import Store
from perennial.training.scoring import score

log = logging.getLogger("perennial.monitor")

SAMPLED_ROWS = 120_000  # of the reference, that strange requests are compared with
SCORED_ROWS = 20_000  # of the days that the training did not see, at most, that tell how scores are usually spread


@dataclass(frozen=True)
class References:
    """The snapshots of one model's versions. All that asks for a version raises ServiceUnreachable while the ledger does not know it."""

    store: Store
    spec: ModelSpec
    dataset: DatasetSpec
    digests: Mapping[int, str]  # content address of each version that the ledger knows

    def manifest(self, version: int) -> Manifest:
        """The manifest of a version."""
        return read_manifest(self.store, self.spec.name, self._digest(version))

    def snapshot(self, version: int) -> tuple[Snapshot, str]:
        """The snapshot that a version was trained on, and its digest."""
        manifest = self.manifest(version)
        rows = with_joins_of(Snapshot(self.dataset, manifest.snapshot, self.store), manifest)
        return served_with(rows, manifest), manifest.snapshot_digest

    def as_of(self, version: int) -> ModelSpec:
        """The spec with the inputs that a version reads."""
        return as_of(self.store, self.spec, self._digest(version))

    def readers(self, columns: Iterable[str], versions: Iterable[int]) -> list[int]:
        """Those of the versions that read all of the columns.

        One that the ledger does not know yet may read anything: it is none of them.
        """
        return [number for number in versions if number in self.digests and set(columns) <= set(self.as_of(number).inputs)]

    def profile(self, version: int) -> Profile:
        """The counts of the reference days of a version's snapshot."""
        source, digest = self.snapshot(version)
        layout = layout_of(ProfileStore(self.store, self.dataset.name), source.table, source.version, self.dataset)
        assert layout is not None
        return reference(self.store, self.as_of(version), self.dataset, digest, layout, lambda wanted: self._newest_rows(source, wanted))

    def layout(self) -> Layout:
        """How the dataset's rows are counted; of no columns as long as that is not fixed."""
        return ProfileStore(self.store, self.dataset.name).layout() or Layout(columns=())

    def sampled(self, version: int, columns: list[str]) -> pa.Table:
        """Rows of the reference days, drawn once for a snapshot and kept."""
        source, digest = self.snapshot(version)
        identity = json.dumps([digest, columns, self.spec.monitoring.reference_days, SAMPLED_ROWS])
        key = f"profiles/{self.spec.name}/samples/{hashlib.sha256(identity.encode()).hexdigest()[:16]}.parquet"
        try:
            return pq.read_table(pa.BufferReader(self.store.read(key)))
        except KeyError:
            pass
        except pa.ArrowInvalid as error:
            log.warning("The sample %s cannot be read (%s). It is drawn again.", key, error)
        rows = self._newest_rows(source, columns)
        drawn = np.random.default_rng(SAMPLED_ROWS).permutation(rows.num_rows)[:SAMPLED_ROWS]
        rows = rows.take(np.sort(drawn))
        buffer = io.BytesIO()
        pq.write_table(rows, buffer)
        self.store.write(key, buffer.getvalue())
        return rows

    def scores(self, version: int) -> Profile | str:
        """A version's scores of those days of its snapshot that its training did not see, made once; or why there are none."""
        digest = self._digest(version)
        kept = ProfileStore(self.store, f"{self.spec.name}/scores/{digest[:16]}")
        if (layout := kept.layout()) is not None and kept.has(digest):
            scored = kept.read()
            assert scored is not None
            return scored
        with tempfile.TemporaryDirectory(prefix="perennial-scores-") as scratch:
            folder = fetch(self.store, self.spec.name, digest, Path(scratch) / "version")
            if not (folder / RECORD).exists():
                return "the version does not say which days its training did not see"
            inputs = [column["name"] for column in json.loads((folder / "signature.json").read_text())["inputs"]]
            if gone := [name for name in inputs if name not in {c.name for c in self.dataset.columns}]:
                return f"the version reads {', '.join(gone)}, which the dataset no longer has"
            rows = self._unseen_rows(version, json.loads((folder / RECORD).read_text()), inputs)
            scores = score(folder, {name: rows[name].to_numpy() for name in rows.columns}, threads=2)
        times = pa.array(rows[self.dataset.time_column].to_numpy().astype("datetime64[us]"))
        watched = pa.table({"event_time": times, **watched_scores(self.spec, scores)})
        layout = kept.keep_layout(layout or fit_layout(watched.drop_columns(["event_time"]), joint=()))
        scored = profile(watched, layout, day="event_time")
        kept.write(digest, scored)
        return scored

    def _unseen_rows(self, version: int, record: Mapping[str, Any], inputs: list[str]) -> pd.DataFrame:
        """Rows that a training did not see, as its record tells, thinned evenly."""
        cut, bounds = SplitSpec.model_validate(record.get("split", {})), record["bounds"]
        first = min(datetime.fromisoformat(bounds[part][0]) for part in ("validation", "test"))
        end = max(datetime.fromisoformat(bounds[part][1]) for part in ("validation", "test"))
        columns = dict.fromkeys((self.dataset.time_column, *inputs, *columns_of_split(cut, self.dataset)))
        rows = self.snapshot(version)[0].rows(list(columns), since=first, until=end)
        if cut.by != "time":
            rows = rows[part_of(rows, cut, self.dataset) != "train"]
        return rows.iloc[np.linspace(0, len(rows) - 1, min(len(rows), SCORED_ROWS)).astype(np.int64)]

    def _newest_rows(self, source: Snapshot, columns: list[str]) -> pa.Table:
        """The reference days of a snapshot."""
        since = datetime.combine(source.newest().date() + timedelta(days=1 - self.spec.monitoring.reference_days), time())
        return source.read(columns, pc.field(self.dataset.time_column) >= since)

    def _digest(self, version: int) -> str:
        try:
            return self.digests[version]
        except KeyError:
            raise ServiceUnreachable(
                f"Version {version} of {self.spec.name} answered predictions, but the ledger does not know it yet: "
                "look again once its release is recorded."
            ) from None
