"""What a look does, as a table: what is known on the left, the steps on the right. No gateway, no registry and no store."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from perennial.commands import retire
from perennial.errors import Fault, LedgerConflict, PerennialError, RegistryDiffers, ReleaseRefused, ServiceUnreachable
from perennial.lineage.ledger import UNDER_WAY, Entry
from perennial.monitoring.answers import WrongAnswers
from perennial.registry.model_registry import BREAKS_CALLERS, COMPARED_WITH, Version
from perennial.registry.promotion import Check
from perennial.registry.promotion import Verdict as PromotionVerdict
from perennial.results import ReleaseResult
from perennial.serving.asked import Asked
from perennial.serving.canary import Evidence
from perennial.serving.route import Arm, Route
from perennial.serving.split import Mismatch, Split
from perennial.serving.watch import Watch
from perennial.specs import ReleaseSpec, SignalSpec
from perennial.stages import rollback
from perennial.stages._release_plan import Applied, Counts, Failure, History, Known, Registered, Wish, corrected, planned, result_of
from perennial.stages._release_steps import (
    Apply,
    AskCounts,
    AskHistory,
    AskKin,
    AskReaders,
    AskRegistry,
    BeginWatch,
    BringUp,
    Change,
    CheckGateway,
    Confirm,
    CountWrong,
    ExplainSplit,
    Follow,
    KeepWatch,
    LookAgain,
    Move,
    Refuse,
    Step,
    Tell,
    Write,
)
from perennial.stages._routes import route_of
from perennial.testing import small_model

NOW = datetime(2026, 1, 2, 12, tzinfo=timezone.utc)
YES, NO = "promote", "roll_back"
BROKEN = ReleaseRefused("Golden row 3 differs.")
AWAY = ServiceUnreachable("Not ready after 60 s.")


def entry(kind: str, version: int, champion: int | None, **given: Any) -> Entry:
    """An entry as it stands in the ledger, of versions 1 to 9."""
    weights = {} if champion is None else {champion: 10_000}
    fields = {
        "seq": 5, "time": NOW - timedelta(hours=1), "model": "small_delays", "kind": kind, "version": version, "champion": champion,
        "weights": weights, "versions": {number: f"{number:064d}" for number in range(1, 10)}, "reason": "It was so.", "actor": "perennial",
        "previous": "0" * 64, "hash": "f" * 64, **given,
    }  # fmt: skip
    return Entry.model_validate(fields)


FIRST = entry("started", 1, None)
ENDED = entry("promoted", 2, 2, good=(1,), weights={2: 10_000, 1: 0})
STARTED = entry("started", 3, 2, good=(1,), weights={2: 10_000, 3: 0})
STEP = entry("weights", 3, 2, good=(1,), weights={2: 9_500, 3: 500})
LAST_STEP = entry("weights", 3, 2, good=(1,), weights={2: 5_000, 3: 5_000})
SHADOW = entry("weights", 3, 2, good=(1,), shadow=3)
PAUSED = entry("paused", 3, 2, good=(1,), weights={2: 9_500, 3: 500})
BACK = entry("rolled_back", 3, 2, good=(1,), weights={2: 10_000, 1: 0})
TURNED_DOWN = entry("rejected", 3, 2, good=(1,), weights={2: 10_000, 1: 0})
GONE = entry("retired", 2, None)


def knowing(last: Entry | None, *, retired: Entry | None = None, **given: Any) -> Known:
    """What is known at 2026-01-02 12:00; the limits of the spec are small."""
    release = {"min_seconds": 0, "min_requests": 100, **given.pop("release", {})}
    spec = small_model().model_copy(update={"release": ReleaseSpec(**release)})
    return Known(spec, last, retired, NOW, **{"moved": last, **given})


def waiting(number: int = 3, compared: str = "2", **tags: str) -> Registered:
    """What the registry says of the version that waits."""
    version = Version("small_delays", number, f"{number:064d}", "run", tags={COMPARED_WITH: compared, **tags})
    return Registered(version, like_champion=("2", "1"))


def counted(last: Entry, requests: int = 0, errors: int = 0, *, seconds: float = 10, mark: str = "", **watch: Any) -> Counts:
    """What both versions have shown since the step began."""
    arms = {number: Arm() for number in (2, 3)}
    shown = {2: Arm(requests), 3: Arm(requests, errors)}
    begun = Watch.begin(3, 2, arms).on_step(last.seq, NOW - timedelta(seconds=seconds)).model_copy(update=watch)
    return Counts(begun, shown, mark, NOW)


def words(steps: list[Step]) -> str:
    """The steps of a plan in one line; of an entry its kind, of the answer its action, of an error its class."""

    def word(step: Step) -> str:
        match step:
            case Write():
                return f"write {step.change.kind}"
            case Tell():
                return f"tell {step.result.action}" if step.result.outcome == "done" else f"tell {step.result.outcome}"
            case Refuse():
                return f"refuse {type(step.error).__name__}"
        return "".join(f" {letter}" if letter.isupper() else letter for letter in type(step).__name__).strip().lower()

    return ", ".join(map(word, steps))


NEW = History()
ENDS_BADLY = "write rolled_back, move, follow, tell rolled_back"
PROMOTES = "write promoted, move, follow, tell promoted"
COMPLETES = "move, follow"

TABLE = {
    "nothing is known of the registry": (knowing(None), Wish(), "ask registry"),
    "a version ended, and the registry is asked for the next": (knowing(ENDED), Wish(), "ask registry"),
    "no candidate, nothing ever served": (knowing(None, registry=Registered()), Wish(), "tell skipped"),
    "no candidate": (knowing(ENDED, registry=Registered()), Wish(), f"{COMPLETES}, tell skipped"),
    "the version of the look has ended": (knowing(ENDED), Wish(2), f"{COMPLETES}, tell promoted"),
    "the registry has not followed": (knowing(ENDED, registry=waiting(2)), Wish(), f"{COMPLETES}, tell promoted"),
    "a rolled-back version looked at again": (knowing(BACK), Wish(3), f"{COMPLETES}, tell rolled_back"),
    "what became of the candidate is asked": (knowing(ENDED, registry=waiting()), Wish(), "ask history"),
    "it is the champion": (knowing(TURNED_DOWN, registry=waiting(2)), Wish(), f"{COMPLETES}, tell skipped"),
    "it was turned down": (
        knowing(TURNED_DOWN, registry=waiting(), history=History(TURNED_DOWN, TURNED_DOWN)), Wish(), f"{COMPLETES}, tell skipped",
    ),
    "it was compared with another champion": (
        knowing(ENDED, registry=waiting(compared="7"), history=NEW), Wish(), f"{COMPLETES}, refuse ReleaseRefused",
    ),
    "a person must start it": (
        knowing(ENDED, registry=waiting(), history=NEW, release={"mode": "manual"}), Wish(), f"{COMPLETES}, refuse ReleaseRefused",
    ),
    "it breaks callers": (knowing(ENDED, registry=waiting(**{BREAKS_CALLERS: "send gust"}), history=NEW), Wish(), f"{COMPLETES}, tell ask"),
    "it breaks callers and a person starts it": (
        knowing(ENDED, registry=waiting(**{BREAKS_CALLERS: "send gust"}), history=NEW), Wish(actor="jo"),
        f"{COMPLETES}, write started, apply, bring up, begin watch, write weights, move, confirm, tell started",
    ),
    "a candidate that may start": (
        knowing(ENDED, registry=waiting(), history=NEW), Wish(),
        f"{COMPLETES}, write started, apply, bring up, begin watch, write weights, move, confirm, tell started",
    ),
    "it was rolled back, and a person wants it again": (
        knowing(BACK, registry=waiting(), history=History(BACK, BACK)), Wish(3, actor="jo", again=True),
        f"{COMPLETES}, write started, apply, bring up, begin watch, write weights, move, confirm, tell started",
    ),
    "the first version": (
        knowing(None, registry=waiting(1), history=NEW), Wish(again=True),
        "write started, apply, bring up, write released, move, follow, tell promoted",
    ),
    "the only step is 100 %, kin unknown": (knowing(ENDED, registry=waiting(), history=NEW, release={"steps": (100,)}), Wish(), "ask kin"),
    "the only step is 100 %": (
        knowing(ENDED, registry=waiting(), history=NEW, release={"steps": (100,)}, kin=frozenset({2})), Wish(),
        f"{COMPLETES}, write started, apply, bring up, {PROMOTES}",
    ),
    "retired": (knowing(GONE, retired=GONE), Wish(), "move, tell skipped"),
    "retired, and a person asks without again": (knowing(GONE, retired=GONE), Wish(2, actor="jo"), "move, tell skipped"),
    "retired, and the scheduler says again": (knowing(GONE, retired=GONE), Wish(2, again=True), "move, tell skipped"),
    "retired, and a person says again": (knowing(GONE, retired=GONE), Wish(2, actor="jo", again=True), "ask registry"),
    "killed after its first entry, alone": (knowing(FIRST), Wish(), "apply, bring up, write released, move, follow, tell promoted"),
    "killed after its first entry": (knowing(STARTED), Wish(), "apply, bring up, begin watch, write weights, move, confirm, tell started"),
    "under way": (knowing(STEP), Wish(), "move, confirm, ask counts"),
    "under way, of another version": (knowing(STEP), Wish(4), "refuse ReleaseRefused"),
    "under way, no to another version": (knowing(STEP), Wish(4, NO, "jo"), "refuse Fault"),
    "under way, no": (knowing(STEP), Wish(3, NO, "jo"), ENDS_BADLY),
    "under way, new outcomes": (knowing(STEP, counts=counted(STEP, mark="1.jsonl")), Wish(), "count wrong"),
    "no traffic": (knowing(STEP, counts=counted(STEP)), Wish(), "keep watch, tell hold"),
    "no traffic for too long": (knowing(STEP, counts=counted(STEP, seconds=1e6)), Wish(), "keep watch, write paused, tell ask"),
    "no traffic, yes": (knowing(STEP, counts=counted(STEP), kin=frozenset()), Wish(3, YES, "jo"), f"keep watch, bring up, {PROMOTES}"),
    "enough that is good": (
        knowing(STEP, counts=counted(STEP, 2000)), Wish(), "keep watch, bring up, write weights, move, confirm, tell advance",
    ),
    "enough that is good, of a shadow": (
        knowing(SHADOW, counts=counted(SHADOW, 2000)), Wish(), "keep watch, bring up, write weights, move, confirm, tell advance",
    ),
    "enough at the last step, kin unknown": (knowing(LAST_STEP, counts=counted(LAST_STEP, 4000)), Wish(), "ask kin"),
    "enough at the last step": (
        knowing(LAST_STEP, counts=counted(LAST_STEP, 4000), kin=frozenset()), Wish(), f"keep watch, bring up, {PROMOTES}",
    ),
    "errors": (knowing(STEP, counts=counted(STEP, 2000, 400)), Wish(), f"keep watch, {ENDS_BADLY}"),
    "errors, yes": (knowing(STEP, counts=counted(STEP, 2000, 400)), Wish(3, YES, "jo"), f"keep watch, bring up, {ENDS_BADLY}"),
    "paused, no traffic": (knowing(PAUSED, counts=counted(PAUSED)), Wish(), "keep watch, tell ask"),
    "paused, enough that is good": (knowing(PAUSED, counts=counted(PAUSED, 2000)), Wish(), "keep watch, bring up, tell ask"),
    "paused, errors": (knowing(PAUSED, counts=counted(PAUSED, 2000, 400)), Wish(), f"keep watch, {ENDS_BADLY}"),
    "paused, yes": (knowing(PAUSED, counts=counted(PAUSED), kin=frozenset()), Wish(3, YES, "jo"), f"keep watch, bring up, {PROMOTES}"),
    "yes to what was promoted": (knowing(ENDED), Wish(2, YES, "jo"), f"{COMPLETES}, tell promoted"),
    "yes to what waits": (knowing(ENDED), Wish(3, YES, "jo"), "refuse ReleaseRefused"),
    "no to what was rolled back": (knowing(BACK), Wish(3, NO, "jo"), f"{COMPLETES}, tell rolled_back"),
    "no to a version, its past unknown": (knowing(ENDED), Wish(3, NO, "jo"), "ask history"),
    "no to a new version": (knowing(ENDED, history=NEW), Wish(3, NO, "jo"), "ask registry"),
    "no to a version that waits": (
        knowing(ENDED, history=NEW, registry=waiting()), Wish(3, NO, "jo"), f"{COMPLETES}, write rejected, follow, tell rejected",
    ),
    "no to what was rolled back before the last": (knowing(ENDED, history=History(BACK, BACK)), Wish(3, NO, "jo"), "tell skipped"),
    "no to what was promoted": (knowing(BACK, history=History(ENDED)), Wish(2, NO, "jo"), "refuse ReleaseRefused"),
    "no to the candidate": (knowing(ENDED), Wish(None, NO, "jo"), f"{COMPLETES}, ask registry"),
    "no to the candidate, its past unknown": (knowing(ENDED, registry=waiting()), Wish(None, NO, "jo"), "ask history"),
    "no to the candidate that waits": (
        knowing(ENDED, registry=waiting(), history=NEW), Wish(None, NO, "jo"), "write rejected, follow, tell rejected",
    ),
    "no to a candidate decided before": (
        knowing(ENDED, registry=waiting(), history=History(BACK, BACK)), Wish(None, NO, "jo"), "refuse ReleaseRefused",
    ),
    "yes to the candidate that waits": (knowing(ENDED, registry=waiting(), history=NEW), Wish(None, YES, "jo"), "refuse ReleaseRefused"),
    "no, and nobody waits": (knowing(ENDED, registry=Registered()), Wish(None, NO, "jo"), "refuse ReleaseRefused"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_the_plan_of_a_look(case):
    """SE-06, SE-10: what is known and wished gives these steps, and nothing else."""
    known, wish, expected = TABLE[case]
    assert words(planned(known, wish)) == expected


def failed(step: Step, error: PerennialError, about: Entry, before: Entry | None = None, route: Route | None = None) -> dict[str, Failure]:
    """A step that did not come to its end."""
    return {"failure": Failure(step, error, about, before, route)}


FAILED = {
    "not ready at the start": (knowing(ENDED, **failed(BringUp(3, STARTED), BROKEN, STARTED)), f"check gateway, {ENDS_BADLY}"),
    "does not come up": (knowing(STEP, **failed(BringUp(3, STEP), AWAY, STEP), counts=counted(STEP, 2000)), f"check gateway, {ENDS_BADLY}"),
    "another writer meanwhile": (knowing(STEP, **failed(BringUp(3, STEP), LedgerConflict("Changed."), STEP)), "refuse LedgerConflict"),
    "the gateway is away": (knowing(STEP, **failed(CheckGateway(), AWAY, STEP)), "refuse ServiceUnreachable"),
    "the registry differs": (knowing(ENDED, **failed(Follow(ENDED), RegistryDiffers("It does."), ENDED)), "refuse RegistryDiffers"),
    "the candidate of now is wrong": (knowing(STEP, **failed(Move(STEP), BROKEN, STEP, STARTED)), ENDS_BADLY),
    "the servers of now are away": (knowing(STEP, **failed(Move(STEP), AWAY, STEP, STARTED)), "refuse ServiceUnreachable"),
    "a new champion goes before its traffic": (
        knowing(LAST_STEP, **failed(Move(ENDED), AWAY, ENDED, entry("weights", 2, 1, seq=4), route_of(STEP))),
        "check gateway, write rolled_back, look again",
    ),
    "the version to go back to goes": (
        knowing(ENDED, **failed(Move(BACK), AWAY, entry("rolled_back", 2, 1), ENDED, route_of(ENDED))),
        "check gateway, write promoted, look again",
    ),
    "it went after its traffic": (
        knowing(LAST_STEP, **failed(Move(ENDED), AWAY, ENDED, entry("weights", 2, 1), route_of(ENDED))), "refuse ServiceUnreachable",
    ),
    "no route at all": (knowing(LAST_STEP, **failed(Move(ENDED), AWAY, ENDED, entry("weights", 2, 1))), "refuse ServiceUnreachable"),
    "the same champion as before": (
        knowing(ENDED, **failed(Move(BACK), AWAY, BACK, ENDED, route_of(STEP))), "refuse ServiceUnreachable",
    ),
    "nobody was champion before": (
        knowing(FIRST, **failed(Move(ENDED), AWAY, ENDED, FIRST, route_of(STEP))), "refuse ServiceUnreachable",
    ),
    "its servers do not stop": (
        knowing(GONE, retired=GONE, **failed(Move(GONE), AWAY, GONE, ENDED, route_of(ENDED))), "refuse ServiceUnreachable",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FAILED)
def test_the_plan_after_a_step_that_failed(case):
    """SE-10: a version that fails ends its release; where nobody knows what holds, nothing is written."""
    known, expected = FAILED[case]
    assert words(planned(known, Wish())) == expected


BUTTON = {
    "nothing ever served": (knowing(None), "refuse ReleaseRefused"),
    "retired": (knowing(GONE, retired=GONE), "move, refuse ReleaseRefused"),
    "a champion with one before it": (knowing(ENDED), "bring up, write rolled_back, move, follow, tell rolled_back"),
    "a champion without one before it": (knowing(entry("released", 1, 1)), "refuse ReleaseRefused"),
    "a release under way": (knowing(STEP), ENDS_BADLY),
    "the first release under way": (knowing(FIRST), ENDS_BADLY),
    "rolled back a minute ago": (knowing(BACK.model_copy(update={"time": NOW - timedelta(minutes=1)})), "move, follow, tell rolled_back"),
    "rolled back an hour ago": (knowing(BACK), "ask route"),
    "rolled back an hour ago, traffic not moved": (knowing(BACK, applied=Applied(route_of(STEP))), "move, follow, tell rolled_back"),
    "rolled back an hour ago, traffic moved": (
        knowing(BACK, applied=Applied(route_of(BACK))), "bring up, write rolled_back, move, follow, tell rolled_back",
    ),
    "turned down a minute ago": (knowing(TURNED_DOWN, moved=ENDED), "bring up, write rolled_back, move, follow, tell rolled_back"),
    "the one before does not come up": (knowing(ENDED, **failed(BringUp(1, ENDED), AWAY, ENDED)), "refuse ServiceUnreachable"),
    "the one before is broken": (knowing(ENDED, **failed(BringUp(1, ENDED), BROKEN, ENDED)), "refuse ReleaseRefused"),
    "it goes before its traffic": (
        knowing(ENDED, **failed(Move(BACK), AWAY, entry("rolled_back", 2, 1, seq=6), ENDED, route_of(ENDED))),
        "check gateway, write promoted, look again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BUTTON)
def test_the_plan_of_going_back(case):
    """SE-11: what is known gives these steps, and nothing else."""
    known, expected = BUTTON[case]
    assert words(rollback.planned(known, "wrong scores", "jo")) == expected


@pytest.mark.parametrize(
    ("known", "version", "expected"),
    [
        (knowing(ENDED), 1, "bring up, write rolled_back, move, follow, tell rolled_back"),
        (
            knowing(BACK.model_copy(update={"time": NOW - timedelta(minutes=1)})),
            1,
            "bring up, write rolled_back, move, follow, tell rolled_back",
        ),
        (knowing(BACK), 2, "move, follow, tell rolled_back"),
        (knowing(ENDED), 2, "move, follow, tell rolled_back"),
        (knowing(ENDED), 7, "refuse ReleaseRefused"),
        (knowing(STEP), STEP.champion, ENDS_BADLY),
        (knowing(STEP), STEP.last_good, "refuse ReleaseRefused"),
        (knowing(FIRST), 1, "refuse ReleaseRefused"),
        (knowing(GONE, retired=GONE), 1, "move, refuse ReleaseRefused"),
    ],
)
def test_the_plan_of_going_back_to_a_version_that_is_named(known, version, expected):
    """SE-11: to that one or not at all, and once."""
    assert words(rollback.planned(known, "wrong scores", "jo", version)) == expected


def test_a_registry_that_was_not_told_changes_the_answer_alone():
    """OP-08, SE-11: Traffic has moved: the answer is the one that was to follow, and a sentence more."""
    answer = rollback.planned(knowing(ENDED), "wrong scores", "jo")[-1]
    known = knowing(ENDED, failure=Failure(Follow(BACK), AWAY, BACK, rest=(answer,)))
    (told,) = rollback.planned(known, "wrong scores", "jo")
    assert told.result.sentence.startswith(f"{answer.result.sentence} The registry was not told: {AWAY}")
    assert replace(told, result=answer.result) == answer


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (knowing(None), "refuse ReleaseRefused"),
        (knowing(ENDED), "write retired, move, end incidents, follow, tell nothing"),
        (knowing(STEP), "write retired, move, end incidents, follow, tell nothing"),
        (knowing(GONE, retired=GONE), "move, end incidents, follow, tell nothing"),
        (knowing(GONE, retired=GONE, **failed(Move(GONE), AWAY, GONE, ENDED, route_of(ENDED))), "refuse ServiceUnreachable"),
    ],
)
def test_the_plan_of_taking_a_model_down(known, expected):
    """SC-09: What is known gives these steps, and nothing else."""
    assert words(retire.planned(known, "replaced", "jo")) == expected


@pytest.mark.parametrize("case", [case for case, (known, wish, _) in TABLE.items() if "write" in words(planned(known, wish))])
def test_every_entry_of_a_plan_follows_the_one_before_it_and_gives_all_traffic(case):
    """SC-03: Entries are numbered without a gap, name what runs, keep who can be gone back to, and their weights are the whole."""
    known, wish, _ = TABLE[case]
    written = [step for step in planned(known, wish) if isinstance(step, Write)]
    begin = known.last.seq if known.last else None
    assert [step.after for step in written] == [begin, *range(0 if begin is None else begin + 1, (begin or 0) + len(written))][
        : len(written)
    ]
    for step in written:
        change = step.change
        assert set(change.weights) <= set(change.versions)
        assert sum(change.weights.values()) in ((10_000,) if change.champion else (0,))
        assert (change.candidate is not None) == (change.kind in UNDER_WAY)
        if known.last and change.kind != "promoted":
            assert change.good == known.last.good


def test_of_kin_only_the_newest_is_kept_to_go_back_to():
    """SE-11: A week of recalibrations pushes out no other training."""
    last = entry("weights", 6, 5, good=(4, 3, 1), weights={5: 5_000, 6: 5_000})
    counts = Counts(Watch.begin(6, 5, {}), {}, "", NOW)
    (write,) = [s for s in planned(knowing(last, counts=counts, kin=frozenset({5, 4, 3})), Wish(6, YES, "jo")) if isinstance(s, Write)]
    assert (write.change.champion, write.change.good, write.change.weights) == (6, (5, 1), {6: 10_000, 5: 0})


def test_outcomes_are_evidence_once_they_are_counted():
    """SE-09: The same counters, and answers that turned out wrong: the candidate is rolled back."""
    counts = counted(STEP, mark="1.jsonl")
    ask = planned(knowing(STEP, counts=counts), Wish())[-1]
    assert ask == CountWrong(counts.watch.begun, 3, 2, None)
    wrong = WrongAnswers({2: (400, 80), 3: (400, 200)})
    assert words(planned(knowing(STEP, counts=counts, wrong=wrong), Wish())) == f"keep watch, {ENDS_BADLY}"
    alike = WrongAnswers({2: (400, 80), 3: (400, 80)})
    assert words(planned(knowing(STEP, counts=counts, wrong=alike), Wish())) == "keep watch, tell hold"


def test_who_is_told_to_wait_is_told_by_a_fault():
    """DE-02: A no to a version that waits behind a release is repeated by the scheduler; a yes is refused for good."""
    refusals = [planned(knowing(STEP), Wish(4, decision, "jo"))[0].error for decision in (NO, YES)]
    assert [isinstance(error, Fault) for error in refusals] == [True, False]


def change(kind: str, version: int, champion: int | None, reason: str, **given: Any) -> Change:
    """An entry to come, of versions 1 to 9, one of which can be gone back to."""
    return Change(**{
        "kind": kind, "version": version, "champion": champion, "weights": {} if champion is None else {champion: 10_000},
        "versions": STEP.versions, "good": (1,), "reason": reason, "actor": "perennial", **given,
    })  # fmt: skip


def told(action: str, sentence: str, **given: Any) -> Tell:
    """The answer of a look."""
    return Tell(ReleaseResult(action=action, sentence=sentence, **given))


def of_ten(**given: Any) -> Known:
    """Version 2 is champion and version 10, which no entry names yet, may start."""
    return knowing(ENDED, registry=waiting(10), history=NEW, **given)


TEN = {**ENDED.versions, 10: f"{10:064d}"}
BEGUN = change("started", 10, 2, "The release of version 10 begins.", weights={2: 10_000, 10: 0}, versions=TEN, actor="jo")
READY = "Version 10 is ready: its golden rows match."


@pytest.mark.parametrize(
    ("release", "first", "share", "percent"),
    [
        ({}, {"weights": {2: 9_500, 10: 500}}, "5 % of the traffic", 5),
        ({"steps": (1, 100)}, {"weights": {2: 9_900, 10: 100}}, "1 % of the traffic", 1),
        ({"steps": (33, 100)}, {"weights": {2: 6_700, 10: 3_300}}, "33 % of the traffic", 33),
        ({"shadow": True}, {"shadow": 10}, "a copy of all traffic", 0),
    ],
)
def test_how_a_release_begins(release, first, share, percent):
    """SE-06, SE-07: the whole plan: every entry rests on the one before, who began it is named, and the spec's first step follows."""
    weights = change("weights", 10, 2, READY, versions=TEN, **first)
    assert planned(of_ten(release=release), Wish(actor="jo")) == [
        Move(ENDED), Follow(ENDED), Write(BEGUN, 5), Apply(BEGUN), BringUp(10, BEGUN), BeginWatch(10, 2),
        Write(weights, 6), Move(weights), Confirm(weights),
        told("started", f"Version 10 of small_delays gets {share}; version 2 is the champion.", version=10, champion=2, weight=percent,
             look_again_seconds=3.0),
    ]  # fmt: skip


