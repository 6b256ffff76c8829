"""Decides when to retrain, from evidence alone: for the monitoring stage (`ask`) and the validate stage (`should_train`).

    >>> from datetime import datetime
    >>> from perennial.monitoring.policy import Evidence, ask
    >>> from perennial.specs import RetrainSpec
    >>> ask(Evidence(now=datetime(2013, 3, 1), champion=4, champion_newest=datetime(2013, 1, 20)), RetrainSpec(max_age_days=30))
    Request(cause='schedule', why='Version 4 knows nothing of the last 40 days; the spec allows 30.')

All ages are by event time: replayed history is judged as it would have been then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from perennial.specs import Cause, RetrainSpec


@dataclass(frozen=True)
class Request:
    """Ask for a retraining."""

    cause: Cause
    why: str


@dataclass(frozen=True)
class Held:
    """Ask for nothing."""

    why: str


@dataclass(frozen=True)
class Evidence:
    """The evidence on which the monitoring stage decides."""

    now: datetime  # newest event time seen, in the predictions or in the dataset
    newest_window: bool = True  # a look back over an older window asks for nothing
    served_by: int | None = None  # version that answered most of the window
    champion: int | None = None  # version that is champion now
    champion_newest: datetime | None = None  # newest event time of the champion's snapshot
    drifted: tuple[str, ...] = ()  # columns that drifted in this window
    confirmed: tuple[str, ...] = ()  # columns that drifted in this and the windows before, as many as the spec wants
    answered: frozenset[str] = frozenset()  # columns whose drift against this champion already led to a training
    jump: bool = False  # the loss jumped
    worse: bool = False  # the last labelled days are worse than expected, though that may be usual
    jump_sentence: str = ""
    new_data: bool = True  # the newest snapshot is not the one that the last training used
    refusal: str = ""  # why a training on the newest snapshot was refused before: its suite was not met, say
    quality_break: str = ""  # a sentence: what is broken in the data that a training would use (a unit, a schema, nulls); drift is no break
    last_training_newest: datetime | None = None  # newest event time of the last training's snapshot
    active: str = ""  # key of the request that is open or claimed


def ask(evidence: Evidence, spec: RetrainSpec) -> Request | Held:
    """Decide whether a window's evidence asks for retraining.

    One reason asks, the first of: a jump of the loss, confirmed drift, age. One hindrance holds it back, the first of: a
    quality break, a look back, an active request, another champion, a refusal on the same data, no new data, the cool-down.
    """
    wanted = _wanted(evidence, spec)
    if isinstance(wanted, Held):
        return Held(f"{wanted.why} {_blocked(evidence.quality_break)}") if evidence.quality_break else wanted
    return _hindrance(evidence, spec, wanted) or wanted


def _wanted(evidence: Evidence, spec: RetrainSpec) -> Request | Held:  # noqa: PLR0911 - rules in order read best as guards
    if evidence.champion is None:
        return Held("There is no champion yet: the first training comes with the data, not with monitoring.")
    if evidence.jump:
        return Request("performance", evidence.jump_sentence)
    fresh = tuple(c for c in evidence.confirmed if c not in evidence.answered)
    with_loss = evidence.worse or spec.on_drift == "confirmed"
    if fresh and spec.on_drift != "never" and with_loss:
        return Request("drift", f"{_columns(fresh)} drifted in {_windows(spec.drift_windows)}.")
    if evidence.champion_newest is not None and spec.max_age_days is not None:
        age = evidence.now - evidence.champion_newest
        if age >= timedelta(days=spec.max_age_days):
            return Request(
                "schedule", f"Version {evidence.champion} knows nothing of the last {age.days} days; the spec allows {spec.max_age_days:g}."
            )
    if fresh:
        reason = (
            "the spec asks for no retraining on drift (retrain.on_drift)"
            if spec.on_drift == "never"
            else "the loss is not worse than expected, which the spec wants as well: it asks once the labelled days are"
        )
        return Held(f"{_columns(fresh)} drifted in {_windows(spec.drift_windows)}, but {reason}.")
    if evidence.confirmed:
        return Held(
            f"The drift of {_columns(evidence.confirmed)} since version {evidence.champion} has led to a training already; "
            f"it counts once. {_next(evidence, spec)}"
        )
    if evidence.drifted:
        return Held(f"{_columns(evidence.drifted)} drifted in this window; it counts once it lasts through {_windows(spec.drift_windows)}.")
    return Held(f"Nothing asks for retraining. {_next(evidence, spec)}")


def _next(evidence: Evidence, spec: RetrainSpec) -> str:
    """A sentence on what would request a retraining."""
    if evidence.champion_newest is None or spec.max_age_days is None:
        return "Only new drift or a jump of the loss would ask." if spec.on_drift != "never" else "Only a jump of the loss would ask."
    return f"Age asks with data of {evidence.champion_newest + timedelta(days=spec.max_age_days):%Y-%m-%d}."


def _blocked(quality_break: str) -> str:
    return (
        f"The newest data are not trained on: {quality_break.rstrip('.')}. "
        "Correct the feed, or say in the incident that the change is known."
    )


def _hindrance(evidence: Evidence, spec: RetrainSpec, wanted: Request) -> Held | None:  # noqa: PLR0911 - rules in order read best as guards
    def held(why: str) -> Held:
        return Held(f"{wanted.why} No request is made: {why}")

    if evidence.quality_break:
        return Held(f"{wanted.why} {_blocked(evidence.quality_break)}")
    if not evidence.newest_window:
        return held("this is a look back, and there are newer windows; the newest one decides.")
    if evidence.active:
        return held(f"the request {evidence.active} has not ended yet, and its training answers this as well.")
    if evidence.served_by is not None and evidence.served_by != evidence.champion:
        return held(
            f"the window was served by version {evidence.served_by}, and version {evidence.champion} is champion now; "
            "windows that it answers decide."
        )
    if evidence.refusal:
        return held(f"training on the newest snapshot was refused before, and new data must come in first. {evidence.refusal}")
    if not evidence.new_data:
        return held("the newest snapshot has been trained on; new data must come in first.")
    if evidence.last_training_newest is not None:
        since = evidence.now - evidence.last_training_newest
        if since < timedelta(days=spec.cooldown_days):
            rested = evidence.last_training_newest + timedelta(days=spec.cooldown_days)
            return held(
                f"the last training knows the data up to {evidence.last_training_newest:%Y-%m-%d}, "
                f"and requests rest for {spec.cooldown_days:g} days; data of {rested:%Y-%m-%d %H:%M} may ask again."
            )
    return None


def _columns(names: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{n}`" for n in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _windows(count: int) -> str:
    return "this window" if count == 1 else f"{count} windows in a row"


@dataclass(frozen=True)
class Training:
    """A training that took place."""

    name: str  # as people call it: "version 12", or "candidate 3f2a..."
    snapshot: int
    code_digest: str
    newest: datetime  # newest event time of its snapshot; with a label feed, the newest day that had a label
    labels: int | None = None  # version of the label feed's table, where the model has one


@dataclass(frozen=True)
class Situation:
    """The evidence on which the validate stage decides."""

    cause: Cause  # why the stage was started
    snapshot: int  # table version that would be trained on
    newest: datetime  # newest event time in it; with a label feed, the newest day that has a label
    code_digest: str
    labels: int | None = None  # version of the label feed's table, where the model has one
    forced: bool = False
    same: Training | None = None  # training on just these inputs: snapshot content, code, lock file, parameters
    last: Training | None = None  # newest training
    changed: tuple[str, ...] = ()  # what the spec says otherwise than at the newest training: inputs, label, classes, task
    champion: Training | None = None
    request: tuple[str, Cause] | None = None  # key and cause of the active retraining request
    quality_break: str = ""  # a sentence: what monitoring found broken in data that the snapshot holds


@dataclass(frozen=True)
class Train:
    """Training starts."""

    cause: Cause
    why: str


@dataclass(frozen=True)
class Skip:
    """Training does not start."""

    why: str


def should_train(situation: Situation, spec: RetrainSpec) -> Train | Skip:  # noqa: PLR0911 - rules in order read best as guards
    """Decide whether a training starts; never twice on the same inputs unless a person forces it."""
    s = situation
    if s.forced:
        return Train("manual" if s.cause == "schedule" else s.cause, "A person forces it.")
    if s.same is not None:
        return Skip(f"Nothing new since {s.same.name} (snapshot {s.same.snapshot}, data up to {s.same.newest:%Y-%m-%d}).")
    if s.quality_break:
        return Skip(f"{_blocked(s.quality_break)} A person may force the training.")
    if s.last is None:
        return Train(s.cause, f"First training, on snapshot {s.snapshot}.")
    if s.cause == "manual":
        return Train("manual", f"A person asks, and the inputs differ from those of {s.last.name}.")
    if s.request is not None:
        return Train(s.request[1], f"The retraining request {s.request[0]} asks for it.")
    if s.code_digest != s.last.code_digest:
        return Train("code", f"The code has changed since {s.last.name}.")
    if s.changed:
        return Train("code", f"The spec has changed since {s.last.name}: {' and '.join(s.changed)}.")
    if (s.snapshot, s.labels) == (s.last.snapshot, s.last.labels):
        return Skip(
            f"Nothing new since {s.last.name} (snapshot {s.last.snapshot}, data up to {s.last.newest:%Y-%m-%d}): "
            "only the environment or the parameters changed. Start a training by hand to use them."
        )
    if spec.on_new_snapshot == "always":
        return Train(_own(s.cause, "data"), f"{_newer(s, s.last)}.")
    return _if_due(s, s.last, spec)


def _if_due(s: Situation, last: Training, spec: RetrainSpec) -> Train | Skip:
    oldest = s.champion or last
    if spec.max_age_days is None:
        return Skip(f"{_newer(s, last, f' ({last.snapshot})')}, but training waits for drift or a jump of the loss.")
    due = max(oldest.newest + timedelta(days=spec.max_age_days), last.newest + timedelta(days=spec.cooldown_days))
    if s.newest >= due:
        return Train(
            _own(s.cause, "schedule"),
            f"The data of {oldest.name} ends {(s.newest - oldest.newest).days} days before the newest, "
            f"and {spec.max_age_days:g} are allowed.",
        )
    return Skip(
        f"{_newer(s, last, f' ({last.snapshot})')}, "
        f"but training is due only with data of {due:%Y-%m-%d}, or when drift or a jump of the loss asks for it."
    )


def _newer(s: Situation, last: Training, number: str = "") -> str:
    """What is newer than at the last training: the snapshot of the rows, or their labels alone."""
    if s.snapshot == last.snapshot:
        return f"Snapshot {s.snapshot} has other labels ({s.labels}) than {last.name} was trained on ({last.labels})"
    return f"Snapshot {s.snapshot} is newer than that of {last.name}{number}"


def _own(cause: Cause, usual: Cause) -> Cause:
    # "drift" or "performance" belong to a request, and none is active here.
    return cause if cause in ("data", "schedule", "code") else usual
