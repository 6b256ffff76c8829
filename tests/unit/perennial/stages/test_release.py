"""A release moves traffic by evidence, may be killed anywhere, and leaves ledger, gateway and registry in agreement."""

import json
from datetime import datetime, timedelta, timezone
from unittest.mock import Mock

import pyarrow as pa
import pytest

from perennial import cli, tracing
from perennial.commands.served_at import describe
from perennial.errors import Fault, ReleaseRefused, ServiceUnreachable, UnknownName
from perennial.lineage import making
from perennial.lineage.making import note_making
from perennial.lineage.usage import Usage
from perennial.lineage.version_folder import fetch, golden_rows, publish, read_manifest
from perennial.monitoring import arms
from perennial.registry.model_registry import BREAKS_CALLERS, COMPARED_WITH, RECALIBRATES
from perennial.serving import own_requests
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.stages import _release_evaluator, rollback
from perennial.stages import recalibrate as stage_recalibrate
from perennial.stages import release as stage
from perennial.stages._release_evaluator import Evaluator
from perennial.stages._release_plan import Wish, planned
from perennial.stages._release_steps import Move, Write
from perennial.stages.release import Release
from perennial.testing import RegistryInMemory, World, publish_small_version, small_dataset
from perennial.testing.spans import Spans
from perennial.training.recalibration import Recalibration, recalibrate

SETTINGS = Settings.from_environment({})


def test_the_first_version_goes_straight_to_all_traffic(tmp_path):
    """DE-02: With no champion there is nothing to compare: ready means 100 %."""
    world = World(tmp_path)
    assert world.look().outcome == "skipped"
    world.candidate("a" * 64)
    result = world.look()
    assert (result.action, result.version, result.weight) == ("promoted", 1, 100)
    assert [entry.kind for entry in world.ledger.entries()] == ["started", "released"]
    world.agrees()


def test_an_equal_candidate_climbs_every_step_and_becomes_champion(tmp_path):
    """SE-06, DE-20: Weights rise as the spec says, evidence is in the ledger, and the old champion stays warm."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    result = world.until_end(errors={1: 0.002, 2: 0.002})
    assert (result.action, result.version, result.weight, result.look_again_seconds) == ("promoted", 2, 100, 0)
    assert [entry.weights.get(2) for entry in world.ledger.entries()[2:]] == [0, 500, 2500, 5000, 10000]
    assert world.ledger.last().evidence["errors"]["candidate_requests"] > 500
    assert world.backend.route(world.spec).weights == {2: 10_000, 1: 0}
    world.agrees()


def test_the_ledger_says_what_the_training_of_a_candidate_used(tmp_path, monkeypatch):
    """OP-06, DE-20: The entry with which a release begins has its seconds, memory, energy and money; one of a version of which nobody noted
    them, or of which the note is damaged, has none and begins all the same."""
    monkeypatch.setattr(making, "code_files", lambda model: {})  # the model has no folder
    world = World(tmp_path)
    used = Usage(
        wall_seconds=61.5, cpu_seconds=90, gpu_seconds=0, memory_gb=1.25, energy_wh=0.5, money=0.02, currency="EUR", parts={"train": 50}
    )
    note_making(world.store, world.spec.name, "a" * 64, seconds=61.5, usage=used)
    note_making(world.store, world.spec.name, "b" * 64, seconds=61.5)
    note_making(world.store, world.spec.name, "c" * 64, usage=used)
    (note,) = (found.key for found in world.store.list("models/") if f"made/{'c' * 64}" in found.key)
    world.store.write(note, b"{")
    for digest in ("a" * 64, "b" * 64, "c" * 64):
        world.candidate(digest)
        assert world.until_end().action == "promoted"
    first, second, third = (entry for entry in world.ledger.entries() if entry.kind == "started")
    assert first.evidence["training"] == {
        "sentence": "It took 61.5 s: 90.0 CPU seconds, 1.25 GB of memory at most, about 0.5 Wh, 0.02 EUR.",
        "used_wall_seconds": 61.5, "used_cpu_seconds": 90.0, "used_gpu_seconds": 0.0, "used_peak_memory_gb": 1.25,
        "used_gpu_memory_gb": 0.0, "used_energy_wh": 0.5, "used_money": 0.02, "used_train_s": 50.0,
    }  # fmt: skip
    assert "training" not in {**second.evidence, **third.evidence}
    assert not [entry for entry in world.ledger.entries() if entry.kind != "started" and "training" in entry.evidence]


def test_a_candidate_that_breaks_callers_waits_for_a_person(tmp_path):
    """DE-02, SE-12: Nothing moves before somebody said so; the sentence says what callers must send.

    A yes lets it begin and promotes nothing; a no turns it down.
    """
    world = World(tmp_path).with_champion()
    callers_must = "every request must send `gust` (float), never null"
    tags = {COMPARED_WITH: "1", BREAKS_CALLERS: callers_must}
    world.registry.add(world.spec.name, "b" * 64, tags=tags)
    asked = world.look()
    assert (asked.action, asked.before_start, asked.version, asked.weight) == ("ask", True, 2, 0)
    assert f"it breaks callers of version 1: {callers_must}" in asked.sentence
    assert "--version 2 --actor YOU" in asked.sentence
    assert world.ledger.last().kind == "released"
    assert world.look(2, "roll_back", "ada").action == "rejected"
    world.registry.add(world.spec.name, "c" * 64, tags=tags)
    assert world.look(3, actor="ada").action == "started"
    assert world.look().action == "hold"
    assert world.until_end().action == "promoted"
    world.registry.add(world.spec.name, "d" * 64, tags={COMPARED_WITH: "3", BREAKS_CALLERS: "no"})
    assert world.look().action == "started"


def test_a_candidate_that_cannot_read_its_callers_is_rolled_back(tmp_path):
    """SE-10: Answers of 400 that the champion does not give are evidence of their own, also in a release that an older Perennial began."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    assert world.look().action == "started"
    key = f"releases/{world.spec.name}/2.json"
    stored = json.loads(world.store.read(key))
    for counters in stored["counters"].values():
        del counters["answered"], counters["unreadable"]
    stored["evidence"]["tallies"].pop("unreadable", None)
    world.store.write(key, json.dumps(stored).encode())
    world.backend.serve(2000, unreadable={1: 0.2, 2: 0.2})
    assert world.look().action in ("hold", "advance")
    result = world.until_end(unreadable={1: 0.2, 2: 0.9})
    assert result.action == "rolled_back"
    assert "of the candidate's" in result.sentence
    assert "could not be read" in result.sentence
    world.agrees()


