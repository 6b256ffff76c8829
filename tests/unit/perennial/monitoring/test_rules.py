"""Rules on what a model answers: what is measured, when a rule is broken, kept or open, and how often chance says so."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from perennial.monitoring.rules import judge, judge_rules
from perennial.specs import AnswerRule
from perennial.testing import small_model
from perennial_models.bad_news.spec import MODEL

CLASSES = ("fine", "bad")


def days(*counts):
    """So many rows of each day."""
    return np.repeat(np.arange(len(counts)), counts).astype("datetime64[D]")


def of_bad(share, each=200):
    """Scores of three days, of which such a share is answered bad."""
    bad = np.arange(each) < round(share * each)
    return np.column_stack([1 - 0.8 * bad, 0.8 * bad]).repeat(3, axis=0)[np.argsort(np.tile(np.arange(3), each), kind="stable")]


def rule(**more):
    return AnswerRule(**{"name": "more bad news", "measure": "share", "of": "bad", "above": 0.4} | more)


@pytest.mark.parametrize(("share", "state"), [(0.6, "broken"), (0.42, "open"), (0.38, "open"), (0.2, "kept")])
def test_a_rule_is_broken_or_kept_by_evidence(share, state):
    """MN-02: The whole interval lies beyond the limit, or within; near the limit nothing is decided, so that nothing opens and ends in
    turn."""
    found = judge(rule(), "binary", CLASSES, of_bad(share), days(200, 200, 200))
    assert (found.state, found.value, found.limit, found.rows) == (state, pytest.approx(share), 0.4, 600)
    assert found.low < share < found.high


@pytest.mark.parametrize(("share", "state"), [(0.05, "broken"), (0.2, "open"), (0.5, "kept")])
def test_a_rule_may_be_about_too_little(share, state):
    """MN-02: `below` is the same the other way round."""
    assert judge(rule(above=None, below=0.2), "binary", CLASSES, of_bad(share), days(200, 200, 200)).state == state


def test_few_answers_decide_nothing():
    """MN-02: From `min_rows` on; before that the sentence says how many there are."""
    scores = of_bad(1.0)[:100]
    assert judge(rule(), "binary", CLASSES, scores, days(100)).state == "broken"
    few = judge(rule(min_rows=101), "binary", CLASSES, scores, days(100))
    assert (few.state, few.value) == ("few", None)
    assert few.sentence == "The rule `more bad news` is judged from 101 answers on, and the window has 100."


def test_the_mean_of_a_score_and_of_a_value():
    """MN-02: Of the class that the rule names, or of a regression's values; answers that are all the same are judged as they are."""
    scores = np.column_stack([np.full(300, 0.3), np.full(300, 0.7)])
    for of, above, state in (("bad", 0.6, "broken"), ("fine", 0.6, "kept"), ("bad", 0.71, "kept")):
        found = judge(rule(measure="mean", of=of, above=above), "binary", CLASSES, scores, days(100, 100, 100))
        assert (found.state, found.low) == (state, None)
    values = np.random.default_rng(0).normal(30, 5, (300, 1))
    late = rule(name="late", measure="mean", of="", above=28)
    found = judge(late, "regression", (), values, days(100, 100, 100))
    assert (found.state, found.value) == ("broken", pytest.approx(values.mean()))
    assert found.sentence.startswith("The mean of the values is 29.8")
    assert found.sentence.endswith("by days); the rule `late` is about above 28.")


@pytest.mark.parametrize(("above", "state"), [(0.5, "broken"), (1.28, "open"), (2.0, "kept")])
def test_a_quantile_is_judged_by_the_share_beyond(above, state):
    """MN-02: The 0.9 quantile is above a limit just if more than a tenth of the answers are."""
    values = np.random.default_rng(1).normal(0, 1, (900, 1))
    found = judge(rule(measure="quantile", of="", quantile=0.9, above=above), "regression", (), values, days(300, 300, 300))
    assert (found.state, found.value, found.low) == (state, pytest.approx(np.quantile(values, 0.9)), None)
    share = (values > above).mean()
    assert f"({100 * share:.1f} % of the answers are above {above:g}, 95 % interval" in found.sentence


