"""Decides on a release from its evidence: advance, hold, promote, roll back or ask a person. Pure functions of counts.

The question is always "from which arm did this event come?". If both arms fail alike, an error comes from the candidate
with the probability of its share of the requests; if the candidate fails g times as often, with a larger one. The
likelihood ratio of the two, averaged over a grid of g, is an e-process: its expectation never exceeds 1 while the arms are
alike, so by Ville's inequality the chance that it *ever* reaches 1/alpha is at most alpha, however often one looks, while
weights move and while the error rate of both arms drifts. (Ramdas, Grünwald, Vovk, Shafer 2023, "Game-theoretic
statistics and safe anytime-valid inference"; with the requests of both arms given, the count of the candidate's events is
hypergeometric, which is less spread than the binomial assumed here, so the bound still holds.)

`benchmarks/canary_simulation.py` shows the error rates beside those of other rules.

    >>> from perennial.serving.canary import Counts, Evidence, add, decide
    >>> from perennial.specs import ReleaseSpec
    >>> release = ReleaseSpec()
    >>> failing = {"errors": Counts(candidate_requests=500, candidate_events=60, champion_requests=4_500, champion_events=9)}
    >>> decide(add(Evidence(), failing, 0.1, release), release, step_seconds=60, last_step=False).action
    'roll_back'
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from perennial.counted import shown_of
from perennial.serving.route import Arm
from perennial.serving.split import Split, limit
from perennial.specs import ReleaseSpec, SignalSpec

Action = Literal["advance", "hold", "promote", "roll_back", "ask"]

BETTER = (1.0, 0.75, 0.5, 0.25)  # ratios that speak for "not worse than the limit"
RARE = (0.0, 0.05, 0.2, 0.5)  # shares of the highest error rate that speak for "below it"
RARE_WEIGHTS = (0.7, 0.1, 0.1, 0.1)  # mostly on no error at all: 314 requests without one show a rate below 1 % at .05
TOO_FEW_ERRORS = 10  # below this many in both arms together no ratio can be told
SILENT_REQUESTS, SILENT_LOOKS = 30, 2
UNHEALTHY_LOOKS = 4  # a server that was killed and started again is back before that
LATENCY_HISTORY = 200  # the champion's requests from which its usual latency is read
USUAL = 0.05  # share of the champion's requests that are slower than the edge, as near as the buckets allow
LARGEST = 700.0  # exp() of more overflows
ADDED = 0.25  # of alpha: of all signals together that a team adds and that may roll back
ADDED_RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)  # how many times the tolerated rate of such a signal a bad candidate might have


@dataclass(frozen=True)
class Signal:
    """One kind of event, such as errors, and what counts against a candidate."""

    share: float  # of the release's alpha
    ratios: tuple[float, ...]  # how many times the tolerated rate a bad candidate might have
    tolerance: float = 1.0  # ratio of rates that is still harmless
    burst: float = 1.0  # events that may have one cause: evidence counts a burst of this size once
    dry_run: bool = False  # whether it is shown only


def signals(release: ReleaseSpec) -> dict[str, Signal]:
    """The signals that may roll a release back, and those that would if they were no dry run. The shares of alpha of the former add up to
    one, so alpha holds over all of them together.

    Requests slow down in bursts (one pause of a process delays all that wait for it), and a fresh process is a little slower
    than one that has served for hours: hence latency alone has a tolerance and a burst. Raising an e-value to the power
    1/burst keeps it one even if the events of a burst all fall on one arm together (Jensen's inequality).

    A request that cannot be read (400) is its caller's doing where both arms refuse it alike, however many of them one caller sends:
    each falls on an arm by the weights alone. Where the candidate refuses more of them, its signature is what is wrong.
    """
    guardrails = [one for one in release.signals if one.role == "guardrail"]
    decide = sum(not one.dry_run for one in guardrails)
    fixed = {
        "errors": Signal(0.45, (1.5, 2, 3, 5, 10, 20)),
        "latency": Signal(0.25, (1.5, 2, 3, 5, 10), tolerance=release.max_latency_ratio, burst=10),
        "outcomes": Signal(0.15, (1.1, 1.25, 1.5, 2, 3)),
        "unreadable": Signal(0.15, (1.5, 2, 3, 5, 10, 20)),
    }
    if decide:
        fixed = {name: replace(signal, share=signal.share * (1 - ADDED)) for name, signal in fixed.items()}
    return fixed | {one.name: Signal(ADDED / (decide + one.dry_run), ADDED_RATIOS, dry_run=one.dry_run) for one in guardrails}


def successes(release: ReleaseSpec) -> list[SignalSpec]:
    """The signals of which a promotion wants it shown that the candidate is within what they tolerate."""
    return [one for one in release.signals if one.role == "success" and not one.dry_run]


@dataclass(frozen=True)
class Counts:
    """Events and the requests that could have had one, of both arms, between two looks."""

    candidate_requests: int = 0
    candidate_events: int = 0
    champion_requests: int = 0
    champion_events: int = 0


class Tally(BaseModel):
    """The evidence of one signal since the release began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidate_requests: int = 0
    candidate_events: int = 0
    champion_requests: int = 0
    champion_events: int = 0
    candidate_mean: float | None = Field(default=None, description="Mean of the candidate's values, of a signal that watches a mean.")
    champion_mean: float | None = Field(default=None, description="The same of the champion's.")
    against: tuple[float, ...] = Field(default=(), description="Log likelihood ratio for each ratio of the signal.")
    shown: tuple[float, ...] = Field(
        default=(), description="Of a signal that a team added: logarithms of the evidence that the candidate is within what is tolerated."
    )


class Evidence(BaseModel):
    """The evidence of a release so far; `add` adds one look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tallies: dict[str, Tally] = Field(default_factory=dict, description="By signal.")
    not_worse: tuple[float, ...] = Field(
        default=(0.0,) * len(BETTER), description="Log likelihood ratios for an error rate below the champion's times `max_error_ratio`."
    )
    rare: tuple[float, ...] = Field(
        default=(0.0,) * len(RARE), description="Log likelihood ratios for an error rate below `max_error_rate`."
    )
    step_requests: int = Field(default=0, description="Requests of the candidate since the last change of weights.")
    silent_requests: float = Field(default=0.0, description="Requests that were due to the candidate since it last got one.")
    silent_looks: int = Field(default=0, description="Looks since it last got one.")
    unhealthy_looks: int = Field(default=0, description="Looks in a row at which the gateway would have sent it none.")
    split: Split = Field(default=Split(), description="Whether it gets the share of the requests that it is to get.")


@dataclass(frozen=True)
class Decision:
    """A decision on a release: what to do now, and why."""

    action: Action
    sentence: str
    numbers: dict[str, Any]


def stakes(candidate_requests: float, champion_requests: float, ratio: float, tolerance: float = 1.0) -> tuple[float, float]:
    """Change of the log likelihood ratio with one event of the candidate, and with one of the champion.

    Both counts of requests must be above zero.
    """
    usual = candidate_requests * tolerance / (candidate_requests * tolerance + champion_requests)
    suspected = candidate_requests * ratio / (candidate_requests * ratio + champion_requests)
    return math.log(suspected / usual), math.log((1 - suspected) / (1 - usual))


def add(
    evidence: Evidence,
    seen: Mapping[str, Counts],
    due_share: float,
    release: ReleaseSpec,
    *,
    healthy: bool = True,
    judged: Mapping[str, Tally] = MappingProxyType({}),
) -> Evidence:
    """The evidence after one more look.

    Args:
        evidence: what was known before.
        seen: counts since the last look, by signal; `errors` counts every request.
        due_share: share of the requests that the weights give the candidate.
        release: the limits.
        healthy: whether the gateway would send the candidate a request now.
        judged: by signal that a team added: its evidence since the release began, where there is more of it than before.
    """
    known = signals(release)
    tallies = dict(evidence.tallies)
    for name, counts in seen.items():
        tallies[name] = _tallied(tallies.get(name, Tally()), counts, known[name])
    tallies |= judged
    requests = seen.get("errors", Counts())
    not_worse, rare = evidence.not_worse, evidence.rare
    if requests.candidate_requests and requests.champion_requests:
        not_worse = tuple(
            before + _worth(requests, stakes(requests.candidate_requests, requests.champion_requests, ratio, release.max_error_ratio))
            for before, ratio in zip(not_worse, BETTER, strict=True)
        )
    rare = tuple(before + _rarity(requests, share, release.max_error_rate) for before, share in zip(rare, RARE, strict=True))
    silent = requests.candidate_requests == 0
    due = due_share * (requests.candidate_requests + requests.champion_requests)
    return Evidence(
        tallies=tallies,
        not_worse=not_worse,
        rare=rare,
        step_requests=evidence.step_requests + requests.candidate_requests,
        silent_requests=evidence.silent_requests + due if silent else 0.0,
        silent_looks=evidence.silent_looks + 1 if silent and due else evidence.silent_looks if silent else 0,
        unhealthy_looks=0 if healthy else evidence.unhealthy_looks + 1,
        split=evidence.split,
    )


def next_step(evidence: Evidence) -> Evidence:
    """The evidence, at the beginning of another step."""
    return evidence.model_copy(update={"step_requests": 0, "silent_requests": 0.0, "silent_looks": 0})


def decide(evidence: Evidence, release: ReleaseSpec, step_seconds: float, *, last_step: bool) -> Decision:
    """Decide what to do, given the evidence.

    Args:
        evidence: all that the release has shown.
        release: the limits.
        step_seconds: time since the last change of weights.
        last_step: whether the next change of weights would be the promotion.
    """
    numbers = {"step_requests": evidence.step_requests, "step_seconds": round(step_seconds, 1), **figures(evidence, release)}
    if charge := _charge(evidence, release):
        return Decision("roll_back", charge, numbers)
    mismatch = evidence.split.mismatch
    if mismatch and release.on_split_mismatch != "warn":
        action: Action = "ask" if release.on_split_mismatch == "hold" else "roll_back"
        return Decision(action, f"{mismatch.sentence} What both versions show cannot be compared then.", numbers)
    lacking = _lacking(evidence, release, step_seconds, last_step=last_step)
    if lacking and step_seconds >= release.max_seconds:
        return Decision("ask", f"After {step_seconds:.0f} s on this step there is no verdict: {lacking}. A person must decide.", numbers)
    if lacking:
        return Decision("hold", f"Nothing speaks against the candidate; {lacking}.", numbers)
    if not last_step:
        return Decision("advance", f"{evidence.step_requests:,} requests on this step and nothing speaks against the candidate.", numbers)
    return Decision("promote", _why_promoted(evidence, release), numbers)


def _charge(evidence: Evidence, release: ReleaseSpec) -> str:
    """The signals that show the candidate to be worse; empty if there are none."""
    for name, signal in signals(release).items():
        if signal.dry_run:
            continue
        tally = evidence.tallies.get(name, Tally())
        odds, limit = average(tally.against), 1 / (release.alpha * signal.share)
        if odds >= limit:
            return f"{_against(name, tally, release)} The evidence that it is worse is {_odds(odds)}, the limit {_odds(limit)}."
    if evidence.silent_requests >= SILENT_REQUESTS and evidence.silent_looks >= SILENT_LOOKS:
        return (
            f"The candidate gets no requests, though {evidence.silent_requests:.0f} were due to it: the gateway has taken it out, "
            "or it is not ready."
        )
    if evidence.unhealthy_looks >= UNHEALTHY_LOOKS:
        return f"The gateway has found the candidate's server unhealthy at {evidence.unhealthy_looks} looks in a row."
    return ""


def requests_to_promote(release: ReleaseSpec) -> int:
    """Requests of the candidate over the whole release, none of which fails, that show its error rate to be below the limit.

    >>> requests_to_promote(ReleaseSpec()), requests_to_promote(ReleaseSpec(max_error_rate=0.1))
    (314, 30)
    """
    good, shown = Counts(candidate_requests=1), 1 / release.promotion_alpha
    each = [_rarity(good, share, release.max_error_rate) for share in RARE]
    return next(requests for requests in itertools.count(1) if average([requests * log for log in each], RARE_WEIGHTS) >= shown)


def figures(evidence: Evidence, release: ReleaseSpec) -> dict[str, Any]:
    """The evidence as figures for the ledger: counts of both arms, likelihood ratios and their limits, by signal."""
    numbers: dict[str, Any] = {}
    for name, signal in signals(release).items():
        tally = evidence.tallies.get(name)
        if tally:
            numbers[name] = {
                **tally.model_dump(exclude={"against", "shown"}, exclude_none=True),
                "evidence": _rounded(average(tally.against)),
                "limit": round(1 / (release.alpha * signal.share)),
                **({"dry_run": True} if signal.dry_run else {}),
            }
    for success in release.signals:
        tally = evidence.tallies.get(success.name)
        if tally and success.role == "success":
            numbers[success.name] = {
                **tally.model_dump(exclude={"against", "shown"}, exclude_none=True),
                "within": _rounded(average(tally.shown)),
                "wanted": round(1 / release.promotion_alpha),
                **({"dry_run": True} if success.dry_run else {}),
            }
    if evidence.split.requests:
        numbers["split"] = {
            "candidate_requests": evidence.split.candidate,
            "requests": evidence.split.requests,
            "evidence": _rounded(average([evidence.split.evidence])),
            "limit": round(math.exp(limit(shared_steps(release)))),
        }
    numbers["not_worse"] = {
        "evidence": _rounded(average(evidence.not_worse)),
        "rare": _rounded(average(evidence.rare, RARE_WEIGHTS)),
        "wanted": round(1 / release.promotion_alpha),
    }
    return numbers


def shared_steps(release: ReleaseSpec) -> int:
    """Steps of a release on which both versions get traffic."""
    return sum(step < 100 for step in release.steps)


def increment(before: Arm, now: Arm) -> Arm:
    """The counts of an arm between two looks. A count that fell began again at zero (the gateway or the server was restarted)."""
    if now.requests < before.requests or now.errors < before.errors:
        return now
    earlier = dict(before.latency_ms)
    slow = tuple((bound, max(0, count - earlier.get(bound, 0))) for bound, count in now.latency_ms)
    answered, unreadable = max(0, now.answered - before.answered), max(0, now.unreadable - before.unreadable)
    return Arm(now.requests - before.requests, now.errors - before.errors, slow, answered, unreadable)


def latency_edge(champion: Arm) -> float | None:
    """The bucket bound, ms, that as nearly as possible 5 % of the champion's requests exceed.

    None while it has answered too few requests, or where no bound parts fast from slow ones.
    """
    total = champion.latency_ms[-1][1] if champion.latency_ms else 0
    if total < LATENCY_HISTORY:
        return None
    exceeding = [(bound, 1 - count / total) for bound, count in champion.latency_ms if math.isfinite(bound)]
    parting = [(bound, share) for bound, share in exceeding if share < 0.5]
    if not parting:
        return None
    return min(parting, key=lambda pair: abs(math.log(max(pair[1], 1e-4) / USUAL)))[0]


def compare(candidate: Arm, champion: Arm, edge_ms: float | None) -> dict[str, Counts]:
    """Counts of errors, unreadable and slow requests from what two arms have shown between two looks.

    Args:
        candidate: increment of the candidate.
        champion: increment of the champion.
        edge_ms: slower than this is slow; None leaves latency out.
    """
    seen = {"errors": Counts(candidate.requests, candidate.errors, champion.requests, champion.errors)}
    if candidate.answered or champion.answered:
        refused = (min(arm.unreadable, arm.answered) for arm in (candidate, champion))
        seen["unreadable"] = Counts(candidate.answered, next(refused), champion.answered, next(refused))
    if edge_ms is not None and candidate.latency_ms and champion.latency_ms:
        seen["latency"] = Counts(*_slow(candidate, edge_ms), *_slow(champion, edge_ms))
    return seen


def average(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Weighted mean of likelihood ratios, given their logarithms; 1 if there are none."""
    if not logs:
        return 1.0
    weights = weights or [1 / len(logs)] * len(logs)
    return math.fsum(weight * math.exp(min(log, LARGEST)) for weight, log in zip(weights, logs, strict=True))


def log_average(logs: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Decimal logarithm of `average`, of likelihood ratios however large or small."""
    if not logs:
        return 0.0
    weights, most = weights or [1 / len(logs)] * len(logs), max(logs)
    whole = math.fsum(weight * math.exp(log - most) for weight, log in zip(weights, logs, strict=True))
    return (most + math.log(whole)) / math.log(10)


def within_limits(evidence: Evidence) -> tuple[float, float | None]:
    """Evidence that the candidate's error rate is within limits, in decimal logarithms: beside the champion's, and by itself.

    The latter is None once errors are frequent enough to compare.
    """
    return log_average(evidence.not_worse), log_average(evidence.rare, RARE_WEIGHTS) if _few_errors(evidence) else None


def _tallied(tally: Tally, counts: Counts, signal: Signal) -> Tally:
    against = tally.against or (0.0,) * len(signal.ratios)
    if counts.candidate_requests and counts.champion_requests:
        against = tuple(
            before
            + _worth(counts, stakes(counts.candidate_requests, counts.champion_requests, signal.tolerance * ratio, signal.tolerance))
            / signal.burst
            for before, ratio in zip(against, signal.ratios, strict=True)
        )
    return Tally(
        candidate_requests=tally.candidate_requests + counts.candidate_requests,
        candidate_events=tally.candidate_events + counts.candidate_events,
        champion_requests=tally.champion_requests + counts.champion_requests,
        champion_events=tally.champion_events + counts.champion_events,
        against=against,
    )


def _worth(counts: Counts, stake: tuple[float, float]) -> float:
    return counts.candidate_events * stake[0] + counts.champion_events * stake[1]


def _rarity(requests: Counts, share: float, rate: float) -> float:
    if share == 0 and requests.candidate_events:
        return -LARGEST * 1000  # "no error at all" is refuted for good
    good = requests.candidate_requests - requests.candidate_events
    failed = requests.candidate_events * math.log(share) if requests.candidate_events else 0.0
    return failed + good * math.log((1 - rate * share) / (1 - rate))


def _slow(arm: Arm, edge_ms: float) -> tuple[int, int]:
    total = arm.latency_ms[-1][1]
    fast = max((count for bound, count in arm.latency_ms if bound <= edge_ms), default=0)
    return total, total - fast


def _lacking(evidence: Evidence, release: ReleaseSpec, step_seconds: float, *, last_step: bool) -> str:
    if step_seconds < release.min_seconds:
        return f"{step_seconds:.0f} of {release.min_seconds:.0f} s on this step have passed"
    if evidence.step_requests < release.min_requests:
        return f"it has answered {evidence.step_requests:,} of the {release.min_requests:,} requests that this step wants"
    if last_step and not (_shown_not_worse(evidence, release) or _shown_rare(evidence, release)):
        odds = max(average(evidence.not_worse), average(evidence.rare, RARE_WEIGHTS) if _few_errors(evidence) else 0.0)
        return (
            f"the evidence that its error rate is within limits is {_odds(odds)} of the "
            f"{_odds(1 / release.promotion_alpha)} that promotion wants"
        )
    for success in successes(release) if last_step else ():
        odds = average(evidence.tallies.get(success.name, Tally()).shown)
        if odds < 1 / release.promotion_alpha:
            return (
                f"the evidence that it is within what {success.words} tolerates is {_odds(odds)} of the "
                f"{_odds(1 / release.promotion_alpha)} that promotion wants"
            )
    return ""


def _shown_not_worse(evidence: Evidence, release: ReleaseSpec) -> bool:
    return average(evidence.not_worse) >= 1 / release.promotion_alpha


def _shown_rare(evidence: Evidence, release: ReleaseSpec) -> bool:
    return _few_errors(evidence) and average(evidence.rare, RARE_WEIGHTS) >= 1 / release.promotion_alpha


def _few_errors(evidence: Evidence) -> bool:
    tally = evidence.tallies.get("errors", Tally())
    return tally.candidate_events + tally.champion_events < TOO_FEW_ERRORS


def _why_promoted(evidence: Evidence, release: ReleaseSpec) -> str:
    tally = evidence.tallies["errors"]
    if _shown_not_worse(evidence, release):
        shown = f"its error rate is shown to be below {release.max_error_ratio:g} times the champion's"
    else:
        shown = f"its error rate is shown to be below {release.max_error_rate:.2%}"
    return (
        f"{tally.candidate_events:,} of the candidate's {tally.candidate_requests:,} requests failed, "
        f"{tally.champion_events:,} of the champion's {tally.champion_requests:,}; {shown} and nothing speaks against it."
    )


def _against(name: str, tally: Tally, release: ReleaseSpec) -> str:
    for added in release.signals:
        if added.name == name:
            ours = shown_of(tally.candidate_events, tally.candidate_requests, tally.candidate_mean)
            theirs = shown_of(tally.champion_events, tally.champion_requests, tally.champion_mean)
            return f"The signal {added.words} shows {ours} of the candidate's requests, {theirs} of the champion's."
    verb = {"errors": "failed", "latency": "were slow", "outcomes": "turned out wrong", "unreadable": "could not be read"}[name]
    return (
        f"{tally.candidate_events:,} of the candidate's {tally.candidate_requests:,} "
        f"{'answers' if name == 'outcomes' else 'requests'} {verb}, "
        f"{tally.champion_events:,} of the champion's {tally.champion_requests:,}."
    )


def _odds(value: float) -> str:
    return f"{min(value, 1e9):,.0f} to 1" if value >= 10 else f"{value:.2g} to 1"


def _rounded(value: float) -> float:
    return float(f"{min(value, 1e12):.4g}")