def test_a_failing_candidate_is_rolled_back_and_never_comes_back_by_itself(tmp_path):
    """SE-10: The champion gets everything at once; another start wants --again."""
    world = World(tmp_path).with_champion()
    number = world.candidate("b" * 64)
    result = world.until_end(errors={2: 0.3})
    assert result.action == "rolled_back"
    assert "of the candidate's" in result.sentence
    assert world.backend.route(world.spec).weights == {1: 10_000}
    assert "failed" in world.registry.version(world.spec.name, number).tags["rolled_back"]
    world.agrees()

    assert world.look(number).action == "rolled_back"  # the same release, looked at again
    world.registry.set_alias(world.spec.name, "candidate", number)
    assert world.look().action == "rolled_back"
    world.candidate("c" * 64)
    assert world.until_end().version == 3
    world.registry.set_alias(world.spec.name, "candidate", number)
    refused = world.look()
    assert refused.outcome == "skipped"
    assert "--again" in refused.sentence
    assert world.look(number, again=True, actor="jo").action == "started"
    assert world.ledger.last().champion == 3


def test_a_slow_candidate_is_rolled_back(tmp_path):
    """SE-10, SE-04: Requests beyond the champion's 95th percentile count, once the champion has a past to read it from."""
    world = World(tmp_path).with_champion()
    world.backend.serve(3000)
    world.candidate("b" * 64)
    result = world.until_end(slow={2: 0.6})
    assert result.action == "rolled_back"
    assert "were slow" in result.sentence
    assert result.evidence["slow_above_ms"] == 25


@pytest.mark.parametrize("error", [ReleaseRefused("Golden row 3 differs."), ServiceUnreachable("Not ready after 60 s.")])
def test_a_candidate_that_is_not_ready_never_gets_a_request(tmp_path, error):
    """DE-11, SE-10: Golden rows that differ, or a server that does not come up, end a release before it moves traffic."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.backend.refusals[2] = error
    result = world.look()
    assert result.action == "rolled_back"
    assert str(error) in result.sentence
    assert not any(route.weights.get(2) for route in world.backend.history)
    world.agrees()


def test_a_first_version_that_is_not_ready_leaves_nothing_served(tmp_path):
    """DE-11: No champion, no last good: the gateway is cleared and the next version is the first."""
    world = World(tmp_path)
    world.candidate("a" * 64)
    world.backend.refusals[1] = ReleaseRefused("Golden row 3 differs.")
    assert world.look().action == "rolled_back"
    assert world.backend.route(world.spec) is None
    world.candidate("b" * 64)
    assert world.look().action == "promoted"
    assert world.ledger.last().good == ()
    world.agrees()


def test_a_candidate_that_the_gateway_took_out_is_rolled_back(tmp_path):
    """SE-10: No requests although they are due: silence is no good news."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.backend.deaf.add(2)
    result = world.until_end()
    assert result.action == "rolled_back"
    assert "gets no requests" in result.sentence


def test_without_traffic_a_release_holds_and_then_asks(tmp_path):
    """SE-06, DE-02: No requests is no evidence either way; a person's word ends the pause."""
    world = World(tmp_path, max_seconds=1e-6).with_champion()
    world.candidate("b" * 64)
    assert world.look().action == "started"
    asked = world.look()
    assert asked.action == "ask"
    assert world.look().action == "ask"
    assert [entry.kind for entry in world.ledger.entries()][-1] == "paused"
    result = world.look(2, "promote", "jo")
    assert (result.action, world.ledger.last().actor) == ("promoted", "jo")
    assert world.look(2, "promote", "jo").action == "promoted"  # repeated after a kill
    world.agrees()


