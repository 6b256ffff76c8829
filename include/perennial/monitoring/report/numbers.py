"""The report of a window as one typed object: all that the page shows and `report.json` holds.

    >>> import json
    >>> from perennial.monitoring.report.numbers import Gateway
    >>> Gateway.model_validate(json.loads('{"sentence": "The gateway serves no version.", "versions": {}}')).sentence
    'The gateway serves no version.'

`report.json` is a stored format: a field may be added with a default, none may be renamed or dropped.
"""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, computed_field

from perennial.errors import StoredDataDamaged
from perennial.monitoring.figures import Anomalies, Break, Estimate, Jump, LiveMetrics, RuleFinding, Service, Slice
from perennial.monitoring.verdict import DriftVerdict
from perennial.specs import Cause, DriftKind, EffectLimits, Verdict

Moment = Annotated[datetime, PlainSerializer(datetime.isoformat, return_type=str)]


class Part(BaseModel):
    """Base of all parts: immutable; what a later version of the platform adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class WindowDrift(DriftVerdict):
    """The result of the drift test for the window, and whether the drift lasts."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    confirmed: tuple[str, ...] = Field(description="What drifted in this window and in all those before it that count.")
    windows: int = Field(description="Windows in a row that must show drift before it counts as confirmed.")
    alpha: float = Field(description="False-alarm rate of the test.")
    earlier: tuple[str, ...] = Field(description="Names of the windows before that count.")
    judged_by: str = Field(description="Identity of what the verdict depends on besides the predictions.")
    limits: dict[DriftKind, EffectLimits] = Field(
        default_factory=dict, description="Effects from which on a finding of each kind is drift, and alarms; none of an earlier report."
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of what drifted, each once, the most significant first."""
        return super().drifted

    @computed_field  # type: ignore[prop-decorator]
    @property
    def alarming(self) -> tuple[str, ...]:
        """Names of what drifted enough to raise an alarm, each once, the most significant first."""
        return super().alarming


class Losses(Part):
    """Realised and expected loss of some predictions."""

    loss: str = Field(description="Name of the loss.")
    predictions: int
    labelled: int = Field(description="Predictions whose outcome is known.")
    coverage: float = Field(description="Their share.")
    realised: float | None
    low: float | None = Field(description="Lower end of the realised loss's 95 % interval.")
    high: float | None
    expected: float | None = Field(description="Mean loss that the scores themselves expect on the same rows.")
    excess: float | None = Field(description="Realised minus expected.")
    blocks: str = Field(description="What was resampled for the interval: days or rows.")


class SliceLosses(Losses):
    """Realised and expected loss of the predictions where a column has one value."""

    column: str
    name: str

    @classmethod
    def of(cls, part: Slice) -> SliceLosses:
        """The losses of a slice with its name."""
        return cls(column=part.column, name=part.name, **dict(Losses.model_validate(part.performance)))


class DayLosses(Part):
    """Loss of one day of event time."""

    day: date
    version: int | None = Field(description="Version that answered most of the day.")
    predictions: int
    labelled: int
    coverage: float
    realised: float | None
    expected: float | None
    excess: float | None


class KnownOutcomes(Part):
    """Counts of the window's predictions with and without outcomes."""

    predictions: int
    labelled: int
    repeated: int = Field(description="Outcomes beyond the first of the same prediction that say the same.")
    contradicted: int = Field(description="Outcomes that were overruled by a later, different one.")
    predicted_twice: int = Field(description="Rows whose id was used again later.")
    unknown: int = Field(description="Outcomes whose prediction has not come, of any window.")


class ScoreShare(Part):
    """One bar of the plot of scores."""

    label: str
    share: float
    of: str = Field(description="What it is a share of.")


class ArmCounts(Part):
    """The gateway's counts of one version."""

    requests: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None


class Gateway(Part):
    """The gateway's own counts at the time of the look: they know what never reached a version's log."""

    sentence: str
    versions: dict[str, ArmCounts]


class Decision(Part):
    """Whether the window asks for retraining, and why."""

    cause: Cause | None
    why: str
    request: str | None = Field(description="Key of the request that it made.")


class OpenIncident(Part):
    """An incident that was open after the look."""

    id: str
    kind: str
    severity: str
    sentence: str
    opened: Moment
    verdict: Verdict | None
    blocks_training: bool


class WindowIncidents(Part):
    """The open incidents, what the look changed, and how often the model calls for attention."""

    open: tuple[OpenIncident, ...]
    changed: tuple[str, ...] = Field(description="Ids of those that this look opened or resolved.")
    rate: str


class WindowReport(Part):
    """The whole report of a window: what was found and decided."""

    model: str
    title: str
    name: str = Field(description="The window's days or times, as its folder is named.")
    first: Moment
    last: Moment
    version: int = Field(description="Version that answered most of the window.")
    by_version: dict[int, int] = Field(description="Rows that each version answered.")
    requests: int
    sentence: str
    drift: WindowDrift
    breaks: tuple[Break, ...]
    anomalies: Anomalies
    performance: Losses
    estimate: Estimate | None
    slices: tuple[SliceLosses, ...]
    outcomes: KnownOutcomes
    days: tuple[DayLosses, ...]
    metrics: LiveMetrics = Field(default=LiveMetrics(), description="Accuracy and the like; empty in a report from before there were any.")
    jump: Jump
    rules: tuple[RuleFinding, ...] = Field(default=(), description="What the window says of the spec's rules on the model's answers.")
    scores: tuple[ScoreShare, ...]
    service: Service
    gateway: Gateway
    damaged: tuple[str, ...] = Field(default=(), description="What could not be read, as sentences.")
    decision: Decision
    incidents: WindowIncidents

    @property
    def answered(self) -> int:
        """Rows that the version answered which answered most of the window."""
        return self.by_version.get(self.version, 0)

    def encoded(self) -> bytes:
        """The content of `report.json`."""
        return json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True, allow_nan=False).encode()


def decoded(content: bytes, place: str) -> WindowReport:
    """A report that was stored by this or an earlier version of the platform.

    Args:
        content: of its `report.json`.
        place: where it lies, for the sentence.

    Raises:
        StoredDataDamaged: it is no report.
    """
    try:
        return WindowReport.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StoredDataDamaged(
            f"{place} is no report of a window ({where}: {first['msg']}). Delete it and look at the window again: "
            "a report is made of the predictions, which it does not change."
        ) from error
