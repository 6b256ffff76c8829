"""Watches a version that serves for good: does it fail or slow down beyond what its spec allows? Pure functions of counts.

While a version is released it is compared with the champion. Once it serves alone there is nothing to compare it with, and the question is
when its rate of events (errors, slow requests) rises above a limit. Each rate that it might then have gives a likelihood ratio of
each look; their running product, which begins anew at 1 whenever it falls below, is a CUSUM of e-values. The mean over the rates is an
e-detector: while the rate stays below the limit, the expected time until it first reaches N is at least N looks, however the rate moves
below the limit and however uneven traffic is. (Shin, Ramdas, Rinaldo 2023, "E-detectors: a nonparametric framework for sequential
change detection".) N is chosen from the false alarms that a month may have.

Errors come in bursts of one cause, so an e-value is raised to the power 1/burst (it stays one, by Jensen's inequality), and one look
counts for at most `MOST`: what is over after a look is no outage. A look without requests is no evidence, of good or of bad.

A signal of the spec that comes from a Prometheus is watched where it has a limit: each value is a bet that its mean is beyond it
(Waudby-Smith, Ramdas 2023), of fixed stakes, in place of the likelihood ratio.

`benchmarks/steady_watch_simulation.py` shows false alarms a month and the time to an alarm.

    >>> limits = steady_limits(ReleaseSpec(), look_seconds=2)
    >>> state = State()
    >>> for _ in range(4):
    ...     state = add(state, Seen(requests=20, errors=20), limits)
    >>> state.alarms
    {'errors': (80, 80), 'severe errors': (80, 80)}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from perennial.counted import wilson
from perennial.serving.canary import RARE, RARE_WEIGHTS, average, increment
from perennial.serving.route import Arm
from perennial.specs import ReleaseSpec, SignalSpec

ALARMS_A_MONTH = 0.5  # false ones, of one version that serves, all its signals together
MONTH_SECONDS = 30.4375 * 86_400
MOST = 64.0  # that one look counts for: with looks every 2 s an alarm takes four of them
BURST = {"errors": 3.0, "latency": 10.0, "severe errors": 1.0}
STAKES = (0.05, 0.2, 0.5, 0.9)  # of the highest that cannot lose all, on a mean beyond its limit
RATIOS = (2.0, 5.0, 20.0, 80.0)  # how many times the limit a rate might be
OVER = 20.0  # odds that a rate is below its limit again, by which an alarm ends
SLOW = 0.05  # share of requests slower than `serving.slow_ms` that is no alarm
RARE_IN_BAKE = 0.2  # of `max_error_rate`: an error rate that brings no version back after its promotion, whatever the last good one's


@dataclass(frozen=True)
class Seen:
    """What a version showed between two looks."""

    requests: int = 0
    errors: int = 0
    timed: int = 0  # requests whose latency is known
    slow: int = 0  # of these


@dataclass(frozen=True)
class Limits:
    """The limits of a version, and the odds that speak an alarm."""

    rates: Mapping[str, float]  # by signal: the highest rate of events that is no alarm
    odds: float
    begins_anew: bool = True  # whether evidence that has fallen begins again; else it is one test, from its beginning on


class State(BaseModel):
    """The evidence on one version so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    logs: dict[str, tuple[float, ...]] = Field(default_factory=dict, description="By signal: of each suspected rate, logarithms.")
    since: dict[str, tuple[int, int]] = Field(default_factory=dict, description="By signal: requests and events since it began to rise.")
    alarms: dict[str, tuple[int, int]] = Field(
        default_factory=dict, description="By signal with an alarm: requests and events since its evidence began to rise."
    )
    well: dict[str, tuple[float, ...]] = Field(
        default_factory=dict, description="By signal with an alarm: of each rate below the limit, logarithms."
    )


def steady_limits(release: ReleaseSpec, look_seconds: float) -> Limits:
    """The limits of a version that serves for good: about `ALARMS_A_MONTH` false alarms a month at most.

    Args:
        release: has what the spec allows.
        look_seconds: time between two looks.
    """
    rates = {"errors": release.max_error_rate, "severe errors": release.severe_error_rate, "latency": SLOW}
    return Limits(rates, MONTH_SECONDS / look_seconds * (len(rates) + len(limited(release))) / ALARMS_A_MONTH)


def limited(release: ReleaseSpec) -> list[SignalSpec]:
    """The signals of a team's own that are watched of a version which serves for good."""
    return [one for one in release.signals if one.limit is not None]