def test_a_person_may_decide_against_it(tmp_path):
    """DE-02, SE-11: `--decision roll_back` ends the release, paused or not."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    for given in (None, 2, 2):  # the last ones are a task that is tried again
        assert world.look(given, "roll_back", "jo").action == "rolled_back"
    assert [entry.kind for entry in world.ledger.entries()].count("rolled_back") == 1
    world.agrees()
    for decision in ("promote", "roll_back"):
        with pytest.raises(ReleaseRefused, match="nothing to decide"):
            world.look(None, decision, "jo")


def test_a_decision_without_a_number_is_about_the_candidate_that_waits(tmp_path):
    """DE-02: Not about a version that was rolled back or promoted before.

    A no turns the candidate down, a yes says how its release begins, and nothing is decided twice.
    """
    world = World(tmp_path, mode="approval").with_champion(actor="jo")
    world.candidate("b" * 64)
    world.look(actor="jo")
    world.look(None, "roll_back", "jo")
    waiting = world.candidate("c" * 64)
    with pytest.raises(ReleaseRefused, match=f"Version {waiting} waits to be released: .*--version {waiting} --actor YOU"):
        world.look(None, "promote", "jo")
    result = world.look(None, "roll_back", "ann")
    assert (result.action, result.version) == ("rejected", waiting)
    assert (world.ledger.last().kind, world.ledger.last().version, world.ledger.last().actor) == ("rejected", waiting, "ann")
    world.agrees()
    world.registry.set_alias(world.spec.name, "candidate", waiting)  # its training run again
    for decision in ("promote", "roll_back"):
        with pytest.raises(ReleaseRefused, match="nothing to decide"):
            world.look(None, decision, "ann")
    assert world.ledger.last().version == waiting


def test_a_paused_release_still_rolls_back_by_evidence(tmp_path):
    """SE-10: Waiting for a person does not switch the safety off."""
    world = World(tmp_path, max_seconds=1e-6).with_champion()
    world.candidate("b" * 64)
    world.look()
    assert world.look().action == "ask"
    world.backend.serve(2000, errors={2: 0.5})
    assert world.look().action == "rolled_back"


def test_a_yes_does_not_outweigh_what_was_seen_since(tmp_path):
    """SE-10: A person was asked when the evidence left it open; while they thought, the candidate failed: it is rolled back, not
    promoted."""
    world = World(tmp_path, max_seconds=1e-6, min_requests=10**6).with_champion()
    world.candidate("b" * 64)
    assert world.until_end(requests=1).action == "ask"
    world.backend.serve(4000, errors={2: 0.3})
    result = world.look(2, "promote", "jo")
    assert (result.action, world.ledger.last().actor) == ("rolled_back", "perennial")
    assert "of the candidate's" in result.sentence
    world.agrees()


@pytest.mark.parametrize("mode", ["manual", "approval"])
def test_modes_that_want_a_person_refuse_to_start_alone(tmp_path, mode):
    """DE-02: The sentence says who must act and how; a named person starts it."""
    world = World(tmp_path)
    world.candidate("a" * 64)
    world.spec = world.spec.model_copy(update={"release": world.spec.release.model_copy(update={"mode": mode})})
    with pytest.raises(ReleaseRefused, match="waits for a person"):
        world.look()
    assert world.look(actor="jo").action == "promoted"
    assert {entry.actor for entry in world.ledger.entries()} == {"jo"}


def test_a_person_turns_a_waiting_version_down(tmp_path):
    """DE-02, SC-03: In the ledger with their name; nothing moves, it waits no more, and it is not asked about again.

    With `again` it is released all the same.
    """
    world = World(tmp_path, mode="approval").with_champion(actor="jo")
    number, before = world.candidate("b" * 64), world.backend.route(world.spec)
    result = world.look(number, "roll_back", "jo")
    assert (result.action, result.version, result.champion, result.weight) == ("rejected", 2, 1, 0)
    last = world.ledger.last()
    assert (last.kind, last.version, last.actor, last.reason, last.champion) == ("rejected", 2, "jo", "jo decided against it.", 1)
    assert world.registry.version(world.spec.name, number).tags["rejected"] == "jo decided against it."
    assert world.backend.route(world.spec) == before
    world.agrees()
    assert world.look(number, "roll_back", "jo").action == "rejected"  # a task that is tried again
    assert len(world.ledger.entries()) == 3

    world.registry.set_alias(world.spec.name, "candidate", number)  # its training run again
    again = world.look(actor="jo")
    assert (again.outcome, again.action) == ("skipped", "nothing")
    assert again.sentence.startswith("Version 2 of small_delays was rejected on ")
    assert "jo decided against it" in again.sentence
    assert world.look(number, actor="jo").outcome == "skipped"
    assert world.look(number, actor="jo", again=True).action == "started"


def test_a_look_that_finds_nothing_new_asks_the_registry_once_and_writes_nothing(tmp_path):
    """OP-10, SE-06: However many versions there were: it is told the roles and how far the registry has followed. One that was restored
    from a copy follows once more."""
    world = World(tmp_path).released(4)
    asked = []

    class Counted:
        def __getattr__(self, name):
            asked.append(name)
            return getattr(registry, name)

    registry, world.registry = world.registry, Counted()
    assert world.look().action == "nothing"
    assert asked == ["standing"]
    registry.note_followed(world.spec.name, world.ledger.entry(0).note)
    asked.clear()
    assert world.look().action == "nothing"
    assert asked == ["standing", "standing", "numbered", "tag_version", "note_followed"]
    assert registry.standing(world.spec.name).followed == world.ledger.last().note
    registry.delete_alias(world.spec.name, "last_good")
    world.look()
    asked.clear()
    registry.add(world.spec.name, "e" * 64)
    world.spec = world.spec.model_copy(update={"release": world.spec.release.model_copy(update={"steps": (100,)})})
    assert world.look().action == "promoted"
    assert "versions" not in asked  # that the registry follows is no reason to read them all
    world.registry = registry
    world.agrees()


def test_a_rejection_that_was_killed_is_completed(tmp_path, monkeypatch):
    """DE-02, DE-22: Between ledger and registry: the next try gives the registry what the ledger says, and writes no second entry."""
    world = World(tmp_path, mode="approval")
    number = world.candidate("a" * 64)
    with monkeypatch.context() as patch:
        patch.setattr(_release_evaluator, "withdraw_candidate", Mock(side_effect=ServiceUnreachable("MLflow is down.")))
        with pytest.raises(ServiceUnreachable):
            world.look(number, "roll_back", "jo")
    assert world.alias("candidate") == number
    assert world.look(number, "roll_back", "jo").action == "rejected"
    assert [entry.kind for entry in world.ledger.entries()] == ["rejected"]
    world.agrees()
    world.candidate("b" * 64)
    assert world.look(actor="jo").sentence.endswith("it is the first.")


def test_a_rejection_is_for_the_version_that_was_asked_about(tmp_path):
    """DE-02: A candidate that was registered meanwhile keeps waiting."""
    world = World(tmp_path, mode="approval")
    asked_about, newer = world.candidate("a" * 64), world.candidate("b" * 64)
    assert world.look(asked_about, "roll_back", "jo").action == "rejected"
    assert world.alias("candidate") == newer
    assert world.look(newer, actor="jo").version == newer


def test_a_no_that_comes_too_late_is_told(tmp_path):
    """DE-02: What was released meanwhile is not turned down; what was rolled back meanwhile needs no other no."""
    world = World(tmp_path, mode="approval").with_champion(actor="jo")
    with pytest.raises(ReleaseRefused, match="nothing to decide"):
        world.look(1, "roll_back", "jo")
    number = world.candidate("b" * 64)
    world.look(number, actor="jo")
    assert world.look(number, "roll_back", "jo").action == "rolled_back"
    third = world.candidate("c" * 64)
    world.look(third, "roll_back", "jo")
    late = world.look(number, "roll_back", "jo")
    assert (late.outcome, late.version) == ("skipped", number)
    assert "was rolled back on" in late.sentence


def test_a_rejection_does_not_pass_for_a_rollback(tmp_path):
    """SE-11: Who goes back minutes after a candidate was turned down means the champion."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.until_end()
    number = world.candidate("c" * 64)
    world.look(number, "roll_back", "jo")
    result = rollback.go_back(world.release(), "bad answers", "jo")
    assert (result.version, result.champion) == (2, 1)
    world.agrees()


