"""`perennial retire` takes a model down for good, whatever became of its folder; what it did is still answered for."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from perennial import cli, discovery
from perennial.commands import retire
from perennial.errors import ReleaseRefused, ServiceUnreachable, TrainingRefused, UnknownName
from perennial.incidents.incidents import Incidents
from perennial.lineage.ledger import Ledger
from perennial.settings import Settings
from perennial.specs import ReleaseSpec
from perennial.stages import monitor, rollback, validate
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, small_model

SETTINGS = Settings.from_environment({})


@pytest.fixture
def world(tmp_path):
    """A model whose second version serves."""
    spec = small_model().model_copy(update={"release": ReleaseSpec(steps=(100,))})
    world = Release(spec, SETTINGS, FolderStore(str(tmp_path)), RehearsedBackend(), RegistryInMemory())
    for digest in ("a", "b"):
        world.registry.add(world.name, digest * 64)
        assert world.look().action == "promoted"
    return world


@pytest.fixture
def no_folder(world, monkeypatch):
    """The command finds no folder of that name, and the servers of the test."""
    monkeypatch.setattr(retire, "open_backend", lambda settings: world.backend)
    monkeypatch.setattr(retire, "ModelRegistry", lambda settings: world.registry)
    assert world.name not in discovery.models()


def test_nothing_serves_and_the_ledger_says_who_and_why(world):
    """SC-09, SC-03: Servers stop, the roles in the registry are free, open incidents end; the chain is whole, and both versions stay
    registered."""
    incidents = Incidents(world.store, world.name)
    incidents.open("drift", "carrier", "warning", "`carrier` drifted.")
    said = retire.take_down(world, "replaced by fares", "jo")
    assert "was retired on" in said
    assert "by jo (replaced by fares)" in said
    last = world.ledger.last()
    assert (last.kind, last.version, last.champion, last.good, last.weights, last.reason) == (
        "retired",
        2,
        None,
        (),
        {},
        "replaced by fares",
    )
    assert world.backend.route(world.spec) is None
    assert [world.registry.version(world.name, alias) for alias in ("champion", "last_good", "candidate")] == [None] * 3
    assert [v.number for v in world.registry.versions(world.name)] == [1, 2]
    assert world.ledger.verify({2: world.registry.version(world.name, 2).tags["ledger"]}) == []
    assert not last.serves
    assert incidents.open_ones() == []


def test_a_release_under_way_ends_with_it(world):
    """SC-09: Its candidate is not what remains."""
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec(steps=(5, 100))})
    world.registry.add(world.name, "c" * 64)
    assert world.look().action == "started"
    retire.take_down(world, "r", "jo")
    assert (world.ledger.last().version, world.ledger.last().candidate) == (2, None)
    assert world.backend.route(world.spec) is None


def test_a_second_wish_changes_nothing(world):
    """SC-09, DE-22: And completes one that was killed before its servers stopped."""
    before = world.backend.route(world.spec)
    retire.take_down(world, "r", "jo")
    world.backend.apply(world.spec, before)
    assert retire.take_down(world, "again", "eve").startswith("Nothing changed: small_delays was retired on ")
    assert [entry.kind for entry in world.ledger.entries()].count("retired") == 1
    assert world.backend.route(world.spec) is None


def test_nothing_happens_by_itself_until_a_person_releases_again(world):
    """SC-09: A candidate waits, going back is refused, both with the command that serves it again; that begins anew, and the ledger says
    so."""
    retire.take_down(world, "replaced", "jo")
    world.registry.add(world.name, "c" * 64)
    for result in (world.look(), world.look(version=3), world.look(version=3, again=True), world.look(version=3, actor="eve")):
        assert result.outcome == "skipped"
        assert "retired on" in result.sentence
        assert "`perennial release --model small_delays --version 2 --again --actor YOU`" in result.sentence
    with pytest.raises(ReleaseRefused, match=r"nothing to go back to: small_delays was retired on .* by jo"):
        rollback.go_back(world, "r", "eve")
    assert world.backend.route(world.spec) is None
    assert world.look(version=2, actor="eve", again=True).action == "promoted"
    started, released = world.ledger.entries()[-2:]
    assert (started.kind, started.actor) == ("started", "eve")
    assert "after it was retired" in started.reason
    assert (released.kind, released.champion, released.good) == ("released", 2, ())
    assert world.backend.route(world.spec).weights == {2: 10_000}
    assert world.ledger.retirement() is None
    assert world.look(version=3, again=True, actor="eve").champion == 3


def test_a_no_to_a_waiting_version_leaves_it_retired(world):
    """SC-09: A rejection moves nothing."""
    retire.take_down(world, "r", "jo")
    world.registry.add(world.name, "c" * 64)
    assert world.look(version=3, decision="roll_back", actor="eve").action == "rejected"
    assert world.ledger.retirement() is not None
    assert world.look().outcome == "skipped"


def test_the_night_trains_nothing(world, monkeypatch):
    """SC-09: The model's schedule does nothing; a person who asks is not held up by it."""
    monkeypatch.setattr(discovery, "model", lambda name: world.spec)
    retire.take_down(world, "replaced", "jo")
    result = validate.run(SETTINGS, world.store, world.name)
    assert (result.outcome, result.sentence[:30]) == ("skipped", "Nothing is trained by itself: ")
    with pytest.raises(TrainingRefused, match="no snapshot yet"):
        validate.run(SETTINGS, world.store, world.name, cause="manual")


