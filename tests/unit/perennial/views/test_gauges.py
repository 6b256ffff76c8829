"""Figures of models, as Prometheus reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from perennial.incidents.incidents import Incidents
from perennial.store import FolderStore, Store
from perennial.testing import World
from perennial.views import models as list_of_models
from perennial.views.gauges import Gauge, of_models, text


def lines(store: Store) -> set[str]:
    """All samples."""
    return {line for line in text(of_models(store)).splitlines() if not line.startswith("#")}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A model whose second version is being released."""
    world = World(tmp_path, steps=(5, 100), min_requests=1000).with_champion()
    monkeypatch.setattr(list_of_models.discovery, "models", lambda: {world.spec.name: world.spec})
    world.backend.serve(2000)
    world.candidate()
    assert world.look().action == "started"
    world.look()
    return world


def test_a_release_under_way_is_in_figures(world: World) -> None:
    """MN-04, MN-15: Shares by role, and how far the evidence against the candidate has come."""
    world.backend.serve(2000, slow={2: 0.15})
    world.look()
    found = lines(world.store)
    assert 'perennial_version_share{model="small_delays",version="1",role="champion"} 0.95' in found
    assert 'perennial_version_share{model="small_delays",version="2",role="candidate"} 0.05' in found
    assert 'perennial_release_waits{model="small_delays"} 0' in found
    evidence = {
        line.partition('signal="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
        for line in found
        if line.startswith('perennial_release_evidence_ratio{model="small_delays",version="2"')
    }
    assert {"errors", "latency"} <= set(evidence)
    assert all(0 <= way <= 1 for way in evidence.values())


def test_open_incidents_are_counted_by_severity(world: World) -> None:
    """MN-04, MN-09: Those that are over count no more; one that cannot be read is one of its own."""
    incidents = Incidents(world.store, world.spec.name)
    incidents.open("drift", "temp", "warning", "It drifts.")
    incidents.open("drift", "dewp", "warning", "It drifts.")
    over = incidents.open("service", "gateway", "critical", "Silent.")
    incidents.resolve(over, "It answers.")
    assert {line for line in lines(world.store) if line.startswith("perennial_open")} == {
        'perennial_open_incidents{model="small_delays",kind="drift",severity="warning"} 2'
    }


def test_without_a_model_there_are_no_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-04: A new platform has figures without samples, and no error."""
    monkeypatch.setattr(list_of_models.discovery, "models", dict)
    assert lines(FolderStore(str(tmp_path))) == set()


def test_labels_are_quoted() -> None:
    """MN-04: Whatever a name holds, a line stays one line."""
    gauge = Gauge("g", "A gauge.", [({"a": 'quo"te\\ \n'}, 1.5), ({}, 1e15)])
    assert text([gauge]).splitlines()[2:] == ['g{a="quo\\"te\\\\ \\n"} 1.5', "g 1e+15"]


def test_a_registry_that_somebody_changed_is_a_figure(world: World) -> None:
    """MN-16: While the incident is open, not before and not after."""
    incidents = Incidents(world.store, world.spec.name)
    differs = 'perennial_registry_differs{model="small_delays"} '
    assert f"{differs}0" in lines(world.store)
    incidents.open("service", "gateway", "critical", "Silent.")
    assert f"{differs}0" in lines(world.store)
    found = incidents.open("service", "registry", "critical", "The alias champion is at version 7.")
    assert f"{differs}1" in lines(world.store)
    incidents.resolve(found, "The registry has what the ledger names.")
    assert f"{differs}0" in lines(world.store)
