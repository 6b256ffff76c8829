"""What the model knows of an hour before it begins, as tensors. Training and serving run this same file; it needs numpy alone."""

import numpy as np

from perennial.encoding import Category, Columns, Encoder, Number, numbers, times

NUMBERS = (
    "planned",
    "waiting",
    "recent_delay",
    "yesterday_delay",
    "temp",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "hour_of_day",
)
CATEGORIES = ("origin", "weekday")


def label(columns: Columns) -> np.ndarray:
    """Mean departure delay of the hour's flights, minutes; NaN where none left, or it is not known yet."""
    return numbers(columns["delay"])


def derive(columns: Columns) -> dict[str, np.ndarray]:
    """The columns of NUMBERS and CATEGORIES, made from the model's inputs."""
    hour = times(columns["begins"])
    known, hours = ~np.isnat(hour), hour.astype("datetime64[h]").astype(np.int64)
    passed = {name: columns[name] for name in (*NUMBERS, *CATEGORIES) if name in columns}
    return {
        **passed,
        "hour_of_day": np.where(known, hours % 24, np.nan),
        "weekday": np.where(known, (hours // 24 + 3) % 7, np.nan),  # 1970-01-01 was a Thursday: Monday is 0
    }


def fit(columns: Columns) -> Encoder:
    """The encoder of these rows: the training split alone."""
    found = derive(columns)
    return Encoder(
        {
            "numbers": [Number.fit(found, name, nulls=True) for name in NUMBERS],
            "categories": [Category.fit(found, name, min_rows=20) for name in CATEGORIES],
        }
    )


def encode(encoder: Encoder, columns: Columns) -> dict[str, np.ndarray]:
    """`numbers` float32 [rows, width], `categories` int64 [rows, 2]."""
    return encoder.encode(derive(columns))
