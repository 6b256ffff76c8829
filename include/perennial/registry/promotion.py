"""The gate: may a trained version be registered? Pure functions of evidence.

A candidate is refused when it is shown to be worse than the champion, by however little, and also when it is not shown to be
within the spec's margin: the upper end of the interval of candidate minus (1 + margin) times champion must lie below zero.
A candidate that is worse by the margin or more therefore passes with a chance of at most `alpha`, however few rows there
are, and small losses cannot add up night after night unseen; one that is as good passes where there are rows enough to say
so. (That holds from five test days on: fewer show nothing of how days differ.)
(Asking for "better" would turn down nineteen of twenty candidates that are as good as the champion, and with them most
nightly trainings; asking only for "not shown to be worse" would let through whatever is measured badly enough.)
docs/decisions/0011 and `benchmarks/gate_simulation.py` show the error rates.

    >>> import numpy as np
    >>> from perennial.registry.promotion import Losses, beats_champion
    >>> from perennial.specs import HIGHER_IS_BETTER, GateSpec
    >>> champion = np.random.default_rng(7).gamma(2, size=2_000)
    >>> days = np.repeat(np.arange(20), 100)
    >>> gate = GateSpec(floors={"accuracy": 0.6})
    >>> beats_champion(Losses(0.9 * champion, champion, days), gate).passed
    True
    >>> beats_champion(Losses(1.2 * champion, champion, days), gate).passed
    False
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal

from perennial.registry.signatures import Changes
from perennial.specs import HIGHER_IS_BETTER, GateSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

ENOUGH_DAYS = 5  # fewer whole days than this say nothing of how days differ: rows are drawn instead
ROW_GROUPS = 2000  # rows that are drawn one by one are first put at random into this many groups: as good, and as fast for millions
SLICE_ROWS = 200  # smaller slices of older data are too noisy to refuse by
Drawn = Literal["days", "groups", "rows"]  # what is drawn with replacement: as the test split was made, by time, group or at random
SEED = 2013  # the same evidence gives the same verdict
CHUNK = 250


@dataclass(frozen=True)
class Check:
    """One check of the gate."""

    name: str
    passed: bool
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """The gate's decision, with its reasons."""

    passed: bool
    sentence: str
    checks: tuple[Check, ...]

    def as_json(self) -> dict[str, Any]:
        """The decision as JSON, for the record."""
        return {
            "passed": self.passed,
            "sentence": self.sentence,
            "checks": [{"name": c.name, "passed": c.passed, "sentence": c.sentence, **c.numbers} for c in self.checks],
        }


@dataclass(frozen=True)
class Losses:
    """Losses of two versions on the same rows, each float [rows]."""

    candidate: Floats
    champion: Floats
    days: npt.NDArray[Any]  # day of each row's event time; the number of its group where groups are drawn
    drawn: Drawn = "days"

    def where(self, rows: npt.NDArray[np.bool_]) -> Losses:
        """The losses of the chosen rows only."""
        return Losses(self.candidate[rows], self.champion[rows], self.days[rows], self.drawn)


@dataclass(frozen=True)
class Excess:
    """Excess of the candidate's mean loss over an allowed multiple of the champion's; negative is good."""

    value: float
    low: float
    high: float  # each is passed by the truth with a chance of alpha
    drawn: str  # what was resampled


def judge(
    gate: GateSpec,
    metrics: Mapping[str, float],
    golden: Check,
    *,
    losses: Losses | None = None,
    older: Mapping[str, Losses] | None = None,
    not_compared: str = "",
    besides: Sequence[Check] = (),
    inspected: Sequence[Check] = (),
) -> Verdict:
    """Decide whether a candidate may be registered.

    Args:
        gate: what is asked.
        metrics: the candidate's metrics on the test split.
        golden: whether its golden rows match where it will be served.
        losses: of candidate and champion on the test split; None if there is no champion to compare it with.
        older: the same on older data, by slice.
        not_compared: why there is no comparison.
        besides: further checks: what the candidate changes for callers, what its test days lack.
        inspected: checks of how it answers, which the sentence names only where they refuse it.
    """
    failures = passes_floors(metrics, gate)
    floors = Check(
        "floors",
        not failures,
        "; ".join(failures) or "every floor is met",
        {"metrics": {name: metrics.get(name) for name in gate.floors}, "floors": dict(gate.floors)},
    )
    checks = [floors, golden]
    if losses is None:
        checks.append(Check("champion", True, not_compared or "there is no champion yet"))
    else:
        checks.append(beats_champion(losses, gate))
        checks.append(old_context(older or {}, gate))
    checks += [*besides, *inspected]
    refused = [check for check in checks if not check.passed]
    chosen = [*(refused or [check for check in checks if check.name == "champion"])]
    chosen += [check for check in besides if check.numbers and check.passed and (not refused or check.name == "classes")]
    sentence = "; ".join(check.sentence for check in chosen)
    return Verdict(not refused, sentence[:1].upper() + sentence[1:] + ".", tuple(checks))


