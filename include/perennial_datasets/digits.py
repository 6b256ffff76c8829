"""1,797 handwritten digits, 8 x 8 pixels each, as scikit-learn brings them along.

Source: the test half of the UCI "Optical Recognition of Handwritten Digits" set (Alpaydin and Kaynak, 1998). Its order is that of
the writers. It has no times; to be a stream like any other, image n is taken as written in minute n % 100 of day n // 100,
counted from 2024-01-01: 100 images a day, 18 days.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING

from perennial.errors import UnknownName
from perennial.specs import Column, DatasetSpec

if TYPE_CHECKING:
    import pyarrow

PIXELS = tuple(f"p{place:02d}" for place in range(64))
FIRST, DAYS, IMAGES_OF_A_DAY = date(2024, 1, 1), 18, 100

DATASET = DatasetSpec(
    name="digits",
    title="Handwritten digits",
    owner="perennial",
    key=("image",),
    event_time="written",
    label_delay_days=0,
    columns=(
        Column(name="image", type="int", meaning="number of the image"),
        Column(name="written", type="timestamp", meaning="when it counts as written, UTC"),
        *(Column(name=pixel, type="int", meaning="ink, 0 to 16; row by row from the top left") for pixel in PIXELS),
        Column(name="digit", type="int", nullable=True, meaning="what it shows, 0 to 9; missing until somebody said"),
    ),
)


def land(first: date, last: date) -> Iterator[tuple[str, pyarrow.Table]]:
    """The days `first` to `last`, both included, each as the name of its file and its rows.

    Raises:
        UnknownName: there are no images of some of these days.
    """
    end = FIRST + timedelta(days=DAYS - 1)
    if not FIRST <= first <= last <= end:
        raise UnknownName(
            f"The source of digits has the days {FIRST} to {end}, not {first} to {last}: choose days among them, the earlier first."
        )
    import numpy as np
    import pyarrow as pa
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.arange(len(found.target))
    written = (
        np.datetime64(FIRST, "s")
        + images // IMAGES_OF_A_DAY * np.timedelta64(86400, "s")
        + images % IMAGES_OF_A_DAY * np.timedelta64(60, "s")
    )
    columns = {
        "image": images,
        "written": written,
        **dict(zip(PIXELS, found.data.astype(np.int64).T, strict=True)),
        "digit": found.target.astype(np.int64),
    }
    table = pa.table(columns)
    for day in range((first - FIRST).days, (last - FIRST).days + 1):
        yield f"digits-{FIRST + timedelta(days=day)}.csv", table.slice(day * IMAGES_OF_A_DAY, IMAGES_OF_A_DAY)
