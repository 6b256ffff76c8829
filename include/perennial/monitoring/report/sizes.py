"""How far each column moved in each window, in units of the effect that alarms: small enough to be read for many windows at once. Light.

>>> import tempfile
>>> from perennial.store import open_store
>>> sizes(open_store(tempfile.mkdtemp()), "flight_delays", ["2013-02-01_2013-02-02"])
{}
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from perennial.monitoring.report.numbers import WindowReport, decoded
from perennial.monitoring.verdict import ColumnDrift
from perennial.specs import DriftKind, EffectLimits, MonitoringSpec
from perennial.store import Store
from perennial.store.summaries import Summaries

MOST_COLUMNS, MOST_WINDOWS = 400, 90  # that are noted: the columns that moved farthest, the newest windows
DEFAULTS = MonitoringSpec()
LARGEST = 100.0  # size: what moved farther is no farther on a picture

Mark = Literal["", "drifted", "alarms"]


class WindowSizes(BaseModel):
    """The largest finding of each column of a window: four lists of the same length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[str, ...]
    kinds: tuple[DriftKind, ...] = Field(description="In which respect each moved farthest.")
    sizes: tuple[float, ...] = Field(description="How far, in units of the effect that alarms: from 1 on it can alarm.")
    marks: tuple[Mark, ...] = Field(description="Whether it drifted, or even alarms.")
    confirmed: tuple[str, ...] = Field(description="What has drifted for as many windows as count.")
    left_out: int = Field(description="Columns that moved less than those.")
    limits_known: bool = Field(description="Whether the report says from which effect on each kind alarms; else the default is taken.")


def relative_size(finding: ColumnDrift, limits: Mapping[DriftKind, EffectLimits]) -> float:
    """A finding's effect in units of the effect that alarms.

    Args:
        finding: of the drift test.
        limits: as the report has them; where it has none, the defaults count.
    """
    alarm = limits_of(finding.kind, limits).alarm
    if alarm <= 0:
        return LARGEST if finding.effect > 0 else 0.0
    return round(min(finding.effect / alarm, LARGEST), 3)


def limits_of(kind: DriftKind, limits: Mapping[DriftKind, EffectLimits]) -> EffectLimits:
    """From which effects on a finding of a kind is drift and alarms; the defaults where a report does not say."""
    return limits.get(kind) or DEFAULTS.limits(kind)


def sizes_of(report: WindowReport) -> WindowSizes:
    """The sizes of one report."""
    drift, largest = report.drift, dict[str, tuple[int, float, DriftKind]]()
    for finding in drift.columns:
        here = finding.drifted + finding.alarms, relative_size(finding, drift.limits), finding.kind
        largest[finding.column] = max(here, largest.get(finding.column, here))
    farthest = sorted(largest.items(), key=lambda item: (item[1][:2], item[0]), reverse=True)[:MOST_COLUMNS]
    return WindowSizes(
        columns=tuple(column for column, _ in farthest),
        kinds=tuple(kind for _, (_, _, kind) in farthest),
        sizes=tuple(size for _, (_, size, _) in farthest),
        marks=tuple(("", "drifted", "alarms")[level] for _, (level, _, _) in farthest),
        confirmed=drift.confirmed,
        left_out=len(largest) - len(farthest),
        limits_known=bool(drift.limits),
    )


def sizes(store: Store, model: str, names: Sequence[str], damage: list[str] | None = None) -> dict[str, WindowSizes]:
    """The sizes of some windows, by name.

    Args:
        store: has the reports.
        model: whose.
        names: of the windows; those without a report are left out.
        damage: gets a sentence for each report that is not noted and cannot be read.

    Raises:
        StoredDataDamaged: there is such a report, and nobody collects the sentences.
    """
    keys = {f"reports/{model}/windows/{name}/report.json": name for name in names}
    return {keys[key]: noted for key, noted in _summaries(store, model).of(keys, damage).items()}


def note_sizes(store: Store, model: str, written: Collection[str] | None = None) -> None:
    """Note the newest windows. Whoever writes a report does this.

    Args:
        store: has the reports.
        model: whose.
        written: names of the windows whose reports were written; any, if absent.
    """
    folder = f"reports/{model}/windows"
    changed = None if written is None else [f"{folder}/{name}/report.json" for name in written]
    _summaries(store, model).keep((f"{folder}/{name}/report.json" for name in store.folders(folder)[-MOST_WINDOWS:]), changed)


def _summaries(store: Store, model: str) -> Summaries[WindowSizes]:
    return Summaries(store, f"views/drift/{model}.json", WindowSizes, lambda key, data: sizes_of(decoded(data, key)))