def test_how_the_first_version_begins():
    """SE-06: all traffic at once, in the name of who began it; no champion is compared, none is kept."""
    versions = {1: f"{1:064d}"}
    started = change(
        "started", 1, None, "Version 1 is the first: there is nothing to compare it with.", versions=versions, good=(), actor="jo"
    )
    released = change("released", 1, 1, "Version 1 is the first and its golden rows match.", versions=versions, good=(), actor="jo")
    ends = [
        Move(released), Follow(released),
        told("promoted", "Version 1 of small_delays serves all traffic: it is the first.", version=1, champion=1, weight=100),
    ]  # fmt: skip
    known = knowing(None, registry=Registered(waiting(1, compared="none").version, ("none",)), history=NEW)
    assert planned(known, Wish(actor="jo")) == [
        Write(started, None), Apply(started), BringUp(1, started), Write(released, 0), *ends,
    ]  # fmt: skip


def test_how_a_retired_model_begins_again():
    """SC-09: like the first version, and the entry says that it was retired."""
    known = knowing(GONE, retired=GONE, registry=waiting(), history=History(GONE))
    _, _, started, *_, released, _, _, answer = planned(known, Wish(3, actor="jo", again=True))
    why = "small_delays serves again after it was retired, beginning with version 3: there is nothing to compare it with."
    assert started == Write(change("started", 3, None, why, good=(), actor="jo"), 5)
    assert (released.change.kind, released.after, answer.result.weight) == ("released", 6, 100)


