"""The stage evaluate after a split by groups or at random."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from perennial import discovery
from perennial.data.snapshots import snapshot_at
from perennial.data.splits import part_of
from perennial.data.tables import Table
from perennial.registry.promotion import excess
from perennial.specs import SplitSpec
from perennial.stages import evaluate as stage
from perennial.stages.evaluate import Sealed, describe, losses_table, measure
from perennial.stages.register import _losses
from perennial.stages.train import begin_manifest, fill_version_folder
from perennial.store import FolderStore
from perennial.training.checkpoints import Checkpoints


@pytest.mark.parametrize(
    ("cut", "drawn"),
    [({"by": "group", "group": ("tailnum",)}, "groups"), ({"by": "random"}, "rows")],
)
def test_only_rows_of_the_test_part_are_measured_and_drawn_as_they_were_split(
    tmp_path: Path,
    january: Callable[[int, int], pa.Table],
    monkeypatch: pytest.MonkeyPatch,
    cut: dict[str, object],
    drawn: str,
) -> None:
    """DM-12, MO-17: Training days and test days are the same days, and yet no training row is measured; the gate draws what the split
    kept together. A champion of the same split has seen none of these rows."""
    store, dataset = FolderStore(str(tmp_path / "store")), discovery.dataset("flights")
    Table(store, "flights").append(january(1, 6), "first")
    spec = discovery.model("flight_delays").model_copy(update={"split": SplitSpec(**cut)})
    source = snapshot_at(store, dataset, 1)
    fill_version_folder(tmp_path / "version", spec, dataset, source, checkpoints=Checkpoints(tmp_path / "run"), max_epochs=1)
    version = Sealed(begin_manifest(spec, source, 1, cause="data"), tmp_path / "version", 3)
    monkeypatch.setattr(stage, "resampled", lambda *_, **__: {"log_loss": [0.0, 1.0]})
    parts = {"test": measure(store, spec, dataset, version, version, version)}
    document = describe(spec, dataset, version, version, parts)
    rows = source.rows()
    known = rows[~np.isnan(discovery.model_part(spec.name, "features").label({n: rows[n].to_numpy() for n in rows}))]
    assert len(parts["test"].labels) == (part_of(known, spec.split, dataset) == "test").sum() == version.record["rows"]["test"]
    assert document["parts"]["test"]["drawn"] == drawn
    assert not document["champion_saw_test_days"]
    store.write("losses", losses_table(spec, dataset, parts))
    losses, _ = _losses(store, document | {"losses": "losses"}, spec)
    assert losses is not None
    planes = pd.Series(parts["test"].columns["tailnum"]).nunique(dropna=False)
    assert excess(losses, 0.0, 0.05, 200).drawn == (f"{planes} whole groups" if drawn == "groups" else "rows")
    assert pq.read_table(io.BytesIO(store.read("losses"))).num_rows == len(parts["test"].labels)
