"""An experiment from its start to its end, at the real gateway with real servers, read from their own log."""

from __future__ import annotations

from typing import Any

import pytest

from perennial import testing
from perennial.lineage.experiments import Plan, experiment_record
from perennial.serving.assignment import UNIT, arm_of
from perennial.stages import experiment as stage
from perennial.stages._experiment_plan import Wish
from perennial.stages.experiment import Experiment, metric_of

from .test_experiment_traffic import Caller

UNITS = [f"user-{number}" for number in range(240)]


def test_an_experiment_from_start_to_end(platform: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: started by the stage, shared out by the gateway, judged by what servers logged of each unit, ended by a person: the champion
    serves everything, and the other version's server goes."""
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: testing.small_dataset())
    world = testing.World(tmp_path, spec=platform.model, settings=platform.settings, store=platform.store, backend=platform.backend)
    world.candidate(platform.version())
    assert world.look().action == "promoted"
    world.registry.add(world.spec.name, platform.version(seed=1))

    def look(action: Any, plan: Plan | None = None) -> Any:
        release = world.release()
        experiment = Experiment(release.spec, release.settings, release.store, release.backend, release.registry)
        return experiment.look_at(Wish(action, plan, actor="ada"))

    plan = Plan(champion=1, tried=2, metric=metric_of(world.spec, "score"), unit="user_id", least=0.01)
    assert look("start", plan).action == "started"
    weights, salt = world.ledger.last().weights, world.ledger.last().salt  # type: ignore[union-attr]
    wanted = {unit: arm_of(unit, salt, weights, champion=1) for unit in UNITS}
    caller = Caller(platform)
    for _ in range(2):
        assert {unit: caller.ask(**{UNIT: unit}) for unit in UNITS} == {unit: (200, version) for unit, version in wanted.items()}
    assert [caller.ask() for _ in range(10)] == [(200, 1)] * 10

    def all_are_read() -> bool:
        look("look")
        record = experiment_record(platform.store, world.spec.name, world.ledger.last().seq - 1)  # type: ignore[union-attr]
        newest = record.looks[-1] if record else None
        return newest is not None and newest.champion_units + newest.tried_units == len(UNITS) and newest.without_unit == 10

    testing.wait_until(all_are_read, 60, "the servers' log")
    newest = experiment_record(platform.store, world.spec.name, world.ledger.last().seq - 1).looks[-1]  # type: ignore[union-attr]
    ours = sum(version == 2 for version in wanted.values())
    assert (newest.tried_units, newest.arrived, newest.crossed) == (ours, ((0.5, ours, len(UNITS)),), 0)
    assert newest.low is None, "every unit asked the same row: units of one version that are all alike tell nothing"
    assert look("stop").verdict == "stopped"
    assert {caller.ask(**{UNIT: unit}) for unit in UNITS[:20]} == {(200, 1)}
    caller.close()
    assert world.ledger.verify() == []
    assert platform.backend.route(platform.model).versions == (1,)
    platform.backend.reset(platform.model)
