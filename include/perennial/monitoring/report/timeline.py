"""What each window was, in a line: the losses, the size of what changed, the verdict. Read for many windows at once. Light.

>>> import tempfile
>>> from perennial.store import open_store
>>> timeline(open_store(tempfile.mkdtemp()), "flight_delays")
[]
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring.figures import Metric
from perennial.monitoring.report.numbers import WindowReport, decoded
from perennial.monitoring.report.sizes import relative_size
from perennial.store import Store
from perennial.store.summaries import Summaries

MOST_CHANGES = 30  # of a window that are noted
FORM = 2  # 2: what drifted alone, its size, the incidents and the limit of the loss


class Change(BaseModel):
    """How far one column moved in a window: its largest finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    kind: str = Field(description="In which respect.")
    effect: float = Field(description="How far, in the kind's unit.")
    size: float = Field(default=0.0, description="The same in units of the effect that alarms.")
    drifted: bool
    alarms: bool


class Opened(BaseModel):
    """An incident that the look at a window opened."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    kind: str
    severity: str
    sentence: str


class WindowPoint(BaseModel):
    """One window of the timeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="As its folder is named.")
    first: datetime
    last: datetime
    version: int = Field(description="Version that answered most of it.")
    requests: int
    labelled: int
    outcomes: int | None = Field(
        default=None, description="Predictions of any version whose outcome is known; none if noted before that was."
    )
    loss: str = Field(description="Name of the loss.")
    realised: float | None
    low: float | None = Field(description="Lower end of the realised loss's 95 % interval.")
    high: float | None
    expected: float | None = Field(description="What the scores themselves expect on the same rows.")
    estimated: float | None = Field(description="What they expect on all rows, with or without outcomes; none for a regression.")
    alarm: float | None = Field(default=None, description="Loss above which days with outcomes are a jump; none where none can be told.")
    metrics: dict[str, Metric] = Field(default_factory=dict, description="Accuracy, RMSE and the like, of the outcomes that are known.")
    jumped: bool = Field(description="Whether the loss jumped.")
    confirmed: tuple[str, ...] = Field(description="What has drifted for as many windows as count.")
    breaks: tuple[str, ...] = Field(description="Columns whose feed seems broken.")
    anomalies: int = Field(description="Requests unlike all of the reference.")
    changes: tuple[Change, ...] = Field(description="The largest finding of each column that drifted, the farthest first.")
    more_changes: int = Field(default=0, description="Columns that drifted beside those.")
    opened: tuple[Opened, ...] = Field(default=(), description="Incidents that the look at it opened.")
    resolved: tuple[str, ...] = Field(default=(), description="Ids of incidents that it found to be over.")
    retraining: str = Field(description="Why retraining was asked for, or was not.")
    cause: str | None = Field(description="Cause of the request that it made; none if it made none.")
    sentence: str


def point_of(report: WindowReport) -> WindowPoint:
    """A report in a line."""
    largest: dict[str, Change] = {}
    for finding in report.drift.columns:
        change = Change(
            column=finding.column,
            kind=finding.kind,
            effect=finding.effect,
            size=relative_size(finding, report.drift.limits),
            drifted=finding.drifted,
            alarms=finding.alarms,
        )
        largest[finding.column] = max(change, largest.get(finding.column, change), key=_importance)
    drifted = sorted((change for change in largest.values() if change.drifted), key=_importance, reverse=True)
    figures, changed = report.performance, report.incidents.changed
    still_open = {incident.id: incident for incident in report.incidents.open}
    return WindowPoint(
        name=report.name,
        first=report.first,
        last=report.last,
        version=report.version,
        requests=report.requests,
        labelled=figures.labelled,
        outcomes=report.outcomes.labelled,
        loss=figures.loss,
        realised=figures.realised,
        low=figures.low,
        high=figures.high,
        expected=figures.expected,
        estimated=report.estimate.loss if report.estimate else None,
        alarm=report.jump.loss_above if figures.expected is None or report.jump.above is None else figures.expected + report.jump.above,
        metrics=report.metrics.metrics,
        jumped=report.jump.found,
        confirmed=report.drift.confirmed,
        breaks=tuple(part.column for part in report.breaks),
        anomalies=report.anomalies.found,
        changes=tuple(drifted[:MOST_CHANGES]),
        more_changes=max(len(drifted) - MOST_CHANGES, 0),
        opened=tuple(
            Opened(id=id, kind=one.kind, severity=one.severity, sentence=one.sentence)
            for id in changed
            if (one := still_open.get(id)) is not None
        ),
        resolved=tuple(id for id in changed if id not in still_open),
        retraining=report.decision.why,
        cause=report.decision.cause,
        sentence=report.sentence,
    )


def _importance(change: Change) -> tuple[bool, bool, float, float]:
    return change.alarms, change.drifted, change.size, change.effect


def timeline(store: Store, model: str, newest: int | None = None, damage: list[str] | None = None) -> list[WindowPoint]:
    """Every window that has a report, oldest first.

    Args:
        store: has the reports.
        model: whose.
        newest: so many windows at most, the newest; all if absent.
        damage: gets a sentence for each report that is not noted and cannot be read.

    Raises:
        StoredDataDamaged: there is such a report, and nobody collects the sentences.
    """
    points = _summaries(store, model).of(_keys(store, model)[-newest if newest else 0 :], damage).values()
    return sorted(points, key=lambda point: (point.first, point.last))


def noted_timeline(store: Store, model: str, damage: list[str] | None = None) -> list[WindowPoint]:
    """The same as noted, with one read for all windows: those that are not noted are read, a noted one is not looked at again."""
    summaries, keys = _summaries(store, model), _keys(store, model)
    noted = summaries.noted()
    points = {key: noted[key] for key in keys if key in noted} | summaries.of((key for key in keys if key not in noted), damage)
    return sorted(points.values(), key=lambda point: (point.first, point.last))


def note_windows(store: Store, model: str, written: Collection[str] | None = None) -> None:
    """Note every window, so that the timeline is read from one object. Whoever writes a report does this.

    Args:
        store: has the reports.
        model: whose.
        written: names of the windows whose reports were written; any, if absent.
    """
    _summaries(store, model).keep(_keys(store, model), None if written is None else [_key(model, name) for name in written])


def _summaries(store: Store, model: str) -> Summaries[WindowPoint]:
    return Summaries(store, f"views/windows/{model}.json", WindowPoint, lambda key, data: point_of(decoded(data, key)), form=FORM)


def window_names(store: Store, model: str) -> list[str]:
    """Names of all windows that have a folder, oldest first."""
    return list(store.folders(f"reports/{model}/windows"))


def _keys(store: Store, model: str) -> list[str]:
    return [_key(model, name) for name in window_names(store, model)]


def _key(model: str, window: str) -> str:
    return f"reports/{model}/windows/{window}/report.json"
