"""When training is asked for, and when it starts: tables of situations."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    "drift beside a change that was called known": (replace(DRIFT, quality_break=""), SPEC, "drift", "`temp` drifted"),
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
    "a quality break under confirmed drift": (
        replace(DRIFT, quality_break="`temp` is in Celsius since 1 March."),
        SPEC,
        "The newest data are not trained on: `temp` is in Celsius since 1 March.",
    ),
    "a quality break under a jump of the loss": (
        replace(QUIET, jump=True, quality_break="Nulls of `temp` rose."),
        SPEC,
        "Nulls of `temp` rose",
    ),
    "a quality break at an age that would ask": (
        replace(QUIET, now=datetime(2013, 3, 12), quality_break="`dest` knows a new category."),
        SPEC,
        "Correct the feed, or say in the incident that the change is known",
    ),
    "a quality break where nothing asks": (
        replace(QUIET, quality_break="Nulls of `temp` rose."),
        SPEC,
        "Nothing asks for retraining. Age asks with data of 2013-03-12. The newest data are not trained on",
    ),
    "age without a limit": (replace(QUIET, now=datetime(2014, 3, 11)), SPEC.model_copy(update={"max_age_days": None}), "Nothing asks"),
}


@pytest.mark.parametrize("case", ASKED)
def test_a_request_is_made(case):
    """MN-10: The evidence asks for retraining, with this cause and reason."""
    evidence, spec, cause, words = ASKED[case]
    found = ask(evidence, spec)
    assert isinstance(found, Request), found
    assert found.cause == cause
    assert words in found.why


@pytest.mark.parametrize("case", HELD)
def test_no_request_is_made(case):
    """MN-10: The evidence does not ask, or something holds the request back; the reason is said."""
    evidence, spec, words = HELD[case]
    found = ask(evidence, spec)
    assert isinstance(found, Held), found
    assert words in found.why


def test_what_holds_a_request_back_also_says_what_asked():
    """MN-10: A held request names the evidence that asked for it."""
    assert "`temp` drifted" in ask(replace(DRIFT, active="k"), SPEC).why


MOMENTS = st.sampled_from([datetime(2013, 1, 1) + timedelta(days=n, hours=n % 7) for n in range(90)])
SENTENCES = st.sampled_from(["", "Nulls of `temp` rose.", "Suite flights refused snapshot 9: distance is null."])
NAMES = st.lists(st.sampled_from(["temp", "dewp", "carrier", "dest"]), unique=True, max_size=4).map(tuple)


@st.composite
def evidences(draw):
    """Any evidence that a look could have: what is confirmed has drifted, and what is answered may be anything."""
    drifted = draw(NAMES)
    champion = draw(st.sampled_from([None, 12, 13]))
    return Evidence(
        now=draw(MOMENTS),
        newest_window=draw(st.booleans()),
        served_by=draw(st.sampled_from([None, 12, 13])),
        champion=champion,
        champion_newest=draw(st.none() | MOMENTS),
        drifted=drifted,
        confirmed=tuple(name for name in drifted if draw(st.booleans())),
        answered=frozenset(draw(NAMES)),
        jump=draw(st.booleans()),
        worse=draw(st.booleans()),
        jump_sentence="The loss jumped.",
        new_data=draw(st.booleans()),
        refusal=draw(SENTENCES),
        quality_break=draw(SENTENCES),
        last_training_newest=draw(st.none() | MOMENTS),
        active=draw(st.sampled_from(["", "00000004-drift"])),
    )


SPECS = st.builds(
    RetrainSpec,
    on_drift=st.sampled_from(["confirmed", "with_performance", "never"]),
    drift_windows=st.integers(1, 3),
    max_age_days=st.none() | st.sampled_from([1.0, 30.0]),
    cooldown_days=st.sampled_from([0.0, 7.0]),
)


def reasons(evidence, spec):
    """What asks, in order of rank."""
    fresh = set(evidence.confirmed) - evidence.answered
    with_loss = evidence.worse or spec.on_drift == "confirmed"
    old = None not in (evidence.champion_newest, spec.max_age_days)
    return [
        cause
        for cause, asks in (
            ("performance", evidence.jump),
            ("drift", bool(fresh) and spec.on_drift != "never" and with_loss),
            ("schedule", old and evidence.now - evidence.champion_newest >= timedelta(days=spec.max_age_days or 0)),
        )
        if asks and evidence.champion is not None
    ]


def hindrances(evidence, spec):
    """What holds a request back, in order of rank, as a piece of its sentence."""
    cool = evidence.last_training_newest
    return [
        words
        for words, holds in (
            ("The newest data are not trained on", bool(evidence.quality_break)),
            ("a look back", not evidence.newest_window),
            ("00000004-drift has not ended", bool(evidence.active)),
            ("was served by version", evidence.served_by not in (None, evidence.champion)),
            ("was refused before", bool(evidence.refusal)),
            ("has been trained on", not evidence.new_data),
            ("requests rest for", cool is not None and evidence.now - cool < timedelta(days=spec.cooldown_days)),
        )
        if holds
    ]


SIGNS = {"performance": "The loss jumped.", "drift": " drifted in ", "schedule": "knows nothing of the last"}


@settings(max_examples=500)
@given(evidences(), SPECS)
def test_whatever_is_seen_one_reason_asks_and_one_hindrance_holds(evidence, spec):
    """MN-10: The first reason asks, alone; the first hindrance holds it back, alone; nothing asks without a reason."""
    found, why, why_not = ask(evidence, spec), reasons(evidence, spec), hindrances(evidence, spec)
    assert isinstance(found, Request) == bool(why and not why_not)
    if isinstance(found, Request):
        assert found.cause == why[0]
    if why:
        assert [cause for cause, sign in SIGNS.items() if sign in found.why] == [why[0]]
        held = [words for words in hindrances(replace(evidence, newest_window=False, active="00000004-drift"), spec) if words in found.why]
        assert held == why_not[:1]
    assert found.why.endswith(".")
    assert ask(evidence, spec) == found, "the same evidence decides alike"


@settings(max_examples=200)
@given(evidences(), SPECS)
def test_what_is_held_always_says_why_and_what_next(evidence, spec):
    """MN-10, MN-18: Not a bare no: what asked, or that nothing did; what holds it back, or what would ask."""
    found = ask(evidence, spec)
    if isinstance(found, Request):
        return
    if evidence.quality_break:
        assert evidence.quality_break.rstrip(".") in found.why
        assert "Correct the feed" in found.why
    elif reasons(evidence, spec):
        assert "No request is made: " in found.why
    else:
        nexts = ("the first training comes", "Age asks with data of", "would ask", "once it lasts", "retrain.on_drift", "it asks once")
        assert any(words in found.why for words in nexts), found.why


@settings(max_examples=200)
@given(evidences(), SPECS, SENTENCES.filter(bool))
def test_a_quality_break_blocks_whatever_asks_and_drift_alone_does_not(evidence, spec, broken):
    """MN-10, DM-11: With a break nothing is ever asked for; taking it away leaves what the rest of the evidence asks."""
    assert isinstance(ask(replace(evidence, quality_break=broken), spec), Held)
    mended, drifting = replace(evidence, quality_break=""), replace(evidence, quality_break="", drifted=("temp", "dewp", "carrier", "dest"))
    assert isinstance(ask(mended, spec), Request) == isinstance(ask(drifting, spec), Request), "drift of one window neither asks nor blocks"


TWELVE = Training("version 12", snapshot=34, code_digest="c", newest=datetime(2013, 2, 10))
LATER = Training("candidate 3f2a", snapshot=36, code_digest="c", newest=datetime(2013, 3, 10))
NIGHT = Situation(cause="schedule", snapshot=37, newest=datetime(2013, 2, 20), code_digest="c", last=TWELVE, champion=TWELVE)
ALWAYS = SPEC.model_copy(update={"on_new_snapshot": "always"})

TRAINS = {
    "first training": (replace(NIGHT, last=None, champion=None, cause="data"), SPEC, "data", "First training"),
    "forced on the same inputs": (replace(NIGHT, same=TWELVE, forced=True), SPEC, "manual", "forces"),
    "forced by hand": (replace(NIGHT, cause="manual", forced=True), SPEC, "manual", "forces"),
    "forced in spite of a quality break": (replace(NIGHT, forced=True, quality_break="Nulls rose."), SPEC, "manual", "forces"),
    "a person asks": (replace(NIGHT, cause="manual"), SPEC, "manual", "A person asks"),
    "a request": (replace(NIGHT, request=("00000037-drift", "drift")), SPEC, "drift", "00000037-drift"),
    "a request of the monitor's age rule": (
        replace(NIGHT, request=("00000037-schedule", "schedule")),
        SPEC,
        "schedule",
        "00000037-schedule",
    ),
    "new code": (replace(NIGHT, code_digest="d"), SPEC, "code", "code has changed since version 12"),
    "another list of inputs on the old snapshot": (
        replace(NIGHT, changed=("inputs", "classes"), snapshot=34),
        SPEC,
        "code",
        "The spec has changed since version 12: inputs and classes.",
    ),
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
    "a quality break": (
        replace(NIGHT, quality_break="`temp` is in Celsius."),
        ALWAYS,
        "The newest data are not trained on: `temp` is in Celsius. Correct the feed",
    ),
    "a quality break on request": (
        replace(NIGHT, request=("k", "drift"), quality_break="Nulls rose."),
        SPEC,
        "A person may force the training",
    ),
    "a quality break where a person asks": (replace(NIGHT, cause="manual", quality_break="Nulls rose."), SPEC, "Nulls rose"),
    "a quality break before the first training": (
        replace(NIGHT, last=None, champion=None, quality_break="Nulls rose."),
        SPEC,
        "Nulls rose",
    ),
    "no age limit": (replace(NIGHT, newest=datetime(2014, 1, 1)), SPEC.model_copy(update={"max_age_days": None}), "waits for drift"),
    "a drift event whose request has ended": (replace(NIGHT, cause="drift"), SPEC, "training is due only"),
}


@pytest.mark.parametrize("case", TRAINS)
def test_a_training_starts(case):
    """MN-10, MO-19: The situation starts a training with this cause and reason."""
    situation, spec, cause, words = TRAINS[case]
    found = should_train(situation, spec)
    assert isinstance(found, Train), found
    assert found.cause == cause
    assert words in found.why


@pytest.mark.parametrize("case", SKIPS)
def test_no_training_starts(case):
    """MN-10, DE-03: Nothing new, or not yet: the sentence says since what, or until when."""
    situation, spec, words = SKIPS[case]
    found = should_train(situation, spec)
    assert isinstance(found, Skip), found
    assert words in found.why


@st.composite
def situations(draw):
    """Any situation of a night, an event or a person."""
    training = st.none() | st.sampled_from([TWELVE, LATER])
    return Situation(
        cause=draw(st.sampled_from(["data", "drift", "schedule", "manual", "performance", "code"])),
        snapshot=draw(st.integers(33, 38)),
        newest=draw(MOMENTS),
        code_digest=draw(st.sampled_from("cd")),
        changed=draw(st.sampled_from([(), ("inputs",)])),
        forced=draw(st.booleans()),
        same=draw(training),
        last=draw(training),
        champion=draw(training),
        request=draw(st.none() | st.just(("00000037-drift", "drift"))),
        quality_break=draw(SENTENCES),
    )


@settings(max_examples=500)
@given(situations(), SPECS, st.sampled_from(["always", "when_due"]))
def test_whatever_the_night_finds(situation, spec, on_new_snapshot):
    """MN-10, MO-19, OP-02: Only a person trains on the same inputs or on broken data; a request is answered else; a cause that nobody asked
    for is never made up."""
    found = should_train(situation, spec.model_copy(update={"on_new_snapshot": on_new_snapshot}))
    assert found.why.endswith(".")
    if situation.forced:
        assert isinstance(found, Train)
    elif situation.same is not None:
        assert isinstance(found, Skip)
        assert "Nothing new since" in found.why
    elif situation.quality_break:
        assert isinstance(found, Skip)
        assert situation.quality_break.rstrip(".") in found.why
    elif situation.last is None or situation.cause == "manual":
        assert found == Train(situation.cause, found.why)
    elif situation.request:
        assert found == Train("drift", found.why)
    elif isinstance(found, Train):
        assert found.cause in ("data", "schedule", "code")
        assert found.cause == "code" or situation.snapshot != situation.last.snapshot
    else:
        assert situation.code_digest == situation.last.code_digest


# What follows: the whole sentence of each decision, and both sides of each border.

BREAK = "Nulls of `temp` rose."
CORRECT = "The newest data are not trained on: Nulls of `temp` rose. Correct the feed, or say in the incident that the change is known."
FOUR = replace(DRIFT, confirmed=("temp", "dewp", "carrier", "dest"), drifted=("temp", "dewp", "carrier", "dest"))
NEVER, BOTH = (SPEC.model_copy(update={"on_drift": value}) for value in ("never", "with_performance"))
AGELESS = SPEC.model_copy(update={"max_age_days": None})
SECOND = timedelta(seconds=1)
DRIFTED = "`temp` drifted in 2 windows in a row."

ASKED_FOR = [
    (DRIFT, SPEC, Request("drift", DRIFTED)),
    (FOUR, SPEC, Request("drift", "`temp`, `dewp`, `carrier` and 1 more drifted in 2 windows in a row.")),
    (replace(FOUR, confirmed=FOUR.confirmed[:3]), SPEC, Request("drift", "`temp`, `dewp`, `carrier` drifted in 2 windows in a row.")),
    (DRIFT, SPEC.model_copy(update={"drift_windows": 1}), Request("drift", "`temp` drifted in this window.")),
    (replace(DRIFT, worse=True), BOTH, Request("drift", DRIFTED)),
    (replace(QUIET, jump=True), SPEC, Request("performance", "The loss jumped.")),
    (
        replace(QUIET, now=datetime(2013, 3, 12)),
        SPEC,
        Request("schedule", "Version 12 knows nothing of the last 30 days; the spec allows 30."),
    ),
    (
        replace(DRIFT, now=datetime(2013, 3, 13, 23)),
        NEVER.model_copy(update={"max_age_days": 30.5}),
        Request("schedule", "Version 12 knows nothing of the last 31 days; the spec allows 30.5."),
    ),
    (replace(DRIFT, now=datetime(2013, 2, 17)), SPEC, Request("drift", DRIFTED)),
    (replace(DRIFT, last_training_newest=None), SPEC, Request("drift", DRIFTED)),
    (replace(DRIFT, served_by=None), SPEC, Request("drift", DRIFTED)),
]
NOT_ASKED_FOR = [
    (
        replace(DRIFT, champion=None, jump=True),
        SPEC,
        "There is no champion yet: the first training comes with the data, not with monitoring.",
    ),
    (QUIET, SPEC, "Nothing asks for retraining. Age asks with data of 2013-03-12."),
    (replace(QUIET, now=datetime(2013, 3, 12) - SECOND), SPEC, "Nothing asks for retraining. Age asks with data of 2013-03-12."),
    (replace(QUIET, quality_break=BREAK), SPEC, f"Nothing asks for retraining. Age asks with data of 2013-03-12. {CORRECT}"),
    (QUIET, AGELESS, "Nothing asks for retraining. Only new drift or a jump of the loss would ask."),
    (QUIET, NEVER.model_copy(update={"max_age_days": None}), "Nothing asks for retraining. Only a jump of the loss would ask."),
    (replace(QUIET, champion_newest=None), SPEC, "Nothing asks for retraining. Only new drift or a jump of the loss would ask."),
    (replace(QUIET, drifted=("temp",)), SPEC, "`temp` drifted in this window; it counts once it lasts through 2 windows in a row."),
    (
        replace(DRIFT, answered=frozenset({"temp"})),
        SPEC,
        "The drift of `temp` since version 12 has led to a training already; it counts once. Age asks with data of 2013-03-12.",
    ),
    (DRIFT, NEVER, "`temp` drifted in 2 windows in a row, but the spec asks for no retraining on drift (retrain.on_drift)."),
    (
        replace(DRIFT, worse=True),
        NEVER,
        "`temp` drifted in 2 windows in a row, but the spec asks for no retraining on drift (retrain.on_drift).",
    ),
    (
        DRIFT,
        BOTH,
        "`temp` drifted in 2 windows in a row, but the loss is not worse than expected, which the spec wants as well: it asks once the "
        "labelled days are.",
    ),
    (replace(DRIFT, quality_break=BREAK), SPEC, f"{DRIFTED} {CORRECT}"),
    (
        replace(DRIFT, newest_window=False, active="k"),
        SPEC,
        f"{DRIFTED} No request is made: this is a look back, and there are newer windows; the newest one decides.",
    ),
    (
        replace(DRIFT, active="k", served_by=11),
        SPEC,
        f"{DRIFTED} No request is made: the request k has not ended yet, and its training answers this as well.",
    ),
    (
        replace(DRIFT, served_by=11, refusal="No."),
        SPEC,
        f"{DRIFTED} No request is made: the window was served by version 11, and version 12 is champion now; "
        "windows that it answers decide.",
    ),
    (
        replace(DRIFT, refusal="Suite flights refused snapshot 9.", new_data=False),
        SPEC,
        f"{DRIFTED} No request is made: training on the newest snapshot was refused before, and new data must come in first. "
        "Suite flights refused snapshot 9.",
    ),
    (
        replace(DRIFT, new_data=False, now=datetime(2013, 2, 11)),
        SPEC,
        f"{DRIFTED} No request is made: the newest snapshot has been trained on; new data must come in first.",
    ),
    (
        replace(DRIFT, now=datetime(2013, 2, 17, 6) - SECOND, last_training_newest=datetime(2013, 2, 10, 6)),
        SPEC,
        f"{DRIFTED} No request is made: the last training knows the data up to 2013-02-10, and requests rest for 7 days; "
        "data of 2013-02-17 06:00 may ask again.",
    ),
]


@pytest.mark.parametrize(("evidence", "spec", "request_made"), ASKED_FOR)
def test_each_request_in_its_own_words(evidence, spec, request_made):
    """MN-10: cause and sentence, just at the border where there is one."""
    assert ask(evidence, spec) == request_made


@pytest.mark.parametrize(("evidence", "spec", "why"), NOT_ASKED_FOR)
def test_each_refusal_to_ask_in_its_own_words(evidence, spec, why):
    """MN-10: the first hindrance alone is named, just short of the border where there is one."""
    assert ask(evidence, spec) == Held(why)


def test_evidence_says_nothing_by_itself():
    """MN-10: a look that found nothing asks for nothing, and what is not known holds nothing back."""
    nothing = Evidence(now=datetime(2013, 3, 1))
    assert isinstance(ask(nothing, SPEC), Held)
    assert ask(replace(nothing, champion=1, jump=True), SPEC) == Request("performance", "")
    assert ask(replace(nothing, champion=1), SPEC) == Held("Nothing asks for retraining. Only new drift or a jump of the loss would ask.")
    assert ask(replace(nothing, champion=1, confirmed=("a",)), SPEC) == Request("drift", "`a` drifted in 2 windows in a row.")
    assert ask(replace(nothing, champion=1, confirmed=("a",)), BOTH).why.startswith("`a` drifted in 2 windows in a row, but the loss")


NOTHING_NEW = "Nothing new since version 12 (snapshot 34, data up to 2013-02-10)"
STARTS = [
    (replace(NIGHT, forced=True, cause="schedule"), SPEC, Train("manual", "A person forces it.")),
    (replace(NIGHT, forced=True, cause="drift", same=TWELVE), SPEC, Train("drift", "A person forces it.")),
    (replace(NIGHT, last=None, cause="manual"), SPEC, Train("manual", "First training, on snapshot 37.")),
    (
        replace(NIGHT, cause="manual", request=("k", "drift")),
        SPEC,
        Train("manual", "A person asks, and the inputs differ from those of version 12."),
    ),
    (
        replace(NIGHT, request=("k", "performance"), code_digest="d"),
        SPEC,
        Train("performance", "The retraining request k asks for it."),
    ),
    (replace(NIGHT, code_digest="d", changed=("inputs",)), SPEC, Train("code", "The code has changed since version 12.")),
    (replace(NIGHT, changed=("inputs", "label")), SPEC, Train("code", "The spec has changed since version 12: inputs and label.")),
    *(
        (
            replace(NIGHT, cause=cause),
            ALWAYS,
            Train(cause if cause in ("data", "schedule", "code") else "data", "Snapshot 37 is newer than that of version 12."),
        )
        for cause in ("data", "schedule", "code", "drift", "performance")
    ),
    *(
        (
            replace(NIGHT, cause=cause, newest=datetime(2013, 3, 12)),
            SPEC,
            Train(
                cause if cause in ("data", "schedule", "code") else "schedule",
                "The data of version 12 ends 30 days before the newest, and 30 are allowed.",
            ),
        )
        for cause in ("data", "schedule", "code", "drift")
    ),
    (
        replace(NIGHT, champion=None, last=LATER, newest=datetime(2013, 4, 10)),
        SPEC.model_copy(update={"max_age_days": 30.5}),
        Train("schedule", "The data of candidate 3f2a ends 31 days before the newest, and 30.5 are allowed."),
    ),
    (
        replace(NIGHT, last=LATER, newest=datetime(2013, 3, 17)),
        SPEC,
        Train("schedule", "The data of version 12 ends 35 days before the newest, and 30 are allowed."),
    ),
]
NEWER = "Snapshot 37 is newer than that of"
STAYS = [
    (replace(NIGHT, same=TWELVE, quality_break=BREAK), SPEC, f"{NOTHING_NEW}."),
    (replace(NIGHT, quality_break=BREAK, last=None), SPEC, f"{CORRECT} A person may force the training."),
    (
        replace(NIGHT, snapshot=34),
        ALWAYS,
        f"{NOTHING_NEW}: only the environment or the parameters changed. Start a training by hand to use them.",
    ),
    (NIGHT, AGELESS, f"{NEWER} version 12 (34), but training waits for drift or a jump of the loss."),
    (
        replace(NIGHT, newest=datetime(2013, 3, 12) - SECOND),
        SPEC,
        f"{NEWER} version 12 (34), but training is due only with data of 2013-03-12, or when drift or a jump of the loss asks for it.",
    ),
    (
        replace(NIGHT, last=LATER, newest=datetime(2013, 3, 17) - SECOND),
        SPEC,
        f"{NEWER} candidate 3f2a (36), but training is due only with data of 2013-03-17, or when drift or a jump of the loss asks for it.",
    ),
]


@pytest.mark.parametrize(("situation", "spec", "training"), STARTS)
def test_each_start_in_its_own_words(situation, spec, training):
    """MO-19: the cause that is recorded and the sentence, by the first rule that starts it, just at the border where there is one."""
    assert should_train(situation, spec) == training


@pytest.mark.parametrize(("situation", "spec", "why"), STAYS)
def test_each_stay_in_its_own_words(situation, spec, why):
    """MO-19: by the first rule that holds it back, just short of the border where there is one."""
    assert should_train(situation, spec) == Skip(why)


def test_a_situation_says_nothing_by_itself():
    """MO-19: without any training before, the first one starts."""
    situation = Situation(cause="data", snapshot=0, newest=datetime(2013, 1, 1), code_digest="c")
    assert should_train(situation, SPEC) == Train("data", "First training, on snapshot 0.")
    later = replace(situation, last=replace(TWELVE, snapshot=-1))
    assert should_train(later, ALWAYS) == Train("data", "Snapshot 0 is newer than that of version 12.")


def test_what_is_broken_is_told_as_it_was_said():
    """DM-11, MN-10: But for its own full stop."""
    told = [ask(replace(DRIFT, quality_break=said), SPEC) for said in ("`dest` is in units of X", "`dest` is in units of X.")]
    assert told[0] == told[1]
    assert "are not trained on: `dest` is in units of X. Correct" in told[0].why
