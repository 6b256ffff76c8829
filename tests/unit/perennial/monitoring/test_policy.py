"""When training is asked for, and when it starts: tables of situations."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from perennial.monitoring.policy import Evidence, Held, Request, Situation, Skip, Train, Training, ask, should_train
from perennial.specs import RetrainSpec

SPEC = RetrainSpec(drift_windows=2, max_age_days=30, cooldown_days=7)
QUIET = Evidence(
    now=datetime(2013, 3, 1),
    served_by=12,
    champion=12,
    champion_newest=datetime(2013, 2, 10),
    last_training_newest=datetime(2013, 2, 10),
    jump_sentence="The loss jumped.",
)
DRIFT = replace(QUIET, drifted=("temp", "dewp"), confirmed=("temp",))

ASKED = {
    "confirmed drift": (DRIFT, SPEC, "drift", "`temp` drifted in 2 windows in a row"),
    "drift with a loss that is worse": (
        replace(DRIFT, worse=True),
        SPEC.model_copy(update={"on_drift": "with_performance"}),
        "drift",
        "`temp`",
    ),
    "a jump of the loss": (replace(QUIET, jump=True), SPEC, "performance", "The loss jumped"),
    "a jump before drift": (replace(DRIFT, jump=True), SPEC, "performance", "The loss jumped"),
    "a jump where drift must not ask": (
        replace(DRIFT, jump=True),
        SPEC.model_copy(update={"on_drift": "never"}),
        "performance",
        "The loss jumped",
    ),
    "age": (replace(QUIET, now=datetime(2013, 3, 12)), SPEC, "schedule", "last 30 days"),
    "age though drift was answered": (
        replace(DRIFT, now=datetime(2013, 3, 12), answered=frozenset({"temp"})),
        SPEC,
        "schedule",
        "last 30 days",
    ),
    "a second column after the first was answered": (
        replace(DRIFT, confirmed=("temp", "dewp"), answered=frozenset({"temp"})),
        SPEC,
        "drift",
        "`dewp` drifted",
    ),
    "one window where one is enough": (DRIFT, SPEC.model_copy(update={"drift_windows": 1}), "drift", "in this window"),
    "cool-down just over": (replace(DRIFT, now=datetime(2013, 2, 17)), SPEC, "drift", "`temp`"),
    "no training known": (replace(DRIFT, last_training_newest=None), SPEC, "drift", "`temp`"),
}
HELD = {
    "nothing": (QUIET, SPEC, "Nothing asks"),
    "no champion": (replace(DRIFT, champion=None, served_by=None), SPEC, "no champion yet"),
    "drift of one window": (replace(QUIET, drifted=("temp",)), SPEC, "once it lasts through 2 windows"),
    "drift that was answered": (replace(DRIFT, answered=frozenset({"temp"})), SPEC, "has led to a training already"),
    "drift where it must not ask": (DRIFT, SPEC.model_copy(update={"on_drift": "never"}), "the spec asks for no retraining on drift"),
    "drift without loss where both are wanted": (DRIFT, SPEC.model_copy(update={"on_drift": "with_performance"}), "the loss is not worse"),
    "cool-down": (replace(DRIFT, now=datetime(2013, 2, 16, 23)), SPEC, "requests rest for 7 days"),
    "cool-down after a refused candidate": (
        replace(QUIET, jump=True, last_training_newest=datetime(2013, 2, 25)),
        SPEC,
        "up to 2013-02-25",
    ),
    "an active request": (replace(DRIFT, active="00000004-drift"), SPEC, "00000004-drift has not ended"),
    "bad data": (replace(DRIFT, refusal="Suite flights refused snapshot 9."), SPEC, "Suite flights refused snapshot 9"),
    "no new data": (replace(QUIET, jump=True, new_data=False), SPEC, "new data must come in first"),
    "another version is champion by now": (replace(DRIFT, served_by=11), SPEC, "served by version 11"),
    "a look back": (replace(DRIFT, newest_window=False), SPEC, "a look back"),
    "young champion": (replace(QUIET, now=datetime(2013, 3, 11, 23)), SPEC, "Nothing asks"),
    "age without a limit": (replace(QUIET, now=datetime(2014, 3, 11)), SPEC.model_copy(update={"max_age_days": None}), "Nothing asks"),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_request_is_made(case):
    """The evidence asks for retraining, with this cause and reason."""
    evidence, spec, cause, words = ASKED[case]
    found = ask(evidence, spec)
    assert isinstance(found, Request), found
    assert found.cause == cause
    assert words in found.why


@pytest.mark.parametrize("case", HELD)
def test_no_request_is_made(case):
    """The evidence does not ask, or something holds the request back; the reason is said."""
    evidence, spec, words = HELD[case]
    found = ask(evidence, spec)
    assert isinstance(found, Held), found
    assert words in found.why


def test_what_holds_a_request_back_also_says_what_asked():
    """A held request names the evidence that asked for it."""
    assert "`temp` drifted" in ask(replace(DRIFT, active="k"), SPEC).why


TWELVE = Training("version 12", snapshot=34, code_digest="c", newest=datetime(2013, 2, 10))
LATER = Training("candidate 3f2a", snapshot=36, code_digest="c", newest=datetime(2013, 3, 10))
NIGHT = Situation(cause="schedule", snapshot=37, newest=datetime(2013, 2, 20), code_digest="c", last=TWELVE, champion=TWELVE)
ALWAYS = SPEC.model_copy(update={"on_new_snapshot": "always"})

TRAINS = {
    "first training": (replace(NIGHT, last=None, champion=None, cause="data"), SPEC, "data", "First training"),
    "forced on the same inputs": (replace(NIGHT, same=TWELVE, forced=True), SPEC, "manual", "forces"),
    "forced by hand": (replace(NIGHT, cause="manual", forced=True), SPEC, "manual", "forces"),
    "a person asks": (replace(NIGHT, cause="manual"), SPEC, "manual", "A person asks"),
    "a request": (replace(NIGHT, request=("00000037-drift", "drift")), SPEC, "drift", "00000037-drift"),
    "a request of the monitor's age rule": (
        replace(NIGHT, request=("00000037-schedule", "schedule")),
        SPEC,
        "schedule",
        "00000037-schedule",
    ),
    "new code": (replace(NIGHT, code_digest="d"), SPEC, "code", "code has changed since version 12"),
    "new code on the old snapshot": (replace(NIGHT, code_digest="d", snapshot=34), SPEC, "code", "code has changed"),
    "every new snapshot": (replace(NIGHT, cause="data"), ALWAYS, "data", "Snapshot 37 is newer"),
    "every new snapshot, found at night": (NIGHT, ALWAYS, "schedule", "Snapshot 37"),
    "age is due": (replace(NIGHT, newest=datetime(2013, 3, 12)), SPEC, "schedule", "ends 30 days before"),
    "age is due and cool-down over": (replace(NIGHT, last=LATER, newest=datetime(2013, 3, 17)), SPEC, "schedule", "version 12"),
}
SKIPS = {
    "the same inputs": (replace(NIGHT, same=TWELVE), ALWAYS, "Nothing new since version 12 (snapshot 34"),
    "the same inputs on request": (replace(NIGHT, same=TWELVE, request=("k", "drift")), SPEC, "Nothing new since version 12"),
    "the same inputs by hand": (replace(NIGHT, same=TWELVE, cause="manual"), SPEC, "Nothing new since version 12"),
    "the same snapshot, another lock file": (replace(NIGHT, snapshot=34), ALWAYS, "only the environment or the parameters"),
    "not due": (NIGHT, SPEC, "due only with data of 2013-03-12"),
    "a data event that is not due": (replace(NIGHT, cause="data"), SPEC, "Snapshot 37 is newer than that of version 12 (34)"),
    "due, but the last candidate is too fresh": (replace(NIGHT, last=LATER, newest=datetime(2013, 3, 16)), SPEC, "2013-03-17"),
    "no age limit": (replace(NIGHT, newest=datetime(2014, 1, 1)), SPEC.model_copy(update={"max_age_days": None}), "waits for drift"),
    "a drift event whose request has ended": (replace(NIGHT, cause="drift"), SPEC, "training is due only"),
}


@pytest.mark.parametrize("case", TRAINS)
def test_a_training_starts(case):
    """The situation starts a training with this cause and reason."""
    situation, spec, cause, words = TRAINS[case]
    found = should_train(situation, spec)
    assert isinstance(found, Train), found
    assert found.cause == cause
    assert words in found.why


@pytest.mark.parametrize("case", SKIPS)
def test_no_training_starts(case):
    """Nothing new, or not yet: the sentence says since what, or until when."""
    situation, spec, words = SKIPS[case]
    found = should_train(situation, spec)
    assert isinstance(found, Skip), found
    assert words in found.why