def keeps_its_meaning(changes: Changes, champion: str) -> Check:
    """Check that answers of candidate and champion mean the same, and list the changes that callers would notice.

    Args:
        changes: from the champion's signature to the candidate's.
        champion: as people call it.
    """
    numbers: dict[str, Any] = {kind: said for kind, said in changes.as_json().items() if said}
    if changes.meaning:
        return Check(
            "signature",
            False,
            f"it means something else than {champion}: {'; '.join(changes.meaning)}. One route cannot answer both, "
            "and outcomes would change their meaning: "
            "`perennial retire` the model and give the new meaning a name of its own, or set the spec back",
            numbers,
        )
    if changes.breaking:
        return Check(
            "signature", True, f"it breaks callers of {champion}: {'; '.join(changes.breaking)}; a person must let it take traffic", numbers
        )
    if changes.compatible:
        return Check("signature", True, f"callers of {champion} may go on as they are: {'; '.join(changes.compatible)}", numbers)
    return Check("signature", True, "callers send what they sent before")


def has_every_class(rows: Mapping[str, int], days: Sequence[str], drawn: Drawn = "days") -> Check:
    """A sentence on classes that no row of the test days has. It refuses nothing by itself, yet explains a metric
    that could not be computed.

    Args:
        rows: test rows by class; empty for a regression.
        days: the first and the last of the test days.
        drawn: how the split was made: after one by group or at random its days say nothing.
    """
    absent = [name for name, count in rows.items() if not count]
    test, more = ("days", "more of split.test_days") if drawn == "days" else ("part", "a larger split.test_share")
    if not absent:
        return Check("classes", True, f"the test {test} {'have' if test == 'days' else 'has'} rows of every class")
    absent_names = " or ".join(f"`{name}`" for name in absent)
    when = f" ({days[0]} to {days[1]})" if days and drawn == "days" else ""
    return Check(
        "classes",
        True,
        f"no row of the test {test}{when} is {absent_names}, so nothing is shown of such rows: {more} may have some",
        {"absent": absent},
    )


def passes_floors(metrics: Mapping[str, float], gate: GateSpec) -> list[str]:
    """A sentence for each floor that the candidate misses."""
    failures = []
    for name, floor in gate.floors.items():
        value, higher = metrics.get(name), name in HIGHER_IS_BETTER
        served = f" ({gate.requirements[name].words})" if name in gate.requirements else ""
        if value is None or not math.isfinite(value):
            failures.append(f"{_words(name)} could not be computed, and its floor is {floor:g}{served}")
        elif (value < floor) if higher else (value > floor):
            failures.append(f"{_words(name)} is {value:.4f} and must be {'at least' if higher else 'at most'} {floor:g}{served}")
    return failures


def beats_champion(losses: Losses, gate: GateSpec) -> Check:
    """Check the candidate against the champion: it must be shown to be within the margin, and must not be shown to be worse.

    Paired bootstrap: both versions' losses on the same rows are drawn together.
    """
    margin = allowance(gate.margin, gate)
    interval = excess(losses, margin, gate.alpha, gate.resamples)
    plain = excess(losses, 0.0, gate.alpha, gate.resamples)
    numbers, said = _measured(losses, plain, gate.alpha)
    numbers["allowed"] = margin * numbers["champion_loss"]
    measured = f"{said}; with {margin:.0%} of the champion's loss allowed its upper end is {interval.high:+.4f}, and must be below 0"
    if plain.low > 0:
        return Check("champion", False, f"it is worse than the champion: {measured}", numbers)
    if not interval.high < 0:  # so that a loss that is no number passes nothing
        return Check("champion", False, f"it is not shown to be as good as the champion: {measured}", numbers)
    verdict = (
        "better than the champion"
        if plain.high < 0
        else f"shown to be less than {gate.margin:.0%} worse than the champion, not to be better"
    )
    return Check("champion", True, f"it is {verdict}: {measured}", numbers)


def improves(losses: Losses, alpha: float, resamples: int) -> Check:
    """The gate for recalibrations: whether a recalibrated champion is shown to be better than before.

    Same weights, two other parameters: nothing that the floors or older data could tell. So there is no margin either: what
    is not shown to be better, at the chance `alpha`, is not worth a release. Paired bootstrap, as `beats_champion`.
    """
    interval = excess(losses, 0.0, alpha, resamples)
    numbers, said = _measured(losses, interval, alpha)
    measured = f"{said}, and its upper end must be below 0"
    passed = interval.high < 0  # a loss that is no number passes nothing
    return Check("champion", passed, f"it is {'better' if passed else 'not shown to be better'} than the champion: {measured}", numbers)


