"""The result of the drift test for a window: its findings, each with effect, interval, p-value, sentence and bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict, Field

from perennial.specs import DriftKind


class Bin(BaseModel):
    """One bar of a finding's plot: a range or category and its share of the rows, or a correlation or distance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str
    reference: float
    window: float


class ColumnDrift(BaseModel):
    """One finding: how far one column, one pair of columns or all together moved, in one respect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str = Field(description="Column, two columns of a correlation joined by ' and ', or 'all columns'.")
    kind: DriftKind = Field(default="shift", description="In which respect.")
    drifted: bool = Field(description="Whether it is significant and its effect beyond the kind's gate.")
    alarms: bool = Field(default=False, description="Whether it drifted so far that it is worth an alarm, and a retraining once it lasts.")
    effect: float = Field(description="How far it moved, in the kind's unit: see the table of `perennial.monitoring.drift`.")
    low: float | None = Field(
        default=None, description="Lower end of the effect's 95 % interval (bootstrap over blocks); none if the window is a single block."
    )
    high: float | None = Field(default=None, description="Upper end.")
    usual: float = Field(description="Effect that 95 of 100 labellings of the same blocks stay below.")
    p_value: float = Field(description="Chance that anything looked at would stand out as much if nothing changed.")
    family: str = Field(default="", description="Statistics it was judged among: stable or volatile between blocks, or all.")
    sentence: str
    bins: tuple[Bin, ...]


class DriftVerdict(BaseModel):
    """The result of the drift test for a window."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: tuple[ColumnDrift, ...] = Field(description="Findings, those that drifted first, then by p-value.")
    skipped: dict[str, str] = Field(default_factory=dict, description="What was not tested, and why.")
    reference_days: int = Field(description="Blocks of the reference that have rows.")
    window_days: int = Field(description="Blocks of the window that have rows.")
    labellings: int = Field(description="Labellings of the blocks that were compared, the observed one included.")
    exact: bool = Field(description="Whether these are all there are.")
    p_value: float = Field(default=1.0, description="Smallest p-value: the chance of the whole result if nothing changed.")
    significant: bool = Field(default=False, description="Whether it is at most alpha, however small the effects.")
    power: str = Field(default="", description="What the test cannot see, if that must be said.")

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of what drifted, each once, the most significant first."""
        return tuple(dict.fromkeys(c.column for c in self.columns if c.drifted))

    @property
    def alarming(self) -> tuple[str, ...]:
        """Names of what drifted enough to raise an alarm, each once, the most significant first."""
        return tuple(dict.fromkeys(c.column for c in self.columns if c.alarms))


def in_order(findings: Iterable[ColumnDrift]) -> tuple[ColumnDrift, ...]:
    """Findings sorted: what drifted first, of that what alarms, then by p-value and effect."""
    return tuple(sorted(findings, key=lambda f: (not f.drifted, not f.alarms, f.p_value, -f.effect, f.column, f.kind)))


def worth_telling(findings: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """All findings but the pairs of columns that did not change: of these the first alone."""
    pairs = [f for f in findings if f.kind == "correlation"]
    first = min(pairs, key=lambda f: (not f.drifted, f.p_value, -f.effect), default=None)
    return [f for f in findings if f.kind != "correlation" or f.drifted or f is first]