def test_nothing_is_watched_by_itself(world, monkeypatch):
    """SC-09: The scheduled look opens no incident of what nobody calls; one over a window that a person names goes on."""
    monkeypatch.setattr(discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(monitor._agreement, "watch", lambda *given: None)
    retire.take_down(world, "replaced", "jo")
    assert monitor.run(SETTINGS, world.store, world.name).sentence.startswith("Nothing is watched: small_delays was retired on ")
    begin = datetime(2013, 1, 1, tzinfo=timezone.utc)
    assert "no predictions yet" in monitor.run(SETTINGS, world.store, world.name, begin).sentence


def test_servers_that_do_not_answer_leave_the_wish_in_the_ledger(world, monkeypatch):
    """SC-09: It is a fault that names them; the model stays retired, and the next try stops the servers."""

    def deaf(model):
        raise ServiceUnreachable("The gateway does not answer.")

    with monkeypatch.context() as patched:
        patched.setattr(world.backend, "reset", deaf)
        with pytest.raises(ServiceUnreachable):
            retire.take_down(world, "r", "jo")
    assert world.ledger.last().kind == "retired"
    retire.take_down(world, "r", "jo")
    assert world.backend.route(world.spec) is None


def test_a_registry_that_is_down_delays_nothing(world):
    """SC-09, OP-08: As with a rollback: first the traffic."""
    world.registry.unreachable = True
    assert "The registry was not told: MLflow does not answer." in retire.take_down(world, "r", "jo")
    assert world.backend.route(world.spec) is None


def test_a_model_whose_folder_is_gone_is_retired_by_its_name(world, no_folder, monkeypatch, capsys):
    """SC-09: The ledger knows it; afterwards served-at and ledger answer still. Who never served, or is nobody, is told so."""
    monkeypatch.setenv("PERENNIAL_STORE", str(world.store.path))
    assert cli.main(["retire", world.name, "--reason", "renamed"]) == 0
    assert world.backend.route(world.spec) is None
    assert Ledger(world.store, world.name).last().actor
    assert cli.main(["served-at", "2030-01-01", "--model", world.name]) == 0
    assert "nothing served at 2030-01-01 00:00:00 UTC: renamed" in capsys.readouterr().out
    with pytest.raises(ReleaseRefused, match="digits has never served"):
        retire.run(SETTINGS, world.store, model="digits")
    with pytest.raises(UnknownName, match="no model 'nobody'"):
        retire.run(SETTINGS, world.store, model="nobody")
