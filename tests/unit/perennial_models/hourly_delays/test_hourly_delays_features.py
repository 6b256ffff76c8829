"""The features of hourly_delays: what is learnt comes from the training rows alone, and nulls and unseen values never fail."""

import numpy as np
import pytest

from perennial.encoding import columns_from_rows
from perennial.testing import PROMISES, check_model
from perennial_models.hourly_delays import features
from perennial_models.hourly_delays.spec import MODEL

ROW = {
    "begins": "2013-07-04T17:00:00",
    "origin": "JFK",
    "planned": 22,
    "waiting": 5,
    "recent_delay": 12.5,
    "yesterday_delay": 8.0,
    "temp": 80.1,
    "wind_speed": 11.5,
    "wind_gust": None,
    "precip": 0.0,
    "pressure": 1012.3,
    "visib": 10.0,
}


def test_a_row_of_nulls_is_encoded():
    """A request may lack every nullable value; the tensors stay finite."""
    encoder = features.fit(columns_from_rows([ROW, ROW], MODEL.inputs))
    for tensor in features.encode(encoder, columns_from_rows([dict.fromkeys(MODEL.inputs)], MODEL.inputs)).values():
        assert tensor.shape[0] == 1
        assert np.isfinite(tensor).all()


def test_hour_and_weekday_are_those_of_the_clock():
    """DM-13: 17 o'clock on a Thursday, as the wall clock of New York has it."""
    derived = features.derive(columns_from_rows([ROW], MODEL.inputs))
    assert (derived["hour_of_day"].item(), derived["weekday"].item()) == (17, 3)


def test_the_label_is_no_input():
    """A model that is told the answer learns nothing."""
    assert MODEL.label not in MODEL.inputs


def test_unknown_labels_are_nan():
    """Rows whose label is not known are left out of training, not guessed."""
    assert np.isnan(features.label({MODEL.label: np.array([None], dtype=object)})).all()


@pytest.mark.parametrize("promise", PROMISES)
def test_it_keeps_what_every_model_keeps(promise):
    """Nulls, unseen values, huge numbers, a row alone, ...: each broken promise is a sentence that says what to do."""
    check_model(MODEL, only=promise)
