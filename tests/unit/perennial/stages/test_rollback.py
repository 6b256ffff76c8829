"""Going back moves traffic first, happens once per wish, and says when there is nothing to go back to."""

from datetime import datetime, timedelta, timezone

import pytest

from perennial.discovery import Broken
from perennial.errors import ReleaseRefused, ServiceUnreachable, UnknownName
from perennial.lineage.ledger import Ledger
from perennial.serving.route import Route
from perennial.settings import Settings
from perennial.specs import ReleaseSpec
from perennial.stages import release, rollback
from perennial.stages._routes import route_of
from perennial.stages.release import Release
from perennial.store import FolderStore
from perennial.testing import RegistryInMemory, RehearsedBackend, small_model

SETTINGS = Settings.from_environment({})


def new_world(folder):
    spec = small_model().model_copy(update={"release": ReleaseSpec(steps=(100,))})
    return Release(spec, SETTINGS, FolderStore(str(folder)), RehearsedBackend(), RegistryInMemory())


@pytest.fixture
def world(tmp_path):
    return new_world(tmp_path)


def released(world, *digests):
    for digest in digests:
        world.registry.add(world.name, digest * 64)
        assert world.look().action == "promoted"


def later(monkeypatch, seconds):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=seconds)

    monkeypatch.setattr(release, "datetime", Clock)


def test_the_last_good_version_serves_again(world):
    """SE-11: Champion out, last good in; both aliases follow; the one before it is the next to go back to."""
    released(world, "a", "b", "c")
    result = rollback.go_back(world, "wrong scores", "jo")
    assert (result.action, result.version, result.champion, result.weight) == ("rolled_back", 3, 2, 0)
    last = world.ledger.last()
    assert (last.kind, last.version, last.champion, last.good, last.actor) == ("rolled_back", 3, 2, (1,), "jo")
    assert world.backend.route(world.spec).weights == {2: 10_000, 1: 0}
    assert world.registry.version(world.name, "champion").number == 2
    assert world.registry.version(world.name, "last_good").number == 1
    assert world.registry.version(world.name, 3).tags["rolled_back"] == "wrong scores"


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ([Broken("model", "small_delays", "invalid syntax", "perennial_models/small_delays/spec.py, line 3")], "invalid syntax"),
        ([], "perennial_models/small_delays is gone"),
    ],
)
def test_a_model_whose_files_are_broken_or_gone_goes_back(world, monkeypatch, broken, said):
    """SE-11: The button works by the ledger: a typo in a spec keeps no bad version in place. The sentence says what is wrong with the
    files."""
    released(world, "a", "b")
    monkeypatch.setattr(rollback.discovery, "models", dict)
    monkeypatch.setattr(rollback.discovery, "broken", lambda: broken)
    monkeypatch.setattr(rollback, "open_backend", lambda settings: world.backend)
    monkeypatch.setattr(rollback, "ModelRegistry", lambda settings: world.registry)
    result = rollback.run(SETTINGS, world.store, model=world.name, reason="wrong scores", actor="jo")
    assert (result.action, result.version, result.champion) == ("rolled_back", 2, 1)
    assert "version 1 serves all traffic" in result.sentence
    assert "It went back without its spec." in result.sentence
    assert said in result.sentence
    assert world.backend.route(world.spec).weights == {1: 10_000}
    assert world.registry.version(world.name, "champion").number == 1
    with pytest.raises(UnknownName, match="There is no model 'nothing'"):
        rollback.run(SETTINGS, world.store, model="nothing")


def test_traffic_never_points_at_a_version_that_is_not_there(world):
    """SE-12, SE-11: Every route on the way gives all traffic to a version that ran before it got some, and what leaves is idle first."""
    released(world, "a", "b")
    begin = len(world.backend.history)
    before = world.backend.history[-1]
    rollback.go_back(world, "wrong scores", "jo")
    for route in world.backend.history[begin:]:
        assert all(version in before.versions for version, weight in route.weights.items() if weight)
        assert all(not before.weights.get(version) for version in before.versions if version not in route.versions)
        before = route


