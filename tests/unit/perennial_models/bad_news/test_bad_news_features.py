"""The features of bad_news: what is learnt comes from the training rows alone, and nulls and unseen values never fail."""

import numpy as np
import pytest

from perennial.encoding import columns_from_rows
from perennial.testing import PROMISES, check_model
from perennial_models.bad_news import features
from perennial_models.bad_news.spec import MODEL

ROW = {"remark": "great phone"}


def encoded(*rows):
    encoder = features.fit(columns_from_rows([ROW, ROW], MODEL.inputs))
    return features.encode(encoder, columns_from_rows(rows, MODEL.inputs))


def test_words_are_read_in_their_order_and_unknown_ones_are_one_code():
    """DM-13: Padding is 0, a word that no training row had is 1; an empty remark is all padding."""
    (codes,) = encoded({"remark": "GREAT, awful phone"})["remark"]
    assert codes[:4].tolist() == [2, 1, 3, 0]
    assert not encoded({"remark": ""})["remark"].any()


def test_bad_is_half_a_point_below_neither():
    """DM-03: -0.5 is bad news, -0.45 is not."""
    assert features.label({"rating": np.array([-3.0, -0.5, -0.45, 2.0])}).tolist() == [1, 1, 0, 0]


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
