"""The features of digits: an image arrives at the network as it was written."""

import numpy as np

from perennial.encoding import columns_from_rows
from perennial_models.digits import features
from perennial_models.digits.spec import MODEL

ROW = {pixel: place % 17 for place, pixel in enumerate(MODEL.inputs)}


def encoded(*rows):
    encoder = features.fit(columns_from_rows([ROW], MODEL.inputs))
    return features.encode(encoder, columns_from_rows(rows, MODEL.inputs))


def test_pixels_keep_their_places():
    """DM-13: Row by row from the top left, scaled so that full ink is 1."""
    image = encoded(ROW)["image"]
    assert image.shape == (1, 1, 8, 8)
    np.testing.assert_allclose(image[0, 0].ravel() * 16, [place % 17 for place in range(64)])


def test_a_row_of_nulls_is_encoded():
    """DM-13: A request may lack pixels; they count as paper."""
    assert np.isfinite(encoded(dict.fromkeys(MODEL.inputs))["image"]).all()


def test_the_label_is_no_input():
    """DM-13: A model that is told the answer learns nothing."""
    assert MODEL.label not in MODEL.inputs


def test_unknown_labels_are_nan():
    """DM-03: Rows whose label is not known are left out of training, not guessed."""
    np.testing.assert_array_equal(features.label({"digit": np.array([7, None], dtype=object)}), [7.0, np.nan])
