"""The drift test: compares the days of a window with the days of the reference, at one false-alarm rate for all columns together.

    >>> import numpy as np
    >>> from perennial.monitoring.drift import Column, compare
    >>> from perennial.specs import MonitoringSpec
    >>> rows = np.array([[50, 50]] * 30 + [[90, 10]] * 2, dtype=float)  # of two carriers, on 30 days and the 2 of the window
    >>> carrier = Column("carrier", rows, np.zeros(32), labels=["AA", "UA"])
    >>> compare([carrier], None, reference=30, spec=MonitoringSpec(), seed=1).columns[0].sentence
    '`carrier`: AA: 50 % → 90 % of rows.'

A block is a day, or a bundle of independent rows. Rows inside a day are not independent, so whole blocks are exchanged (`permutation.py`):
a finding is significant where its statistic stands out among all of its family in no more than alpha of the labellings. It is *drift*
if, besides, its effect is more than tiny, and it *alarms* if the effect is large enough to act on. Every kind of finding has its own unit;
its limits, `min_...` and `alarm_...`, are fields of `MonitoringSpec` (`MonitoringSpec.limits`):

| kind | statistics | effect (and its limits) |
| --- | --- | --- |
| shift | chi-square of about equal-mass bins, of exact values (or the grid's cells), of categories; | rows that moved: Kolmogorov |
| | normal scores and their squares; values of which the rest has none | distance beyond `tolerance_sd`, or total variation (`shift`) |
| predictions | the same, of scores and predicted classes | the same (`min_predictions`, `alarm_shift`) |
| nulls | difference of the shares of missing values | that difference (`nulls`) |
| new category | rows of a category that the rest has not at all | its share of rows (`new_category`) |
| correlation | difference of the correlation inside the blocks of two rank-normalised columns, or of one | that difference, of the pairs |
| | with a frequent category; sum of squares over all pairs | that changed most (`correlation`) |
| joint | squared distance of the means of random Fourier features (Rahimi and Recht 2007) | mean discrepancy beyond chance (`joint`) |

A column that is gone or has another type never gets here: ingestion refuses such a file, a server such a request.

`columns.py` and `together.py` ask, `effects.py` measures how far something moved, `words.py` tells it; `blocks.py` makes arrays of
profiles.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from perennial.monitoring import permutation
from perennial.monitoring.drift import effects, words
from perennial.monitoring.drift.blocks import Column, Joint, columns_of, joint_of, thinned, with_rows
from perennial.monitoring.drift.columns import WatchedColumn
from perennial.monitoring.drift.question import Question, observed
from perennial.monitoring.drift.together import TOGETHER, questions_together
from perennial.monitoring.permutation import Floats
from perennial.monitoring.verdict import Bin, ColumnDrift, DriftVerdict, in_order, worth_telling
from perennial.specs import MonitoringSpec

if TYPE_CHECKING:
    from perennial.profiles.profile import Profile

__all__ = ["TOGETHER", "Bin", "Column", "ColumnDrift", "DriftVerdict", "Joint", "compare", "find_drift", "in_order"]

RESAMPLES = 200  # bootstraps of the blocks behind every interval


def find_drift(
    reference: Profile,
    current: Profile,
    spec: MonitoringSpec,
    seed: int,
    *,
    predictions: Collection[str] = (),
    resamples: int = RESAMPLES,
) -> DriftVerdict:
    """Compare the blocks of a window with the blocks of the reference.

    Args:
        reference: profile of the champion's training days, or of bundles of independent rows.
        current: profile of the window, counted on the same layout.
        spec: `alpha`, the gates and `tolerance_sd` are used.
        seed: of the drawn labellings, of thinning and of the intervals.
        predictions: columns that are scores or predicted classes.
        resamples: bootstraps behind each interval; 0 leaves intervals out, and is faster.

    Raises:
        ValueError: the two were not counted on the same layout.
    """
    cells = [{column.name: column for column in side.layout.columns} for side in (reference, current)]
    if different := sorted(name for name in cells[0].keys() | cells[1].keys() if cells[0].get(name) != cells[1].get(name)):
        raise ValueError(f"Reference and window do not count {', '.join(different)} on the same cells: profile both with the same layout.")
    before, after = with_rows(reference), with_rows(current)
    columns, skipped = columns_of(before, after)
    return compare(
        columns,
        joint_of(before, after),
        reference=len(before.blocks),
        spec=spec,
        seed=seed,
        predictions=predictions,
        since=words.since(after),
        skipped=skipped,
        window=len(after.blocks),
        resamples=resamples,
    )


def compare(
    columns: Sequence[Column],
    joint: Joint | None,
    *,
    reference: int,
    spec: MonitoringSpec,
    seed: int,
    predictions: Collection[str] = (),
    since: str = "",
    skipped: dict[str, str] | None = None,
    window: int | None = None,
    resamples: int = RESAMPLES,
) -> DriftVerdict:
    """Compare blocks of a window with blocks of the reference that are counted already, as plain arrays.

    Args:
        columns: counts of each column.
        joint: means over pairs of columns and over all of them; none if they are not compared.
        reference: number of blocks of the reference; they come first in all arrays.
        spec: `alpha`, the gates and `tolerance_sd` are used.
        seed: of everything drawn.
        predictions: columns that are scores or predicted classes.
        since: end of a sentence that says when the window begins.
        skipped: what is not tested, and why.
        window: number of blocks of the window, if there is no column to tell it.
        resamples: bootstraps behind each interval; none is made if 0.
    """
    rng = np.random.default_rng(seed)
    blocks = len(columns[0].counts) if columns else reference + (window or 0)
    current = blocks - reference
    labels, exact = permutation.labellings(reference, current, rng) if reference and current else (np.zeros((1, blocks)), True)
    skipped = dict(skipped or {})
    power = words.power(reference, current, len(labels), spec.alpha)
    verdict = DriftVerdict(
        columns=(),
        skipped=skipped,
        reference_days=reference,
        window_days=current,
        labellings=len(labels),
        exact=exact,
        power=power,
    )
    if not columns or not reference or not current:
        return verdict
    asked: list[Question] = []
    for column in columns:
        smaller = thinned(column, reference, rng)
        asked += WatchedColumn(column, smaller, labels, reference, spec, since, column.name in predictions).questions()
    if joint is not None and (why := words.too_unequal(joint.rows, reference)):
        skipped[TOGETHER] = why
    elif joint is not None:
        asked += questions_together(joint, labels, since)
    statistics = [replace(s, finding=number) for number, question in enumerate(asked) for s in question.statistics]
    judged = permutation.max_t(statistics, len(asked))
    findings = [
        _answered(question, float(p), family, spec, reference, labels, resamples, np.random.default_rng([seed, i]))
        for i, (question, p, family) in enumerate(zip(asked, judged.p_values, judged.families, strict=True))
    ]
    smallest = min((f.p_value for f in findings), default=1.0)
    return verdict.model_copy(
        update={
            "columns": in_order(worth_telling(findings)),
            "skipped": skipped,
            "p_value": smallest,
            "significant": smallest <= spec.alpha,
        }
    )


def _answered(
    question: Question,
    p_value: float,
    family: str,
    spec: MonitoringSpec,
    reference: int,
    labels: Floats,
    resamples: int,
    rng: np.random.Generator,
) -> ColumnDrift:
    """The finding of one question: how far it moved, and whether that is drift and alarms."""
    blocks = labels.shape[1]
    effect = float(question.effect(*observed(labels))[0])
    usual = effects.usual_effect(question.effect, labels, resamples, rng) if resamples else 0.0
    low = high = None
    if resamples and blocks - reference > 1:
        low, high = effects.interval_of(question.effect, effect, reference, blocks, resamples, rng)
    limits = spec.limits(question.kind)
    drifted = p_value <= spec.alpha and effect >= limits.drift and effect > 0
    sentence, bins = question.describe()
    return ColumnDrift(
        column=question.column,
        kind=question.kind,
        drifted=drifted,
        alarms=drifted and effect >= limits.alarm,
        effect=round(effect, 6),
        low=None if low is None else round(low, 6),
        high=None if high is None else round(high, 6),
        usual=round(usual, 6),
        p_value=round(p_value, 6),
        family=family,
        sentence=f"{sentence}{'' if drifted else '; no drift'}.",
        bins=bins,
    )
