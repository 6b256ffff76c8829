"""Replays a history under a retraining policy: what it would have done, and at what cost. Pure: the facts come from a `World`.

Every morning the platform sees the rows of the days before and the labels that are known by then. It asks `policy.ask` what the
monitoring stage asks, with the same drift test and the same jump of the loss, and `policy.should_train` what the nightly run asks;
a training that they want answers the predictions of the same day on. Nothing is gated: each training is taken to be released.

    >>> from perennial.monitoring.replay import policies
    >>> from perennial.specs import RetrainSpec
    >>> [policy.title for policy in policies(RetrainSpec()).values()][:3]
    ['never', 'every night', 'every 7 days']
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol

from perennial.monitoring import policy
from perennial.monitoring.figures import DayPerformance, Jump
from perennial.monitoring.performance import find_jump, first_unseen
from perennial.monitoring.windows import Window, newest_complete, windows_before
from perennial.specs import Cause, ModelSpec, MonitoringSpec, RetrainSpec

HISTORY = timedelta(days=30)  # before a morning, for what loss is usual: as long as the monitoring stage looks back
MONTH = 365.25 / 12  # days


@dataclass(frozen=True)
class Policy:
    """When to retrain: a spec that the rules of `policy.py` are asked with."""

    name: str
    title: str
    retrain: RetrainSpec
    jumps: bool = False  # whether a jump of the loss is told to the rules


def policies(spec: RetrainSpec) -> dict[str, Policy]:
    """The policies that can be replayed, the spec's own last."""

    def fixed(name: str, title: str, *, jumps: bool = False, **changes: Any) -> Policy:
        quiet: dict[str, Any] = {"on_drift": "never", "max_age_days": None, "recalibrate": False, "cost": spec.cost}
        recalibration = {name: value for name, value in spec.model_dump().items() if name.startswith("recalibrate_")}
        return Policy(name, title, RetrainSpec(**{**recalibration, **quiet, **changes}), jumps)

    known = (
        fixed("never", "never"),
        fixed("nightly", "every night", on_new_snapshot="always", cooldown_days=0),
        fixed("weekly", "every 7 days", max_age_days=7),
        fixed("monthly", "every 30 days", max_age_days=30),
        fixed("monthly_recalibrated", "every 30 days, recalibrated daily", max_age_days=30, recalibrate=True),
        fixed("jump_recalibrated", "30 days or a jump, recalibrated daily", max_age_days=30, recalibrate=True, jumps=True),
        fixed("drift", "confirmed drift", on_drift="confirmed"),
        fixed("drift_with_performance", "confirmed drift and a worse loss", on_drift="with_performance"),
        Policy("spec", "the spec's own", spec, jumps=True),
    )
    return {p.name: p for p in known}


class World(Protocol):
    """The interface to the facts of a history. A training is identified by the newest day whose labels it has seen."""

    @property
    def days(self) -> Sequence[date]:
        """Days that have rows, in order."""

    def labels_to(self, morning: date) -> date | None:
        """Newest day whose labels are known in that morning; None if there is none."""

    def performance(self, training: date, recalibration: object | None, day: date) -> DayPerformance:
        """The predictions of a training for one day, recalibrated if asked."""

    def recalibrated(self, training: date, current: object | None, morning: date, spec: RetrainSpec) -> object | None:
        """The recalibration that takes the place of the current one in that morning, if any.

        Args:
            training: newest day of its labels.
            current: the recalibration with which it answers now; None for none.
            morning: what is known by then counts.
            spec: how many days are fitted and judged.
        """

    def drifted(self, morning: date, window: Window) -> tuple[str, ...]:
        """The columns that drifted in a window, against the rows known to a training of that morning."""


@dataclass(frozen=True)
class Day:
    """One day of a replay."""

    day: date
    training: date  # newest labelled day of the training that answered
    predictions: int
    labelled: int
    realised: float | None  # mean loss of the labelled rows, whenever their labels came
    expected: float | None
    retrained: Cause | None  # why a training took place in this morning
    recalibrated: bool  # whether it was recalibrated in this morning
    alarms: tuple[str, ...]  # incidents that began in this morning: "drift", "performance"
    why: str  # what the policy said


@dataclass(frozen=True)
class History:
    """The replayed days of one policy."""

    policy: Policy
    days: tuple[Day, ...]

    @property
    def loss(self) -> float | None:
        """Mean loss of all labelled rows."""
        rows = sum(d.labelled for d in self.days)
        return sum(d.realised * d.labelled for d in self.days if d.realised is not None) / rows if rows else None