def _measured(losses: Losses, plain: Excess, alpha: float) -> tuple[dict[str, Any], str]:
    """A comparison of two versions on the same rows without any margin: the figures by name, and a sentence."""
    ours, theirs = float(losses.candidate.mean()), float(losses.champion.mean())
    numbers = {
        "rows": len(losses.candidate),
        "candidate_loss": ours,
        "champion_loss": theirs,
        "difference": plain.value,
        "interval": [plain.low, plain.high],
        "alpha": alpha,
        "drawn": plain.drawn,
    }
    said = (
        f"its loss is {ours:.4f} and the champion's {theirs:.4f} on the same {len(losses.candidate):,} rows; "
        f"the difference is {plain.low:+.4f} to {plain.high:+.4f} ({plain.drawn} drawn)"
    )
    return numbers, said


def old_context(slices: Mapping[str, Losses], gate: GateSpec) -> Check:
    """Check that the candidate is not much worse than the champion on older data.

    A slice speaks against it when its mean loss there exceeds the champion's by more than the margin and is worse beyond
    chance, at alpha divided by the number of slices: among many slices some always look bad.
    """
    large = {name: losses for name, losses in slices.items() if len(losses.candidate) >= SLICE_ROWS}
    margin = allowance(gate.old_context_margin, gate)
    worse, numbers = [], {}
    for name, losses in large.items():
        interval = excess(losses, 0.0, gate.alpha / len(large), gate.resamples)
        allowed = margin * float(losses.champion.mean())
        numbers[name] = {"rows": len(losses.candidate), "difference": interval.value, "low": interval.low, "allowed": allowed}
        if not (interval.value <= allowed or interval.low <= 0):
            worse.append((interval.value - allowed, f"{name} ({interval.value:+.4f}, {allowed:.4f} is allowed)"))
    if worse:
        worst = [text for _, text in sorted(worse, reverse=True)]
        more = f" and {len(worst) - 3} more" if len(worst) > 3 else ""
        return Check(
            "old_context", False, f"it is worse than the champion on older data: {', '.join(worst[:3])}{more}", {"slices": numbers}
        )
    return Check("old_context", True, f"none of {len(large)} slices of older data got worse", {"slices": numbers})


def excess(losses: Losses, margin: float, alpha: float, resamples: int) -> Excess:
    """Mean of candidate - (1 + margin) x champion with a bootstrap interval.

    Whole days are drawn where there are at least five, since rows of one day are not independent; else rows. After a split by group whole
    groups are drawn in the same way, after a random one rows. Few days spread
    too little when drawn with replacement: deviations are widened by sqrt(n / (n - 1)) and by the ratio of Student's to the
    normal quantile (Cameron, Gelbach, Miller 2008, "Bootstrap-based improvements for inference with clustered errors").

    Args:
        losses: of both versions, at least two rows.
        margin: share of the champion's loss that is allowed on top of it.
        alpha: chance that the truth lies above `high`; the same below `low`.
        resamples: draws.
    """
    import numpy as np

    rng = np.random.default_rng(SEED)
    differences = losses.candidate - (1 + margin) * losses.champion
    units, groups = np.unique(losses.days, return_inverse=True)
    drawn = f"{len(units)} whole {losses.drawn}"
    if losses.drawn == "rows" or len(units) < ENOUGH_DAYS:
        groups, drawn = rng.permutation(np.arange(len(differences)) % ROW_GROUPS), "rows"
    sizes = np.bincount(groups)
    sums = np.bincount(groups, weights=differences)
    count = len(sizes)
    value = float(sums.sum() / sizes.sum())
    means = np.concatenate([_draw(rng, sums, sizes, min(CHUNK, resamples - begin)) for begin in range(0, resamples, CHUNK)])
    widening = math.sqrt(count / max(count - 1, 1)) * student(1 - alpha, count - 1) / NormalDist().inv_cdf(1 - alpha)
    low, high = (float(np.quantile(means - value, level)) * widening + value for level in (alpha, 1 - alpha))
    return Excess(value, low, high, drawn)


def student(level: float, freedom: int) -> float:
    """Quantile of Student's t."""
    from scipy import stats

    return float(stats.t.ppf(level, max(freedom, 1)))


def _draw(rng: np.random.Generator, sums: npt.NDArray[Any], sizes: npt.NDArray[Any], resamples: int) -> Floats:
    picked = rng.integers(0, len(sizes), (resamples, len(sizes)))
    means: Floats = sums[picked].sum(axis=1) / sizes[picked].sum(axis=1)
    return means


def allowance(margin: float, gate: GateSpec) -> float:
    """The margin as a share of the mean loss: losses of a regression are squared, a margin of its root is not."""
    return (1 + margin) ** 2 - 1 if gate.metric == "rmse" else margin


def _words(metric: str) -> str:
    return metric.replace("_", " ")
