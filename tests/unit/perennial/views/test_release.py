"""The page of a release: live, promoted, rolled back, paused, of a first version, and where something is missing or damaged."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from perennial import discovery
from perennial.commands import show
from perennial.errors import UnknownName
from perennial.settings import Settings
from perennial.specs import FreezeSpec
from perennial.testing import World
from perennial.views.release import ReleaseView, odds, release_view


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A champion, and a candidate that waits."""
    world = World(tmp_path).with_champion()
    world.candidate()
    monkeypatch.setattr(discovery, "_models", lambda: ({world.spec.name: world.spec}, {}))
    monkeypatch.setattr(discovery, "_datasets", lambda: ({}, {}))
    return world


def view_of(world: World, **which: Any) -> ReleaseView:
    view = release_view(world.store, world.spec.name, **which)
    assert ReleaseView.model_validate_json(view.model_dump_json()) == view
    return view


def test_a_live_release_says_how_far_it_is(world: World) -> None:
    """SE-06: the step of now, what it wants and has, what is to come, and how near the nearest limit is."""
    world.look()
    world.backend.serve(1000)
    assert world.look().action == "hold"
    view = view_of(world)
    assert (view.state, view.live) == ("running", True)
    assert view.sentence == "Version 2 gets 5 % of the traffic beside version 1."
    came = view.arms[0].requests
    assert 0 < came < 100
    assert f"Next is 25 % of the traffic. For that, {came} of the 100 requests that this step wants" in view.next
    assert [(step.percent, step.state) for step in view.steps] == [(5, "now"), (25, "to come"), (50, "to come"), (100, "to come")]
    assert view.wants[0].way == came / 100
    assert view.wants[0].seconds is not None
    assert [(arm.role, arm.version) for arm in view.arms] == [("candidate", 2), ("champion", 1)]
    assert sum(arm.requests for arm in view.arms) == 1000
    got = view.points[-1].got
    assert got
    assert (got.value, got.low < 0.05 < got.high) == (came / 1000, True)
    assert view.damage == ()


def test_a_promoted_release_keeps_its_whole_story(world: World) -> None:
    """SE-06, SC-03: every step done, the evidence that promoted it, each decision; later ones do not blur it."""
    world.until_end(errors={1: 0.002, 2: 0.002})
    world.candidate()
    world.look()
    view = view_of(world, version=2)
    assert (view.state, view.next, view.wants, view.live) == ("promoted", "", (), False)
    assert [(step.percent, step.state) for step in view.steps] == [(5, "done"), (25, "done"), (50, "done"), (100, "done")]
    assert [one.kind for one in view.decisions] == ["promoted", "weights", "weights", "weights", "started"]
    assert view.plan
    assert max(view.points[-1].not_worse, view.points[-1].rare or -9) >= view.plan.limits.promotion
    assert sum(step.requests for step in view.steps) == view.arms[0].requests
    assert [(one.version, one.end) for one in view.past] == [(3, None), (2, "promoted"), (1, "promoted")]
    assert view_of(world).release == view.past[0]
    assert view_of(world, began=view.past[1].began) == view


def test_a_rolled_back_release_shows_the_signal_that_ended_it(world: World) -> None:
    """SE-10: nearest to its limit, and beyond it; steps that were not reached are told."""
    world.until_end(errors={2: 0.3})
    view = view_of(world)
    assert view.state == "rolled back"
    assert view.sentence.startswith("Version 2 was rolled back, version 1 has all traffic: ")
    assert (view.signals[0].name, view.signals[0].way) == ("errors", 1.0)
    assert view.signals[0].tally.evidence >= view.signals[0].limit
    assert [(step.percent, step.state) for step in view.steps][:2] == [(5, "ended here"), (25, "not reached")]
    difference = view.points[-1].difference
    assert difference
    assert difference.low > (view.points[-1].allowed or 0)


