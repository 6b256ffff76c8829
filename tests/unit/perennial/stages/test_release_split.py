"""A release whose traffic is not split as wanted asks a person, ends or says so, and tells which requests it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.perennial.stages.test_release_signals import answered, begun, world_with

from perennial.commands import show
from perennial.serving.backends import Backend
from perennial.serving.route import Arm
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.stages import release as stage
from perennial.testing import RehearsedBackend, World
from perennial.views.release import release_view


class Skewed(RehearsedBackend):
    """A gateway that gives the candidate a multiple of its share."""

    times = 3.0

    def serve(self, requests: int, *args: Any, **named: Any) -> None:
        """Draw requests; the candidate gets so many times its own."""
        before = self._arms.get(2, Arm())
        super().serve(requests, *args, **named)
        now = self._arms[2]
        more = round((now.answered - before.answered) * (self.times - 1))
        self._arms[2] = Arm(now.requests + more, now.errors, now.latency_ms, now.answered + more, now.unreadable)


def skewed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **release: Any) -> World:
    world = world_with(tmp_path, monkeypatch, **release)
    backend: Backend = Skewed()
    backend.apply(world.spec, world.backend.route(world.spec))
    world.backend = backend
    return begun(world)


def test_a_person_is_asked_and_told_which_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """SE-06: the release pauses; the ledger, the page and the terminal say why; the log is looked at once."""
    world = skewed(tmp_path, monkeypatch)
    answered(world, 1, 300, 0.1, carrier="AA")
    answered(world, 2, 300, 0.1, carrier="UA")
    world.backend.serve(400)
    assert world.look().action == "hold"  # around the change of weights: it counts for no step
    world.backend.serve(1000)
    result = world.look()
    assert result.action == "ask"
    assert "Traffic is not split as wanted: the candidate got 126 of 1,084 requests (11.6 %), 5 % were due to it." in result.sentence
    assert "Most of it is where carrier is UA: 300 of 300 logged answers of the candidate, 0 of 300 of the champion." in result.sentence
    assert (world.ledger.last().kind, result.evidence["split"]["candidate_requests"]) == ("paused", 126)
    monkeypatch.setattr(stage, "why_split", lambda *given: pytest.fail("it was looked at before"))
    assert world.look().action == "ask"
    assert Watch.load(world.store, world.spec.name, 2).split_reason.startswith("Most of it is where carrier is UA")
    monkeypatch.setattr(stage.discovery, "_models", lambda: ({world.spec.name: world.spec}, {}))
    monkeypatch.setattr(stage.discovery, "_datasets", lambda: ({}, {}))
    said = (
        "Split of the traffic: the candidate got 126 of 1,084 requests of this step (11.6 %), 5 % are due to it; "
        "not as wanted, on this step or an earlier one ("
    )
    assert release_view(world.store, world.spec.name).split.startswith(said)
    show.run(Settings.from_environment({}), world.store, what="release")
    assert said in capsys.readouterr().out
    assert world.look(decision="promote", actor="jo").action == "promoted"


def test_it_may_roll_back_or_only_warn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: as the spec says; a warning is in the sentence of each look, and the release goes on to its end."""
    for reaction, ends in (("roll_back", "rolled_back"), ("warn", "promoted")):
        world = skewed(tmp_path / reaction, monkeypatch, on_split_mismatch=reaction)
        sentences = []
        for turn in range(30):
            world.backend.serve(1000 if turn % 2 else 60)
            result = world.look()
            sentences.append(result.sentence)
            if result.action in ("rolled_back", "promoted"):
                break
        assert result.action == ends
        assert "Traffic is not split as wanted" in sentences[-1]
        assert "No input and no hour of the logged answers tells which requests they are." in sentences[-1]
        assert "Traffic is not split as wanted" not in sentences[0]
        world.agrees()


def test_a_split_as_wanted_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: on every step; the page says that nothing speaks against it."""
    world = begun(world_with(tmp_path, monkeypatch))
    monkeypatch.setattr(stage.discovery, "_models", lambda: ({world.spec.name: world.spec}, {}))
    monkeypatch.setattr(stage.discovery, "_datasets", lambda: ({}, {}))
    for _ in range(2):
        world.backend.serve(900)
        world.look()
    assert "nothing speaks against it (" in release_view(world.store, world.spec.name).split
    assert world.until_end().action == "promoted"


def test_a_plan_says_that_the_log_would_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-06: and does not read it."""
    world = skewed(tmp_path, monkeypatch)
    world.backend.serve(400)
    world.look()
    world.backend.serve(1000)
    monkeypatch.setattr(stage, "why_split", lambda *given: pytest.fail("a plan reads nothing"))
    said = world.release().preview().sentence
    assert "look in the log which requests version 2 gets too few or too many of" in said
    assert "Write entry 4 into the ledger: paused" in said