def test_how_a_release_of_one_step_ends():
    """SE-07: the version is promoted as soon as it is ready, and the champion of before is kept to go back to."""
    promoted = change(
        "promoted", 10, 10, "The spec's only step is 100 % and its golden rows match.",
        versions=TEN, good=(2, 1), weights={10: 10_000, 2: 0},
    )  # fmt: skip
    assert planned(of_ten(release={"steps": (100,)}), Wish(actor="jo")) == [AskKin(2, TEN)]
    assert planned(of_ten(release={"steps": (100,)}, kin=frozenset({7})), Wish(actor="jo"))[2:] == [
        Write(BEGUN, 5), Apply(BEGUN), BringUp(10, BEGUN), Write(promoted, 6), Move(promoted), Follow(promoted),
        told("promoted", f"Version 10 of small_delays is the champion and serves all traffic: {promoted.reason}", version=10, champion=10,
             weight=100),
    ]  # fmt: skip
    named = {"strategy": "blue_green", "steps": (100,)}
    *_, follow, answer = planned(of_ten(release=named, kin=frozenset({7})), Wish(actor="jo"))
    assert follow.of.reason == "It is released blue/green and its golden rows match; version 2 stays warm and can take it back at once."
    assert answer.result.action == "promoted"
    killed = replace(of_ten(release={"steps": (100,)}), last=STARTED)
    assert planned(killed, Wish()) == [AskKin(2, STARTED.versions)]
    shadowed = of_ten(release={"steps": (100,), "shadow": True})
    assert planned(shadowed, Wish(actor="jo"))[-1].result.action == "started"  # a shadow is a step before the only one