def test_a_second_wish_at_once_is_the_same_wish(world, monkeypatch):
    """DE-22, SE-11: A retried task goes back one version, not two; later it goes further."""
    released(world, "a", "b", "c")
    rollback.go_back(world, "wrong scores", "jo")
    world.backend.reset(world.spec)  # a kill between ledger and gateway
    again = rollback.go_back(world, "wrong scores", "jo")
    assert "already" in again.sentence
    assert world.backend.route(world.spec).weights == {2: 10_000, 1: 0}
    assert len([entry for entry in world.ledger.entries() if entry.kind == "rolled_back"]) == 1
    later(monkeypatch, rollback.REPEAT_SECONDS + 1)
    assert rollback.go_back(world, "still wrong", "jo").champion == 1
    later(monkeypatch, 2 * rollback.REPEAT_SECONDS)
    with pytest.raises(ReleaseRefused, match="nothing to go back to"):
        rollback.go_back(world, "still wrong", "jo")


def test_who_names_the_version_gets_that_one(world):
    """DE-22, SE-11: Also moments after another rollback; and asked for twice it goes back one version, not two."""
    released(world, "a", "b", "c")
    rollback.go_back(world, "wrong scores", "jo")
    result = rollback.go_back(world, "still wrong", "jo", 1)
    assert (result.action, result.version, result.champion) == ("rolled_back", 2, 1)
    assert world.backend.route(world.spec).weights == {1: 10_000}
    world.backend.reset(world.spec)  # a kill between ledger and gateway
    again = rollback.go_back(world, "still wrong", "jo", 1)
    assert "version 1 serves all traffic already" in again.sentence
    assert world.backend.route(world.spec).weights == {1: 10_000}
    assert len([entry for entry in world.ledger.entries() if entry.kind == "rolled_back"]) == 2


def test_what_has_changed_since_the_version_was_named_is_not_undone(world):
    """SE-11: The button that was pressed said another version: nothing moves, and the sentence says to which it goes by now."""
    released(world, "a", "b", "c")
    with pytest.raises(ReleaseRefused, match="goes back to version 2 by now, not to version 1"):
        rollback.go_back(world, "wrong scores", "jo", 1)
    assert world.backend.route(world.spec).weights[3] == 10_000


def test_a_wish_that_was_killed_before_its_traffic_moved_is_completed(world, monkeypatch):
    """DE-22, SE-11: However late it is repeated, it goes back one version, not two."""
    released(world, "a", "b", "c")
    before = world.backend.route(world.spec)
    rollback.go_back(world, "wrong scores", "jo")
    world.backend.apply(world.spec, before)
    later(monkeypatch, rollback.REPEAT_SECONDS + 1)
    assert rollback.go_back(world, "wrong scores", "jo").champion == 2
    assert world.backend.route(world.spec).weights == {2: 10_000, 1: 0}


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("runs", [True, False])
def test_a_rollback_may_be_killed_anywhere(tmp_path, monkeypatch, runs):
    """DE-22, SE-11: Before or after every effect on ledger, gateway and registry, last good version running or not.

    The repeated wish goes back one version, once.
    """
    calls = 0

    def deadly(function, at):
        def wrapped(*arguments, **named):
            nonlocal calls
            calls += 2
            if calls - 1 == at:
                raise Killed
            found = function(*arguments, **named)
            if calls == at:
                raise Killed
            return found

        return wrapped

    def play(at):
        nonlocal calls
        world = new_world(tmp_path / str(at))
        released(world, "a", "b", "c")
        if not runs:
            world.backend.apply(world.spec, Route({3: 10_000}, None, {3: "c" * 64}, 3))
        calls = 0
        for owner, names in (
            (world.ledger._store, ("put_if_absent",)),
            (world.backend, ("apply",)),
            (world.registry, ("set_alias", "delete_alias", "tag_version", "note_followed")),
        ):
            for name in names:
                monkeypatch.setattr(owner, name, deadly(getattr(owner, name), at))
        try:
            rollback.go_back(world, "wrong scores", "jo")
        except Killed:
            rollback.go_back(world, "wrong scores", "jo")
        assert [entry.kind for entry in world.ledger.entries()].count("rolled_back") == 1
        assert world.backend.route(world.spec) == route_of(world.ledger.last())
        assert world.registry.version(world.name, "champion").number == world.ledger.last().champion == 2
        assert world.registry.version(world.name, 3).tags["ledger"] == world.ledger.last().note
        return calls

    total = play(0)
    assert total > 10
    for at in range(1, total + 1):
        play(at)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("error", [ReleaseRefused("Golden row 3 differs."), ServiceUnreachable("Not ready after 60 s.")])
