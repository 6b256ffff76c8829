"""What each window was, in a line: the losses, the size of what changed, the verdict. Read for many windows at once. Light.

>>> import tempfile
>>> from perennial.store import open_store
>>> timeline(open_store(tempfile.mkdtemp()), "flight_delays")
[]
"""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring.report.numbers import WindowReport, decoded
from perennial.store import Store
from perennial.store.summaries import Summaries


class Change(BaseModel):
    """How far one column moved in a window: its largest finding."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    kind: str = Field(description="In which respect.")
    effect: float = Field(description="How far, in the kind's unit.")
    drifted: bool
    alarms: bool


class WindowPoint(BaseModel):
    """One window of the timeline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="As its folder is named.")
    first: datetime
    last: datetime
    version: int = Field(description="Version that answered most of it.")
    requests: int
    labelled: int
    loss: str = Field(description="Name of the loss.")
    realised: float | None
    low: float | None = Field(description="Lower end of the realised loss's 95 % interval.")
    high: float | None
    expected: float | None = Field(description="What the scores themselves expect on the same rows.")
    estimated: float | None = Field(description="What they expect on all rows, with or without outcomes; none for a regression.")
    jumped: bool = Field(description="Whether the loss jumped.")
    confirmed: tuple[str, ...] = Field(description="What has drifted for as many windows as count.")
    breaks: tuple[str, ...] = Field(description="Columns whose feed seems broken.")
    anomalies: int = Field(description="Requests unlike all of the reference.")
    changes: tuple[Change, ...] = Field(description="The largest finding of each column, the farthest first.")
    retraining: str = Field(description="Why retraining was asked for, or was not.")
    cause: str | None = Field(description="Cause of the request that it made; none if it made none.")
    sentence: str


def point_of(report: WindowReport) -> WindowPoint:
    """A report in a line."""
    largest: dict[str, Change] = {}
    for finding in sorted(report.drift.columns, key=lambda f: (f.alarms, f.drifted, f.effect)):
        change = Change(column=finding.column, kind=finding.kind, effect=finding.effect, drifted=finding.drifted, alarms=finding.alarms)
        largest[finding.column] = change
    figures = report.performance
    return WindowPoint(
        name=report.name,
        first=report.first,
        last=report.last,
        version=report.version,
        requests=report.requests,
        labelled=figures.labelled,
        loss=figures.loss,
        realised=figures.realised,
        low=figures.low,
        high=figures.high,
        expected=figures.expected,
        estimated=report.estimate.loss if report.estimate else None,
        jumped=report.jump.found,
        confirmed=report.drift.confirmed,
        breaks=tuple(part.column for part in report.breaks),
        anomalies=report.anomalies.found,
        changes=tuple(sorted(largest.values(), key=lambda c: (-c.alarms, -c.drifted, -c.effect))),
        retraining=report.decision.why,
        cause=report.decision.cause,
        sentence=report.sentence,
    )


def timeline(store: Store, model: str) -> list[WindowPoint]:
    """Every window that has a report, oldest first. Raises StoredDataDamaged if one that is not noted cannot be read."""
    points = _summaries(store, model).of(_keys(store, model)).values()
    return sorted(points, key=lambda point: (point.first, point.last))


def noted_timeline(store: Store, model: str) -> list[WindowPoint]:
    """The same as noted, with one read for all windows: those that are not noted are read, a noted one is not looked at again."""
    summaries, keys = _summaries(store, model), _keys(store, model)
    noted = summaries.noted()
    points = {key: noted[key] for key in keys if key in noted} | summaries.of(key for key in keys if key not in noted)
    return sorted(points.values(), key=lambda point: (point.first, point.last))


def note_windows(store: Store, model: str) -> None:
    """Note every window, so that the timeline is read from one object. Whoever writes a report does this."""
    _summaries(store, model).keep(_keys(store, model))


def _summaries(store: Store, model: str) -> Summaries[WindowPoint]:
    return Summaries(store, f"views/windows/{model}.json", WindowPoint, lambda key, data: point_of(decoded(data, key)))


def _keys(store: Store, model: str) -> list[str]:
    folder = f"reports/{model}/windows"
    return [f"{folder}/{name}/report.json" for name in store.folders(folder)]
