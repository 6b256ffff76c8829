"""What the model knows of a flight before it leaves, as tensors. Training and serving run this same file; it needs numpy alone."""

import numpy as np

from perennial.encoding import Category, Columns, Cycle, Encoder, Steps, numbers, times

LATE_MINUTES = 15
NUMBERS = (
    "departure_minute",
    "arrival_minute",
    "scheduled_minutes",
    "distance",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "plane_age",
    "seats",
)
CATEGORIES = ("carrier", "origin", "dest", "weekday", "carrier_origin", "manufacturer", "engines")


def label(columns: Columns) -> np.ndarray:
    """1.0 where the flight arrived more than 15 minutes late, 0.0 where it did not, NaN where it never arrived or has not yet."""
    delay = numbers(columns["arr_delay"])
    return np.where(np.isnan(delay), np.nan, (delay > LATE_MINUTES).astype(np.float64))


def derive(columns: Columns) -> dict[str, np.ndarray]:
    """The columns of NUMBERS and CATEGORIES, made from the model's inputs."""
    departure, minutes = times(columns["scheduled_departure"]), numbers(columns["scheduled_minutes"])
    known = ~np.isnat(departure)
    since = (
        np.where(known, departure - departure.astype("datetime64[D]"), np.timedelta64(0, "s")).astype("timedelta64[m]").astype(np.float64)
    )
    minute = np.where(known, since, np.nan)
    year = np.where(known, departure.astype("datetime64[Y]").astype(np.int64) + 1970.0, np.nan)
    weekday = np.where(
        known, (departure.astype("datetime64[D]").astype(np.int64) + 3) % 7, np.nan
    )  # 1970-01-01 was a Thursday: Monday is 0
    passed = {name: columns[name] for name in (*NUMBERS, *CATEGORIES) if name in columns}
    pairs = [f"{carrier}-{origin}" for carrier, origin in zip(columns["carrier"].tolist(), columns["origin"].tolist(), strict=True)]
    return {
        **passed,
        "departure_minute": minute,
        "arrival_minute": (minute + minutes) % 1440,
        "plane_age": year - numbers(columns["plane_year"]),
        "weekday": weekday,
        "carrier_origin": np.array(pairs, dtype=object),
    }


def fit(columns: Columns) -> Encoder:
    """The encoder of these rows: the training split alone."""
    found = derive(columns)
    return Encoder(
        {
            "numbers": [
                *(Steps.fit(found, name, intervals=12) for name in NUMBERS),
                Cycle("departure_minute", 1440, harmonics=2),
                Cycle("wind_dir", 360),
            ],
            "categories": [Category.fit(found, name, min_rows=20) for name in CATEGORIES],
        }
    )


def encode(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    """`numbers` float32 [rows, width], `categories` int64 [rows, 7]."""
    return encoder.encode(derive(columns))
