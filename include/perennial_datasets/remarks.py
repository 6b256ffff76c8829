"""3,708 sentences that customers wrote of five products, each rated from -4, extremely negative, to 4, extremely positive, by 20 people.

Source: "amazonReviewSnippets" of Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text"
(2014), of reviews collected by Hu and Liu (2004), as the source distribution of `vaderSentiment` 3.3.2 on PyPI has it under the MIT
licence. `make setup` puts it into the workload environment. Entities of HTML are resolved.

Its sentences have no times. To be a stream like any other, review n (of 309, the products one after the other) counts as written on day
n % 30, counted from 2024-01-01: every day has remarks on every product. Its sentences follow one another by the minute.

What is known when: a remark when it is written; its rating a day later, when people have read it.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.errors import UnknownName
from perennial.specs import Column, DatasetSpec

if TYPE_CHECKING:
    import pyarrow

FILE = Path(sys.prefix) / "share/perennial/remarks.txt"
FIRST, DAYS, LONGEST_REVIEW = date(2024, 1, 1), 30, 80  # sentences

DATASET = DatasetSpec(
    name="remarks",
    title="Remarks of customers",
    owner="perennial",
    example=True,
    key=("review", "sentence"),
    event_time="written",
    label_delay_days=1,
    columns=(
        Column(name="written", type="timestamp", meaning="when it counts as written, UTC"),
        Column(name="review", type="int", meaning="number of the review"),
        Column(name="sentence", type="int", meaning="number of the sentence in its review"),
        Column(name="remark", type="text", meaning="the sentence, in small letters"),
        Column(name="rating", type="float", nullable=True, meaning="mean of 20 people's ratings, -4 to 4; missing until they have read it"),
    ),
)


def land(first: date, last: date) -> Iterator[tuple[str, pyarrow.Table]]:
    """The days `first` to `last`, both included, each as the name of its file and its rows.

    Raises:
        UnknownName: there are no remarks of some of these days, or the file is not on this machine.
    """
    end = FIRST + timedelta(days=DAYS - 1)
    if not FIRST <= first <= last <= end:
        raise UnknownName(
            f"The source of remarks has the days {FIRST} to {end}, not {first} to {last}: choose days among them, the earlier first."
        )
    if not FILE.is_file():
        raise UnknownName(f"The remarks are not on this machine: {FILE} is missing. `make setup` fetches it from PyPI.")
    import pyarrow as pa

    schema = pa.schema(
        {"written": pa.timestamp("s"), "review": pa.int64(), "sentence": pa.int64(), "remark": pa.string(), "rating": pa.float64()}
    )
    rows = sorted(_rows(), key=lambda row: (row["written"], row["review"], row["sentence"]))
    for number in range((first - FIRST).days, (last - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        yield f"remarks-{day}.csv", pa.Table.from_pylist([row for row in rows if row["written"].date() == day], schema=schema)


def _rows() -> Iterator[dict[str, Any]]:
    for line in FILE.read_text().splitlines():
        place, rating, remark = line.split("\t")
        review, sentence = map(int, place.split("_"))
        minutes = review // DAYS * LONGEST_REVIEW + sentence  # of a day some ten reviews, one after the other
        written = datetime(FIRST.year, FIRST.month, FIRST.day) + timedelta(days=review % DAYS, minutes=minutes)
        # Ampersands were escaped twice.
        yield {
            "written": written,
            "review": review,
            "sentence": sentence,
            "remark": html.unescape(html.unescape(remark)),
            "rating": float(rating),
        }
