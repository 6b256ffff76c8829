"""What drift is measured against: the days of the champion's snapshot, profiled once and kept in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring.profile import CELLS, TAIL, DayProfile, Grid, fit_grids, profile_days
from perennial.specs import DatasetSpec, ModelSpec
from perennial.store import Store

if TYPE_CHECKING:
    import pyarrow as pa


class Reference(BaseModel):
    """Profiles of the reference days and the grids on which later days are counted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    grids: dict[str, Grid]
    days: list[DayProfile] = Field(description="In order.")


def watched(model: ModelSpec, dataset: DatasetSpec) -> tuple[list[str], dict[str, str]]:
    """Inputs whose distribution is watched, and why the others are not."""
    skipped = {}
    for name in model.inputs:
        if name == dataset.event_time:
            skipped[name] = "is the event time"
        elif dataset.column(name).type == "timestamp":
            skipped[name] = "is a time: it always moves on"
    return [name for name in model.inputs if name not in skipped], skipped


def reference(
    store: Store, model: ModelSpec, dataset: DatasetSpec, snapshot_digest: str, read: Callable[[list[str]], pa.Table]
) -> Reference:
    """The reference of a snapshot: from the store, or built and kept there.

    Args:
        store: keeps it as `reports/<model>/reference-<digest>.json`.
        model: `monitoring.reference_days` and `inputs` count.
        dataset: names the event time.
        snapshot_digest: identity of the champion's snapshot.
        read: gives the named columns of the snapshot's newest reference days.
    """
    columns, _ = watched(model, dataset)
    identity = json.dumps([snapshot_digest, columns, model.monitoring.reference_days, CELLS, TAIL])
    key = f"reports/{model.name}/reference-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"
    try:
        return Reference.model_validate_json(store.read(key))
    except KeyError:
        rows = read([dataset.event_time, *columns])
    grids = fit_grids(rows, columns)
    built = Reference(grids=grids, days=profile_days(rows, dataset.event_time, columns, grids))
    store.write(key, built.model_dump_json().encode())
    return built