def test_a_rejection_hides_no_rollback(tmp_path):
    """SE-11: Two people go back within minutes, and a candidate is turned down between them: one version back, not two."""
    world = World(tmp_path).with_champion()
    for digest in "bc":
        world.candidate(digest * 64)
        world.until_end()
    release = world.release()
    assert rollback.go_back(release, "bad", "jo").champion == 2
    world.look(world.candidate("d" * 64), "roll_back", "jo")
    again = rollback.go_back(release, "bad", "ann")
    assert again.champion == 2
    assert "Version 3 of" in again.sentence
    assert "was rolled back" in again.sentence
    world.agrees()


def test_a_rejection_completes_what_was_killed_before_it(tmp_path, monkeypatch):
    """DE-22: A rollback that died between its entry and the traffic: the bad version does not keep it."""
    world = World(tmp_path).with_champion()
    for digest in "bc":
        world.candidate(digest * 64)
        world.until_end()
    release = world.release()
    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "_move", lambda self, entry: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rollback.go_back(release, "bad", "jo")
    assert world.backend.route(world.spec).weights[3] == 10_000
    world.look(world.candidate("d" * 64), "roll_back", "jo")
    assert world.backend.route(world.spec).weights == {2: 10_000, 1: 0}
    world.agrees()


def test_a_no_waits_for_the_release_that_is_under_way(tmp_path):
    """DE-02: It is not lost: the task is tried again until it can be written down."""
    world = World(tmp_path, mode="approval", max_seconds=1e-6).with_champion(actor="jo")
    world.candidate("b" * 64)
    world.look(2, actor="jo")
    number = world.candidate("c" * 64)
    with pytest.raises(Fault, match="the no to version 3 is written down once that has ended"):
        world.look(number, "roll_back", "ann")
    world.look(2, "roll_back", "jo")
    assert world.look(number, "roll_back", "ann").action == "rejected"
    world.agrees()


def test_shadow_comes_first_where_the_spec_says_so(tmp_path):
    """SE-14: Mirrored traffic alone convicts a candidate that fails, and no user request meets it."""
    world = World(tmp_path, shadow=True).with_champion()
    world.candidate("b" * 64)
    assert world.look().weight == 0
    assert world.backend.route(world.spec).shadow == 2
    world.backend.serve(1000, errors={2: 0.2})
    assert world.look().action == "rolled_back"
    assert not any(route.weights.get(2) for route in world.backend.history)

    world.candidate("c" * 64)
    assert world.until_end().action == "promoted"
    assert [entry.weights.get(3) for entry in world.ledger.entries()[-6:]] == [0, None, 500, 2500, 5000, 10_000]
    world.agrees()


def test_a_spec_with_one_step_promotes_once_ready(tmp_path):
    """SE-07: Steps (100,) mean: golden rows, then all traffic."""
    world = World(tmp_path, steps=(100,)).with_champion()
    world.candidate("b" * 64)
    assert world.look().action == "promoted"
    world.agrees()


def test_only_one_version_is_released_at_a_time(tmp_path):
    """SE-06: A newer candidate waits; asking for it says so."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    third = world.candidate("c" * 64)
    with pytest.raises(ReleaseRefused, match="Version 2 of small_delays is being released"):
        world.look(third)
    assert world.until_end(errors={2: 0.3}).action == "rolled_back"
    assert world.alias("candidate") == third
    assert world.until_end().version == third
    world.agrees()


def test_a_version_meets_only_the_champion_it_was_compared_with(tmp_path):
    """MO-13: Another was promoted since the gate: refused before anything moves, until a person says --again."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    third = world.candidate("c" * 64)
    assert world.until_end().champion == 2
    before = world.ledger.last()
    for _ in range(2):
        with pytest.raises(ReleaseRefused, match=r"was compared with version 1, but version 2 is the champion now.* --version 3 --again"):
            world.look()
    assert world.ledger.last() == before
    assert world.look(third, again=True, actor="jo").action == "started"
    assert world.until_end().champion == third
    with pytest.raises(ReleaseRefused, match="Version 1 of small_delays was compared with no champion, but version 3 is"):
        world.look(1)
    assert world.look(1, again=True, actor="jo").action == "started"  # it was champion before


def test_a_refused_candidate_makes_way_for_the_next_and_waits_for_its_champion(tmp_path):
    """DE-02: A later candidate takes its place without a person.

    Where the champion it was compared with comes back first, it is released after all.
    """
    for back in (False, True):
        world = World(tmp_path / str(back)).with_champion()
        world.candidate("b" * 64)
        world.look()
        third = world.candidate("c" * 64)
        assert world.until_end().champion == 2
        with pytest.raises(ReleaseRefused, match="Trigger small_delays_training with force"):
            world.look()
        if back:
            rollback.go_back(world.release(), "wrong scores", "jo")
        else:
            third = world.candidate("d" * 64)
        result = world.until_end()
        assert (result.action, result.version) == ("promoted", third)
        world.agrees()


