"""A look may be killed between any two steps of its plan: the next one ends where an undisturbed one ends."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from perennial.commands import retire
from perennial.errors import PerennialError, ReleaseRefused, ServiceUnreachable
from perennial.lineage.ledger import AGAINST
from perennial.specs import ReleaseSpec
from perennial.stages import rollback
from perennial.stages._release_evaluator import Evaluator
from perennial.stages._routes import route_of
from perennial.stages.release import PERENNIAL
from perennial.testing import World


class Killed(BaseException):
    """The process is gone."""


def state(world):
    """Ledger, route, aliases and tags, without what tells the time."""
    entries = [
        (e.seq, e.kind, e.version, e.champion, e.good, e.weights, e.shadow, e.versions, e.actor, e.reason) for e in world.ledger.entries()
    ]
    versions = [(v.number, v.aliases, sorted(v.tags)) for v in world.registry.versions(world.spec.name)]
    return entries, world.backend.route(world.spec), versions


def first(world):
    """The first version of all."""
    world.candidate()
    return lambda: world.release().look()


def start(world):
    """A candidate beside a champion."""
    world.released(2).candidate()
    return lambda: world.release().look()


def start_unready(world):
    """A candidate that fails its golden rows."""
    world.released(1)
    world.backend.refusals[world.candidate()] = ReleaseRefused("Golden row 3 differs.")
    return lambda: world.release().look()


def advance(world):
    """A candidate of which nothing bad was seen."""
    start(world)()
    world.backend.serve(3000)
    return lambda: world.release().look()


def ask(world):
    """A candidate of which too little is known for too long."""
    start(world)()
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec(max_seconds=1e-6)})
    return lambda: world.release().look()


def promote(world):
    """A candidate that has passed every step."""
    start(world)()
    for _ in range(2):
        world.backend.serve(5000)
        assert world.release().look().action == "advance"
    world.backend.serve(5000)
    return lambda: world.release().look()


def promote_by_a_person(world):
    """Somebody says yes before the evidence does."""
    start(world)()
    return lambda: world.release().look(3, "promote", "jo")


def roll_back(world):
    """A candidate that fails its requests."""
    start(world)()
    world.backend.serve(3000, errors={3: 0.4})
    return lambda: world.release().look()


def roll_back_by_a_person(world):
    """Somebody says no to a release under way."""
    start(world)()
    return lambda: world.release().look(3, "roll_back", "jo")


def reject(world):
    """Somebody says no to a version that waits."""
    world.released(2).candidate()
    return lambda: world.release().look(3, "roll_back", "jo")


def correct(world):
    """The server of a new champion goes between its entry and its traffic."""
    world.released(2).candidate()
    world.spec = world.spec.model_copy(update={"release": ReleaseSpec(steps=(100,))})
    put = world.store.put_if_absent

    def put_then_gone(key, data):
        won = put(key, data)
        if b'"kind":"promoted"' in data:
            world.backend.refusals[3] = ServiceUnreachable("Not ready after 60 s.")
        return won

    world.store.put_if_absent = put_then_gone
    return lambda: world.release().look()


def go_back(world):
    """The button, while no release is under way."""
    world.released(3)
    return lambda: rollback.go_back(world.release(), "wrong scores", "jo")


def end_a_release(world):
    """The button, while one is."""
    start(world)()
    return lambda: rollback.go_back(world.release(), "wrong scores", "jo")


def take_down(world):
    """The model is retired."""
    world.released(2)
    return lambda: retire.take_down(world.release(), "replaced", "jo")


KINDS = [
    (first, ["started", "released"]),
    (start, ["started", "weights"]),
    (start_unready, ["started", "rolled_back"]),
    (advance, ["weights"]),
    (ask, ["paused"]),
    (promote, ["promoted"]),
    (promote_by_a_person, ["promoted"]),
    (roll_back, ["rolled_back"]),
    (roll_back_by_a_person, ["rolled_back"]),
    (reject, ["rejected"]),
    (correct, ["promoted", "rolled_back"]),
    (go_back, ["rolled_back"]),
    (end_a_release, ["rolled_back"]),
    (take_down, ["retired"]),
]


@pytest.mark.parametrize(("kind", "written"), KINDS, ids=[kind.__name__ for kind, _ in KINDS])
def test_a_look_that_was_killed_between_two_steps_is_completed_by_the_next(tmp_path, monkeypatch, kind, written):
    """SE-10: before the first step, between any two, before the answer: the same ledger, route and aliases as where nothing was killed."""
    begun = []  # the steps of a look, the answer included

    def counted(carried_out):
        def until_killed(self, step):
            if len(begun) == deadly:
                raise Killed
            begun.append(type(step).__name__)
            return carried_out(self, step)

        return until_killed

    for name in ("do", "_told"):
        monkeypatch.setattr(Evaluator, name, counted(getattr(Evaluator, name)))

    def play(folder, at):
        """A world in which such a look began with `at` steps and was then killed; as it is after the next look."""
        nonlocal deadly
        deadly, world = None, World(folder)
        look = kind(world)
        deadly = at
        begun.clear()
        if at is not None:
            with pytest.raises(Killed):
                look()
            deadly = None
        look()
        assert world.ledger.verify() == []
        return state(world)

    deadly = None
    undisturbed = play(tmp_path / "undisturbed", None)
    steps = list(begun)
    assert [entry[1] for entry in undisturbed[0]][-len(written) :] == written
    assert len(steps) >= 4
    for at in range(len(steps)):
        assert play(tmp_path / str(at), at) == undisturbed, f"killed before {steps[at]}, step {at} of {steps}"


DECISIONS = ("promote", "roll_back")
EFFECTS = {
    "store": ("put_if_absent", "write"),
    "backend": ("apply", "reset"),
    "registry": ("set_alias", "delete_alias", "tag_version", "note_followed"),
}
WHOLE = 10_000


@dataclass(frozen=True)
class Meanwhile:
    """What happens while somebody acts."""

    event: str = ""  # the process is killed; servers go; or another writer comes: a rollback, a look, or a decision
    moment: int = 0  # when: so many moments before or after an effect have passed
    sick: str = ""  # whose server does not come up
    error: type[PerennialError] = ReleaseRefused  # and how
    registry_is_away: bool = False


MEANWHILE = st.builds(
    Meanwhile,
    st.sampled_from(("", "kill", "kill", "rollback", "look", "promote", "roll_back", "servers go")),
    st.integers(0, 20),
    st.sampled_from(("", "", "", "candidate", "champion", "last_good")),
    st.sampled_from((ReleaseRefused, ServiceUnreachable)),
    st.sampled_from((False, False, False, True)),
)


class Releases(RuleBasedStateMachine):
    """Looks, decisions and buttons while servers fail and the registry is away, killed or overtaken around any single effect."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="perennial-releases-")
        self.world = World(Path(self.folder.name), steps=(5, 50, 100)).released(2)
        self.moments_left: int | None = None
        self.event = ""  # once no moments are left
        for owner, names in EFFECTS.items():
            for name in names:
                self.watch_effect(getattr(self.world, owner), name)

    def watch_effect(self, owner: Any, name: str) -> None:
        """The event may come before it and after it."""
        effect = getattr(owner, name)

        def watched(*arguments: Any, **named: Any) -> Any:
            self.pass_moment()
            done = effect(*arguments, **named)
            self.pass_moment()
            return done

        setattr(owner, name, watched)

    def pass_moment(self) -> None:
        """One moment before or after an effect."""
        if self.moments_left is None:
            return
        self.moments_left -= 1
        if self.moments_left >= 0:
            return
        self.moments_left = None
        if self.event == "kill":
            raise Killed
        if self.event == "servers go":
            idle = [version for version, weight in self.world.backend.route(self.world.spec).weights.items() if not weight]
            self.world.backend.refusals = {version: ServiceUnreachable("It is gone.") for version in idle}
            return
        try:
            if self.event == "rollback":
                rollback.go_back(self.world.release(), "wrong scores", "ann")
            elif self.event == "look":
                self.world.release().look()
            else:
                self.world.release().look(None, self.event, "ann")
        except PerennialError:  # the other one is refused: that is theirs
            pass

    @rule(
        waits=st.sampled_from((None, None, 0, 1, 2)),
        traffic=st.sampled_from(("good", "good", "bad", "")),
        decision=st.sampled_from((None,) * 6 + DECISIONS),
        meanwhile=MEANWHILE,
    )
    def look(self, waits: int | None, traffic: str, decision: str | None, meanwhile: Meanwhile) -> None:
        """Some candidate waits, new or so many before the newest; callers come, and the scheduler looks, or a person decides."""
        last, registry, name = self.world.ledger.last(), self.world.registry, self.world.spec.name
        if waits is not None:  # it may have been turned down: its training ran once more
            registry.set_alias(name, "candidate", max(1, len(registry.versions(name)) - waits))
        elif last.candidate is None and registry.version(name, "candidate") is None:
            self.world.candidate()
        if traffic:
            failing = {version: 0.5 for version in last.versions if version != last.champion} if traffic == "bad" else {}
            self.world.backend.serve(4000, errors=failing)
        actor = PERENNIAL if decision is None else "jo"
        self.undertake(lambda: self.world.release().look(None, decision, actor), meanwhile, ends=decision is None)

    @rule(meanwhile=MEANWHILE)
    def go_back(self, meanwhile: Meanwhile) -> None:
        """The button."""
        self.undertake(lambda: rollback.go_back(self.world.release(), "wrong scores", "jo"), meanwhile, ends=True)

    @rule(back=st.integers(0, 2), meanwhile=MEANWHILE)
    def release_again(self, back: int, meanwhile: Meanwhile) -> None:
        """A person releases what was rolled back, or was champion before."""
        number = max(1, len(self.world.registry.versions(self.world.spec.name)) - back)
        self.undertake(lambda: self.world.release().look(number, None, "jo", again=True), meanwhile, ends=True)

    def undertake(self, action: Callable[[], Any], meanwhile: Meanwhile, *, ends: bool) -> None:
        """Do it; where it ends with an answer, gateway and registry do what the ledger says."""
        world, last = self.world, self.world.ledger.last()
        world.registry.unreachable = meanwhile.registry_is_away
        sick = {"candidate": last.candidate, "champion": last.champion, "last_good": last.last_good}.get(meanwhile.sick)
        if meanwhile.sick == "candidate" and sick is None:
            sick = len(world.registry._versions)
        world.backend.refusals = {sick: meanwhile.error("It is not ready.")} if sick else {}
        self.event, self.moments_left = meanwhile.event, meanwhile.moment if meanwhile.event else None
        had_none = sick and not world.backend.route(world.spec).weights.get(sick)
        ended = False
        try:
            action()
            ended = ends
        except (PerennialError, Killed):  # it was refused, it broke, or it was killed: the next one completes it
            pass
        self.moments_left = None
        world.backend.refusals, world.registry.unreachable = {}, False
        self.ledger_is_sound()
        if had_none and meanwhile.event != "servers go":
            assert not world.backend.route(world.spec).weights.get(sick), "a version that is not ready got traffic"
        if ended:
            self.traffic_and_aliases_follow(registry=not meanwhile.registry_is_away)

    def ledger_is_sound(self) -> None:
        """The chain is whole, weights add up, one version is champion, and what was rolled back comes back by a person only."""
        entries, banned = self.world.ledger.entries(), set[int]()
        assert self.world.ledger.verify() == []
        for entry in entries:
            assert sum(entry.weights.values()) in ((WHOLE,) if entry.champion else (0,))
            assert entry.champion is None or entry.weights[entry.champion] > 0
            if entry.kind == "started":
                assert entry.actor != PERENNIAL or entry.version not in banned
                banned.discard(entry.version)
            elif entry.kind in AGAINST and entry.champion != entry.version:
                banned.add(entry.version)
            if entry.actor != PERENNIAL or "keeps it" in entry.reason:
                banned.discard(entry.champion)  # a person went back to it, or it never lost its traffic
            assert not [version for version in banned if entry.weights.get(version) or entry.shadow == version]

    def traffic_and_aliases_follow(self, *, registry: bool) -> None:
        """The gateway does what the newest entry says, and the registry's roles are the ledger's."""
        last = self.world.ledger.last()
        assert self.world.backend.route(self.world.spec) == route_of(last)
        if registry:
            roles = [self.world.registry.version(self.world.spec.name, alias) for alias in ("champion", "last_good")]
            assert [version and version.number for version in roles] == [last.champion, last.last_good]
            waiting = self.world.registry.version(self.world.spec.name, "candidate")
            assert last.candidate or waiting is None or waiting.number not in (last.version, last.champion)

    def teardown(self) -> None:
        """Once all is well, one look completes whatever was left."""
        if self.world.ledger.last().candidate is None:  # else what ends the look may be a sentence about the next candidate
            self.world.registry.delete_alias(self.world.spec.name, "candidate")
        self.undertake(lambda: self.world.release().look(), Meanwhile(), ends=False)
        self.traffic_and_aliases_follow(registry=True)
        self.folder.cleanup()


def test_whatever_happens_meanwhile_ledger_traffic_and_aliases_agree(monkeypatch):
    """SE-10, SE-11: releases, rollbacks, kills and second writers in any order.

    The chain is whole, there is one champion, weights add up, what was rolled back takes no traffic by itself, and what a look
    that ended leaves is what the newest entry says.
    """
    monkeypatch.setattr(rollback, "REPEAT_SECONDS", 0)
    run_state_machine_as_test(
        Releases, settings=settings(max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))
    )
