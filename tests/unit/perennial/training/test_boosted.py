"""The trees that stand in for a model."""

import numpy as np
import pytest

from perennial import discovery
from perennial.training.boosted import MOST_CATEGORIES, Inputs, fit, inputs_of


def columns_of(rows, seed=0):
    """A time, a number with gaps and a category."""
    rng = np.random.default_rng(seed)
    minutes = rng.integers(0, 7 * 1440, rows)
    speed = rng.normal(10, 3, rows)
    speed[::17] = np.nan
    return {
        "when": np.datetime64("2024-01-01T00:00", "s") + minutes * np.timedelta64(60, "s"),
        "speed": speed,
        "carrier": rng.choice(np.array(["AA", "UA", None], dtype=object), rows, p=[0.5, 0.4, 0.1]),
    }


TYPES = {"when": "timestamp", "speed": "float", "carrier": "string"}


def test_a_time_becomes_its_minute_and_weekday():
    """MN-10: 2024-01-03 was a Wednesday; a missing time is missing in both; the day itself is not told."""
    when = np.array(["2024-01-03T06:30:59", "NaT", "2024-01-10T06:30:00"], dtype="datetime64[s]")
    found = inputs_of({"when": when}, {"when": "timestamp"})
    np.testing.assert_array_equal(found.values, np.array([[390, 2], [np.nan, np.nan], [390, 2]], dtype=np.float32))
    assert found.categories == (False, False)


def test_categories_are_placed_by_frequency():
    """MN-10: The most frequent one is 0, null is missing, and what is too rare to be told apart shares the last place."""
    names = [f"n{i:03d}" for i in range(300)]
    values = np.array(["often"] * 3 + ["twice"] * 2 + names + [None], dtype=object)
    found = inputs_of({"name": values}, {"name": "string"})
    places = found.values[:, 0]
    assert found.categories == (True,)
    assert places[0] == 0
    assert places[3] == 1
    assert places[5] == 2
    assert np.isnan(places[-1])
    assert np.nanmax(places) == MOST_CATEGORIES - 1
    assert (places == MOST_CATEGORIES - 1).sum() == 302 - (MOST_CATEGORIES - 1)


def test_of_lists_and_texts_the_trees_see_how_long_they_are():
    """MN-10: Words of a text and elements of a list; what is missing is missing."""
    values = np.fromiter(["two words", "", None, float("nan")], dtype=object, count=4)
    lists = np.fromiter([np.array([1.0, 2.0]), [], None, [3.0]], dtype=object, count=4)
    seen = inputs_of({"note": values, "prices": lists}, {"note": "text", "prices": "list"})
    np.testing.assert_array_equal(seen.values, np.array([[2, 2], [0, 0], [np.nan, np.nan], [np.nan, 1]], dtype=np.float32))
    assert seen.categories == (False, False)


@pytest.mark.parametrize("truth", ["when", "speed", "carrier"])
def test_they_learn_from_each_kind_of_column(truth):
    """MN-10: What depends on a time, a number or a category is learnt, on rows that were not trained on."""
    columns = columns_of(3000)
    answer = {
        "when": (columns["when"].astype("datetime64[h]").astype(int) % 24) < 12,
        "speed": np.nan_to_num(columns["speed"], nan=99.0) > 10,  # a gap says something too
        "carrier": columns["carrier"] == "UA",
    }[truth].astype(float)
    inputs = inputs_of(columns, TYPES)
    trees = fit("binary", 2, Inputs(inputs.values[:2000], inputs.categories), answer[:2000], seed=1)
    scores = np.exp(trees.logits(inputs.values[2000:]))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert np.mean((scores[:, 1] > 0.5) == (answer[2000:] == 1)) > 0.97


def test_a_regression_and_many_classes():
    """MN-10: Values of a regression are [rows, 1]; each of many classes has its own score, one that was never seen a small one."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2000, 2)).astype(np.float32)
    inputs = Inputs(values, (False, False))
    found = fit("regression", 0, inputs, 3.0 * values[:, 0].astype(float), seed=1).logits(values)
    assert found.shape == (2000, 1)
    assert np.mean((found[:, 0] - 3 * values[:, 0]) ** 2) < 0.1 * np.var(3 * values[:, 0])
    labels = np.digitize(values[:, 1], [-0.5, 0.5]).astype(float)
    labels[labels == 1] = 3.0  # classes 0, 2 and 3 of 4
    logits = fit("multiclass", 4, inputs, labels, seed=1).logits(values)
    assert logits.shape == (2000, 4)
    assert np.mean(logits.argmax(axis=1) == labels) > 0.97
    assert np.exp(logits[:, 1]).max() == pytest.approx(0.5 / 2000)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_one_label_only_is_all_there_is_to_say(task):
    """MN-10: Where all rows have one label nothing can be learnt, and nothing fails."""
    inputs = Inputs(np.ones((50, 1), dtype=np.float32), (False,))
    logits = fit(task, 2, inputs, np.ones(50), seed=1).logits(np.zeros((3, 1), dtype=np.float32))
    assert logits.shape == (3, 1 if task == "regression" else 2)
    assert np.isfinite(logits).all()
    if task == "regression":
        assert logits[:, 0].tolist() == [1.0] * 3
    else:
        assert np.exp(logits[0, 1]) == pytest.approx(1.0)
        assert np.exp(logits[0, 0]) == pytest.approx(0.01)


def test_the_same_rows_give_the_same_trees():
    """MN-10: Fitting twice gives the same scores to the last bit; many rows are thinned without a random choice."""
    columns = columns_of(2000)
    inputs, answer = inputs_of(columns, TYPES), (np.arange(2000) % 3 == 0).astype(float)
    first, second = (fit("binary", 2, inputs, answer, seed=5).logits(inputs.values) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_inputs_of_every_model_can_be_taken(january):
    """MN-10: The columns of flights as the table gives them are numbers, categories and a time to the trees."""
    spec, dataset = discovery.model("flight_delays"), discovery.dataset("flights")
    rows = january(1, 2).to_pandas()
    types = {name: dataset.column(name).type for name in spec.inputs}
    found = inputs_of({name: rows[name].to_numpy() for name in spec.inputs}, types)
    assert found.values.shape == (len(rows), len(spec.inputs) + 1)
    assert sum(found.categories) == 4
    assert found.values.dtype == np.float32
