"""Takes one look at an experiment between the champion and another version: starts it, goes on, or ends it with what it has shown.

    $ perennial experiment start --model churn --versions 7,8 --metric error --unit user_id --least 0.02 --power 0.8
    $ perennial experiment look --model churn
    $ perennial experiment stop --model churn --reason "the campaign is over" --actor anna

Callers send the key of the unit, such as a user's id, in the header `x-perennial-unit`: the same unit gets the same version
(`perennial.serving.assignment`). Who wins is decided by units, not by requests (`perennial.serving.experiment`). A look goes in rounds, as
a release's does (`perennial.stages.release`), and may be killed anywhere and repeated.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial

from pydantic import ValidationError

from perennial import discovery
from perennial.errors import ReleaseRefused
from perennial.lineage.experiments import PART, Plan, plan_of, under_way
from perennial.lineage.ledger import Entry
from perennial.monitoring.answers import answers_since
from perennial.monitoring.signal_values import columns_of
from perennial.registry.model_registry import ModelRegistry
from perennial.results import ReleaseResult
from perennial.serving.backends import open_backend
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import ModelSpec, SignalSpec
from perennial.stages._experiment_plan import Action, AskUnits, KnownExperiment, Wish, parts_of, planned
from perennial.stages._experiment_units import Seen, seen_of
from perennial.stages._release_plan import PERENNIAL, Counts, Known, Registered
from perennial.stages._release_steps import Ask, AskCounts, AskRegistry
from perennial.stages._versions import RECENT, as_logged
from perennial.stages.release import Release, decided_anew
from perennial.store import Store

_METRIC = re.compile(r"\s*(.+?)\s*((?:<=|>=|==|!=|<|>).*)?")
REMEMBERED = 50  # entries of the ledger among which it is looked whether a run has begun an experiment
_RATES = ("error", "score")  # of a model that names classes: from 0 to 1


def run(
    settings: Settings,
    store: Store,
    *,
    action: Action,
    model: str,
    versions: str | None = None,
    metric: str | None = None,
    better: str | None = None,
    low: float | None = None,
    high: float | None = None,
    unit: str | None = None,
    share: float | None = None,
    least: float | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
    days: float = 28,
    look_seconds: float = 60,
    promote: bool = False,
    reason: str = "",
    run: str = "",
    actor: str = PERENNIAL,
) -> ReleaseResult:
    """One look.

    Args:
        settings: where things are.
        store: where the ledger is.
        action: `start` begins an experiment, `look` looks at the one under way, `weigh` gives the version that is tried another share of
            the units, `stop` ends it.
        model: name of the model.
        versions: to start: the champion and the version that is tried, such as `7,8`.
        metric: to start: what is compared: a signal of the model's releases, or a column, with a condition if wished (`class == yes`).
        better: to start: whether a `lower` or a `higher` value is better.
        low: lowest value that counts, of a mean; a lower one counts as this.
        high: highest value that counts.
        unit: to start: what the key in the header is of, such as `user_id`.
        share: percent of the units that get the version that is tried.
        least: to start: least difference worth knowing, in the metric's unit.
        power: chance to show a difference of that size.
        alpha: chance that the interval ever misses the true difference.
        days: longest time.
        look_seconds: time between two looks.
        promote: make a winner the champion at once.
        reason: why it is stopped or re-weighed; kept in the ledger.
        run: the orchestrator's run: one that has started an experiment is told what became of it, and starts none again.
        actor: who wishes it.

    Raises:
        ReleaseRefused: it cannot begin, or there is none to stop, or where Seldon serves.
        UnknownName: there is no such model or version.
        ServiceUnreachable: the servers, or the registry where it is needed, do not answer.
        LedgerConflict: others keep writing to the ledger.
    """
    spec = discovery.model(model)
    if settings.serving != "local":
        raise ReleaseRefused(_only_here(settings))
    given = share if share is None else share / 100
    wanted = None
    if action == "start":
        wanted = asked_for(spec, versions, metric, better, low, high, unit, given, least)
        wanted = _checked(wanted, power=power, alpha=alpha, days=days, look_seconds=look_seconds, promote=promote, run=run)
    if action == "weigh" and (given is None or not 0 < given < 1):
        raise ReleaseRefused("Give --share: the percent of the units that get the version that is tried, more than 0 and less than 100.")
    experiment = Experiment(spec, settings, store, open_backend(settings), ModelRegistry(settings))
    return experiment.look_at(Wish(action, wanted, given, reason, actor))


def asked_for(
    spec: ModelSpec,
    versions: str | None,
    metric: str | None,
    better: str | None,
    low: float | None,
    high: float | None,
    unit: str | None,
    share: float | None,
    least: float | None,
) -> Plan:
    """The plan that arguments ask for; see `run`. Raises ReleaseRefused where one is missing or cannot be."""
    lacking = [
        option
        for option, value in (("--versions", versions), ("--metric", metric), ("--unit", unit), ("--least", least))
        if value in (None, "")
    ]
    if lacking or versions is None or metric is None or unit is None or least is None:
        raise ReleaseRefused(f"An experiment lacks {', '.join(lacking)}: `perennial experiment --help` says what each is.")
    numbers = [part.strip() for part in versions.split(",")]
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers) or int(numbers[0]) == int(numbers[1]):
        raise ReleaseRefused(
            f"An experiment is between two versions, the champion and one other, such as --versions 7,8; {versions!r} are not. Where there "
            "are more to try, one experiment follows the other: each is then judged at its full certainty."
        )
    facts = {
        "champion": int(numbers[0]),
        "tried": int(numbers[1]),
        "metric": metric_of(spec, metric, better, low, high),
        "unit": unit,
        "least": least,
        **({} if share is None else {"share": share}),
    }
    try:
        return Plan.model_validate(facts)
    except ValidationError as error:
        raise ReleaseRefused(_wrong(error)) from None


def metric_of(spec: ModelSpec, text: str, better: str | None = None, low: float | None = None, high: float | None = None) -> SignalSpec:
    """The metric that is asked for. Raises ReleaseRefused where there is no such column, or it needs bounds."""
    named = next((one for one in spec.release.signals if one.name == text), None)
    if named is not None:
        if named.source == "prometheus" or named.kind == "quantile":
            why = (
                "of a Prometheus says nothing of units"
                if named.source == "prometheus"
                else "of a quantile has no value that is a unit's own"
            )
            raise ReleaseRefused(f"The signal {text} cannot be an experiment's metric: one {why}. Give a column, a mean or an event.")
        return named
    matched = _METRIC.fullmatch(text)
    column, event = (matched[1], (matched[2] or "").strip()) if matched else (text, "")
    known = ("score", "class", "milliseconds", *spec.classes, *spec.inputs, "outcome", "error")
    if column not in known:
        raise ReleaseRefused(
            f"{column!r} is no metric of {spec.name}: give a signal of its release, error, outcome, score, class, milliseconds, one of its "
            "classes or an input that is a number."
        )
    if not event and low is None and high is None and spec.task != "regression" and (column in _RATES or column in spec.classes):
        low, high = 0.0, 1.0
    direction = better or ("lower" if column in ("error", "milliseconds") else "higher")
    try:
        return SignalSpec.model_validate(
            {
                "name": "metric",
                "source": "outcomes" if column in ("outcome", "error") else "predictions",
                "column": column,
                "event": event,
                "low": low,
                "high": high,
                "direction": direction,
            }
        )
    except ValidationError as error:
        raise ReleaseRefused(
            f"{_wrong(error)} Write it like --metric error, --metric 'score > 0.9' or --metric outcome --low 0 --high 60."
        ) from None


def _wrong(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    text = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"The experiment cannot be as asked for: {f'{where}: ' if where else ''}{text}."


def _checked(plan: Plan, **more: float | bool | str) -> Plan:
    try:
        return Plan.model_validate({**plan.model_dump(), **more})
    except ValidationError as error:
        raise ReleaseRefused(_wrong(error)) from None


def _only_here(settings: Settings) -> str:
    how = "KServe's HTTPRoute shares out requests by weight alone"
    if settings.serving == "seldon":
        how = "Seldon Core 1 shares out requests by weight alone"
    if settings.serving == "seldon" and settings.seldon_dialect == "v2":
        how = "Seldon Core 2 keeps a caller on a version only if the caller sends back the header x-seldon-route of its last answer"
    return (
        f"An experiment needs a gateway that gives the same unit the same version by a key in the request. {how}, so no experiment can "
        "begin there: run it where Envoy serves (docs/experiments.md)."
    )


class Experiment(Release):
    """The experiment of one model, with its facts and its looks."""

    def look_at(self, wish: Wish) -> ReleaseResult:
        """One look; see `run`."""
        plan = partial(planned, wish=wish)
        return decided_anew(lambda: self.rounds(self.known(), plan))

    def known(self) -> KnownExperiment:
        """The facts with which a look begins: those of the ledger."""
        facts = super().known()
        begun = (entry for entry in self.ledger.newest(REMEMBERED) if entry.kind == "experiment")
        return KnownExperiment(
            facts.spec,
            facts.last,
            facts.retired,
            facts.now,
            facts.moved,
            entries=tuple(under_way(self.ledger, facts.last)),
            runs=frozenset(entry.evidence.get(PART, {}).get("run", "") for entry in begun),
        )

    def answered(self, known: Known, question: Ask) -> Known:
        """Answer a question of the plan, and return the facts with the answer added. See `Release.answered` for what it raises."""
        match question:
            case AskUnits(entries):
                assert isinstance(known, KnownExperiment)
                return replace(known, units=self._units(entries))
            case AskCounts(of):
                return replace(known, counts=self._shown(of))
            case AskRegistry(version):
                registered = self._registered(version)
                return replace(known, registry=Registered(registered.version))
            case _:
                return super().answered(known, question)

    def _shown(self, last: Entry) -> Counts:
        """What both versions have shown at the gateway; if the working file was lost the evidence begins anew."""
        arms = self.backend.observe(self.spec)
        watch = Watch.load(self.store, self.name, last.version) or Watch.begin(last.version, last.champion or 0, arms)
        return Counts(watch, arms, "", datetime.now(timezone.utc))

    def _units(self, entries: tuple[Entry, ...]) -> Seen:
        from perennial.data.tables import Table

        begun, parts = entries[0], parts_of(entries)
        metric, dataset = plan_of(begun).metric, discovery.dataset_of(self.spec)
        spec = as_logged(self.store, self.spec, dataset, self.ledger.newest(RECENT))
        more = ["unit", *columns_of([metric], spec.inputs)]
        answers = answers_since(self.store, spec, dataset, Table, parts[0].since, more)
        assert begun.salt is not None
        assert begun.champion is not None
        return seen_of(answers, spec, metric, parts, begun.salt, begun.champion, begun.version)