def test_who_must_start_a_release_is_not_sent_to_start_a_refused_one(tmp_path):
    """DE-02: Where a person must act, the first sentence is the one that holds: not first `--actor`, then `--again`."""
    world = World(tmp_path, mode="manual")
    world.candidate("a" * 64)
    assert world.look(actor="jo").action == "promoted"
    world.registry.add(world.spec.name, "b" * 64, tags={"compared_with": "none"})
    with pytest.raises(ReleaseRefused, match="was compared with no champion"):
        world.look()


def test_a_version_that_did_not_pass_the_gate_is_not_released_by_itself(tmp_path):
    """MO-13: Registered past the gate, it does not say what it was compared with; also where nothing serves yet."""
    world = World(tmp_path)
    world.registry.add(world.spec.name, "a" * 64, tags={})
    with pytest.raises(ReleaseRefused, match=r"Version 1 of small_delays did not pass the gate\. Trigger small_delays_training with force"):
        world.look()
    assert world.ledger.last() is None
    assert world.look(again=True, actor="jo").action == "promoted"
    world.agrees()


def test_an_unknown_version_is_named(tmp_path):
    """SE-06: A number that the registry does not have."""
    with pytest.raises(UnknownName, match="no version 9"):
        World(tmp_path).look(9)


def test_the_registry_may_be_down_while_evidence_is_gathered(tmp_path):
    """OP-08, SE-06: Looks do not need MLflow; a promotion it missed is completed by the next look."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    world.registry.unreachable = True
    with pytest.raises(ServiceUnreachable):
        world.until_end()
    assert world.ledger.last().kind == "promoted"
    assert world.backend.route(world.spec).weights[2] == 10_000
    world.registry.unreachable = False
    assert world.look().action == "promoted"
    world.agrees()


def button(world):
    """Somebody else ends the release under way; their registry does not answer, so its aliases are where they were."""
    registry = RegistryInMemory()
    registry.unreachable = True
    rollback.go_back(Release(world.spec, SETTINGS, world.store, world.backend, registry), "pressed the button", "jo")


def test_a_rollback_by_somebody_else_ends_the_release(tmp_path):
    """SE-11: The next look sees the ledger, says rolled back, and does not bring the candidate back."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    button(world)
    assert world.look(2).action == "rolled_back"
    assert world.backend.route(world.spec).weights == {1: 10_000}
    world.agrees()


def test_a_rollback_during_a_look_holds(tmp_path):
    """SE-11: A look that applied what it had read before notices and applies what holds now."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    world.backend.serve(2000)
    apply, others = world.backend.apply, []

    def apply_late(model, route):
        if not others:
            others.append("jo")
            button(world)
        apply(model, route)

    world.backend.apply = apply_late
    assert world.look().action == "rolled_back"
    world.agrees()


@pytest.mark.parametrize(("kind", "weight"), [("weights", 2500), ("promoted", 10_000)])
def test_a_rollback_between_a_decision_and_its_traffic_holds(tmp_path, monkeypatch, kind, weight):
    """SE-11: Neither traffic nor an alias goes to a version that was rolled back just before this look moved them."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    put, pressed = world.store.put_if_absent, []

    def put_then_button(key, data):
        won, entry = put(key, data), json.loads(data)
        if not pressed and (entry["kind"], entry["weights"].get("2")) == (kind, weight):
            pressed.append(key)
            rollback.go_back(world.release(), "pressed the button", "jo")
        return won

    monkeypatch.setattr(world.store, "put_if_absent", put_then_button)
    while not pressed:
        result = world.look(2)
        world.backend.serve(2000)
    assert result.action == "rolled_back"
    assert world.backend.route(world.spec).weights == {1: 10_000}
    world.agrees()


