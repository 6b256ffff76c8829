"""Rules on what a model answers: whether a share of a class or the level of a score lies beyond a limit of its owner.

Evidence decides both ways: a rule is broken where the whole 95 % interval of its measure lies beyond the limit, kept where all of it lies
within, and open in between, so that a measure that wavers about the limit opens one incident and not many. The interval is that of the live
metrics: by days from three days on, by rows with fewer, which is too narrow where rows of a day are alike. While the true measure is the
limit itself, one window in forty is called broken; while it is within, fewer.

The level of a quantile is judged by a share: the 0.9 quantile is above a limit just if more than a tenth of the answers are.

>>> from perennial.specs import AnswerRule
>>> rule = AnswerRule(name="more bad news", measure="share", of="bad", above=0.4)
>>> day = np.repeat(np.array(["2026-03-01", "2026-03-02", "2026-03-03"], "datetime64[D]"), 100)
>>> found = judge(rule, "binary", ("fine", "bad"), np.tile([[0.1, 0.9], [0.2, 0.8], [0.7, 0.3]], (100, 1)), day)
>>> found.state, round(found.value, 3)
('broken', 0.667)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from perennial.classes import answered_classes
from perennial.counted import percent
from perennial.monitoring.figures import Metric, RuleFinding
from perennial.monitoring.live_metrics import mean_of
from perennial.monitoring.performance import LARGEST, Floats, Task, event_days, logged_scores
from perennial.specs import AnswerRule, ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa


def judge_rules(spec: ModelSpec, rows: pa.Table) -> tuple[RuleFinding, ...]:
    """What a window says of each rule of a model, whichever version answered.

    Args:
        spec: of the model.
        rows: predictions of the window; `scores` and `event_time` are read.
    """
    if not spec.monitoring.rules or not rows.num_rows:
        return ()
    scores, days = logged_scores(rows), event_days(rows["event_time"])
    return tuple(judge(rule, spec.task, spec.classes, scores, days) for rule in spec.monitoring.rules)


def judge(rule: AnswerRule, task: Task, classes: Sequence[str], scores: Floats, days: NDArray[np.datetime64]) -> RuleFinding:
    """What some answers say of one rule.

    Args:
        rule: of the model's spec.
        task: what is predicted.
        classes: of the model, in the order of its scores.
        scores: [rows, classes], [rows, 1] of a regression, or score and alarm, [rows, 2].
        days: day of each row.
    """
    if len(scores) < rule.min_rows:
        sentence = f"The rule `{rule.name}` is judged from {rule.min_rows:,} answers on, and the window has {len(scores):,}."
        return RuleFinding(name=rule.name, state="few", rows=len(scores), severity=rule.severity, sentence=sentence)
    values = _values(rule, task, classes, scores)
    judged, units = mean_of(values, days, share=rule.measure == "share")
    shown, limit = judged, rule.limit
    if rule.measure == "quantile":
        beyond = values > limit if rule.above is not None else values < limit
        judged, units = mean_of(beyond.astype(float), days, share=True)
        limit = 1 - rule.quantile if rule.above is not None else rule.quantile
        shown = Metric(value=float(np.quantile(values, rule.quantile)))
    low, high = (judged.value if end is None else end for end in (judged.low, judged.high))
    if rule.measure != "quantile" and rule.below is not None:
        low, high, limit = -high, -low, -limit
    state = "broken" if low > limit else "kept" if high <= limit else "open"
    return RuleFinding(
        name=rule.name,
        state=state,
        rows=len(scores),
        value=shown.value,
        low=shown.low,
        high=shown.high,
        limit=rule.limit,
        severity=rule.severity,
        sentence=_sentence(rule, task, shown, judged, units, len(scores)),
    )


def _values(rule: AnswerRule, task: Task, classes: Sequence[str], scores: Floats) -> Floats:
    """What is averaged, of each row."""
    place = list(classes).index(rule.of) if classes else 0
    if rule.measure != "share":
        chosen: Floats = np.clip(scores[:, place], -LARGEST, LARGEST)  # the mean of wilder ones would be none
        return chosen
    is_of: Floats = (answered_classes(task, scores) == (place if classes else 1)).astype(np.float64)
    return is_of


def _sentence(rule: AnswerRule, task: Task, shown: Metric, judged: Metric, units: str, rows: int) -> str:
    of = f"`{rule.of}`" if rule.of else "alarms" if rule.measure == "share" else "the scores" if task == "anomaly" else "the values"
    of = f"the scores of {of}" if rule.of and rule.measure != "share" else of
    what = {"share": "share", "mean": "mean", "quantile": f"{rule.quantile:g} quantile"}[rule.measure]
    figure = percent if rule.measure == "share" else "{:.4g}".format
    limit = f"{'above' if rule.above is not None else 'below'} {figure(rule.limit)}"
    rests_on = _interval(judged, figure, units)
    if rule.measure == "quantile":
        rests_on = f"{percent(judged.value)} of the answers are {limit}, {_interval(judged, percent, units)}"
    found = f"The {what} of {of} is {figure(shown.value)} in {rows:,} answers{f' ({rests_on})' if rests_on else ''}"
    return f"{found}; the rule `{rule.name}` is about {limit}."


def _interval(metric: Metric, figure: Callable[[float], str], units: str) -> str:
    if metric.low is None or metric.high is None:
        return ""
    return f"95 % interval {figure(metric.low)} to {figure(metric.high)}, by {units}"
