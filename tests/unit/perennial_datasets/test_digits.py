"""The dataset digits: its spec and its suite agree."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest

from perennial.errors import UnknownName
from perennial_datasets.digits import DATASET, DAYS, FIRST, land

SUITE = Path(__file__).parents[3] / "great_expectations" / "expectations" / "digits.json"


def test_every_column_that_the_suite_names_exists():
    """DM-15: An expectation on a column that is not there could never be met."""
    named = set()
    for expectation in json.loads(SUITE.read_text())["expectations"]:
        kwargs = expectation["kwargs"]
        named |= {kwargs[word] for word in ("column", "column_A", "column_B") if word in kwargs} | set(kwargs.get("column_list", ()))
    assert named
    assert named <= {column.name for column in DATASET.columns}


def test_every_image_is_landed_once_and_in_order():
    """DM-01: 18 days of at most 100 images make up the whole set, with the columns of the spec."""
    tables = [table for _, table in land(FIRST, FIRST + timedelta(days=DAYS - 1))]
    assert sum(table.num_rows for table in tables) == 1797
    assert [number for table in tables for number in table["image"].to_pylist()] == list(range(1797))
    assert tables[0].column_names == [column.name for column in DATASET.columns]


@pytest.mark.parametrize(("first", "last"), [(date(2023, 12, 31), FIRST), (FIRST, date(2024, 1, 19)), (date(2024, 1, 3), date(2024, 1, 2))])
def test_days_without_images_are_refused(first, last):
    """DM-01: The sentence says which days there are."""
    with pytest.raises(UnknownName, match="2024-01-01 to 2024-01-18"):
        next(land(first, last))