GOOD = "2,000 requests on this step and nothing speaks against the candidate."


def looked(known: Known, wish: Wish | None = None) -> tuple[Watch, list[Step]]:
    """What is kept of a look, and the steps after that."""
    kept, *steps = planned(known, wish or Wish())
    assert isinstance(kept, KeepWatch)
    return kept.watch, steps


@pytest.mark.parametrize(
    ("last", "share", "last_step", "action"),
    [(STEP, 0.05, False, "advance"), (LAST_STEP, 0.5, True, "promote"), (SHADOW, None, False, "advance")],
)
def test_what_is_recorded_of_a_look(last, share, last_step, action):
    """SE-06: when the counters were read, the share that the candidate was to have, and what the evidence said."""
    kept = next(step for step in planned(knowing(last, counts=counted(last, 2000), kin=frozenset()), Wish()) if isinstance(step, KeepWatch))
    assert (kept.look.time, kept.look.share, kept.look.last_step, kept.look.action) == (NOW, share, last_step, action)
    assert kept.look.tallies["errors"].candidate_requests == kept.watch.evidence.step_requests == 2000


@pytest.mark.parametrize(
    ("last", "weights", "shares", "percent"),
    [
        (STEP, {2: 7_500, 3: 2_500}, "from 5 % of the traffic to 25 % of the traffic", 25),
        (entry("weights", 3, 2, good=(1,), weights={2: 7_500, 3: 2_500}), {2: 5_000, 3: 5_000},
         "from 25 % of the traffic to 50 % of the traffic", 50),
        (SHADOW, {2: 9_500, 3: 500}, "from a copy of all traffic to 5 % of the traffic", 5),
    ],
)  # fmt: skip
def test_how_a_release_goes_on(last, weights, shares, percent):
    """SE-07: the next step of the spec, with the evidence in the entry and in the answer; it is brought up before it gets more."""
    watch, steps = looked(knowing(last, counts=counted(last, 2000)))
    evidence = steps[1].change.evidence
    assert watch.counters[3]["requests"] == evidence["errors"]["candidate_requests"] == evidence["step_requests"] == 2000
    assert evidence["step_seconds"] == 10.0
    assert "slow_above_ms" not in evidence
    weights = change("weights", 3, 2, GOOD, weights=weights, evidence=evidence)
    sentence = f"Version 3 of small_delays goes {shares}: {GOOD}"
    assert steps == [
        BringUp(3, last), Write(weights, 5), Move(weights), Confirm(weights),
        told("advance", sentence, version=3, champion=2, weight=percent, evidence=evidence, look_again_seconds=3.0),
    ]  # fmt: skip


def test_what_is_slow_is_told_with_the_evidence():
    """SE-09: the edge that was read from the champion's past stands in the figures."""
    _, steps = looked(knowing(STEP, counts=counted(STEP, 2000, edge_ms=250.0)))
    assert steps[-1].result.evidence["slow_above_ms"] == 250.0


def test_a_candidate_is_judged_by_the_share_it_should_have():
    """SE-10: of no requests those that its weight gives it are due to it, of a shadow one for each of the champion's."""
    for last, due in ((STEP, 0.05 * 400), (SHADOW, 0.5 * 400)):
        counts = replace(counted(last), arms={2: Arm(400), 3: Arm()})
        watch, _ = looked(knowing(last, counts=counts))
        assert watch.evidence.silent_requests == pytest.approx(due)