def test_a_last_good_version_that_does_not_come_up_changes_no_entry(world, error, runs):
    """SC-03, SE-11: The ledger says what holds: the champion keeps its traffic.

    The sentence says how to go further back; a repeated wish finds the version well again.
    """
    released(world, "a", "b", "c")
    if not runs:
        world.backend.apply(world.spec, Route({3: 10_000}, None, {3: "c" * 64}, 3))
    before, history = world.ledger.entries(), len(world.backend.history)
    world.backend.refusals[2] = error
    with pytest.raises(type(error), match=f"cannot go back to version 2, so version 3 keeps the traffic: {error} .*--version 1 --again"):
        rollback.go_back(world, "wrong scores", "jo")
    assert world.ledger.entries() == before
    assert all(route.weights[3] == 10_000 for route in world.backend.history[history:])
    world.backend.refusals.clear()
    assert rollback.go_back(world, "wrong scores", "jo").champion == 2
    assert world.backend.route(world.spec) == route_of(world.ledger.last())


def test_a_last_good_version_that_goes_after_the_entry_is_corrected(world, monkeypatch, goes_after):
    """SC-03, SE-11: The traffic could not move, so the next entry says that the champion keeps it; the same wish still goes back one
    version."""
    released(world, "a", "b", "c")
    goes_after(world, "rolled_back", 2)
    with pytest.raises(ServiceUnreachable, match="version 3 keeps the traffic"):
        rollback.go_back(world, "wrong scores", "jo")
    monkeypatch.undo()
    last = world.ledger.last()
    assert (last.kind, last.version, last.champion, last.good, last.actor) == ("promoted", 3, 3, (2, 1), "perennial")
    assert "Version 2 could not take the traffic, so version 3 keeps it" in last.reason
    assert world.backend.route(world.spec).weights[3] == 10_000
    world.backend.refusals.clear()
    assert rollback.go_back(world, "wrong scores", "jo").champion == 2
    assert world.ledger.verify() == []


def test_a_wish_that_undoes_a_faster_one_leaves_no_untrue_entry(world, monkeypatch):
    """SC-03, SE-11: Two wishes at once, and the last good version goes between them.

    What the slower one applied and what the ledger says are the same in the end.
    """
    released(world, "a", "b", "c")
    world.backend.apply(world.spec, Route({3: 10_000}, None, {3: "c" * 64}, 3))
    apply, others = world.backend.apply, []

    def apply_late(model, route):
        if not others:
            others.append(None)
            other = Release(world.spec, SETTINGS, world.store, world.backend, world.registry)
            others[0] = rollback.go_back(other, "wrong scores", "sam")
            world.backend.refusals[2] = ServiceUnreachable("Not ready after 60 s.")
        apply(model, route)

    monkeypatch.setattr(world.backend, "apply", apply_late)
    with pytest.raises(ServiceUnreachable, match="version 3 keeps the traffic"):
        rollback.go_back(world, "wrong scores", "jo")
    assert others[0].champion == 2
    assert world.backend.route(world.spec).weights[3] == 10_000
    assert world.ledger.last().champion == 3