def test_a_promotion_that_was_taken_back_says_so(world: World) -> None:
    """SE-11: the release was a promotion; that a person rolled the version back later stands beside it."""
    from perennial.stages import rollback

    world.until_end()
    rollback.go_back(world.release(), "Bad scores.", "jo")
    view = view_of(world, version=2)
    assert view.state == "promoted"
    assert view.sentence.endswith("UTC: Bad scores.")
    assert view.past[0].undone_at


def test_a_paused_shadow_waits_for_a_person(world: World) -> None:
    """DE-02, SE-07: the sentence has the line that decides; a shadow has a copy of the traffic and no share."""
    limits = {"shadow": True, "max_seconds": 1e-6}
    world.spec = world.spec.model_copy(update={"release": world.spec.release.model_copy(update=limits)})
    world.look()
    assert world.look().action == "ask"
    view = view_of(world)
    assert view.state == "paused"
    assert view.sentence.startswith("Version 2 gets a copy of all traffic beside version 1 and waits for a person: ")
    assert f"`perennial release --model {world.spec.name} --version 2 --actor YOU --decision promote`" in view.next
    assert [(step.percent, step.state) for step in view.steps][:2] == [(None, "now"), (5, "to come")]
    assert view.points[-1].wanted is None
    assert view.points[-1].got is None


def test_a_signal_on_its_way_to_its_limit_is_named(world: World) -> None:
    """SE-10: which one is nearest to ending the release, and how far it has gone."""
    world.look()
    world.backend.serve(1600, errors={1: 0.01, 2: 0.02})
    assert world.look().action == "hold"
    view = view_of(world)
    signal = view.signals[0]
    assert 0 < signal.way < 1
    assert view.next.endswith(
        f"Nearest to a rollback: requests that failed, {odds(signal.tally.evidence)} of the 222 to 1 that end it "
        f"({100 * signal.way:.0f} % of the way)."
    )
    assert "  " not in view.next


def test_the_last_step_waits_for_evidence(world: World) -> None:
    """SE-06: once its requests are there, a promotion wants evidence: how much of it there is."""
    world.look()
    for requests in (4000, 4000, 300):
        world.backend.serve(requests, errors={1: 0.02, 2: 0.02})
        world.look()
    view = view_of(world)
    assert view.next.startswith("Next is the promotion. For that, the evidence that its error rate is within limits is ")
    assert view.wants[0].way == 1.0
    assert view.wants[-1].way < 1


def test_a_first_version_has_no_evidence_and_its_end(tmp_path: Path, world: World) -> None:
    """SE-06: nothing to compare it with; when it began, that it serves, and why."""
    view = view_of(world, version=1)
    assert (view.state, view.arms, view.signals) == ("promoted", (), ())
    assert view.sentence == "Version 1 was promoted: Version 1 is the first and its golden rows match."
    assert [(step.percent, step.state) for step in view.steps] == [(100, "done")]


def test_a_release_that_is_being_started(world: World) -> None:
    """SE-10: the ledger says that it began; nothing of it gets traffic yet."""
    last = world.ledger.last()
    started = {"champion": 1, "weights": {1: 10_000, 2: 0}, "versions": {1: "a" * 64, 2: "b" * 64}, "after_seq": last.seq}
    world.ledger.append("started", version=2, reason="It begins.", actor="jo", **started)
    view = view_of(world)
    assert (view.state, view.live, view.next) == ("starting", True, "")
    assert "it gets traffic once it is ready" in view.sentence


def test_a_model_that_released_nothing_says_what_comes_first(tmp_path: Path, world: World) -> None:
    """DM-09: no release is no error; a release that there is not, is."""
    empty = World(tmp_path / "empty")
    view = view_of(empty)
    assert (view.state, view.release, view.past) == ("none", None, ())
    assert view.sentence.startswith(f"No version of {empty.spec.name} was released yet. ")
    for which in ({"version": 7}, {"began": 99}):
        with pytest.raises(UnknownName, match="perennial ledger show"):
            release_view(world.store, world.spec.name, **which)
    with pytest.raises(UnknownName):
        release_view(world.store, "nobody")


