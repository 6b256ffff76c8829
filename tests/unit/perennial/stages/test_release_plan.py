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
from perennial.serving.route import Arm, Route
from perennial.serving.watch import Watch
from perennial.specs import ReleaseSpec
from perennial.stages import rollback
from perennial.stages._release_plan import Applied, Counts, Failure, History, Known, Registered, Wish, planned
from perennial.stages._release_steps import BringUp, CheckGateway, CountWrong, Follow, Move, Refuse, Step, Tell, Write
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
    assert ask == CountWrong(counts.watch.begun, 2, None)
    wrong = WrongAnswers({2: (400, 80), 3: (400, 200)})
    assert words(planned(knowing(STEP, counts=counts, wrong=wrong), Wish())) == f"keep watch, {ENDS_BADLY}"
    alike = WrongAnswers({2: (400, 80), 3: (400, 80)})
    assert words(planned(knowing(STEP, counts=counts, wrong=alike), Wish())) == "keep watch, tell hold"


def test_who_is_told_to_wait_is_told_by_a_fault():
    """DE-02: A no to a version that waits behind a release is repeated by the scheduler; a yes is refused for good."""
    refusals = [planned(knowing(STEP), Wish(4, decision, "jo"))[0].error for decision in (NO, YES)]
    assert [isinstance(error, Fault) for error in refusals] == [True, False]