def test_a_gateway_that_is_away_condemns_nobody(tmp_path, monkeypatch):
    """OP-08: Waiting for a candidate fails while the gateway starts again: a fault to repeat, and the release goes on."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    away = ServiceUnreachable("The gateway does not answer.")

    def no_answer(model):
        raise away

    world.backend.refusals[2] = away
    with monkeypatch.context() as patch:
        patch.setattr(world.backend, "observe", no_answer)
        with pytest.raises(ServiceUnreachable, match="gateway"):
            world.look()
    assert world.ledger.last().kind == "started"
    del world.backend.refusals[2]
    assert world.until_end().action == "promoted"
    world.agrees()


@pytest.mark.parametrize("error", [ReleaseRefused("Golden row 3 differs."), ServiceUnreachable("Not ready after 60 s.")])
@pytest.mark.parametrize("decision", [None, "promote"])
def test_a_shadow_that_comes_up_wrong_ends_its_release(tmp_path, error, decision):
    """SE-14: Its server began anew and is not ready now: no entry gives it traffic, the release ends, and the next candidate is not
    blocked."""
    world = World(tmp_path, shadow=True).with_champion()
    world.candidate("b" * 64)
    world.look()
    world.backend.serve(1000)
    world.backend.refusals[2] = error
    result = world.look(decision=decision, actor="jo")
    assert result.action == "rolled_back"
    assert str(error) in result.sentence
    assert not any(entry.weights.get(2) for entry in world.ledger.entries())
    world.agrees()
    world.candidate("c" * 64)
    assert world.look().action == "started"


@pytest.mark.parametrize(
    "champions", [1, 7]
)  # more than can be gone back to: an entry forgets the oldest, and the correction names it again
def test_a_new_champion_that_cannot_take_its_traffic_is_corrected_in_the_ledger(tmp_path, goes_after, champions):
    """SC-03: It went between the entry and the move: the next entry says that the old champion serves, and why."""
    world = World(tmp_path, steps=(100,))
    for digest in "abcdefg"[:champions]:
        world.candidate(digest * 64)
        assert world.look().action == "promoted"
    before, number = world.ledger.last(), world.candidate("9" * 64)
    goes_after(world, "promoted", number)
    result = world.look()
    assert (result.action, result.champion) == ("rolled_back", champions)
    assert f"Version {number} could not take the traffic, so version {champions} keeps it: Not ready after 60 s." in result.sentence
    assert [entry.kind for entry in world.ledger.entries()][-3:] == ["started", "promoted", "rolled_back"]
    assert world.ledger.last().good == before.good
    assert world.backend.route(world.spec).weights[champions] == 10_000
    assert not any(route.weights.get(number) for route in world.backend.history)
    world.agrees()


def test_a_gateway_that_is_away_corrects_nothing(tmp_path, monkeypatch, goes_after):
    """SC-03: Nobody knows then what holds: the entry stays, and the next look moves the traffic."""
    world = World(tmp_path, steps=(100,)).with_champion()
    world.candidate("b" * 64)

    def no_answer(model):
        raise ServiceUnreachable("The gateway does not answer.")

    with monkeypatch.context() as patch:
        goes_after(world, "promoted", 2)
        patch.setattr(world.backend, "observe", no_answer)
        with pytest.raises(ServiceUnreachable, match="gateway"):
            world.look()
    assert world.ledger.last().kind == "promoted"
    world.backend.refusals.clear()
    assert world.look().action == "promoted"
    world.agrees()


class Killed(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(("errors", "end"), [({}, "promoted"), ({2: 0.4}, "rolled_back")])
def test_a_look_may_be_killed_anywhere(tmp_path, monkeypatch, errors, end):
    """DE-22: Before or after every single effect on ledger, working file, gateway and registry: the repeated look comes to the same end."""
    calls = 0

    def deadly(function, at):
        def wrapped(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == at:
                raise Killed
            found = function(*arguments, **named)
            calls += 1
            if calls == at:
                raise Killed
            return found

        return wrapped

    def play(at):
        nonlocal calls
        calls = 0
        world = World(tmp_path / str(at)).with_champion()
        world.candidate("b" * 64)
        for owner, names in (
            (world.store, ("write", "put_if_absent")),
            (world.backend, ("apply", "reset")),
            (world.registry, ("set_alias", "delete_alias", "tag_version", "note_followed")),
        ):
            for name in names:
                monkeypatch.setattr(owner, name, deadly(getattr(owner, name), at))
        killed = 0
        for _ in range(60):
            try:
                result = world.look(2)
            except Killed:
                killed += 1
                continue
            if result.action in ("promoted", "rolled_back"):
                break
            world.backend.serve(1500, errors=errors)
        assert result.action == end
        world.agrees()
        kinds = [entry.kind for entry in world.ledger.entries()]
        assert kinds.count(end) == 1
        return killed, world

    untouched, world = play(0)
    assert untouched == 0
    total = calls
    assert total > 10
    for at in range(1, total + 1):
        killed, again = play(at)
        assert killed == 1
        assert [entry.weights for entry in again.ledger.entries()] == [entry.weights for entry in world.ledger.entries()]


def test_a_lost_working_file_only_costs_time(tmp_path):
    """OP-08: The evidence begins anew; nothing is advanced on evidence that nobody has."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    world.backend.serve(5000)
    world.store.delete(f"releases/{world.spec.name}/2.json")
    assert world.look().action == "hold"
    assert world.until_end().action == "promoted"


def log_predictions(world, version, count, correct, moment):
    """What a server and its users would have logged: predictions of one version and their outcomes."""
    row = {"carrier": "AA", "origin": "JFK", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None}
    common = {"model": world.spec.name, "version": version, "time": moment.isoformat(), "event_time": moment.isoformat()}
    ids = [f"v{version}-{moment:%H%M%S%f}-{i}" for i in range(count)]
    predictions = [{"id": name, **common, "row": row, "scores": [0.8, 0.2], "ms": 2.0} for name in ids]
    outcomes = [{"id": name, "outcome": 0 if i < correct else 1, "time": moment.isoformat()} for i, name in enumerate(ids)]
    for name, lines in (("predictions", predictions), ("outcomes", outcomes)):
        world.store.write(
            f"{name}/{world.spec.name}/{version}-{moment:%H%M%S%f}.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode()
        )


def half_a_minute_later(world):
    """Outcomes may be counted again."""
    Watch.load(world.store, world.spec.name, 2).model_copy(update={"labelled_at": None}).keep(world.store, world.spec.name)


def test_outcomes_convict_a_candidate_that_is_wrong_more_often(tmp_path, monkeypatch):
    """SE-09, SE-10: It answers fast and without errors, and its answers are worse; outcomes from before the release count for nobody."""
    world = World(tmp_path).with_champion()
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    world.candidate("b" * 64)
    log_predictions(world, 2, 400, 0, datetime.now(timezone.utc) - timedelta(hours=1))
    world.look()
    world.backend.serve(1000)
    assert world.look().action == "hold"
    for version, correct in ((1, 320), (2, 200)):
        log_predictions(world, version, 400, correct, datetime.now(timezone.utc))
    assert world.look().action == "hold"  # counted a moment ago
    half_a_minute_later(world)
    result = world.look()
    assert result.action == "rolled_back"
    assert "200 of the candidate's 400 answers turned out wrong, 80 of the champion's 400" in result.sentence
    world.agrees()


def test_outcomes_of_equal_arms_convict_nobody(tmp_path, monkeypatch):
    """SE-09: Each outcome counts once, however often they are counted."""
    world = World(tmp_path).with_champion()
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    world.candidate("b" * 64)
    world.look()
    for version in (1, 2):
        log_predictions(world, version, 300, 225, datetime.now(timezone.utc))
    for _ in range(3):
        half_a_minute_later(world)
        assert world.look().action == "hold"
    counted = Watch.load(world.store, world.spec.name, 2).evidence.tallies["outcomes"]
    assert (counted.candidate_requests, counted.candidate_events, counted.champion_requests, counted.champion_events) == (300, 75, 300, 75)