def test_a_step_that_lasts_is_held_and_then_asked_about():
    """SE-08, DE-02: nothing is written until its longest time has passed; then the release is paused as it is."""
    for last, percent, share in ((STEP, 5, "5 % of the traffic"), (SHADOW, 0, "a copy of all traffic")):
        _, [held] = looked(knowing(last, counts=counted(last, 50, seconds=3599)))
        why = "Nothing speaks against the candidate; it has answered 50 of the 100 requests that this step wants."
        assert held == told(
            "hold", f"Version 3 of small_delays stays at {share}: {why}",
            version=3, champion=2, weight=percent, evidence=held.result.evidence, look_again_seconds=3.0,
        )  # fmt: skip
        assert held.result.evidence["step_seconds"] == 3599.0
        _, [write, asked] = looked(knowing(last, counts=counted(last, 50, seconds=3600)))
        reason, evidence = write.change.reason, asked.result.evidence
        assert evidence["step_requests"] == 50
        paused = change("paused", 3, 2, reason, weights=last.weights, shadow=last.shadow, evidence=evidence)
        assert write == Write(paused, 5)
        assert asked == told(
            "ask", f"The release of version 3 of small_delays waits for a person: {reason}",
            version=3, champion=2, weight=percent, evidence=evidence,
        )  # fmt: skip


def test_a_paused_release_tells_why_it_waits():
    """DE-02: the reason of its pause, with the evidence of now."""
    _, [asked] = looked(knowing(PAUSED, counts=counted(PAUSED, 50)))
    assert asked == told(
        "ask", "The release of version 3 of small_delays waits for a person: It was so.",
        version=3, champion=2, weight=5, evidence=asked.result.evidence,
    )  # fmt: skip
    assert asked.result.evidence["step_requests"] == 50


@pytest.mark.parametrize(("decision", "actor", "said"), [(YES, "jo", "jo decided for it."), (None, "perennial", "")])
def test_how_a_release_ends_well(decision, actor, said):
    """SE-07, DE-02: by the word of a person, who is named, or by the evidence; the figures of now stand in the entry."""
    known = knowing(LAST_STEP, counts=counted(LAST_STEP, 4000), kin=frozenset())
    _, [up, write, *ends] = looked(known, Wish(3, decision, "jo"))
    said = said or write.change.reason
    evidence = write.change.evidence
    assert evidence["errors"]["champion_requests"] == 4000
    assert decision or "error" in said
    promoted = change("promoted", 3, 3, said, weights={3: 10_000, 2: 0}, good=(2, 1), actor=actor, evidence=evidence)
    assert [up, write] == [BringUp(3, LAST_STEP), Write(promoted, 5)]
    sentence = f"Version 3 of small_delays is the champion and serves all traffic: {said}"
    assert ends == [
        Move(promoted), Follow(promoted), told("promoted", sentence, version=3, champion=3, weight=100, evidence=evidence),
    ]  # fmt: skip


def ends_badly(last: Entry, reason: str, actor: str, evidence: dict[str, Any], now: str) -> list[Step]:
    """All traffic is the champion's again, the one before it stays warm, and the answer tells it."""
    weights = {} if last.champion is None else {2: 10_000, 1: 0}
    back = change("rolled_back", last.version, last.champion, reason, weights=weights, good=last.good, actor=actor, evidence=evidence)
    sentence = f"Version {last.version} of small_delays was rolled back, {now}: {reason}"
    answer = told("rolled_back", sentence, version=last.version, champion=last.champion, evidence=evidence)
    return [Write(back, 5), Move(back), Follow(back), answer]


def test_how_a_release_ends_badly():
    """SE-10, DE-02: by the evidence, by a person who is named, or since the candidate does not come up; of the first nothing is left."""
    again = "version 2 serves all traffic again"
    for last in (STEP, SHADOW, PAUSED):
        _, steps = looked(knowing(last, counts=counted(last, 2000, 400)))
        evidence, reason = steps[0].change.evidence, steps[0].change.reason
        assert evidence["errors"]["candidate_events"] == 400
        assert steps == ends_badly(last, reason, "perennial", evidence, again)
        assert planned(knowing(last), Wish(3, NO, "jo")) == ends_badly(last, "jo decided against it.", "jo", {}, again)
    counts = counted(STEP, 2000)
    fails = knowing(STEP, counts=counts, **failed(BringUp(3, STEP), BROKEN, STEP))
    check, *steps = planned(fails, Wish(actor="jo"))
    assert check == CheckGateway()
    assert steps[0].change.evidence["step_requests"] == 2000
    assert steps == ends_badly(STEP, str(BROKEN), "perennial", steps[0].change.evidence, again)
    unseen = knowing(STEP, **failed(BringUp(3, STEP), BROKEN, STEP))
    assert planned(unseen, Wish(actor="jo"))[1:] == ends_badly(STEP, str(BROKEN), "perennial", {}, again)
    moved = knowing(STEP, **failed(Move(STEP), BROKEN, STEP, STARTED))
    assert planned(moved, Wish(actor="jo")) == ends_badly(STEP, str(BROKEN), "perennial", {}, again)
    assert planned(knowing(FIRST), Wish(1, NO, "jo")) == ends_badly(FIRST, "jo decided against it.", "jo", {}, "nothing serves")


def test_another_entry_that_cannot_take_its_traffic_ends_no_release():
    """SE-10: only the entry that holds is the candidate's; without a release under way the error is the answer."""
    other = knowing(STEP, **failed(Move(STARTED), BROKEN, STARTED))
    assert planned(other, Wish()) == [Refuse(BROKEN)]
    assert planned(knowing(ENDED, **failed(Move(ENDED), BROKEN, ENDED)), Wish()) == [Refuse(BROKEN)]
    assert planned(knowing(None, **failed(Move(ENDED), BROKEN, ENDED)), Wish()) == [Refuse(BROKEN)]


@pytest.mark.parametrize(("last", "after"), [(None, None), (ENDED, 5), (PAUSED, 5)])
def test_how_a_version_is_turned_down(last, after):
    """DE-02: the traffic stays as it is, and the entry names the version, its content and who decided."""
    last = last and last.model_copy(update={"kind": "promoted"})
    kept = {"weights": last.weights, "good": last.good} if last else {"weights": {}, "good": ()}
    versions = {**(last.versions if last else {}), 10: f"{10:064d}"}
    rejected = change("rejected", 10, last.champion if last else None, "jo decided against it.", versions=versions, actor="jo", **kept)
    steps = planned(knowing(last, registry=waiting(10), history=NEW), Wish(None, NO, "jo"))
    sentence = "Version 10 of small_delays takes no traffic: jo decided against it."
    answer = told("rejected", sentence, version=10, champion=rejected.champion)
    assert steps == [Write(rejected, after), Follow(rejected), answer]


def test_what_an_answer_says_of_the_traffic():
    """SE-07: percent of its version, none of one that was given up, figures of now or of the entry, and when to look again."""
    spec = small_model()

    def answer(about: Entry, action: str, numbers: dict[str, Any] | None = None) -> ReleaseResult:
        return result_of(spec, about, action, "Said.", numbers).result

    assert answer(LAST_STEP, "hold").weight == 50
    assert answer(entry("weights", 3, 2, weights={2: 9_951, 3: 49}), "hold").weight == 0
    assert answer(entry("weights", 3, 2, weights={2: 9_949, 3: 51}), "hold").weight == 1
    assert [answer(entry(kind, 2, 2), "nothing").weight for kind in ("rolled_back", "promoted")] == [0, 100]
    assert answer(BACK, "rolled_back").weight == 0
    seconds = {action: answer(STEP, action).look_again_seconds for action in ("started", "advance", "hold", "ask", "promoted", "rejected")}
    assert seconds == {"started": 3.0, "advance": 3.0, "hold": 3.0, "ask": 0.0, "promoted": 0.0, "rejected": 0.0}
    noted = STEP.model_copy(update={"evidence": {"old": 1}})
    assert [answer(noted, "hold", numbers).evidence for numbers in (None, {"new": 2})] == [{"old": 1}, {"new": 2}]


