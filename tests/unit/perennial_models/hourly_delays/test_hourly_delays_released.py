"""hourly_delays from flights to all traffic and to scores in batches: the real stages, without servers."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest

from perennial.data.tables import Table
from perennial.lineage.version_folder import fetch
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import evaluate, register, score, train
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, World
from perennial_datasets.airport_hours import land
from perennial_models.hourly_delays.spec import MODEL


@pytest.mark.slow
def test_hours_are_learnt_judged_released_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-25, MO-01, SE-03: Two versions of trees, of ten weeks and of twelve, pass the gate, forecast better than the mean of all hours
    does, and take over step by step; what scores in batches gives the answers of the server bit for bit."""
    settings, store = Settings(home=tmp_path / "home", store=str(tmp_path / "store")), FolderStore(str(tmp_path / "store"))
    registry = RegistryInMemory()
    for stage in (train, register):
        monkeypatch.setattr(stage, "ModelRegistry", lambda settings: registry)
    monkeypatch.setattr(train, "facts_of", lambda *_: None)
    days = [rows for _, rows in land(date(2013, 2, 1), date(2013, 4, 25))]
    table = Table(store, MODEL.dataset)
    spec = MODEL.model_copy(update={"release": MODEL.release.model_copy(update={"min_seconds": 0, "min_requests": 100})})
    world = World(tmp_path, spec=spec, settings=settings, store=store, registry=registry)
    for snapshot, part in enumerate((days[:70], days[70:]), 1):
        rows = pa.concat_tables(part)
        table.append(rows.set_column(0, "begins", rows["begins"].cast(pa.timestamp("us"))), f"batch {snapshot}")
        trained = train.run(settings, store, model=MODEL.name, snapshot=snapshot)
        judged = evaluate.run(settings, store, MODEL.name, trained.digest, trained.run_id)
        delays = [rows["delay"].to_numpy(zero_copy_only=False) for rows in days[: 70 * snapshot]]
        earlier, tested = np.concatenate(delays[:-14]), np.concatenate(delays[-14:])
        simplest = float(np.sqrt(np.nanmean((tested - np.nanmean(earlier)) ** 2)))
        assert judged.metrics["rmse"] < 0.9 * simplest, (judged.metrics, simplest)
        made = register.run(settings, store, model=MODEL.name, digest=trained.digest, run_id=trained.run_id, evaluation=judged.evaluation)
        ended = world.until_end(requests=5000)
        assert (ended.action, ended.version) == ("promoted", made.version), ended.sentence
    world.agrees()

    result = score.run(settings, store, MODEL.name, first=date(2013, 4, 25), last=date(2013, 4, 25))
    assert (result.rows, result.held_back) == (days[-1].num_rows, 0)
    scorer = Scorer(fetch(store, MODEL.name, trained.digest, tmp_path / "served"))
    assert scorer.replay() is None
    asked = [{name: row[name] for name in MODEL.inputs} | {"begins": row["begins"].isoformat()} for row in days[-1].to_pylist()]
    answers = scorer.score(read_request(orjson.dumps({"data": {"rows": asked}}), scorer.signature).columns)
    stored = Table(store, result.table).scan().to_pylist()
    by_key = {(row["key_origin"], row["key_begins"]): row[f"score_{scorer.names[0]}"] for row in stored}
    assert [by_key[row["origin"], row["begins"]] for row in days[-1].to_pylist()] == answers[:, 0].tolist()