def test_a_wish_that_was_overtaken_leaves_the_aliases_of_the_newest_entry(world, monkeypatch):
    """SE-11: it gives roles that hold no more: the registry must not look as if somebody had moved them by hand, or no look goes on."""
    monkeypatch.setattr(rollback, "REPEAT_SECONDS", 0)
    released(world, "a", "b", "c")
    set_alias, others = world.registry.set_alias, []

    def set_late(*arguments):
        if not others:
            others.append(None)
            others[0] = rollback.go_back(Release(world.spec, SETTINGS, world.store, world.backend, world.registry), "worse", "sam")
        set_alias(*arguments)

    monkeypatch.setattr(world.registry, "set_alias", set_late)
    assert rollback.go_back(world, "wrong scores", "jo").champion == 2
    assert others[0].champion == 1
    assert world.registry.version(world.name, "champion").number == world.ledger.last().champion == 1
    assert world.registry.version(world.name, "last_good") is None
    assert world.look().outcome == "skipped"


def test_a_sick_candidate_delays_nothing(world):
    """SE-11: A release is ended without waiting for anything: not for the candidate, not for a version that need not rise."""
    released(world, "a")
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec()})
    world.registry.add(world.name, "b" * 64)
    assert world.look().action == "started"
    world.backend.refusals = dict.fromkeys((1, 2), ServiceUnreachable("Not ready after 60 s."))
    assert rollback.go_back(world, "looks wrong", "jo").champion == 1
    assert world.backend.route(world.spec).weights == {1: 10_000}


def test_a_running_release_is_what_goes(world):
    """SE-11: The champion gets all traffic; the candidate, not the champion, is rolled back."""
    released(world, "a", "b")
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec()})
    world.registry.add(world.name, "c" * 64)
    assert world.look().action == "started"
    result = rollback.go_back(world, "looks wrong", "jo")
    assert (result.version, result.champion) == (3, 2)
    assert world.backend.route(world.spec) == route_of(world.ledger.last())
    assert world.look(3).action == "rolled_back"


def test_a_look_that_was_faster_does_not_stop_it(world, monkeypatch):
    """SE-11: The candidate was promoted while the button was pressed: it goes all the same."""
    released(world, "a")
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec()})
    world.registry.add(world.name, "b" * 64)
    assert world.look().action == "started"
    append, others = world.ledger.append, []

    def late(*arguments, **named):
        if not others:
            others.append(Release(world.spec, SETTINGS, world.store, world.backend, world.registry).look(2, "promote", "sam"))
        return append(*arguments, **named)

    monkeypatch.setattr(world.ledger, "append", late)
    assert rollback.go_back(world, "wrong scores", "jo").champion == 1
    assert others[0].action == "promoted"
    assert world.backend.route(world.spec).weights == {1: 10_000}


@pytest.mark.parametrize("digests", ["", "a"])
def test_nothing_to_go_back_to_is_said(world, digests):
    """SE-11: Before the first version, and with only one."""
    released(world, *digests)
    with pytest.raises(ReleaseRefused, match="nothing to go back to"):
        rollback.go_back(world, "wrong", "jo")


def test_a_registry_that_is_down_delays_nothing(world):
    """OP-08, SE-11: Traffic moves; the sentence says that the aliases follow, and the next look of the release does it."""
    released(world, "a", "b")
    world.registry.unreachable = True
    result = rollback.go_back(world, "wrong", "jo")
    assert "The registry was not told" in result.sentence
    assert world.backend.route(world.spec).weights[1] == 10_000
    world.registry.unreachable = False
    world.look()
    assert world.registry.version(world.name, "champion").number == 1


def test_run_finds_model_backend_and_registry(world, monkeypatch):
    """SE-11: The stage as the command line calls it."""
    released(world, "a", "b")
    monkeypatch.setattr(rollback.discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(rollback, "open_backend", lambda settings: world.backend)
    monkeypatch.setattr(rollback, "ModelRegistry", lambda settings: world.registry)
    result = rollback.run(SETTINGS, world.store, model=world.name)
    assert result.champion == 1
    assert Ledger(world.store, world.name).last().time <= datetime.now(timezone.utc)