def test_a_regression_is_wrong_where_it_errs_more_than_the_champion_used_to():
    """SE-09, SE-10: The edge comes from the champion's first outcomes."""

    def rows(version, error, count):
        return [{"model_version": version, "scores": [10.0 + error], "outcome": 10.0}] * count

    found = pa.Table.from_pylist([*rows(1, 1.0, 150), *rows(1, 3.0, 100), {"model_version": 2, "scores": [0.0], "outcome": None}])
    assert arms.usual_error(found, 1) == 1.0
    assert arms.usual_error(found, 2) is None
    assert arms.wrong_by_version(found, "regression", 1.0) == {1: (250, 100)}
    assert arms.wrong_by_version(found, "regression", None) == {1: (250, 0)}
    assert arms.wrong_by_version(found.slice(250), "regression", 1.0) == {}


def test_run_finds_model_backend_and_registry(tmp_path, monkeypatch):
    """DE-06: The stage as the command line calls it."""
    world = World(tmp_path)
    monkeypatch.setattr(stage.discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(stage, "open_backend", lambda settings: world.backend)
    monkeypatch.setattr(stage, "ModelRegistry", lambda settings: world.registry)
    world.candidate("a" * 64)
    assert stage.run(SETTINGS, world.store, model=world.spec.name).action == "promoted"


def recalibrated(world, folder, number):
    """Register a recalibration of a version that is in the store, as the stage does: same training, other scale and shift."""
    parent = world.registry.version(world.spec.name, number)
    copy = fetch(world.store, world.spec.name, parent.digest, folder / f"of-{number}")
    (copy / "manifest.json").unlink()
    recalibrate(copy, Recalibration("binary", 1 + number / 10, (0.0, 0.1)), {"champion": parent.digest})
    manifest = stage_recalibrate.recalibrated(read_manifest(world.store, world.spec.name, parent.digest), parent.digest)
    digest = publish(world.store, world.spec.name, copy, manifest)
    return world.registry.add(world.spec.name, digest, tags={COMPARED_WITH: str(number), RECALIBRATES: str(number)}).number


def trained(world, folder, seed):
    """Register a version that is in the store."""
    return world.candidate(publish_small_version(world.store, folder / f"seed-{seed}", seed=seed))


@pytest.fixture
def house(tmp_path):
    """A world whose champion is in the store."""
    world = World(tmp_path / "store")
    trained(world, tmp_path, 1)
    world.look()
    return world


def test_a_recalibrated_version_is_released_like_any_other(house, tmp_path):
    """SE-06: Canary steps, ledger, aliases; and it says what served when."""
    number = recalibrated(house, tmp_path, 1)
    result = house.until_end(errors={1: 0.002, 2: 0.002})
    assert (result.action, result.version, result.champion) == ("promoted", number, number)
    house.agrees()
    entries = house.ledger.entries()
    assert entries[-1].versions[number] == house.registry.version(house.spec.name, number).digest
    before, now = (describe(house.spec.name, when, house.ledger.served_at(when)) for when in (entries[1].time, datetime.now(timezone.utc)))
    assert "version 1 (" in before
    assert f"version {number} ({entries[-1].versions[number][:12]}) 100 %" in now


def test_of_recalibrations_only_the_newest_is_kept_to_go_back_to(house, tmp_path):
    """SE-11: Else a week of them would push out the last version that was trained otherwise."""
    trained(house, tmp_path, 2)
    house.until_end()
    for number in (2, 3, 4):
        assert recalibrated(house, tmp_path, number) == number + 1
        assert house.until_end().action == "promoted"
    assert (house.ledger.last().champion, house.ledger.last().good) == (5, (4, 1))
    house.agrees()


def test_a_candidate_that_was_judged_before_a_recalibration_is_released_after_it(house, tmp_path):
    """MO-13: It was compared with the version whose weights the champion has: the gate's word still holds."""
    recalibrated(house, tmp_path, 1)
    house.until_end()
    recalibrated(house, tmp_path, 2)
    house.until_end()
    digest = publish_small_version(house.store, tmp_path / "late", seed=9)
    house.registry.add(house.spec.name, digest, tags={COMPARED_WITH: "1"})
    assert house.look().action == "started"
    assert house.until_end().version == 4


def test_a_recalibration_of_a_former_champion_is_not_released(house, tmp_path):
    """MO-13: A trained version became champion since: its scores are not those that were recalibrated."""
    late = recalibrated(house, tmp_path, 1)
    house.registry.delete_alias(house.spec.name, "candidate")
    trained(house, tmp_path, 2)
    house.until_end()
    house.registry.set_alias(house.spec.name, "candidate", late)
    with pytest.raises(ReleaseRefused, match="was compared with version 1, but version 3 is the champion now"):
        house.look()


def all_that_is_stored(world):
    """Every byte and time of the store, the routes that were ever applied, and all of the registry."""
    files = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in world.store.path.rglob("*") if path.is_file()}
    folders = {path for path in world.store.path.rglob("*") if path.is_dir()}
    return files, folders, list(world.backend.history), dict(world.registry._versions), dict(world.registry._aliases)


def foreseen(world, *arguments, **named):
    """The plan of the next look, made without a change of anything."""
    release, before = world.release(), all_that_is_stored(world)
    steps = release.foreseen(release.known(), lambda known: planned(known, Wish(*arguments, **named)))
    lines = release.preview(*arguments, **named).sentence.splitlines()[1 : len(steps) + 1]
    assert [line.removesuffix(" (Already so.)") for line in lines] == [
        f"{place}. {step.sentence}" for place, step in enumerate(steps, start=1)
    ]
    assert all_that_is_stored(world) == before
    return steps


