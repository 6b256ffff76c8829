"""Policies replayed in small worlds whose truth is known."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from perennial import discovery
from perennial.monitoring.figures import DayPerformance
from perennial.monitoring.replay import document, policies, simulate, summaries, table
from perennial.monitoring.replay_picture import draw
from perennial.monitoring.windows import Window
from perennial.specs import MonitoringSpec, RetrainSpec

FIRST = date(2024, 1, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(150)]
BEGIN = DAYS[30]
SPEC = RetrainSpec(recalibrate=False)
LOOKS = MonitoringSpec(window_days=3)


@dataclass
class AgeingModel:
    """The loss of a training grows with its age; after `broken`, trainings from before it are surprised."""

    delay: int = 1
    broken: date | None = None  # the concept changes on this day
    drifts: date | None = None  # inputs are others from this day on
    growth: float = 0.001  # of the loss with each day of age
    gains: float = 0.0  # what a recalibration takes off the loss
    asked: Counter[tuple[str, date]] = field(default_factory=Counter)
    days: list[date] = field(default_factory=lambda: DAYS)

    def labels_to(self, morning):
        newest = morning - timedelta(days=1 + self.delay)
        return newest if newest >= FIRST else None

    def performance(self, training, recalibration, day):
        assert training < day - timedelta(days=self.delay), "the training knows labels that nobody has yet"
        self.asked["performance", day] += 1
        expected = 0.5 + self.growth * (day - training).days - (self.gains if recalibration else 0.0)
        noise = 0.002 * np.sin(day.toordinal())
        surprised = self.broken is not None and training < self.broken <= day
        return DayPerformance(day, 100, 90, expected + noise + (0.1 if surprised else 0.0), expected)

    def recalibrated(self, training, current, morning, spec):
        newest = self.labels_to(morning)
        return morning if self.gains and newest and newest > training and current is None else None

    def drifted(self, morning, window: Window):
        known = self.drifts is not None and morning > self.drifts + timedelta(days=1)
        return ("temp",) if self.drifts is not None and window.first.date() >= self.drifts and not known else ()


def played(name, world, spec=SPEC, last=DAYS[-1]):
    return simulate(policies(spec)[name], world, LOOKS, BEGIN, last)


def retrained(history):
    return [(d.day, d.retrained) for d in history.days if d.retrained]


@pytest.mark.parametrize(("name", "every"), [("never", None), ("nightly", 1), ("weekly", 7), ("monthly", 30), ("monthly_recalibrated", 30)])
def test_clocks_train_when_they_say(name, every):
    """MN-10: A policy of fixed times trains on just these days and on no others, and every day of the replay is answered once."""
    world = AgeingModel()
    history = played(name, world)
    days = [d.day for d in history.days]
    assert days == DAYS[30:]
    assert retrained(history) == [(day, history.days[days.index(day)].retrained) for day in (days[every::every] if every else [])]
    assert set(world.asked.values()) == {1}


@pytest.mark.parametrize("delay", [0, 1, 7])
def test_a_training_knows_the_labels_of_its_morning(delay):
    """MN-10: A training has seen the labels that are `delay` days old by then, not one day more and not one less."""
    history = played("nightly", AgeingModel(delay=delay))
    assert all(d.training == d.day - timedelta(days=1 + delay) for d in history.days)


def test_nothing_is_known_before_its_time():
    """MN-10: What a policy does up to a day does not depend on what comes after it."""
    whole = played("spec", AgeingModel(broken=DAYS[90], drifts=DAYS[60]))
    part = played("spec", AgeingModel(broken=DAYS[90], drifts=DAYS[60]), last=DAYS[100])
    assert part.days == whole.days[: len(part.days)]
    other = played("spec", AgeingModel(broken=None, drifts=DAYS[60]))
    assert other.days[: 90 - 30] == whole.days[: 90 - 30]
    assert other.days != whole.days


@pytest.mark.parametrize("delay", [0, 1, 7])
def test_a_changed_concept_is_trained_on_as_soon_as_three_days_are_labelled(delay):
    """MN-10: A jump of the loss asks for training in the morning in which the labels of its third day are known, once, with the cause
    performance."""
    broken = DAYS[75]
    history = played("jump_recalibrated", AgeingModel(delay=delay, broken=broken, growth=0.0))
    jumps = [day for day, cause in retrained(history) if cause == "performance"]
    assert jumps[0] == broken + timedelta(days=3 + delay)
    blind = played("monthly", AgeingModel(delay=delay, broken=broken, growth=0.0))
    assert "performance" not in dict(retrained(blind)).values()
    assert next(d.day for d in blind.days if "performance" in d.alarms) == jumps[0]


@pytest.mark.parametrize(("delay", "broken"), [(1, 61), (7, 55), (7, 61)])
def test_a_change_about_a_training_is_not_overlooked(delay, broken):
    """MN-10: A training of its age on day 60 has seen no label of a concept that changes the day after, or five days before: it is answered
    as soon as
    its third day is labelled and the cool-down is over, by days of the version before if they are all there is."""
    history = played("jump_recalibrated", AgeingModel(delay=delay, broken=DAYS[broken], growth=0.0))
    (first, age), (answer, cause), *_ = retrained(history)
    assert (first, age) == (DAYS[60], "schedule")
    assert (answer, cause) == (max(DAYS[60 + 7], DAYS[broken + 3 + delay]), "performance")


def test_training_is_asked_for_again_where_it_did_not_help():
    """MN-10: With labels a week late the first training after a break has seen none of it: the loss is still high, and after the cool-down
    it is trained again."""
    history = played("jump_recalibrated", AgeingModel(delay=7, broken=DAYS[75], growth=0.0))
    jumps = [day for day, cause in retrained(history) if cause == "performance"]
    assert history.days[-1].training >= DAYS[75]
    assert all(later - earlier >= timedelta(days=SPEC.cooldown_days) for earlier, later in pairwise(jumps))


def test_drift_asks_once_when_it_lasts():
    """MN-10: Drift counts in the second window in a row; the training that it asks for makes it the reference, and it asks no more."""
    history = played("drift", AgeingModel(drifts=DAYS[60]))
    (asked,) = retrained(history)
    first = next(day for day in DAYS[60:] if day.toordinal() % 3 == date(1970, 1, 1).toordinal() % 3)  # a window begins
    assert asked == (first + timedelta(days=2 * 3 + 1), "drift")  # both windows are over once a later prediction is seen
    assert Counter(alarm for d in history.days for alarm in d.alarms) == {"drift": 1}
    assert not retrained(played("monthly", replace(AgeingModel(), drifts=DAYS[60]), last=DAYS[59]))


def test_drift_that_harms_nothing_does_not_ask_with_performance():
    """MN-10: With on_drift with_performance, drift alone asks for nothing, and drift with a worse loss does."""
    assert not retrained(played("drift_with_performance", AgeingModel(drifts=DAYS[60], growth=0.0)))
    assert retrained(played("drift_with_performance", AgeingModel(drifts=DAYS[60], broken=DAYS[60], growth=0.0)))


def test_the_specs_own_policy_is_the_spec():
    """MN-10: The spec's own policy does what its fields say: other fields, another history."""
    world = {"drifts": DAYS[60], "broken": DAYS[115]}
    causes = {c for _, c in retrained(played("spec", AgeingModel(**world)))}
    assert causes == {"schedule", "drift", "performance"}
    without = RetrainSpec(recalibrate=False, on_drift="never", max_age_days=None)
    assert {c for _, c in retrained(played("spec", AgeingModel(**world), spec=without))} == {"performance"}
    always = RetrainSpec(recalibrate=False, on_new_snapshot="always", cooldown_days=0)
    assert len(retrained(played("spec", AgeingModel(), spec=always))) == len(DAYS) - 31


