"""Reads what the units of an experiment have shown from the log of predictions and their outcomes. Pure functions of a table.

A request is its unit's only where the unit's own version answered it, and no other. Where that one failed or was too slow, the gateway
asked the other, so that the caller has an answer: it says nothing of the unit's version, and is counted as crossed and for nothing else.
A unit that has changed its version with a change of shares counts no more, whatever it showed: it has seen both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.monitoring.signal_values import values_of
from perennial.serving.assignment import bucket
from perennial.serving.experiment import Arrivals, Values, share_of_unchanged, together
from perennial.serving.route import WHOLE
from perennial.specs import ModelSpec, SignalSpec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Part:
    """A part of an experiment in which shares were the same."""

    since: datetime
    share: float  # of the version that is tried


@dataclass(frozen=True)
class Seen:
    """What units have shown."""

    values: Values
    arrivals: tuple[Arrivals, ...]  # of each part
    together: float  # requests of one unit that stand beside a request on average
    changed: int  # units that count no more
    crossed: int  # requests that the other version answered
    without_unit: int  # requests


def seen_of(answers: pa.Table, model: ModelSpec, metric: SignalSpec, parts: Sequence[Part], salt: str, champion: int, tried: int) -> Seen:
    """What units have shown since the first part began.

    Args:
        answers: predictions with their outcomes, with the column `unit` if any had one.
        model: that answered.
        metric: what is compared.
        parts: of the experiment, oldest first.
        salt: of the experiment.
        champion: the version with which it is compared.
        tried: the version that is tried.
    """
    rows, values = values_of(answers, model.task, model.classes, metric)
    keys = rows["unit"].to_pylist() if "unit" in rows.column_names else [None] * rows.num_rows
    has_unit = np.array([key is not None for key in keys], dtype=bool)
    without_unit = int((~has_unit).sum())
    if not has_unit.any():
        nobody = tuple(Arrivals(part.share, 0, 0) for part in parts)
        return Seen(Values((), (), ()), nobody, together([]), changed=0, crossed=0, without_unit=without_unit)
    units, unit_of_row = np.unique([key for key in keys if key is not None], return_inverse=True)
    values = values[has_unit]
    versions = rows["model_version"].to_numpy()[has_unit]
    times = rows["served_at"].to_numpy()[has_unit].astype("datetime64[us]")
    starts = np.array([part.since.replace(tzinfo=None) for part in parts], dtype="datetime64[us]")
    part_of_row = np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)
    places = np.array([bucket(str(unit), salt) for unit in units])
    gets_tried = places[:, None] >= np.array([WHOLE - round(part.share * WHOLE) for part in parts])[None, :]  # unit, part
    _, request, answers_of = np.unique(np.array(rows["prediction_id"].to_pylist())[has_unit], return_inverse=True, return_counts=True)
    own = (versions == np.where(gets_tried[unit_of_row, part_of_row], tried, champion)) & (answers_of[request] == 1)

    first = np.full(len(units), len(parts))
    np.minimum.at(first, unit_of_row[own], part_of_row[own])
    later = np.arange(len(parts))[None, :] >= first[:, None]
    arm = gets_tried[np.arange(len(units)), np.minimum(first, len(parts) - 1)]
    stays = ~(later & (gets_tried != arm[:, None])).any(axis=1)

    counts = np.isfinite(values) & own & stays[unit_of_row]
    sums, numbers = np.zeros(len(units)), np.zeros(len(units))
    np.add.at(sums, unit_of_row[counts], values[counts])
    np.add.at(numbers, unit_of_row[counts], 1)
    has_value = numbers > 0
    shares = np.array([share_of_unchanged([part.share for part in parts[begin:]]) for begin in range(len(parts))])
    return Seen(
        values=Values((sums[has_value] / numbers[has_value]).tolist(), arm[has_value].tolist(), shares[first[has_value]].tolist()),
        arrivals=tuple(
            Arrivals(part.share, int((arm & (first == place)).sum()), int((first == place).sum())) for place, part in enumerate(parts)
        ),
        together=together(np.bincount(unit_of_row[own]).tolist()),
        changed=int((~stays).sum()),
        crossed=len(answers_of) - int(own.sum()),
        without_unit=without_unit,
    )