@pytest.mark.parametrize(("served", "release"), [({}, {}), ({"errors": {2: 0.3}}, {}), ({}, {"shadow": True}), ({}, {"steps": (100,)})])
def test_a_plan_says_what_the_next_look_does_and_does_nothing(tmp_path, served, release):
    """SE-06: announced entries and answer are those of the look that follows; nothing is written, moved or registered before it."""
    world = World(tmp_path, **release)
    world.candidate("a" * 64)
    answers = []
    while len(answers) < 2 or answers[-1] not in ("promoted", "rolled_back"):
        steps, before = foreseen(world), len(world.ledger.entries())
        result = world.look()
        announced = [
            (step.change.kind, step.change.version, step.change.weights, step.change.reason) for step in steps if isinstance(step, Write)
        ]
        assert announced == [(entry.kind, entry.version, entry.weights, entry.reason) for entry in world.ledger.entries()[before:]]
        assert steps[-1].result.sentence == result.sentence
        answers.append(result.action)
        if len(answers) == 1:
            world.candidate("b" * 64)
        world.backend.serve(1500, **served)
    assert foreseen(world)[-1].result.sentence == world.look().sentence  # nothing waits
    world.agrees()


def test_a_plan_of_what_was_killed_says_that_the_rest_depends_on_it(tmp_path):
    """MN-18, SE-06: The entry gave the candidate traffic that never moved: what both versions show after it has moved nobody knows yet."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    before = world.backend.route(world.spec)
    world.look()
    world.backend.apply(world.spec, before)
    sentence = world.release().preview().sentence
    assert sentence.splitlines() == [
        "The next look at small_delays would:",
        "1. Make the gateway do what entry 3 says: version 1 gets 95 %, version 2 gets 5 %.",
        "2. Make sure that nobody wrote to the ledger meanwhile; else decide anew.",
        "3. Ask what versions 2 and 1 have shown.",
        "What follows is decided by the answer.",
    ]


def test_a_plan_says_of_which_steps_the_work_is_done_already(tmp_path):
    """MN-18, SE-06: Where nothing waits, gateway and registry are as the ledger says; where traffic or a role was changed, they are not."""
    world = World(tmp_path).with_champion()
    move, follow, end = world.release().preview().sentence.splitlines()[1:]
    assert move.endswith("(Already so.)")
    assert follow.endswith("(Already so.)")
    assert "Already" not in end
    world.backend.reset(world.spec)
    move, follow, end = world.release().preview().sentence.splitlines()[1:]
    assert "Already" not in move
    assert follow.endswith("(Already so.)")


def test_a_plan_says_where_it_cannot_tell_what_is_done_already(tmp_path, monkeypatch):
    """MN-18: The gateway does not answer: the steps are the same, and it says so."""
    world = World(tmp_path).with_champion()

    def silent(model):
        raise ServiceUnreachable("The gateway does not answer.")

    monkeypatch.setattr(world.backend, "route", silent)
    monkeypatch.setattr(world.release().__class__, "foreseen", lambda self, known, plan: [Move(world.ledger.last())])
    assert world.release().preview().sentence.endswith("(Whether it is so already cannot be told now.)")


def test_a_plan_tells_outcomes_that_it_has_not_counted(tmp_path):
    """MN-18, SE-06: Counting takes in what was logged, which a plan leaves to the look."""
    world = World(tmp_path).with_champion()
    world.candidate("b" * 64)
    world.look()
    log_predictions(world, 2, 5, 0, datetime.now(timezone.utc))
    steps = foreseen(world)
    assert [type(step).__name__ for step in steps] == ["Move", "Confirm", "CountWrong", "KeepWatch", "Tell"]
    assert "they may change what follows" in steps[2].sentence


@pytest.mark.parametrize(("arguments", "end"), [(["--version", "9"], "no version 9"), (["--decision", "promote"], "nothing to decide")])
def test_a_plan_of_what_is_refused_says_so(tmp_path, monkeypatch, capsys, arguments, end):
    """MN-18, SE-06: On the command line: the sentence of the refusal, whether the look meets it before its first step or as its last."""
    world = World(tmp_path).with_champion()
    monkeypatch.setattr(stage.discovery, "model", lambda name: world.spec)
    monkeypatch.setattr(stage, "open_backend", lambda settings: world.backend)
    monkeypatch.setattr(stage, "ModelRegistry", lambda settings: world.registry)
    monkeypatch.setenv("PERENNIAL_STORE", str(tmp_path))
    before = all_that_is_stored(world)
    cli.main(["release", "--model", world.spec.name, *arguments, "--plan"])
    assert end in "".join(capsys.readouterr())
    assert all_that_is_stored(world) == before


def test_a_release_is_told_in_its_trace_and_the_trace_in_its_ledger(tmp_path, monkeypatch):
    """MN-13, SE-06: Each entry says in which trace it was decided; bringing up, moves and the request through the gateway are parts of
    it. Without a receiver an entry says nothing of traces, and nobody is asked."""
    asked = []
    monkeypatch.setattr(own_requests, "ask", lambda settings, model, version, row: asked.append((version, set(row))))
    world = World(tmp_path)
    world.candidate(world.published(0))
    world.look()
    assert not [entry for entry in world.ledger.entries() if "trace" in entry.evidence]
    assert asked == []
    world.candidate(world.published(1))
    with Spans() as spans:
        tracing.begin("stage release", "perennial-stage", {}, environment=spans.variables())
        trace = tracing.trace_id()
        world.until_end(errors={1: 0.002, 2: 0.002})
        tracing.end("done", "looked")
        known = spans.wait_for(lambda known: known if "stage release" in {span["name"] for span in known} else None)
    later = world.ledger.entries()[2:]
    assert {entry.evidence["trace"] for entry in later} == {trace}
    assert later[-1].kind == "promoted"
    moves = [span["attributes"]["perennial.weights"] for span in known if span["name"] == "move traffic"]
    assert moves[-1] in ("1: 0 %, 2: 100 %", "2: 100 %, 1: 0 %")
    assert "wait until it is ready" in {span["name"] for span in known}
    assert {span["trace"] for span in known} == {trace}
    assert len(asked) == len(moves)
    assert asked[-1] == (2, set(golden_rows(world.store, world.spec.name, world.published(1))[0]))
    assert world.ledger.verify() == []
