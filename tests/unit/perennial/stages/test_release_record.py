"""What a release records of its looks, from its beginning to its end."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from perennial.errors import ReleaseRefused
from perennial.lineage.release_record import Look, Record, release_record
from perennial.serving import canary
from perennial.testing import World


def record_of(world: World) -> Record:
    """The record of the release that began last."""
    began = next(entry.seq for entry in world.ledger.newest_first() if entry.kind == "started")
    record = release_record(world.store, world.spec.name, began)
    assert record
    return record


def steps_of(looks: tuple[Look, ...]) -> list[float | None]:
    """The shares of the steps that were looked at, in order."""
    return list(dict.fromkeys(look.share for look in looks))


def test_a_canarys_record_ends_with_its_promotion(tmp_path: Path) -> None:
    """SE-06, SE-07: every step from the beginning on, the counts of both versions, and evidence that reaches what promotion wants."""
    world = World(tmp_path).with_champion()
    world.candidate()
    assert world.until_end(errors={1: 0.002, 2: 0.002}).action == "promoted"
    record = record_of(world)
    assert steps_of(record.looks) == [0.0, 0.05, 0.25, 0.5]
    assert [look.action for look in record.looks][:: len(record.looks) - 1] == ["started", "promote"]
    last, evidence = record.looks[-1], world.ledger.last().evidence
    assert last.last_step
    assert last.tallies["errors"].candidate_requests == evidence["errors"]["candidate_requests"]
    assert last.tallies["errors"].evidence == pytest.approx(math.log10(evidence["errors"]["evidence"]), abs=0.01)
    assert max(last.not_worse, last.rare or -9) >= record.plan.limits.promotion == pytest.approx(math.log10(20), abs=1e-4)
    assert sum(count for _, count in last.latency.candidate) == last.tallies["errors"].candidate_requests
    assert [bound for bound, _ in last.latency.champion] == [5.0, 25.0, None]
    assert (record.plan.candidate, record.plan.champion, record.plan.steps) == (2, 1, world.spec.release.steps)


def test_a_failing_canarys_record_ends_with_its_rollback(tmp_path: Path) -> None:
    """SE-10: the evidence of the signal that ended it is beyond its own limit, and of no other."""
    world = World(tmp_path).with_champion()
    world.candidate()
    assert world.until_end(errors={2: 0.3}).action == "rolled_back"
    record = record_of(world)
    last, limits = record.looks[-1], record.plan.limits
    assert (last.action, last.sentence) == ("roll_back", world.ledger.last().reason)
    assert [name for name, tally in last.tallies.items() if tally.evidence >= limits.worse[name]] == ["errors"]
    assert limits.worse["errors"] == pytest.approx(math.log10(1 / (0.01 * 0.45)), abs=1e-4)


def test_a_shadow_and_a_pause_are_recorded(tmp_path: Path) -> None:
    """SE-07, DE-02: a shadow has no share; while a person is asked, looks go on."""
    world = World(tmp_path, shadow=True, max_seconds=1e-6).with_champion()
    world.candidate()
    for _ in range(3):
        world.look()
    record = record_of(world)
    assert [look.share for look in record.looks] == [0.0, None, None]
    assert [look.action for look in record.looks] == ["started", "ask", "ask"]
    assert record.plan.shadow


def test_a_release_from_before_looks_were_recorded_begins_its_record_where_it_is(tmp_path: Path) -> None:
    """SE-06: an older Perennial began it, or its record is gone: what comes is recorded, and the release ends as it would have."""
    world = World(tmp_path).with_champion()
    world.candidate()
    world.look()
    began = world.ledger.last().seq - 1
    world.store.delete(f"releases/{world.spec.name}/looks/{began:08d}.json")
    world.backend.serve(4000)
    assert world.look().action == "advance"
    assert [look.step for look in record_of(world).looks] == [began + 1]
    assert world.until_end().action == "promoted"


def test_the_first_version_and_one_that_is_not_ready_are_recorded(tmp_path: Path) -> None:
    """SE-10: what never got a request has its beginning on record; each release has a record of its own."""
    world = World(tmp_path).with_champion()
    first = record_of(world)
    assert (first.plan.champion, [look.action for look in first.looks]) == (None, ["started"])
    world.backend.refusals[world.candidate()] = ReleaseRefused("Golden row 3 differs.")
    assert world.look().action == "rolled_back"
    assert [look.share for look in record_of(world).looks] == [0.0]
    assert record_of(world) != first


def test_a_preview_records_nothing(tmp_path: Path) -> None:
    """DE-23: `--plan` writes nothing."""
    world = World(tmp_path).with_champion()
    world.candidate()
    world.look()
    before = record_of(world)
    world.backend.serve(2000)
    world.release().preview()
    assert record_of(world) == before


def test_limits_are_those_of_the_decision(tmp_path: Path) -> None:
    """SE-09: an evidence just below each recorded limit holds, and one just above convicts."""
    world = World(tmp_path).with_champion()
    world.candidate()
    world.look()
    for name, limit in record_of(world).plan.limits.worse.items():
        for beyond, convicts in ((-1e-3, False), (1e-3, True)):
            tally = canary.Tally(candidate_requests=9, champion_requests=9, against=((limit + beyond) * math.log(10),))
            decision = canary.decide(canary.Evidence(tallies={name: tally}), world.spec.release, 0, last_step=False)
            assert (decision.action == "roll_back") is convicts