@pytest.mark.parametrize(
    ("about", "before", "route", "kind", "champion", "good", "weights"),
    [
        (ENDED, entry("weights", 2, 1, seq=4, good=(7, 6)), STEP, "rolled_back", 1, (7, 6), {1: 10_000, 7: 0}),
        (entry("rolled_back", 2, 1), ENDED, ENDED, "promoted", 2, (1,), {2: 10_000, 1: 0}),
    ],
)  # fmt: skip
def test_the_entry_that_says_who_keeps_the_traffic(about, before, route, kind, champion, good, weights):
    """SE-10: the champion of before, with those it could go back to; the ledger is read again after that."""
    about = about.model_copy(update={"versions": {1: "one", 2: "two"}})
    before = before.model_copy(update={"versions": {1: "old", 2: "old", 7: "seven"}})
    reason = f"Version {about.champion} could not take the traffic, so version {champion} keeps it: {BROKEN}"
    correction = change(kind, 2, champion, reason, good=good, weights=weights, versions={1: "one", 2: "two", 7: "seven"})
    failure = Failure(Move(about), BROKEN, about, before, route_of(route))
    assert corrected(failure) == [CheckGateway(), Write(correction, 5), LookAgain(BROKEN)]
    assert corrected(replace(failure, step=Follow(about))) == []
    assert corrected(replace(failure, error=LedgerConflict("Changed."))) == []
    assert corrected(replace(failure, entry=None)) == corrected(replace(failure, before=None)) == []


def refusal(known: Known, wish: Wish) -> str:
    """What ends a look that refuses."""
    error = planned(known, wish)[-1].error
    assert isinstance(error, ReleaseRefused)
    return str(error)


@pytest.mark.parametrize(
    ("compared", "last", "why"),
    [
        ("7", ENDED, "was compared with version 7, but version 2 is the champion now"),
        ("none", ENDED, "was compared with no champion, but version 2 is the champion now"),
        ("2", None, "was compared with version 2, but no champion is the champion now"),
        (None, ENDED, "did not pass the gate"),
    ],
)
def test_a_word_of_the_gate_that_holds_no_more(compared, last, why):
    """SE-07: it is said whom the version was compared with and who is champion; a person may release it all the same."""
    tags = {} if compared is None else {COMPARED_WITH: compared}
    registry = Registered(replace(waiting().version, tags=tags), ("9",))
    known = knowing(last, registry=registry, history=NEW)
    assert refusal(known, Wish()).startswith(f"Version 3 of small_delays {why}. Trigger small_delays_training with force")
    assert words(planned(known, Wish(3, actor="jo", again=True))).endswith(("tell started", "tell promoted"))


@pytest.mark.parametrize(("mode", "how"), [("approval", "approve it in"), ("manual", "start it yourself with")])
def test_a_version_that_waits_for_a_person(mode, how):
    """DE-02: the answer says how to begin it; a person's word begins it, and where it is automatic nobody waits."""
    known = knowing(ENDED, registry=waiting(), history=NEW, release={"mode": mode})
    said = f"waits for a person, since its spec says release mode {mode}: {how} the DAG small_delays_release"
    assert said in refusal(known, Wish())
    assert planned(known, Wish(actor="jo"))[-1].result.action == "started"


def test_a_version_that_breaks_callers_is_asked_about():
    """SE-07: what callers have to do is in the answer, one by one; nothing has moved, and the first version breaks nobody."""
    breaks = waiting(**{BREAKS_CALLERS: "send gust; send wind"})
    answer = planned(knowing(ENDED, registry=breaks, history=NEW), Wish())[-1].result
    assert (answer.action, answer.before_start, answer.version, answer.champion, answer.weight) == ("ask", True, 3, 2, 0)
    assert answer.evidence == {"callers_must": ["send gust", "send wind"]}
    assert "since it breaks callers of version 2: send gust; send wind. Tell them first" in answer.sentence
    assert planned(knowing(ENDED, registry=waiting(**{BREAKS_CALLERS: "no"}), history=NEW), Wish())[-1].result.action == "started"
    assert planned(knowing(None, registry=breaks, history=NEW), Wish())[-1].result.action == "promoted"


def test_what_is_asked_is_about_the_right_version():
    """SE-06: the registry is asked for the version of the wish, or for its candidate; the ledger for what became of that one."""
    assert planned(knowing(None), Wish()) == [AskRegistry(None)]
    assert planned(knowing(ENDED), Wish(3)) == [AskRegistry(3)]
    assert planned(knowing(ENDED), Wish(2, again=True)) == [AskRegistry(2)]
    assert planned(knowing(TURNED_DOWN), Wish(3)) == [AskRegistry(3)]  # a version that never began has not ended
    assert planned(knowing(ENDED, registry=waiting(10)), Wish()) == [AskHistory(10)]
    assert planned(knowing(None, registry=waiting(1)), Wish()) == [AskHistory(1)]
    assert planned(knowing(ENDED), Wish(10, NO, "jo")) == [AskHistory(10)]
    assert planned(knowing(ENDED, history=NEW), Wish(10, NO, "jo")) == [AskRegistry(10)]
    assert planned(knowing(ENDED, history=NEW, registry=Registered()), Wish(10, NO, "jo")) == [AskRegistry(10)]
    assert planned(knowing(ENDED), Wish(None, NO, "jo"))[-1] == AskRegistry(None)
    assert planned(knowing(ENDED, registry=waiting(10)), Wish(None, NO, "jo")) == [AskHistory(10)]
    assert planned(knowing(STEP), Wish()) == [Move(STEP), Confirm(STEP), AskCounts(STEP)]
    counts = counted(LAST_STEP, 4000)
    assert planned(knowing(LAST_STEP, counts=counts), Wish()) == [AskKin(2, LAST_STEP.versions)]


def test_what_ended_is_told_again():
    """SE-06: what it was, why, and the traffic of now."""
    *_, promoted = planned(knowing(ENDED), Wish(2))
    assert promoted == told("promoted", "Version 2 of small_delays was promoted: It was so.", version=2, champion=2, weight=100)
    *_, back = planned(knowing(BACK), Wish(3))
    assert back == told("rolled_back", "Version 3 of small_delays was rolled back: It was so.", version=3, champion=2)


@pytest.mark.parametrize(("last", "champion"), [(None, None), (ENDED, 2)])
def test_a_look_with_nothing_to_do(last, champion):
    """SE-06: it says why, of which version and who is champion, and links to no page of a version."""
    *_, answer = planned(knowing(last, registry=Registered()), Wish())
    why = "small_delays has no candidate to release."
    assert answer == Tell(ReleaseResult(outcome="skipped", sentence=why, champion=champion), linked=False)


def test_a_version_that_is_not_released_again_by_itself():
    """SE-07: when and why it was turned down, and how to release it all the same; the champion need not be."""
    history = History(TURNED_DOWN, TURNED_DOWN)
    *_, answer = planned(knowing(TURNED_DOWN, registry=waiting(), history=history), Wish())
    assert answer.result.sentence.startswith(
        "Version 3 of small_delays was rejected on 2026-01-02 11:00 UTC (It was so) and is not released again by itself."
    )
    assert (answer.result.version, answer.result.champion, answer.linked) == (3, 2, False)
    *_, champion = planned(knowing(TURNED_DOWN, registry=waiting(2)), Wish(again=True))
    assert champion.result.sentence == "Version 2 of small_delays is the champion already."
    [again] = planned(knowing(ENDED, history=History(BACK, BACK)), Wish(3, NO, "jo"))
    assert again.result.sentence.startswith("Version 3 of small_delays was rolled back on 2026-01-02 11:00 UTC (It was so)")
    retired = planned(knowing(GONE, retired=GONE), Wish(2))[-1].result
    assert (retired.version, retired.champion, retired.outcome) == (2, None, "skipped")
    assert retired.sentence.startswith("Nothing is released by itself: small_delays was retired on 2026-01-02 11:00 UTC")


def test_who_decides_while_nothing_is_released_is_told_what_waits():
    """DE-02: the version that waits and how to begin it, or how to see what happened."""
    waits = refusal(knowing(ENDED, registry=waiting(), history=NEW), Wish(None, YES, "jo"))
    assert "Version 3 waits to be released: `perennial release --model small_delays --version 3 --actor YOU`" in waits
    for known, wish in (
        (knowing(ENDED, registry=Registered()), Wish(None, YES, "jo")),
        (knowing(ENDED, registry=waiting(), history=History(BACK, BACK)), Wish(None, YES, "jo")),
        (knowing(ENDED), Wish(3, YES, "jo")),
        (knowing(ENDED, history=History(ENDED)), Wish(3, NO, "jo")),
    ):
        assert "`perennial ledger show --model small_delays` tells what happened." in refusal(known, wish)


