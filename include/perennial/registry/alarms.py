"""The gate of models without labels: do its alarms keep their budget, and are they more than chance? Pure functions of evidence.

The alarms of the test rows are drawn again as losses are (`promotion.excess`). A candidate is refused when it is shown to raise more than
its budget and slack allow, when refits on rows drawn again disagree with it, or, where rows have labels, when its average precision is
shown to be below the champion's. docs/decisions/0073 says why not more is asked.

    >>> import numpy as np
    >>> from perennial.specs import AnomalySpec
    >>> days = np.repeat(np.arange(10), 100)
    >>> flood = (np.arange(1000) % 10 == 0).astype(float)
    >>> keeps_budget(flood, days, "days", AnomalySpec(budget=0.1), 0.05, 500).passed
    True
    >>> keeps_budget(flood, days, "days", AnomalySpec(budget=0.01), 0.05, 500).passed
    False
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from perennial.registry.promotion import Check, Drawn, Losses, excess
from perennial.specs import AnomalySpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def keeps_budget(
    alarms: npt.NDArray[np.float64], units: npt.NDArray[Any], drawn: Drawn, anomaly: AnomalySpec, alpha: float, resamples: int
) -> Check:
    """Check that no more rows raise an alarm than may.

    Args:
        alarms: of the test rows, 1 or 0.
        units: day or group of each row.
        drawn: what is drawn again.
        anomaly: the budget.
        alpha: chance of refusing a candidate that keeps its budget and slack.
        resamples: draws.
    """
    import numpy as np

    allowed = anomaly.budget * (1 + anomaly.slack)
    share = excess(Losses(alarms, np.zeros(len(alarms)), units, drawn), 0.0, alpha, resamples)
    low, high = max(0.0, share.low), min(1.0, share.high)
    numbers = {"rows": len(alarms), "share": share.value, "interval": [low, high], "budget": anomaly.budget, "allowed": allowed}
    measured = (
        f"{share.value:.2%} of {len(alarms):,} test rows raise an alarm ({low:.2%} to {high:.2%}, {share.drawn} drawn); the budget is "
        f"{anomaly.budget:.2%}, and up to {allowed:.2%} is accepted"
    )
    if low > allowed:
        return Check("alarms", False, f"it raises more alarms than its budget allows: {measured}", numbers)
    return Check("alarms", True, f"its alarms keep their budget: {measured}", numbers)


def is_stable(stability: Mapping[str, float], anomaly: AnomalySpec) -> Check:
    """Check that refits on rows drawn again agree with the candidate.

    Args:
        stability: means over the refits, as `training.json` has them; empty where nothing is learned.
        anomaly: the limits.
    """
    if not stability:
        return Check("stability", True, "nothing of it was learned here, so nothing could come out otherwise")
    refits, rank, same = (stability[name] for name in ("refits", "rank_agreement", "alarm_agreement"))
    measured = (
        f"{refits:.0f} refits on rows drawn again rank rows like it by {rank:.2f} (at least {anomaly.min_rank_agreement:g}) and raise "
        f"{same:.0%} of its alarms too (at least {anomaly.min_alarm_agreement:.0%})"
    )
    passed = rank >= anomaly.min_rank_agreement and same >= anomaly.min_alarm_agreement
    said = "its scores are stable" if passed else "its scores are not stable"
    return Check("stability", passed, f"{said}: {measured}", dict(stability))


def finds_as_much(test: Mapping[str, Any]) -> Check | None:
    """Compare the average precision of candidate and champion on the test rows that have a label; None where that cannot be said.

    Args:
        test: of the evaluation.
    """
    name = "average_precision"
    ours, theirs = (test.get(who, {}).get("metrics", {}).get(name) for who in ("candidate", "champion"))
    interval = test.get("difference", {}).get("metrics", {}).get(name)
    if ours is None or theirs is None or interval is None:
        return None
    low, high = interval
    measured = (
        f"its average precision is {ours:.4f} and the champion's {theirs:.4f} on the same {test['labelled']:,} labelled rows; the "
        f"difference is {low:+.4f} to {high:+.4f}"
    )
    numbers = {"candidate": ours, "champion": theirs, "interval": [low, high]}
    if high < 0:
        return Check("anomalies", False, f"it finds fewer anomalies than the champion: {measured}", numbers)
    return Check("anomalies", True, f"it is not shown to find fewer anomalies than the champion: {measured}", numbers)