@dataclass(frozen=True)
class Summary:
    """The summary of one policy, as a line of the table."""

    name: str
    title: str
    loss: float
    retrains: int
    recalibrations: int
    alarms_per_month: float
    cost: float  # loss + what a retraining is worth, for each
    closes: float | None  # share of the gap between never and every night; None where there is no gap
    causes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Champion:
    number: int
    morning: date
    labels_to: date
    cause: Cause = "data"
    recalibration: object | None = None


@dataclass
class _Run:
    """The state of a running replay: what the platform would remember."""

    policy: Policy
    world: World
    monitoring: MonitoringSpec
    champion: _Champion
    days: list[Day] = field(default_factory=list)
    served_by: dict[date, _Champion] = field(default_factory=dict)
    drifting: bool = False  # a drift incident is open
    jumping: bool = False  # a performance incident is open
    looked_at: Window | None = None

    def morning(self, day: date) -> None:
        """Decide, then answer the day."""
        jump = self._jump(day)
        window = newest_complete(list(self.served_by), self.monitoring.window_days)
        drifted, confirmed, served_by = self._drift(window) if window else ((), (), None)
        alarms = self._alarms(jump, window, drifted)
        cause, why = self._decide(day, jump, drifted, confirmed, served_by)
        labels = self.world.labels_to(day)
        better = None
        if cause is not None and labels is not None:
            self.champion, self.jumping = _Champion(self.champion.number + 1, day, labels, cause), False
        elif self.policy.retrain.recalibrate:
            c = self.champion
            better = self.world.recalibrated(c.labels_to, c.recalibration, day, self.policy.retrain)
            self.champion = c if better is None else replace(c, recalibration=better)
        performance = self.world.performance(self.champion.labels_to, self.champion.recalibration, day)
        self.served_by[day] = self.champion
        self.days.append(
            Day(
                day=day,
                training=self.champion.labels_to,
                predictions=performance.predictions,
                labelled=performance.labelled,
                realised=performance.realised,
                expected=performance.expected,
                retrained=cause,
                recalibrated=better is not None,
                alarms=alarms,
                why=why,
            )
        )

    def _jump(self, morning: date) -> Jump:
        labels = self.world.labels_to(morning)
        known = [
            DayPerformance(d.day, d.predictions, d.labelled, d.realised, d.expected, self.served_by[d.day].number)
            for d in self.days
            if labels is not None and morning - HISTORY <= d.day <= labels
        ]
        c = self.champion
        return find_jump(known, self.monitoring.excess_loss, first_unseen(c.cause, c.labels_to, c.morning))

    def _drift(self, window: Window) -> tuple[tuple[str, ...], tuple[str, ...], _Champion]:
        """What drifted in a window, what of that drifted in the windows before too, and the training that answered most of it."""
        champion = self._mostly(window)
        drifted = self.world.drifted(champion.morning, window)
        wanted = self.policy.retrain.drift_windows - 1
        earlier = windows_before(window, list(self.served_by), wanted)
        lasting = set(drifted) if len(earlier) == wanted else set()
        for before in earlier:
            if lasting:
                same = self._mostly(before).number == champion.number
                lasting &= set(self.world.drifted(champion.morning, before)) if same else set()
        return drifted, tuple(name for name in drifted if name in lasting), champion

    def _mostly(self, window: Window) -> _Champion:
        rows: Counter[int] = Counter()
        for d in self.days:
            if window.first.date() <= d.day < window.last.date():
                rows[self.served_by[d.day].number] += d.predictions
        number = max(rows, key=lambda n: (rows[n], -n))
        return next(champion for champion in self.served_by.values() if champion.number == number)

    def _alarms(self, jump: Jump, window: Window | None, drifted: tuple[str, ...]) -> tuple[str, ...]:
        alarms = []
        if window is not None and window != self.looked_at:
            self.looked_at = window
            if drifted and not self.drifting:
                alarms.append("drift")
            self.drifting = bool(drifted)
        if jump.found and not self.jumping:
            alarms.append("performance")
        self.jumping = jump.found
        return tuple(alarms)

    def _decide(
        self, day: date, jump: Jump, drifted: tuple[str, ...], confirmed: tuple[str, ...], served_by: _Champion | None
    ) -> tuple[Cause | None, str]:
        champion, now = self.champion, _start(day)
        before = [d for d in self.world.days if d < day]
        newest, known = len(before), sum(d < champion.morning for d in before)  # versions of the table, one for each day
        evidence = policy.Evidence(
            now=now,
            served_by=served_by.number if served_by else None,
            champion=champion.number,
            champion_newest=_start(champion.morning),
            drifted=drifted,
            confirmed=confirmed,
            jump=self.policy.jumps and jump.found,
            worse=jump.worse,
            jump_sentence=jump.sentence,
            new_data=newest > known,
            last_training_newest=_start(champion.morning),
        )
        asked = policy.ask(evidence, self.policy.retrain)
        if isinstance(asked, policy.Request):
            return asked.cause, asked.why
        last = policy.Training(name=f"training {champion.number}", snapshot=known, code_digest="", newest=_start(champion.morning))
        situation = policy.Situation(cause="schedule", snapshot=newest, newest=now, code_digest="", last=last, champion=last)
        nightly = policy.should_train(situation, self.policy.retrain)
        return (nightly.cause, nightly.why) if isinstance(nightly, policy.Train) else (None, asked.why)


