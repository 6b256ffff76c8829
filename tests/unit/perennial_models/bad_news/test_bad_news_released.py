"""bad_news from remarks to all traffic: the real stages, without servers."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

from perennial.data.tables import Table
from perennial.lineage.version_folder import fetch
from perennial.monitoring.rules import judge_rules
from perennial.serving.request import read_request
from perennial.serving.scorer import Scorer
from perennial.settings import Settings
from perennial.stages import evaluate, register, train
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, World
from perennial_datasets.remarks import FIRST, land
from perennial_models.bad_news.features import BAD
from perennial_models.bad_news.spec import MODEL


def days(first: int, last: int) -> pa.Table:
    """The remarks of some days, as ingestion would have them."""
    remarks = pa.concat_tables([table for _, table in land(*(date(2024, 1, 1) + timedelta(days=day - 1) for day in (first, last)))])
    return remarks.set_column(0, "written", remarks["written"].cast(pa.timestamp("us")))


@pytest.mark.slow
def test_texts_are_learnt_judged_and_released_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MO-25, MO-01, MN-17: Two versions, of 24 days and of 30, pass the gate and take over step by step; what serves tells good from bad,
    and its owner is told where bad news becomes more."""
    assert days(1, 1)["written"][0].as_py().date() == FIRST
    settings, store = Settings(home=tmp_path / "home", store=str(tmp_path / "store")), FolderStore(str(tmp_path / "store"))
    registry, threads = RegistryInMemory(), torch.get_num_threads()
    for stage in (train, register):
        monkeypatch.setattr(stage, "ModelRegistry", lambda settings: registry)
    table = Table(store, MODEL.dataset)
    spec = MODEL.model_copy(update={"release": MODEL.release.model_copy(update={"min_seconds": 0, "min_requests": 100})})
    world = World(tmp_path, spec=spec, settings=settings, store=store, registry=registry)
    weights = []
    try:
        for snapshot, (first, last) in enumerate(((1, 24), (25, 30)), 1):
            table.append(days(first, last), f"batch {snapshot}")
            trained = train.run(settings, store, model=MODEL.name, snapshot=snapshot)
            judged = evaluate.run(settings, store, MODEL.name, trained.digest, trained.run_id)
            assert judged.metrics["roc_auc"] > MODEL.gate.floors["roc_auc"], judged.metrics
            made = register.run(
                settings, store, model=MODEL.name, digest=trained.digest, run_id=trained.run_id, evaluation=judged.evaluation
            )
            ended = world.until_end(requests=5000)
            assert (ended.action, ended.version) == ("promoted", made.version), ended.sentence
            weights = [entry.weights.get(made.version) for entry in world.ledger.entries() if entry.versions.get(made.version)]
    finally:
        torch.set_num_threads(threads)
    assert weights == sorted(weights)
    assert sorted(set(weights)) == [0, *(100 * step for step in spec.release.steps)]
    world.agrees()

    scorer = Scorer(fetch(store, MODEL.name, trained.digest, tmp_path / "served"))
    assert scorer.replay() is None
    body = '{"data": {"rows": [{"remark": "this is a great phone, i love it !"}, {"remark": "it broke, a terrible waste of money ."}]}}'
    good, bad = scorer.score(read_request(body, scorer.signature).columns)[:, scorer.names.index("bad")]
    assert good < bad
    _tells_the_owner_of_more_bad_news(scorer)


def _tells_the_owner_of_more_bad_news(scorer: Scorer) -> None:
    """By what the released version answers: three days as they are keep the example's rule, the bad remarks of the same days break it."""
    remarks = days(28, 30)
    states = []
    for rows in (remarks, remarks.filter(pc.less_equal(remarks["rating"], BAD))):
        body = json.dumps({"data": {"rows": [{"remark": text} for text in rows["remark"].to_pylist()]}})
        scores = scorer.score(read_request(body, scorer.signature).columns)
        (found,) = judge_rules(MODEL, pa.table({"event_time": rows["written"], "scores": pa.array(scores.tolist())}))
        states.append((found.name, found.state))
    assert states == [("more bad news", "kept"), ("more bad news", "broken")]