def test_a_first_version_that_ended_was_promoted():
    """SE-06: its release ended well, whether the look is repeated or a person says yes to it afterwards."""
    alone = entry("released", 1, 1)
    for wish in (Wish(1), Wish(1, YES, "jo")):
        *_, answer = planned(knowing(alone), wish)
        assert answer == told("promoted", "Version 1 of small_delays was promoted: It was so.", version=1, champion=1, weight=100)


def test_outcomes_are_asked_for_again_only_after_a_while():
    """SE-09: and with what was usual before; until then the look goes on without them."""
    earlier = {"labelled_mark": "0.jsonl", "usual_error": 2.5}
    moment, while_ago = (NOW - timedelta(seconds=seconds) for seconds in (29, 30))
    fresh = counted(STEP, mark="1.jsonl", labelled_at=moment, **earlier)
    assert words(planned(knowing(STEP, counts=fresh), Wish())) == "keep watch, tell hold"
    due = counted(STEP, mark="1.jsonl", labelled_at=while_ago, **earlier)
    assert planned(knowing(STEP, counts=due), Wish()) == [CountWrong(due.watch.begun, 3, 2, 2.5)]


def test_the_first_outcomes_of_a_regression_say_what_is_usual():
    """SE-09: they are kept, and are no evidence yet: however many are wrong, nothing is decided by them."""
    known = knowing(STEP, counts=counted(STEP, 50, mark="1.jsonl"), wrong=WrongAnswers({2: (400, 80), 3: (400, 200)}, 3.5))
    watch, [held] = looked(replace(known, spec=known.spec.model_copy(update={"task": "regression"})))
    assert (watch.usual_error, watch.labelled_mark, watch.labelled_at) == (3.5, "1.jsonl", NOW)
    assert (held.result.action, "outcomes" in held.result.evidence) == ("hold", False)


def test_a_step_whose_begin_is_not_known_has_just_begun():
    """SE-08: so it is never paused for having lasted too long."""
    _, [held] = looked(knowing(STEP, counts=counted(STEP, 50, since=None)))
    assert (held.result.action, held.result.evidence["step_seconds"]) == ("hold", 0.0)


def test_a_reason_is_told_without_its_full_stop():
    """SE-07: and with its last word, whatever that is."""
    earlier = TURNED_DOWN.model_copy(update={"reason": "Jo wants to wait for mark X."})
    *_, answer = planned(knowing(TURNED_DOWN, registry=waiting(), history=History(earlier, earlier)), Wish())
    assert "UTC (Jo wants to wait for mark X) and is not released again" in answer.result.sentence


FREEZE = {"freeze": [{"reason": "the holidays", "first": "2026-01-01", "last": "2026-01-02"}]}
UNTIL = "releases are frozen until 2026-01-03 00:00 UTC (the holidays)"


def test_no_release_begins_by_itself_in_a_freeze():
    """SE-10: the look says until when and why and looks again; a person begins it, the ledger says that, and once it is over it begins."""
    known = knowing(ENDED, registry=waiting(), history=NEW, release=FREEZE)
    steps = planned(known, Wish())
    assert words(steps) == f"{COMPLETES}, tell hold"
    answer = steps[-1].result
    assert answer.sentence == (
        f"Version 3 of small_delays does not begin: {UNTIL}. To begin all the same: "
        "`perennial release --model small_delays --version 3 --actor YOU`."
    )
    assert (answer.version, answer.champion, answer.look_again_seconds, answer.weight) == (None, 2, 60, 0)
    assert planned(known, Wish(3))[-1].result.version == 3
    assert planned(knowing(None, registry=waiting(1), history=NEW, release=FREEZE), Wish())[-1].result.champion is None
    rarely = knowing(ENDED, registry=waiting(), history=NEW, release={**FREEZE, "observe_seconds": 100})
    assert planned(rarely, Wish())[-1].result.look_again_seconds == 100
    begun = planned(known, Wish(actor="jo"))
    assert begun[-1].result.action == "started"
    assert next(one.change.reason for one in begun if isinstance(one, Write)) == (
        f"The release of version 3 begins. That was during a freeze: {UNTIL}."
    )
    later = replace(known, now=NOW + timedelta(hours=12))
    assert next(one.change.reason for one in planned(later, Wish()) if isinstance(one, Write)) == "The release of version 3 begins."


def test_a_release_that_was_killed_as_it_began_waits_for_the_end_of_a_freeze():
    """SE-10: it gets no traffic by itself; one that a person began, or looks at, goes on."""
    waits = planned(knowing(STARTED, release=FREEZE), Wish())
    assert words(waits) == "tell hold"
    assert waits[-1].result.sentence == f"Version 3 of small_delays does not go on to its first traffic: {UNTIL}."
    assert waits[-1].result.version == 3
    assert planned(knowing(STARTED, release=FREEZE), Wish(actor="jo"))[-1].result.action == "started"
    by_jo = STARTED.model_copy(update={"actor": "jo"})
    assert planned(knowing(by_jo, release=FREEZE), Wish())[-1].result.action == "started"
    assert planned(knowing(STARTED), Wish())[-1].result.action == "started"


@pytest.mark.parametrize(("last", "goes"), [(STEP, "advance"), (LAST_STEP, "promoted")])
def test_a_release_keeps_its_share_in_a_freeze(last, goes):
    """SE-10: it neither advances nor promotes, whoever looks, and its evidence is kept; a person's word promotes it, and worse ends it."""
    counts = counted(last, 1000, seconds=60)
    assert planned(knowing(last, counts=counts, kin=frozenset()), Wish())[-1].result.action == goes
    frozen = knowing(last, counts=counts, kin=frozenset(), release=FREEZE)
    for wish in (Wish(), Wish(actor="jo")):
        steps = planned(frozen, wish)
        assert words(steps) == "keep watch, tell hold"
        share = 5 if last is STEP else 50
        said = f"Version 3 of small_delays stays at {share} % of the traffic: nothing goes on by itself, {UNTIL}. "
        assert steps[-1].result.sentence.startswith(said)
    promoted = planned(frozen, Wish(decision=YES, actor="jo"))
    assert words(promoted) == f"keep watch, bring up, {PROMOTES}"
    assert promoted[2].change.reason == f"jo decided for it. That was during a freeze: {UNTIL}."
    worse = knowing(last, counts=counted(last, 1000, 900), release=FREEZE)
    assert words(planned(worse, Wish())) == f"keep watch, {ENDS_BADLY}"
    assert words(planned(frozen, Wish(decision=NO, actor="jo"))) == ENDS_BADLY
    few = planned(knowing(last, counts=counted(last, 1), release=FREEZE), Wish())[-1].result
    assert (few.action, UNTIL in few.sentence) == ("hold", False)


LOGGED = SignalSpec(name="alarms", column="class", event="== late")
OF_A_PROMETHEUS = SignalSpec(name="orders", source="prometheus", query="orders{version='{version}'}", low=0, high=1, direction="higher")


def test_the_log_is_asked_for_a_team_s_signals_before_there_is_more_traffic():
    """SE-10, MN-17: However short a time ago that was done last; not while nothing moves, nor where nothing new was logged."""
    a_moment_ago = {"labelled_mark": "1", "labelled_at": NOW}
    release = {"signals": (LOGGED,)}

    def plan(requests: int = 2000, mark: str = "2", spec: dict[str, Any] = release, **given: Any) -> str:
        return words(planned(knowing(STEP, counts=counted(STEP, requests, mark=mark, **a_moment_ago), release=spec, **given), Wish()))

    goes_on = "keep watch, bring up, write weights, move, confirm, tell advance"
    assert plan() == "count wrong"
    assert plan(wrong=WrongAnswers()) == goes_on
    assert plan(spec={}) == goes_on
    assert plan(mark="1") == goes_on
    assert plan(mark="") == goes_on
    assert plan(requests=50) == "keep watch, tell hold"
    last = knowing(LAST_STEP, counts=counted(LAST_STEP, 4000, mark="2", **a_moment_ago), release=release)
    assert words(planned(last, Wish())) == "count wrong"