def add_value(state: State, signal: SignalSpec, value: float, release: ReleaseSpec) -> State:
    """The evidence after one more value of a signal that has a limit. One that is no number is no evidence.

    Args:
        state: what was known before; of this signal `since` and `alarms` count values, and those beyond the limit.
        signal: has the limit.
        value: of the version that serves.
        release: of the spec.
    """
    low, high, limit = signal.low, signal.high, signal.limit
    if low is None or high is None or limit is None or not math.isfinite(value):
        return state
    name, beyond = signal.name, value > limit if signal.less_is_better else value < limit
    edge, shown = (limit - low) / (high - low), (min(max(value, low), high) - low) / (high - low)
    worse, room = (shown - edge, edge) if signal.less_is_better else (edge - shown, 1 - edge)
    logs, since, alarms, well = dict(state.logs), dict(state.since), dict(state.alarms), dict(state.well)
    before = logs.get(name, (0.0,) * len(STAKES))
    known = since[name] if any(log > 0 for log in before) else (0, 0)
    since[name] = (known[0] + 1, known[1] + beyond)
    logs[name] = tuple(max(0.0, log + math.log1p(stake / room * worse)) for log, stake in zip(before, STAKES, strict=True))
    odds = steady_limits(release, signal.every_seconds).odds
    if name in alarms:
        well[name] = tuple(max(0.0, log + math.log1p(-stake / (1 - room) * worse)) for log, stake in zip(well[name], STAKES, strict=True))
        if average(well[name]) >= OVER:
            del alarms[name], well[name], logs[name], since[name]
    elif average(logs[name]) >= odds:
        alarms[name], well[name] = since[name], (0.0,) * len(STAKES)
    return State(logs=logs, since=since, alarms=alarms, well=well)


def bake_limits(release: ReleaseSpec, last_good: Arm) -> Limits:
    """The limits of a version that was promoted a moment ago: by the record of the last good one, with the release's false-alarm rate.

    One test over the whole bake time: the chance that a version which is within the limit is brought back is at most `release.alpha`. Of
    latency nothing follows from a record: it is of another hour, other requests and another load.

    Args:
        release: has what the spec allows.
        last_good: counts of the last good version, all that it ever answered.
    """
    _, usual = wilson(last_good.errors, last_good.requests)
    return Limits(
        {"errors": min(0.9, max(release.max_error_rate * RARE_IN_BAKE, release.max_error_ratio * usual))},
        1 / release.alpha,
        begins_anew=False,
    )


def add(state: State, seen: Seen, limits: Limits) -> State:
    """The evidence after one more look."""
    logs, since, alarms, well = dict(state.logs), dict(state.since), dict(state.alarms), dict(state.well)
    for signal, limit in limits.rates.items():
        requests, events = (seen.timed, seen.slow) if signal == "latency" else (seen.requests, seen.errors)
        if not requests:
            continue
        floor = 0.0 if limits.begins_anew else -math.inf
        before = logs.get(signal, (0.0,) * len(RATIOS))
        steps = (_step(requests, events, rate, limit, BURST[signal]) for rate in suspected(limit))
        logs[signal] = tuple(max(floor, log + step) for log, step in zip(before, steps, strict=True))
        known = since.get(signal, (0, 0)) if any(log > floor for log in before) or not limits.begins_anew else (0, 0)
        since[signal] = (known[0] + requests, known[1] + events)
        if signal in alarms:
            better = (_step(requests, events, limit * share, limit, BURST[signal]) for share in RARE)
            well[signal] = tuple(max(0.0, log + step) for log, step in zip(well[signal], better, strict=True))
            if average(well[signal], RARE_WEIGHTS) >= OVER:
                del alarms[signal], well[signal], logs[signal], since[signal]
        elif average(logs[signal]) >= limits.odds:
            alarms[signal], well[signal] = since[signal], (0.0,) * len(RARE)
    return State(logs=logs, since=since, alarms=alarms, well=well)


def fits(state: State) -> bool:
    """Whether evidence is of the rates that are suspected now: what an earlier release kept may be of others."""
    return all(len(logs) == len(RATIOS) for logs in state.logs.values()) and all(len(logs) == len(RARE) for logs in state.well.values())


def suspected(limit: float) -> Sequence[float]:
    """The rates above a limit that are suspected, all below one."""
    return [min(limit * ratio, 1 - (1 - limit) / (1 + ratio)) for ratio in RATIOS]


def seen_between(before: Arm, now: Arm, slow_ms: float) -> Seen:
    """What the counts of a version say of the time between two looks.

    Args:
        before: counts at the first.
        now: at the second. A count that fell began again at zero.
        slow_ms: slower than this is slow; the next bound of a bucket above it is what parts them.
    """
    shown = increment(before, now)
    timed = shown.latency_ms[-1][1] if shown.latency_ms else 0
    fast = next((count for bound, count in shown.latency_ms if bound >= slow_ms), 0)
    return Seen(shown.requests, min(shown.errors, shown.requests), timed, max(0, timed - fast))


def both(one: Seen, other: Seen) -> Seen:
    """What a version showed in two kinds of requests."""
    return Seen(one.requests + other.requests, one.errors + other.errors, one.timed + other.timed, one.slow + other.slow)


def _step(requests: int, events: int, rate: float, limit: float, burst: float) -> float:
    """Logarithm of what one look says for a rate and against the limit."""
    if rate == 0 and events:
        return -math.inf
    failed = events * math.log(rate / limit) if events else 0.0
    return min((failed + (requests - events) * math.log((1 - rate) / (1 - limit))) / burst, math.log(MOST))