def simulate(chosen: Policy, world: World, monitoring: MonitoringSpec, first: date, last: date) -> History:
    """Replay one policy over the days `first` to `last`. The first training takes place in the morning of `first` and is not counted.

    Raises:
        ValueError: no label is known in the morning of `first`.
    """
    labels = world.labels_to(first)
    if labels is None:
        raise ValueError(f"no label is known in the morning of {first}")
    run = _Run(chosen, world, monitoring, _Champion(0, first, labels))
    for day in world.days:
        if first <= day <= last:
            run.morning(day)
    return History(chosen, tuple(run.days))


def summaries(histories: Sequence[History], cost: float) -> list[Summary]:
    """One line for each policy; `never` and `nightly` must be among them. `cost` is what a retraining is worth (`retrain.cost`)."""
    losses = {h.policy.name: h.loss for h in histories}
    worst, best = losses["never"], losses["nightly"]
    lines = []
    for history in histories:
        loss = losses[history.policy.name]
        assert loss is not None
        assert worst is not None
        assert best is not None
        retrains = sum(d.retrained is not None for d in history.days)
        months = ((history.days[-1].day - history.days[0].day).days + 1) / MONTH
        lines.append(
            Summary(
                name=history.policy.name,
                title=history.policy.title,
                loss=loss,
                retrains=retrains,
                recalibrations=sum(d.recalibrated for d in history.days),
                alarms_per_month=sum(len(d.alarms) for d in history.days) / months,
                cost=loss + cost * retrains,
                closes=(worst - loss) / (worst - best) if worst > best else None,
                causes=dict(sorted(Counter(d.retrained for d in history.days if d.retrained is not None).items())),
            )
        )
    return lines


def table(lines: Sequence[Summary], loss: str, cost: float) -> str:
    """The policies side by side, as text; the spec's own is marked."""
    costs = f"loss + {cost:g} a retraining"
    head = f"  {'policy':<39}{loss:>13}{'retrains':>10}{'recalibrations':>16}{'alarms a month':>16}{'closes':>9}{costs:>28}"
    body = [
        f"{'* ' if line.name == 'spec' else '  '}{line.title:<39}{line.loss:>13.4f}"
        f"{line.retrains:>10}{line.recalibrations:>16}{line.alarms_per_month:>16.1f}"
        f"{'' if line.closes is None else f'{line.closes * 100:.1f} %':>9}{line.cost:>28.4f}"
        for line in lines
    ]
    return "\n".join([head, *body])


def document(model: ModelSpec, histories: Sequence[History], lines: Sequence[Summary], facts: Mapping[str, object]) -> dict[str, Any]:
    """All figures of a replay, as JSON can carry them."""
    return {
        "model": model.name,
        **facts,
        "policies": [
            {
                **asdict(line),
                "retrain": history.policy.retrain.model_dump(mode="json"),
                "jumps": history.policy.jumps,
                "days": [_plain(d) for d in history.days],
            }
            for line, history in zip(lines, histories, strict=True)
        ],
    }


def _plain(day: Day) -> dict[str, object]:
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in asdict(day).items()}


def _start(day: date) -> datetime:
    return datetime.combine(day, time())
