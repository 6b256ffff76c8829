"""Nothing is decided on a registry that is not the one that the ledger tells of."""

import logging

import pytest

from perennial.commands import up
from perennial.errors import RegistryDiffers
from perennial.incidents.incidents import Incidents
from perennial.settings import Settings
from perennial.specs import ReleaseSpec
from perennial.stages import _agreement, recalibrate, register, rollback, train
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, small_dataset, small_model

SETTINGS = Settings.from_environment({})
MODEL = "small_delays"


@pytest.fixture
def world(tmp_path):
    """Two versions were released one after the other; the registry followed."""
    spec = small_model().model_copy(update={"release": ReleaseSpec(steps=(100,))})
    world = Release(spec, SETTINGS, FolderStore(str(tmp_path)), RehearsedBackend(), RegistryInMemory())
    for letter in "ab":
        world.registry.add(MODEL, letter * 64)
        assert world.look().action == "promoted"
    return world


def emptied(world):
    """The registry's database was lost, and a candidate was registered since: numbers begin anew."""
    world.registry = RegistryInMemory()
    world.registry.add(MODEL, "c" * 64)
    return world.registry


def test_a_registry_that_follows_is_believed(world):
    """SC-03: Also while it has not heard yet of a rollback: nobody moved its alias."""
    _agreement.require(world.store, world.registry, MODEL)
    world.registry.unreachable = True
    rollback.go_back(world, "wrong scores", "jo")
    world.registry.unreachable = False
    assert world.registry.version(MODEL, "champion").number == 2
    _agreement.require(world.store, world.registry, MODEL)
    assert _agreement.differences(world.registry, world.ledger) == []


def test_an_empty_registry_decides_nothing(world):
    """SC-03: Its first candidate is neither released nor made champion, and the sentence says what was lost and what to do."""
    registry = emptied(world)
    before = len(world.ledger.entries())
    for decided in (
        world.look,
        lambda: world.look(1),
        lambda: world.look(1, again=True, actor="jo"),
    ):
        with pytest.raises(
            RegistryDiffers, match=r"lacks version 2 of small_delays.*perennial registry rebuild --model small_delays.*PERENNIAL_STORE"
        ):
            decided()
    assert len(world.ledger.entries()) == before
    assert registry.version(MODEL, "champion") is None


def test_other_content_under_a_number_decides_nothing(world):
    """SC-03: Two platforms, or numbers that began anew and caught up."""
    registry = emptied(world)
    registry.add(MODEL, "d" * 64)
    with pytest.raises(
        RegistryDiffers, match=r"other content than the ledger under versions 1, 2 of small_delays \(cccccccccccc, not aaaaaaaaaaaa\)"
    ):
        _agreement.require(world.store, registry, MODEL)


def test_up_tells_of_a_registry_that_is_another(world, monkeypatch, capsys):
    """SC-03, MN-18: A second platform on the same store hears at its start that its registry is not that of the store; the platform is up
    all the same."""
    emptied(world)
    monkeypatch.setattr(_agreement, "ModelRegistry", lambda settings: world.registry)
    monkeypatch.setattr(_agreement.discovery, "models", lambda: {MODEL: world.spec})
    monkeypatch.setattr(up.stack, "start", lambda settings, store, say: None)
    monkeypatch.setattr(up.airflow_programs, "login", lambda settings: ("ada", "secret"))
    assert up.run(SETTINGS, world.store) == 0
    printed = capsys.readouterr().out
    assert "lacks version 2 of small_delays" in printed
    assert "correct PERENNIAL_MLFLOW_URL or PERENNIAL_STORE" in printed
    world.registry.unreachable = True
    assert up.run(SETTINGS, world.store) == 0
    assert "could not be looked up: MLflow does not answer." in capsys.readouterr().out


@pytest.mark.parametrize("stage", [register, recalibrate, train])
def test_no_stage_believes_it(world, stage, monkeypatch):
    """SC-03: Each looks before it uses a version of the registry."""
    seen = []

    def require(store, registry, model):
        seen.append(model)
        raise RegistryDiffers("It differs.")

    given = {
        register: {"digest": "c" * 64, "run_id": "r", "evaluation": "e"},
        train: {"snapshot": 1},
    }.get(stage, {})
    monkeypatch.setattr(_agreement, "require", require)
    monkeypatch.setattr(stage.discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    with pytest.raises(RegistryDiffers):
        stage.run(SETTINGS, world.store, model=MODEL, **given)
    assert seen == [MODEL]


def test_going_back_needs_no_registry(world):
    """SE-11: The ledger knows what served: traffic goes back, and the answer says that the registry was not told, and why."""
    emptied(world)
    result = rollback.go_back(world, "wrong scores", "jo")
    assert (result.action, result.champion) == ("rolled_back", 1)
    assert "The registry was not told: The registry at http://registry lacks version 2" in result.sentence
    assert world.registry.version(MODEL, "champion") is None


def test_an_alias_that_somebody_moved_is_told(world, caplog):
    """SC-01, SC-03: Candidates are not compared with it; the next end of a release puts it back and says so."""
    world.registry.add(MODEL, "c" * 64)
    world.registry.set_alias(MODEL, "champion", 3)
    with pytest.raises(
        RegistryDiffers,
        match=r"champion of small_delays is at version 3 .* by the ledger version 2 is the champion: somebody changed it by hand",
    ):
        world.look()
    world.registry.delete_alias(MODEL, "champion")
    with pytest.raises(RegistryDiffers, match="is gone in the registry"):
        _agreement.require(world.store, world.registry, MODEL)
    world.registry.set_alias(MODEL, "champion", 3)
    with caplog.at_level(logging.WARNING):
        rollback.go_back(world, "wrong scores", "jo")
    assert "is at version 3" in caplog.text
    assert world.registry.version(MODEL, "champion").number == 1


def test_a_ledger_that_lacks_what_the_registry_noted_is_told(world):
    """SC-03: A champion of the registry without any ledger is nobody's decision."""
    for entry in list(world.store.list("ledger")):
        world.store.delete(entry.key)
    with pytest.raises(RegistryDiffers, match="by the ledger no version is"):
        _agreement.require(world.store, world.registry, MODEL)


def test_people_are_told_once_and_when_it_is_over(world, monkeypatch):
    """MN-09: An incident, by the looks of monitoring; a registry that does not answer opens none."""
    whole, incidents = world.registry, Incidents(world.store, MODEL)
    shown = emptied(world)
    monkeypatch.setattr(_agreement, "ModelRegistry", lambda settings: shown)
    for _ in range(2):
        _agreement.watch(SETTINGS, world.store, MODEL)
    (incident,) = incidents.all()
    assert (incident.kind, incident.key, incident.severity) == ("service", "registry", "critical")
    shown.unreachable = True
    _agreement.watch(SETTINGS, world.store, MODEL)
    assert incidents.all()[0].is_open
    shown = whole
    _agreement.watch(SETTINGS, world.store, MODEL)
    assert not incidents.all()[0].is_open
