"""Scores of batches beside the answers of a real server behind a real gateway: the same bits."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from perennial import discovery
from perennial.data.snapshots import table_of
from perennial.data.tables import Table
from perennial.lineage.ledger import Ledger
from perennial.specs import Column, DatasetSpec, ScoringSpec
from perennial.stages import score
from perennial.testing import small_rows

ROWS = 50
DATASET = DatasetSpec(
    name="flights", title="Flights", owner="tests", key=("flight",), event_time="scheduled_departure", time_zone="America/New_York",
    columns=(
        Column(name="flight", type="int"), Column(name="scheduled_departure", type="timestamp"),
        Column(name="carrier", type="string"), Column(name="origin", type="string"),
        Column(name="distance", type="int"), Column(name="temp", type="float", nullable=True),
    ),
)  # fmt: skip


def test_scores_are_the_answers_of_the_server(new_platform, monkeypatch):
    """SE-03: As many rows in a request as are scored together: equal bit for bit. In requests of one row: within the tolerance of the
    export."""
    platform = new_platform()
    model = platform.model
    monkeypatch.setattr(discovery, "dataset", lambda name: DATASET)
    digest = platform.version(1)
    platform.serve({1: 100}, {1: digest})
    Ledger(platform.store, model.name).append(
        "released", version=1, champion=1, weights={1: 10000}, versions={1: digest}, reason="r", actor="a", after_seq=None
    )
    begin = datetime(2013, 2, 1)
    rows = [
        row | {"flight": place, "scheduled_departure": begin + timedelta(minutes=20 * place)} for place, row in enumerate(small_rows(ROWS))
    ]
    kinds = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("us")}
    schema = pa.schema([(column.name, kinds[column.type]) for column in DATASET.columns])
    table_of(platform.store, DATASET).append(pa.Table.from_pylist(rows, schema), "1f" * 32)
    asked = [{name: row[name] for name in model.inputs} | {"scheduled_departure": row["scheduled_departure"].isoformat()} for row in rows]
    alone = [platform.answers([row])[0] for row in asked]

    for at_once in (1, 8):
        own = model.model_copy(update={"scoring": ScoringSpec(rows_at_once=at_once)})
        monkeypatch.setattr(discovery, "model", lambda name, own=own: own)
        result = score.run(platform.settings, platform.store, model.name)
        assert (result.rows, result.held_back) == (ROWS, 0)
        assert "in the serving environment" in result.sentence
        stored = Table(platform.store, result.table).scan().sort_by("key_flight").to_pylist()
        given = [[row["score_on_time"], row["score_late"]] for row in stored]
        assert given == [scores for place in range(0, ROWS, at_once) for scores in platform.answers(asked[place : place + at_once])]
        assert np.abs(np.array(given) - alone).max() <= 1e-4
