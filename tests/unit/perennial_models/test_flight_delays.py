"""The model flight_delays: it knows nothing of what comes after departure, and its features are what they say."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import numpy as np
import pandas as pd
import pytest
import torch

from perennial.encoding import columns_from_rows, rows_from_columns
from perennial_datasets.flights import DATASET, land
from perennial_models.flight_delays import features
from perennial_models.flight_delays.model import Model
from perennial_models.flight_delays.spec import MODEL

# What the dataset's own text says is known only afterwards.
AFTERWARDS = ("departure", "arrival", "dep_delay", "arr_delay", "air_time")


@pytest.fixture(scope="module")
def flights() -> dict[str, np.ndarray]:
    """One day's flights, all columns."""
    frame = pd.concat([table.to_pandas() for _, table in land(date(2013, 1, 3), date(2013, 1, 3))])
    return {name: frame[name].to_numpy() for name in frame.columns}


def test_no_input_is_known_only_afterwards() -> None:
    """DM-13: Every input is a column of the dataset and none of those that follow departure; the label is one of those."""
    assert not set(MODEL.inputs) & set(AFTERWARDS)
    assert set(MODEL.inputs) <= {column.name for column in DATASET.columns} - set(AFTERWARDS)
    assert MODEL.label in AFTERWARDS


def test_what_happens_after_departure_changes_no_tensor(flights: dict[str, np.ndarray]) -> None:
    """DM-13: Whatever all later columns say, fitted encoder and encoded tensors stay the same to the last bit."""
    rng = np.random.default_rng(0)
    disturbed = dict(flights)
    for name in AFTERWARDS:
        disturbed[name] = rng.permutation(flights[name])
        assert not np.array_equal(disturbed[name].astype(str), flights[name].astype(str))
    encoder = features.fit(flights)
    assert features.fit(disturbed) == encoder
    before, after = features.encode(encoder, flights), features.encode(encoder, disturbed)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    alone = features.encode(encoder, {name: flights[name] for name in MODEL.inputs})
    assert all(np.array_equal(before[name], alone[name]) for name in before)


def test_every_input_counts(flights: dict[str, np.ndarray]) -> None:
    """DM-13: No input is asked for in vain: each one, made null, changes a tensor."""
    encoder = features.fit(flights)
    before = features.encode(encoder, flights)
    for name in MODEL.inputs:
        column = np.full(len(flights[name]), None, dtype=object)
        after = features.encode(encoder, {**flights, name: column})
        assert any(not np.array_equal(before[tensor], after[tensor]) for tensor in before), name


def test_a_request_gives_the_tensors_of_training(flights: dict[str, np.ndarray]) -> None:
    """DM-18: Rows as JSON carries them encode to the same bits as the table's columns."""
    encoder = features.fit(flights)
    request = columns_from_rows(rows_from_columns(flights, MODEL.inputs), MODEL.inputs)
    before, after = features.encode(encoder, flights), features.encode(encoder, request)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_late_is_more_than_a_quarter_of_an_hour() -> None:
    """DM-03: 15 minutes are on time, 16 are late; a flight that never arrived has no label."""
    assert features.label({"arr_delay": np.array([-5.0, 15.0, 16.0])}).tolist() == [0, 0, 1]
    assert np.isnan(features.label({"arr_delay": np.array([np.nan])})).all()


def test_derived_columns() -> None:
    """DM-13: Minute of the day, weekday from Monday, arrival past midnight, age of the plane."""
    found = features.derive(
        columns_from_rows(
            [{"scheduled_departure": "2013-01-01T23:30:00", "scheduled_minutes": 45, "plane_year": 2003, "carrier": "UA", "origin": "EWR"}],
            MODEL.inputs,
        )
    )
    assert [found[name][0] for name in ("departure_minute", "arrival_minute", "weekday", "plane_age", "carrier_origin")] == [
        1410,
        15,
        1,
        10,
        "UA-EWR",
    ]
    unknown = features.derive(columns_from_rows([{}], MODEL.inputs))
    assert all(np.isnan(unknown[name][0]) for name in ("departure_minute", "arrival_minute", "weekday", "plane_age"))


@pytest.fixture
def module(flights: dict[str, np.ndarray]) -> tuple[Model, dict[str, torch.Tensor]]:
    """An untrained network and a day's tensors."""
    encoder = features.fit(flights)
    torch.manual_seed(0)
    return Model(encoder, MODEL), {name: torch.from_numpy(values) for name, values in features.encode(encoder, flights).items()}


def test_the_forecast_is_the_mean_of_the_members(module: tuple[Model, dict[str, torch.Tensor]]) -> None:
    """MO-02: The logits are the logarithm of a probability: softmax leaves it as it is."""
    model, inputs = module
    model.eval()
    with torch.no_grad():
        each = torch.softmax(model.members(**inputs), dim=-1)
        mean = torch.softmax(model(**inputs), dim=-1)
    assert len(each) == MODEL.training.hyperparameters["members"]
    assert torch.allclose(mean, each.mean(dim=0), atol=1e-6)
    assert float(each.std(dim=0).max()) > 0.01


def test_rows_do_not_see_one_another(module: tuple[Model, dict[str, torch.Tensor]]) -> None:
    """SE-01: A flight's score does not depend on which others are asked for beside it."""
    model, inputs = module
    model.eval()
    with torch.no_grad():
        assert torch.allclose(model(**inputs)[5:6], model(**{name: values[5:6] for name, values in inputs.items()}), atol=1e-6)


def test_describing_the_model_loads_neither_torch_nor_pandas() -> None:
    """OP-10: DAG files import the spec, and serving the features: both stay light."""
    code = (
        "import sys, perennial_models.flight_delays.spec, perennial_models.flight_delays.features; "
        "sys.exit(bool({'torch', 'pandas', 'pytorch_lightning'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