@pytest.mark.parametrize(("below", "state"), [(-0.5, "broken"), (-1.28, "open"), (-2.0, "kept")])
def test_a_quantile_below_a_limit(below, state):
    """MN-02: The 0.1 quantile is below a limit just if more than a tenth of the answers are."""
    values = np.random.default_rng(1).normal(0, 1, (900, 1))
    found = judge(rule(measure="quantile", of="", quantile=0.1, above=None, below=below), "regression", (), values, days(300, 300, 300))
    assert found.state == state


def test_the_alarms_and_scores_of_an_anomaly_model():
    """MN-02: Its share is that of the alarms, its level that of the score."""
    scores = np.column_stack([np.arange(300.0), np.arange(300) >= 240])
    share = judge(rule(of="", above=0.1), "anomaly", (), scores, days(300))
    assert (share.state, share.value) == ("broken", pytest.approx(0.2))
    assert share.sentence.startswith("The share of alarms is 20.0 % in 300 answers (95 % interval")
    assert judge(rule(measure="mean", of="", above=500), "anomaly", (), scores, days(300)).value == pytest.approx(149.5)


def test_the_sentence_names_the_rule_the_measure_and_what_it_rests_on():
    """MN-02: A person reads what was counted, how sure it is, and the limit."""
    found = judge(rule(), "binary", CLASSES, of_bad(0.6), days(200, 200, 200))
    assert found.sentence == (
        f"The share of `bad` is 60.0 % in 600 answers (95 % interval {100 * found.low:.1f} % to {100 * found.high:.1f} %, by days); "
        "the rule `more bad news` is about above 40.0 %."
    )
    assert judge(rule(measure="mean"), "binary", CLASSES, of_bad(0.6), days(600)).sentence.startswith(
        "The mean of the scores of `bad` is 0.48"
    )


def test_chance_seldom_breaks_a_rule():
    """MN-02: Days whose share of bad news differs about the limit itself: one window in forty is called broken, with as little as three
    days; taking rows as independent would call it so in one of seven."""
    rng = np.random.default_rng(5)
    broken = alone = 0
    for _ in range(800):
        share = np.clip(rng.normal(0.4, 0.06, 3), 0, 1)
        bad = rng.random((3, 150)) < share[:, None]
        scores = np.column_stack([~bad.ravel(), bad.ravel()]).astype(float)
        broken += judge(rule(), "binary", CLASSES, scores, days(150, 150, 150)).state == "broken"
        alone += judge(rule(), "binary", CLASSES, scores, days(450)).state == "broken"
    assert broken <= 30
    assert alone >= 80


def test_the_answers_of_a_window_are_judged_by_each_rule():
    """MN-17: The example of texts has one: its owner is told where the mean score of bad news rises, and of a usual one not."""
    times = pa.array(np.repeat(np.arange(3), 120).astype("datetime64[D]").astype("datetime64[us]"), pa.timestamp("us", "UTC"))
    for share, state in ((0.33, "kept"), (0.7, "broken")):  # a mean score of 0.26 and of 0.56
        rows = pa.table({"event_time": times, "scores": pa.array(of_bad(share, 120).tolist())})
        (found,) = judge_rules(MODEL, rows)
        assert (found.name, found.state, found.severity) == ("more bad news", state, "warning")
    assert judge_rules(MODEL, rows.slice(0, 0)) == ()
    assert judge_rules(small_model(), rows) == ()


def test_a_measure_that_is_just_the_limit_keeps_it():
    """MN-02: Answers that are all the same have no interval; `above` and `below` begin beyond the limit."""
    values = np.full((300, 1), 5.0)
    for side in ({"above": 5}, {"above": None, "below": 5}):
        found = judge(rule(measure="mean", of="", **side), "regression", (), values, days(100, 100, 100))
        assert (found.state, found.value, found.low) == ("kept", 5.0, None)
        assert found.sentence.startswith("The mean of the values is 5 in 300 answers; the rule")
        median = judge(rule(measure="quantile", of="", **side), "regression", (), values, days(100, 100, 100))
        assert (median.state, median.value) == ("kept", 5.0)