def test_a_recalibration_lasts_until_the_next_training():
    """MN-10: Recalibrations are counted, change the loss from their morning on, and a new training begins without one."""
    plain, better = played("monthly", AgeingModel()), played("monthly_recalibrated", AgeingModel(gains=0.05))
    assert retrained(plain) == retrained(better)
    made = [d.day for d in better.days if d.recalibrated]
    assert len(made) == 1 + len(retrained(better))
    for day, before in zip(better.days, plain.days, strict=True):
        since = max([BEGIN, *(d for d, _ in retrained(better) if d <= day.day)])
        helped = any(since <= d <= day.day for d in made)
        assert day.realised == pytest.approx(before.realised - (0.05 if helped else 0.0))


def test_figures_are_what_they_say():
    """MN-10: Loss is the mean over labelled rows, cost adds what a retraining is worth, closes is the share of the gap; no gap, no
    share."""
    histories = [played(name, AgeingModel()) for name in policies(SPEC)]
    lines = {line.name: line for line in summaries(histories, 0.0005)}
    never, nightly, weekly = (lines[name] for name in ("never", "nightly", "weekly"))
    by_hand = np.mean([d.realised for h in histories if h.policy.name == "weekly" for d in h.days])
    assert weekly.loss == pytest.approx(by_hand)
    assert weekly.cost == pytest.approx(weekly.loss + 0.0005 * weekly.retrains)
    assert (never.closes, nightly.closes) == (0.0, 1.0)
    assert weekly.closes == pytest.approx((never.loss - weekly.loss) / (never.loss - nightly.loss))
    assert weekly.causes == {"schedule": weekly.retrains}
    assert all(line.closes is None for line in summaries([played(n, AgeingModel(growth=0.0)) for n in ("never", "nightly")], 0.0005))


def test_every_figure_is_in_the_document_and_the_own_policy_is_marked():
    """MN-10: The JSON has each policy's line, its spec and all of its days; the table marks the spec's own; the picture is the same each
    time."""
    histories = [played(name, AgeingModel(broken=DAYS[75], drifts=DAYS[60])) for name in policies(SPEC)]
    lines = summaries(histories, 0.0005)
    found = json.loads(json.dumps(document(discovery.model("digits"), histories, lines, {"delay_days": 1}), allow_nan=False))
    assert found["delay_days"] == 1
    assert [p["name"] for p in found["policies"]] == list(policies(SPEC))
    assert all(len(p["days"]) == len(DAYS) - 30 and p["retrain"]["cooldown_days"] >= 0 for p in found["policies"])
    text = table(lines, "log loss", 0.0005).splitlines()
    assert [line.startswith("* ") for line in text[1:]] == [name == "spec" for name in policies(SPEC)]
    assert len({len(line) for line in text}) == 1
    picture = draw(histories, "Digits", "log loss")
    assert picture == draw(histories, "Digits", "log loss")
    assert all(line.title.encode() in picture for line in lines)


def test_without_a_label_there_is_no_first_training():
    """MN-10: A replay cannot begin before the first label is known."""
    with pytest.raises(ValueError, match="no label is known"):
        simulate(policies(SPEC)["never"], AgeingModel(delay=7), LOOKS, DAYS[3], DAYS[-1])