@pytest.mark.parametrize("broken", ["record", "no record", "late record", "entry"])
def test_what_is_damaged_hides_nothing_else(world: World, broken: str) -> None:
    """SC-03: a record that is damaged, missing or begun late, or an entry that cannot be read, is a sentence; all else is shown."""
    world.until_end(errors={2: 0.3})
    whole = view_of(world)
    assert whole.release
    record = f"releases/{world.spec.name}/looks/{whole.release.began:08d}.json"
    if broken == "record":
        world.store.write(record, b"{}")
    elif broken == "no record":
        world.store.delete(record)
    elif broken == "late record":
        from perennial.lineage.release_record import keep_look, release_record

        kept = release_record(world.store, world.spec.name, whole.release.began)
        assert kept
        world.store.delete(record)
        keep_look(world.store, world.spec.name, whole.release.began, kept.plan, kept.looks[-1])
    else:
        world.store.write(f"ledger/{world.spec.name}/{whole.release.began + 1:08d}.json", b"{}")
    view = view_of(world)
    wanted = {"record": record, "no record": "was not recorded", "late record": "is not on record", "entry": "Entry"}[broken]
    assert [sentence for sentence in view.damage if wanted in sentence]
    assert (view.state, view.sentence) == (whole.state, whole.sentence)
    assert bool(view.points) is (broken in ("late record", "entry"))
    assert [one.kind for one in view.decisions] == (["started"] if broken == "entry" else [one.kind for one in whole.decisions])


@pytest.mark.parametrize(
    ("log", "said"),
    [(0.0, "1 to 1"), (-0.5, "0.32 to 1"), (1.5, "32 to 1"), (4.0, "10,000 to 1"), (300.0, "10^300 to 1"), (-40.0, "less than 0.001 to 1")],
)
def test_evidence_in_words(log: float, said: str) -> None:
    """SE-06: odds that a person can read, however large or small."""
    assert odds(log) == said


def test_the_terminal_says_what_the_page_says(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`perennial show release` prints steps, evidence, both versions and decisions; of a version that is named, and as JSON."""
    world.until_end(errors={2: 0.3})
    show.run(Settings.from_environment({}), world.store, what="release", version=2)
    said = capsys.readouterr().out
    for part in ("rolled back", "5 %: ended here", "requests that failed: ", "candidate 2: ", "by perennial", "version 1, "):
        assert part in said
    show.run(Settings.from_environment({}), world.store, what="release", name=world.spec.name, version=1, json=True)
    assert ReleaseView.model_validate_json(capsys.readouterr().out) == view_of(world, version=1)


def test_an_option_of_another_view_is_refused(world: World) -> None:
    """`perennial show models --version 2` says which view has that option; one that was not given is nobody's."""
    with pytest.raises(UnknownName, match=r"`perennial show models` has no --version: `show release`"):
        show.run(Settings.from_environment({}), world.store, what="models", version=2)
    assert show.run(Settings.from_environment({}), world.store, what="models", version=None) == 0


def test_a_freeze_is_shown(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """SE-10, SE-06: the page, its text and the plan say until when and why; where none holds they say nothing of it."""
    assert view_of(world).frozen == ""
    today = datetime.now(timezone.utc).date()
    freeze = FreezeSpec(reason="the holidays", first=today, last=today + timedelta(days=1))
    spec = world.spec.model_copy(update={"release": world.spec.release.model_copy(update={"freeze": (freeze,)})})
    monkeypatch.setattr(discovery, "_models", lambda: ({spec.name: spec}, {}))
    view = view_of(world)
    words = f"releases are frozen until {today + timedelta(days=2)} 00:00 UTC (the holidays)"
    assert view.frozen == f"No release begins or goes on by itself: {words}. A person may still start, promote or roll back."
    show.run(Settings.from_environment({}), world.store, what="release", name=spec.name)
    assert view.frozen in capsys.readouterr().out
    world.spec = spec
    assert words in world.release().preview().sentence
    assert world.look().action == "hold"
    assert view_of(world).state == "promoted"  # the candidate has not begun
    assert world.look(actor="jo").action == "started"