def test_what_the_log_says_of_a_signal_is_evidence():
    """SE-10, MN-17: Each answer of the candidate is an alarm, none of the champion's: it is rolled back, and the signal was fed."""
    counts, release = counted(STEP, 200, mark="2"), {"signals": (LOGGED,)}
    wrong = WrongAnswers(values={"alarms": [([1.0] * 60, [0.0] * 60)]}, edges={"alarms": 3.0})
    watch, steps = looked(knowing(STEP, counts=counts, wrong=wrong, release=release))
    tally = watch.evidence.tallies["alarms"]
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_events) == (60, 60, 0)
    assert (watch.fed_at, watch.edges) == ({"alarms": NOW}, {"alarms": 3.0})
    assert steps[-1].result.action == "rolled_back"
    other, _ = looked(knowing(STEP, counts=counts, wrong=WrongAnswers(values={"other": [([1.0], [0.0])]}), release=release))
    assert "alarms" not in other.evidence.tallies
    again, _ = looked(knowing(STEP, counts=replace(counts, watch=watch, now=NOW + timedelta(seconds=60)), wrong=wrong, release=release))
    assert again.fed_at == {"alarms": NOW}


def test_what_a_prometheus_answers_is_a_pair():
    """SE-10, MN-17: One value of each version a question, added to those before; who was asked in vain is asked again later."""
    counts, release = counted(STEP, 50), {"signals": (OF_A_PROMETHEUS,)}
    for answered, pairs in ((Asked({"orders": (0.5, 0.75)}), 1), (Asked(why_not={"orders": "it does not answer"}), 0)):
        watch, _ = looked(knowing(STEP, counts=replace(counts, asked=answered), release=release))
        assert watch.asked_at == {"orders": NOW}
        assert watch.fed_at == ({"orders": NOW} if pairs else {})
        assert sum(tally.candidate_requests for name, tally in watch.evidence.tallies.items() if name == "orders") == pairs
    first, _ = looked(knowing(STEP, counts=replace(counts, asked=Asked({"orders": (0.5, 0.75)})), release=release))
    later = replace(counts, watch=first, asked=Asked({"orders": (0.25, 1.0)}), now=NOW + timedelta(seconds=90))
    second, _ = looked(knowing(STEP, counts=later, release=release))
    assert second.evidence.tallies["orders"].candidate_requests == 2
    assert second.fed_at == {"orders": NOW + timedelta(seconds=90)}


@pytest.mark.parametrize(("why_not", "said"), [({}, "."), ({"orders": "no series has it"}, ": no series has it.")])
def test_a_signal_that_sees_nothing_is_told(why_not, said):
    """MN-17: After ten minutes without a value of both versions each look says so, with the reason if there is one."""
    begun = {"begun": NOW - timedelta(minutes=12), "asked_at": {"orders": NOW}}
    counts = replace(counted(STEP, 50, **begun), asked=Asked(why_not=why_not))
    _, [held] = looked(knowing(STEP, counts=counts, release={"signals": (OF_A_PROMETHEUS,)}))
    assert held.result.sentence.endswith(
        f"100 requests that this step wants. The signal orders has had no value of both versions for 12 minutes{said}"
    )
    assert held.result.evidence["blind"] == ["orders"]
    fresh = replace(counts, watch=counts.watch.model_copy(update={"fed_at": {"orders": NOW - timedelta(minutes=9)}}))
    _, [held] = looked(knowing(STEP, counts=fresh, release={"signals": (OF_A_PROMETHEUS,)}))
    assert "no value" not in held.result.sentence
    assert "blind" not in held.result.evidence


def test_why_traffic_is_split_otherwise_is_asked_once_and_told():
    """SE-06: The log is asked since the step's begin; what it says stands behind the counts, in a question to a person or in a warning."""
    mismatch = Mismatch(share=0.05, candidate=1, requests=1000)
    evidence = Evidence(split=Split(step=5, candidate=1, requests=1000, mismatch=mismatch))
    counts = counted(STEP, 50, evidence=evidence)
    question = planned(knowing(STEP, counts=counts), Wish())[-1]
    assert question == ExplainSplit(counts.watch.since, 3, 2)
    no_step = replace(counts, watch=counts.watch.model_copy(update={"since": None}))
    assert planned(knowing(STEP, counts=no_step), Wish())[-1] == ExplainSplit(counts.watch.begun, 3, 2)
    told = f"{mismatch.sentence} The log does not tell why."
    for reaction, action in (("hold", "ask"), ("warn", "hold"), ("roll_back", "rolled_back")):
        known = knowing(STEP, counts=counts, split_reason="The log does not tell why.", release={"on_split_mismatch": reaction})
        watch, steps = looked(known)
        assert watch.split_reason == "The log does not tell why."
        assert steps[-1].result.action == action
        assert steps[-1].result.sentence.count(told) == 1
        assert steps[-1].result.sentence.count("Traffic is not split") == 1
        kept, _ = looked(replace(known, counts=replace(counts, watch=watch), split_reason=None))
        assert kept.split_reason == "The log does not tell why."


AGAINST_IT = PromotionVerdict(
    False, "refunds (version 1) gets worse.", (Check("refunds", False, "refunds (version 1) gets worse", {"shift": 0.5}),)
)
FOR_IT = PromotionVerdict(True, "refunds (version 1) goes on.", (Check("refunds", True, "refunds (version 1) goes on"),))


def test_models_that_read_the_scores_are_asked_first() -> None:
    """DE-11: Once, where there is a champion to compare with and nothing else is in the way; a model that nobody reads asks nobody."""
    ready = {"registry": waiting(), "history": History(), "is_read": True}
    (question,) = planned(knowing(ENDED, **ready), Wish())
    assert question == AskReaders(3, f"{3:064d}", 2, f"{2:064d}")
    assert question.sentence == "Have the models that read the scores answer with those of version 3, before it gets traffic."
    assert words(planned(knowing(ENDED, **ready | {"registry": waiting(compared="1x")}), Wish())).endswith("refuse ReleaseRefused")
    first = knowing(None, **ready | {"registry": waiting(1, "none", **{})})
    first = replace(first, registry=replace(first.registry, like_champion=("none",)))
    assert words(planned(first, Wish())).startswith("write started")
    assert words(planned(knowing(ENDED, **ready | {"is_read": False}), Wish())).startswith("move, follow, write started")


def test_a_reader_that_is_against_it_asks_a_person() -> None:
    """DE-11: Nothing is written; the sentence has the reader, its figures and what to do. What the release before left undone is done."""
    known = knowing(ENDED, registry=waiting(), history=History(), is_read=True, readers=AGAINST_IT)
    *before, end = planned(known, Wish())
    assert words(before) == "move, follow"
    assert isinstance(end, Tell)
    assert (end.result.action, end.result.before_start, end.result.version, end.result.champion) == ("ask", True, 3, 2)
    assert end.result.evidence == {"readers": AGAINST_IT.as_json()}
    assert end.result.sentence == (
        "Version 3 of small_delays waits for a person, since other models read its scores: refunds (version 1) gets worse. Train them on "
        "scores of this version first, or let it begin all the same: approve it in the DAG small_delays_release, or run "
        "`perennial release --model small_delays --version 3 --actor YOU`."
    )


@pytest.mark.parametrize(
    ("verdict", "actor", "reason"),
    [
        (FOR_IT, "perennial", "The release of version 3 begins."),
        (
            AGAINST_IT,
            "ada",
            "The release of version 3 begins. Of the models that read its scores: refunds (version 1) gets worse.",
        ),
        (FOR_IT, "ada", "The release of version 3 begins."),
        (None, "perennial", "The release of version 3 begins."),
    ],
)
def test_what_readers_made_of_it_is_in_the_ledger(verdict: PromotionVerdict | None, actor: str, reason: str) -> None:
    """DE-11: With the entry with which the release begins, whoever let it begin."""
    known = knowing(ENDED, registry=waiting(), history=History(), is_read=verdict is not None, readers=verdict)
    written = next(step for step in planned(known, Wish(actor=actor)) if isinstance(step, Write))
    assert (written.change.kind, written.change.reason) == ("started", reason)
    assert written.change.evidence == ({"readers": verdict.as_json()} if verdict else {})