def test_the_share_of_the_first_class():
    """MN-02: Each class may be the one that is counted, of two or of several."""
    fine = rule(of="fine", above=None, below=0.5)
    assert judge(fine, "binary", CLASSES, of_bad(0.8), days(600)).value == pytest.approx(0.2)
    scores = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]] * 50)
    assert judge(rule(of="c"), "multiclass", ("a", "b", "c"), scores, days(200)).value == 0.5


def test_the_words_of_an_anomaly_model_and_of_a_limit_below():
    """MN-02: Scores and not values, below and not above; few days are said to be rows."""
    scores = np.column_stack([np.arange(300.0), np.zeros(300)])
    found = judge(rule(measure="mean", of="", above=None, below=10), "anomaly", (), scores, days(300))
    assert found.sentence.startswith("The mean of the scores is 149.5 in 300 answers (95 % interval 139")
    assert found.sentence.endswith(", by rows); the rule `more bad news` is about below 10.")
    median = judge(rule(measure="quantile", of="", above=None, below=10), "regression", (), scores[:, :1], days(300))
    assert median.sentence.startswith(
        "The 0.5 quantile of the values is 149.5 in 300 answers (3.3 % of the answers are below 10, 95 % interval 1"
    )


def test_a_quantile_is_judged_by_days_and_no_surer_than_by_rows():
    """MN-02: Days on which every answer is beyond do not differ: that is no certainty of ten rows."""
    values = np.full((12, 1), 9.0)
    found = judge(rule(measure="quantile", of="", above=5, quantile=0.3, min_rows=2), "regression", (), values, days(4, 4, 4))
    assert found.state == "broken"
    sure = judge(rule(measure="quantile", of="", above=5, quantile=0.2, min_rows=2), "regression", (), values, days(4, 4, 4))
    assert (sure.state, sure.sentence.count("by days")) == ("open", 1)


def test_a_window_of_a_model_with_several_classes_and_days():
    """MN-02: Task, classes and days are those of the model and its window."""
    several = MODEL.model_copy(
        update={
            "task": "multiclass",
            "classes": ("a", "b", "c"),
            "monitoring": MODEL.monitoring.model_copy(update={"rules": (rule(of="b", min_rows=2),)}),
        }
    )
    scores = [[0.1, 0.8, 0.1]] * 40 + [[0.3, 0.3, 0.4]] * 20
    times = pa.array(np.repeat(np.arange(3), 20).astype("datetime64[D]").astype("datetime64[us]"), pa.timestamp("us", "UTC"))
    (found,) = judge_rules(several, pa.table({"event_time": times, "scores": pa.array(scores)}))
    assert found.value == pytest.approx(2 / 3)
    assert "by days" in found.sentence


def test_a_probability_of_one_half_counts_as_the_positive_class():
    """MN-02: As the version answers it."""
    halves = MODEL.model_copy(update={"monitoring": MODEL.monitoring.model_copy(update={"rules": (rule(min_rows=2),)})})
    times = pa.array(np.repeat(np.arange(2), 20).astype("datetime64[D]").astype("datetime64[us]"), pa.timestamp("us", "UTC"))
    (found,) = judge_rules(halves, pa.table({"event_time": times, "scores": pa.array([[0.5, 0.5]] * 40)}))
    assert found.value == 1.0


@pytest.mark.parametrize("wild", [1e308, -1e308])
def test_answers_beyond_all_measure_are_judged_too(wild):
    """MN-02: A regression that diverges has a finding of its rule, and ends no look at a window."""
    limits = {"above": 1.0} if wild > 0 else {"above": None, "below": -1.0}
    for measure in ("mean", "quantile"):
        found = judge(rule(measure=measure, of="", **limits), "regression", (), np.full((300, 1), wild), days(100, 100, 100))
        assert found.state == "broken"
        assert np.isfinite(found.value)
