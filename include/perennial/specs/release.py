"""How traffic moves to a candidate, and how a version is served."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from perennial.specs.base import Spec
from perennial.specs.freezes import FreezeSpec
from perennial.specs.limits import Limited, LimitSpec
from perennial.specs.signals import SignalSpec


class ReleaseSpec(Spec):
    """How traffic moves to a candidate."""

    mode: Literal["automatic", "approval", "manual"] = Field(
        default="automatic",
        description="How a release starts: automatically, after a person's approval, or only when a person starts it.",
    )
    strategy: Literal["canary", "blue_green"] = Field(
        default="canary",
        description="How traffic moves. `canary`: in `steps`, by the evidence of each. `blue_green`: all of it at once, as soon as the "
        "candidate is up and its golden rows match (after the evidence of a `shadow`, if there is one); the version before stays warm and "
        "takes all of it back at once if the candidate fails (`bake_seconds`, `severe_error_rate`) or a person says so.",
    )
    remind_hours: float = Field(
        default=24,
        gt=0,
        le=87_600,
        description="A question about a release that nobody has answered for so long is told again, now as critical, so that channels "
        "which take nothing less hear of it too, hours.",
    )
    freeze: tuple[FreezeSpec, ...] = Field(
        default=(),
        description="Times at which no release begins, advances or promotes by itself. One under way keeps its share and is still judged; "
        "it goes back if the evidence turns against it, and a person may start, promote or roll back all the same.",
    )
    readers_shift: float = Field(
        default=0.1,
        gt=0,
        description="How far the answers of models that read its scores may move, on average, with those of the candidate: of a class as "
        "a share, of a value in standard deviations. Where they have labels their own gates decide (docs/scores.md). Where one moves "
        "farther, a person is asked before any traffic moves.",
    )
    shadow: bool = Field(
        default=False, description="Begin with a shadow: live traffic is mirrored to the candidate, and callers never see its answers."
    )
    fresh_baseline: bool = Field(
        default=False,
        description="Compare the candidate with a newly started process of the champion that gets as many requests, on one machine: "
        "what being new costs, such as cold caches, then counts against neither.",
    )
    replay: int = Field(
        default=0,
        ge=0,
        le=100_000,
        description="So many recent requests are sent to a candidate before it gets traffic, on one machine: they warm it, and one that "
        "fails more of them than `max_error_rate` is not released. They are no predictions, and no evidence of errors by callers.",
    )
    steps: tuple[int, ...] = Field(
        default=(5, 25, 50, 100), description="Canary steps: percent of traffic at each step. With the strategy `blue_green` 100 alone."
    )
    min_requests: int = Field(default=100, ge=1, description="Requests that the candidate must answer on a step before it may advance.")
    min_seconds: float = Field(default=10, ge=0, description="Shortest time on a step, seconds.")
    max_seconds: float = Field(
        default=3600, gt=0, description="Longest time on a step without a decision, seconds; then a person is asked."
    )
    observe_seconds: float = Field(default=3, gt=0, description="Time between two looks at the evidence, seconds.")
    alpha: float = Field(
        default=0.01,
        gt=0,
        lt=0.5,
        description="False-alarm rate: chance of rolling back a candidate that is as good as the champion, over the whole release.",
    )
    max_error_ratio: float = Field(
        default=2.0, gt=1, description="Promotion needs evidence that the error rate is below this multiple of the champion's."
    )
    max_error_rate: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="If errors are too rare to compare (fewer than 10 in both arms), "
        "promotion needs evidence that the error rate is below this.",
    )
    promotion_alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="Chance of promoting a candidate whose error rate is at these limits."
    )
    max_latency_ratio: float = Field(
        default=2.0,
        ge=1,
        description="Slow requests are those above the champion's 95th percentile of latency. It counts against the candidate "
        "if its share of them is more than this multiple of the champion's.",
    )
    severe_error_rate: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Error rate of a version that serves for good beyond which the last good one comes back by itself, at any time at "
        "which no release is under way.",
    )
    bake_seconds: float = Field(
        default=600,
        ge=0,
        description="Time after a promotion in which a version is judged by the last good one's record, and goes back by itself, seconds.",
    )

    on_split_mismatch: Literal["hold", "roll_back", "warn"] = Field(
        default="hold",
        description="If the candidate is seen to get another share of the requests than it is to get: `hold` asks a person, `roll_back` "
        "ends the release, `warn` only says so.",
    )
    signals: tuple[SignalSpec, ...] = Field(
        default=(),
        description="Signals besides errors, latency, outcomes and requests that cannot be read. Those that may roll back share a quarter "
        "of `alpha`, so the others have a little less of it.",
    )

    @model_validator(mode="after")
    def _signals_differ(self) -> ReleaseSpec:
        names = [one.name for one in self.signals]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"signals name {', '.join(twice)} twice: give each a name of its own")
        return self

    @model_validator(mode="after")
    def _steps_fit_the_strategy(self) -> ReleaseSpec:
        if self.strategy == "canary":
            return self
        if "steps" in self.model_fields_set and self.steps != (100,):
            raise ValueError(f"steps are {self.steps}, and the strategy blue_green has one, 100: leave steps out")
        object.__setattr__(self, "steps", (100,))
        return self

    @model_validator(mode="after")
    def _steps_rise_to_all(self) -> ReleaseSpec:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100 or self.steps[0] < 1:
            raise ValueError(f"steps are {self.steps}: they must rise and end at 100")
        return self


class ServingSpec(Spec):
    """How a version is served."""

    threads: int = Field(default=4, ge=1, description="Threads of the serving process.")
    start_seconds: float = Field(default=60, gt=0, description="Longest time for a new version to become ready, seconds.")
    timeout_seconds: float = Field(default=10, gt=0, description="Longest time a request may take, seconds.")
    slow_ms: float = Field(
        default=1000,
        gt=0,
        description="A request that takes longer is slow, milliseconds: if more than 5 % of a served version's are, an incident opens.",
    )
    strict: bool = Field(
        default=False,
        description="Whether to refuse a request with a field that the version does not know. Otherwise the field is ignored "
        "and listed in the answer.",
    )
    cpus: float = Field(default=1, gt=0, description="CPUs of each replica (Kubernetes).")
    memory_gb: float = Field(default=1, gt=0, description="Memory of each replica, GB (Kubernetes).")
    replicas: int = Field(
        default=1, ge=1, description="Minimum number of replicas of the champion (Kubernetes; on one machine it is one process)."
    )
    max_replicas: int = Field(default=1, ge=1, description="Maximum number of replicas of a version, scaled by CPU load (Kubernetes).")

    fallback: Literal["none", "constant", "last_good", "rule"] = Field(
        default="none",
        description="What callers get where the version that should answer fails, is gone or hangs (docs/serving.md), on one machine. "
        "`constant`: `fallback_scores`. `last_good`: the answer of the last good version, which is kept warm. `rule`: that of `scores` in "
        "`fallback.py` of the model's folder.",
    )
    fallback_scores: dict[str, float] = Field(
        default={}, description="With `fallback` `constant`: the score of each class, or `value` of a regression, for every row."
    )
    limits: dict[Limited, LimitSpec] = Field(
        default={},
        description="What a version may take at most (docs/limits.md), measured before it is registered and before it gets traffic. "
        "`p95_ms`: 95th percentile of the time to answer a request of one row on a free CPU, milliseconds; `memory_mb` and `folder_mb`: "
        "memory of the process that answers and size of the version's folder, MB of 2^20 bytes; `joules`: energy of 1,000 such requests.",
    )

    @model_validator(mode="after")
    def _fields_fit(self) -> ServingSpec:
        if (self.fallback == "constant") != bool(self.fallback_scores):
            raise ValueError('fallback_scores belong to fallback="constant": give both or neither')
        if self.max_replicas < self.replicas:
            raise ValueError(f"max_replicas is {self.max_replicas}, less than replicas, {self.replicas}")
        return self
