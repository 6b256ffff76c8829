"""Anomalies at their borders: the threshold by hand, scores of single values, which rows and columns are told, and with which words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError
from scipy import stats

from perennial.monitoring import anomalies
from perennial.monitoring.anomalies import Category, Number, Scale, Univariate, Watch, find_anomalies, fit_detector, fit_watch

STANDARD = Univariate(np.zeros(1), np.ones(1), largest=True)


def days(*sizes):
    """The day of each row, of days of these sizes."""
    return np.datetime64("2013-01-01") + np.repeat(np.arange(len(sizes)), sizes)


def watch(scores, when):
    """Held-out rows of these scores."""
    return Watch("by hand", Scale({}), STANDARD, np.array(scores, dtype=float), when)


def by_definition(held_out, rows_per_day, budget):
    """The lowest score t of the held-out rows with (sum of L_i(t) + twice the largest L_i(t)) / (n + 1) within the budget."""
    names = np.unique(held_out.held_out_days)
    lowest = None
    for t in np.sort(held_out.held_out)[::-1]:
        each = [rows_per_day * np.mean(held_out.held_out[held_out.held_out_days == name] >= t) for name in names]
        if (sum(each) + 2 * max(each)) / (len(names) + 1) > budget:
            return lowest
        lowest = t
    return lowest


@pytest.mark.parametrize("seed", range(6))
def test_the_threshold_is_that_of_the_definition(seed):
    """MN-05: over days of different size, at any traffic and budget; the order of the rows changes nothing."""
    rng = np.random.default_rng(seed)
    when = days(*rng.integers(300, 500, 8))
    held_out = watch(rng.permutation(len(when)) + 100.0 * (when.astype(int) % 3), rng.permutation(when))
    for rows_per_day, budget in ((400, 2.0), (1000, 5.0), (400, 3.9)):
        threshold, reckoned = held_out.threshold(rows_per_day, budget)
        assert threshold == by_definition(held_out, rows_per_day, budget)
        assert reckoned <= budget
        again = watch(held_out.held_out[::-1], held_out.held_out_days[::-1])
        assert again.threshold(rows_per_day, budget) == (threshold, pytest.approx(reckoned))
        over = held_out.days_over(rows_per_day, threshold)
        each = [
            rows_per_day * np.mean(held_out.held_out[held_out.held_out_days == d] > threshold) for d in np.unique(held_out.held_out_days)
        ]
        assert over == pytest.approx(each)


def test_the_threshold_by_hand():
    """MN-05: two days of a thousand rows: with k rows of either day over it, at that traffic, (2 k + 2 k) / 3 a day are reckoned with."""
    held_out = watch(np.arange(2000), days(1000, 1000)[np.arange(2000) % 2 * 1000])
    for budget, rows in ((4.0, 6), (3.99, 5), (4.01, 6), (5.0, 7)):
        threshold, reckoned = held_out.threshold(1000, budget)
        assert threshold == 2000 - rows
        first, second = (rows + 1) // 2, rows // 2
        assert reckoned == pytest.approx((first + second + 2 * first) / 3)
    assert held_out.threshold(2000, 8.0) == (1994.0, pytest.approx(8.0))  # of twice the traffic twice as many


def test_more_budget_and_less_traffic_never_raise_the_threshold():
    """MN-05: monotone in both; the strangest row of all is the highest threshold, a hundredth of the rows the lowest."""
    rng = np.random.default_rng(2)
    held_out = watch(rng.normal(size=3000), days(*[300] * 10))
    thresholds = [held_out.threshold(300, budget)[0] for budget in (1e-6, 0.5, 1, 2, 3, 300)]
    assert thresholds == sorted(thresholds, reverse=True)
    at_traffic = [held_out.threshold(rows, 2)[0] for rows in (10_000, 300, 1)]
    assert at_traffic == sorted(at_traffic, reverse=True)
    ranked = np.sort(held_out.held_out)[::-1]
    assert held_out.threshold(300, 1e-6) == (ranked[0], pytest.approx(300 / 300 * 3 / 11))
    assert held_out.threshold(300, 300)[0] == ranked[29]


@pytest.mark.parametrize(
    ("values", "asked", "scores"),
    [
        ([0.0, 10.0], [0.0, 5.0, 10.0, 15.0, -5.0], [-1, 0, 1, 2, -2]),  # mean 5, deviation 5
        ([3.0, 3.0], [3.0, 6.0, 0.0, 1.5], [0, 3, -3, -2.5]),  # the reference never changed: in its own size, and unseen
        ([0.0, 0.0], [0.0, 2.0, -0.5], [0, 4, -2.5]),
        ([-0.5], [-0.5, 0.5], [0, 3]),
    ],
)
def test_a_number_in_standard_deviations_by_hand(values, asked, scores):
    """MN-06: from the mean, also beyond what the reference had; of a constant one in its own size, at least one, and two more."""
    number = Number.fit(np.array(values), ranks=False)
    assert number.score(pa.chunked_array([asked])) == pytest.approx(scores)
    if len(set(values)) > 1:
        far = number.score(pa.chunked_array([[1e30, -1e30]]))
        assert far.tolist() == [50, -50]


def test_a_number_by_ranks_by_hand():
    """MN-05: SciPy's normal score of the middle of its rank; between two values between theirs, beyond them on in standard deviations."""
    values = np.array([1.0, 2.0, 2.0, 4.0])
    number = Number.fit(np.append(values, [np.nan] * 4), ranks=True)
    wanted = stats.norm.ppf([1 / 8, 4 / 8, 7 / 8])
    assert number.score(pa.chunked_array([[1.0, 2.0, 4.0]])) == pytest.approx(wanted)
    assert number.score(pa.chunked_array([[1.5, 3.0]])) == pytest.approx([(wanted[0] + wanted[1]) / 2, (wanted[1] + wanted[2]) / 2])
    deviation = values.std()
    assert number.score(pa.chunked_array([[5.0, 0.0]])) == pytest.approx([wanted[2] + 1 / deviation, wanted[0] - 1 / deviation])
    assert number.score(pa.chunked_array([pa.array([None, np.inf], pa.float64())])) == pytest.approx([-stats.norm.ppf(4.5 / 9)] * 2)


@pytest.mark.parametrize("ranks", [True, False])
def test_a_number_that_was_always_missing(ranks):
    """MN-05: missing is usual then, and every value is strange, two more than its own size."""
    number = Number.fit(np.full(9, np.nan), ranks=ranks)
    missing, zero, one, less = number.score(pa.chunked_array([pa.array([None, 0.0, 1.0, -1.0])]))
    assert missing == pytest.approx(-stats.norm.ppf(9.5 / 10))
    assert (zero, one, less) == (0, 3, -3)
    assert number.usual == (0.0, 0.0)


@pytest.mark.parametrize(("count", "usual"), [(1000, (5, 994)), (199, (0, 198)), (200, (1, 198)), (1, (0, 0))])
def test_what_is_usual_leaves_a_two_hundredth_at_either_end(count, usual):
    """MN-05: of so many different values, in whatever order they come."""
    values = np.random.default_rng(1).permutation(np.arange(float(count)))
    assert Number.fit(values, ranks=True).usual == Number.fit(values, ranks=False).usual == usual


def test_scores_of_many_values_are_those_of_their_ranks():
    """MN-05: within a hundredth of SciPy's, whatever the values' distances; both ends exactly."""
    values = np.sort(np.exp(3 * np.random.default_rng(2).normal(size=20_000)))
    found = Number.fit(values, ranks=True).score(pa.chunked_array([values]))
    wanted = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert np.abs(found - wanted)[200:-200].max() < 0.01
    assert found[[0, -1]] == pytest.approx(wanted[[0, -1]])


def test_a_category_by_its_rarity_by_hand():
    """MN-05: the most frequent lies lowest; those as frequent as one another share a place; a missing and a new one lie beyond all."""
    category = Category.fit(pa.chunked_array([["a"] * 6 + ["b"] * 2 + ["c"] * 2]))
    a, b, c, missing, new = category.score(pa.chunked_array([["a", "b", "c", None, "new"]]))
    assert (a, b, c) == pytest.approx(tuple(stats.norm.ppf([0.3, 0.8, 0.8])))
    assert missing == pytest.approx(-stats.norm.ppf(0.5 / 11))
    assert new == pytest.approx(missing + 2)
    known = Category.fit(pa.chunked_array([pa.array([None] * 6 + ["b"] * 4)]))
    assert known.score(pa.chunked_array([pa.array([None, "b"])])) == pytest.approx(stats.norm.ppf([0.3, 0.8]))
    assert category.score(pa.chunked_array([pa.array([], pa.string())])).tolist() == []
    nothing = Category.fit(pa.chunked_array([pa.array([], pa.string())]))
    assert nothing.score(pa.chunked_array([["a", None]])) == pytest.approx([2 - stats.norm.ppf(0.5), -stats.norm.ppf(0.5)])


def test_a_reference_of_one_row_makes_its_category_usual():
    """MN-05: the middle of all ranks."""
    assert Category.fit(pa.chunked_array([["a"]])).score(pa.chunked_array([["a"]])) == pytest.approx([0.0])


def test_columns_keep_the_order_of_the_reference():
    """MN-06: whatever the order of the rows' own columns; numbers by rank or by distance, all else by rarity."""
    reference = pa.table({"b": ["x", "x", "y"], "a": [1.0, 2.0, 40.0], "t": [True, True, False]})
    rows = reference.select(["t", "a", "b"])
    for ranks in (True, False):
        found = Scale.fit(reference, ranks=ranks).apply(rows)
        assert found[:, 0] == pytest.approx(stats.norm.ppf([1 / 3, 1 / 3, 5 / 6]))
        assert found[:, 2] == pytest.approx(found[:, 0])
        middle = stats.norm.ppf([1 / 6, 1 / 2, 5 / 6]) if ranks else (np.array([1, 2, 40]) - 43 / 3) / np.std([1, 2, 40])
        if ranks:
            assert found[:, 1] == pytest.approx(middle)
        else:
            assert found[[0, 2], 1] == pytest.approx(middle[[0, 2]])


def test_a_column_that_hardly_changes_does_not_outweigh_all_others():
    """MN-05: of any spread below a tenth a tenth is taken."""
    for spread in (0.0, 0.01, 0.1, 0.2):
        rows = np.array([[-spread], [spread]])
        found = Univariate.fit(rows, largest=False).score(np.array([[1.0]]))
        assert found == pytest.approx(-stats.norm.logpdf(1, 0, max(spread, 0.1)))


def test_the_kernel_is_as_wide_as_the_distance_to_near_rows():
    """MN-07: of a hundred rows on a line the tenth nearest lies five away: 1 over twice its square, wherever the line is."""
    line = np.arange(100.0)[:, None]
    for rows in (line, line + 1000, line[::-1]):
        assert anomalies._kernel_rate(rows) == pytest.approx(1 / (2 * 5**2))
    assert anomalies._kernel_rate(line * 10) == pytest.approx(1 / (2 * 50**2))
    assert anomalies._kernel_rate(np.zeros((9, 2))) == 1e6


@pytest.mark.parametrize("name", ["isolation_forest", "one_class_svm"])
def test_a_learnt_detector_calls_what_is_far_stranger_and_draws_by_its_seed(name):
    """MN-07, MN-08: larger is stranger; the same seed gives the same scores, of any size, another one others."""
    rows = np.random.default_rng(3).normal(size=(300 if name == "isolation_forest" else 2500, 2))
    asked = np.array([[0.0, 0.0], [4.0, 4.0]])
    near, far = fit_detector(name, rows, 1).score(asked)
    assert far > near
    same = 2**32 + 1 if name == "isolation_forest" else 1
    assert fit_detector(name, rows, same).score(asked).tolist() == [near, far]
    assert fit_detector(name, rows, 2).score(asked).tolist() != [near, far]


def test_what_does_not_go_together_is_strange_by_the_joint_density():
    """MN-06: SciPy's normal density over all columns: each value is usual alone, and the pair is none."""
    rng = np.random.default_rng(5)
    first = rng.normal(size=400)
    rows = np.column_stack([first, first + 0.2 * rng.normal(size=400)])
    fitted, asked = fit_detector("multivariate", rows, 1), np.array([[1.0, 1.0], [1.0, -1.0]])
    exact = stats.multivariate_normal(fitted.means, np.linalg.inv(fitted.precision))
    assert fitted.score(asked) == pytest.approx(-exact.logpdf(asked))
    together, apart = fitted.score(asked)
    assert apart > together + 5


@pytest.mark.parametrize("name", ["isolation_forest", "one_class_svm"])
def test_a_gap_between_values_is_seen_by_distance(name):
    """MN-07, MN-08: what lies between two heaps is stranger than nine in ten of either: ranks would close the gap."""
    when, rng = days(120, 120), np.random.default_rng(6)
    x = np.where(np.arange(240) % 2, 10.0, 0.0) + 0.1 * rng.normal(size=240)
    watched = fit_watch(pa.table({"x": x}), when, name, 1)
    assert watched.score(pa.table({"x": [5.0]}))[0] > np.quantile(watched.held_out, 0.9)


def test_a_svm_leaves_some_rows_outside_and_no_more_than_a_twentieth():
    """MN-07: of the rows that it was fitted on, by more than its solver's tolerance; with kernels this narrow few are."""
    rows = np.random.default_rng(4).normal(size=(1500, 2))
    assert 0 < np.mean(fit_detector("one_class_svm", rows, 1).score(rows) > 0.001) < 0.02


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [((100, 100), True), ((99, 100), False), ((100, 99), False), ((200,), False), ((50, 100, 50), True), ((1,) * 200, True)],
)
def test_a_hundred_rows_are_needed_on_every_second_day(sizes, fits):
    """MN-05: to fit on and to hold out; of one day, or of fewer rows, a sentence says what is there."""
    when = days(*sizes)
    found = fit_watch(pa.table({"x": np.random.default_rng(1).normal(size=len(when))}), when, "univariate_sum", 1)
    assert isinstance(found, Watch) == fits
    if not fits:
        assert f"The reference has {len(when)} rows on {len(sizes)} days: 100 rows on every second day" in found


@pytest.mark.parametrize(
    ("watched", "sentence"),
    [("No days.", "No days."), (Watch("n", Scale({}), STANDARD, np.zeros(0), days()), "The window has no requests.")],
)
def test_where_nothing_can_be_judged_nothing_is_found(watched, sentence):
    """MN-05: no figure is made up for what was not looked at."""
    found = find_anomalies(watched, pa.table({"x": pa.array([], pa.float64())}), days(), [], name="multivariate", alarms_per_day=2.5)
    assert found.model_dump() == {
        "detector": "multivariate", "alarms_per_day": 2.5, "achieved": None, "highest": None, "threshold": None, "held_out_days": 0,
        "scored": 0, "days": 0, "found": 0, "shown": (), "unusual": False, "sentence": sentence,
    }  # fmt: skip


def test_every_second_day_is_held_out_whatever_the_order_of_the_rows():
    """MN-05: the first, third and fifth day are what the detector knows; the others tell the threshold."""
    when = days(100, 100, 150, 120, 100)
    x = np.where(when.astype("datetime64[D]").astype(int) % 2 == when[0].astype("datetime64[D]").astype(int) % 2, 0.0, 7.0)
    order = np.random.default_rng(1).permutation(len(when))
    found = fit_watch(pa.table({"x": x[order] + np.random.default_rng(2).normal(size=len(x)) * 0.1}), when[order], "univariate_sum", 1)
    assert len(found.held_out) == 220
    assert sorted(set(found.held_out_days)) == sorted({when[100], when[350]})
    assert found.held_out.min() > 100  # sevens, to a detector that knows noughts


def test_large_references_are_thinned(monkeypatch):
    """MN-05: what is fitted and what is held out each to its most, drawn by the seed, and all of it where it is just as much."""
    when = days(150, 150)
    table = pa.table({"x": np.arange(300.0)})
    for most, kept in ((149, 149), (150, 150), (151, 150)):
        monkeypatch.setattr(anomalies, "HELD_OUT_ROWS", most)
        assert len(fit_watch(table, when, "univariate_sum", 1).held_out) == kept
    monkeypatch.setattr(anomalies, "FIT_ROWS", 120)
    one, same, other = (fit_watch(table, when, "univariate_sum", seed).scale.columns["x"].values for seed in (1, 1, 2))
    assert len(one) == 120
    assert one.tolist() == same.tolist()
    assert one.tolist() != other.tolist()


def test_rows_are_scored_alike_in_any_chunks(monkeypatch):
    """MN-05: a window larger than a chunk is scored in parts, none twice and none left out."""
    when = days(150, 150)
    found = fit_watch(pa.table({"x": np.random.default_rng(1).normal(size=300)}), when, "univariate_sum", 1)
    rows = pa.table({"x": np.linspace(-5, 5, 11)})
    whole = found.score(rows)
    for chunk in (1, 4, 10, 11, 12):
        monkeypatch.setattr(anomalies, "CHUNK", chunk)
        assert found.score(rows).tolist() == whole.tolist()
    assert found.score(rows.slice(0, 0)).tolist() == []


def simple(held_out=400, names=("x",)):
    """A watch over standard normal columns whose held-out days have the scores 0, 1, 2, ..."""
    scale = Scale({name: Number(np.array([-9.0, 9.0]), np.array([-9.0, 9.0]), 1.0, 9.0, (-2.0, 2.0)) for name in names})
    detector = Univariate(np.zeros(len(names)), np.ones(len(names)), largest=True)
    scores = np.concatenate([np.zeros(held_out - 8), np.full(8, 5.0)])
    return Watch("univariate_max", scale, detector, scores, days(held_out // 2, held_out // 2)[np.arange(held_out) % 2 * held_out // 2])


def judged(rows, when, ids=None, budget=2.0, **more):
    """What is found of some rows."""
    return find_anomalies(
        simple(**more), pa.table(rows), when, ids or [f"{i:04d}" for i in range(len(when))], name="univariate_max", alarms_per_day=budget
    )


def test_rows_over_the_threshold_are_counted_and_the_strangest_are_shown():
    """MN-05: those at the threshold are not; of equals the first id comes first, and of many fifty are shown."""
    x = np.zeros(400)
    x[:5] = [4.0, -6.0, 5.0, 6.0, np.sqrt(2 * (5 - np.log(2 * np.pi) / 2))]
    found = judged({"x": x}, days(200, 200), ids=[*"edcba", *(f"x{i}" for i in range(395))])
    assert found.threshold == 5.0
    assert (found.scored, found.days, found.found, found.held_out_days) == (400, 2, 4, 2)
    assert [a.prediction_id for a in found.shown] == ["b", "d", "c", "e"]
    assert found.shown[0].score == pytest.approx(18 + np.log(2 * np.pi) / 2, abs=1e-6)
    assert found.shown[0].score == round(found.shown[0].score, 6)
    assert (found.detector, found.alarms_per_day, found.achieved, found.highest) == ("univariate_max", 2.0, 0.0, 0.0)
    many = judged({"x": np.repeat([0.0, 8.0], [340, 60])}, days(400))
    assert (many.found, len(many.shown)) == (60, 50)
    assert [a.prediction_id for a in many.shown[:2]] == ["0340", "0341"]


@pytest.mark.parametrize(("strange", "unusual"), [(6, False), (7, True)])
def test_more_than_three_times_the_budget_are_unusual(strange, unusual):
    """MN-05: six of a budget of two are not, seven are; and that is said."""
    found = judged({"x": np.repeat([0.0, 8.0], [400 - strange, strange])}, days(400), budget=2.0)
    assert (found.found, found.unusual) == (strange, unusual)
    assert found.sentence.startswith(f"{strange} requests are unlike the reference; up to 2 in 1 day are expected while nothing is wrong.")
    assert ("That is more than on any held-out day of the reference." in found.sentence) == unusual


def test_no_more_than_on_the_worst_held_out_day_is_usual():
    """MN-05: whatever the budget; one request more is not."""
    base, scores = simple(), np.zeros(2000)
    scores[500:514] = np.linspace(5, 9, 14)  # one of twenty days: (14 + 2 * 14) / 21 are reckoned with
    stormy = Watch(base.name, base.scale, base.detector, scores, days(*[100] * 20))
    for strange, unusual in ((13, False), (14, True)):
        rows = pa.table({"x": np.repeat([0.0, 8.0], [100 - strange, strange])})
        found = find_anomalies(stormy, rows, days(100), [str(i) for i in range(100)], name="n", alarms_per_day=2.0)
        assert (found.found, found.threshold, found.unusual) == (strange, 5.0, unusual)
        assert (found.highest, found.achieved) == (13.0, 0.65)


@pytest.mark.parametrize(
    ("count", "window", "budget", "words"),
    [
        (0, (400,), 2.0, "No request is unlike the reference; up to 2 in 1 day are expected while nothing is wrong."),
        (1, (400,), 2.5, "1 request is unlike the reference; up to 2.5 in 1 day are expected while nothing is wrong."),
        (2, (200, 200), 2.0, "2 requests are unlike the reference; up to 4 in 2 days are expected while nothing is wrong."),
    ],
)
def test_how_many_are_told(count, window, budget, words):
    """MN-05: none, one or more, and how many are expected in so many days."""
    assert judged({"x": np.repeat([0.0, 8.0], [400 - count, count])}, days(*window), budget=budget).sentence == words


def test_a_budget_that_the_reference_is_too_small_for_is_told():
    """MN-05: what can be told stands in the place of the budget; at just that budget nothing is said."""
    least = simple().threshold(400, 1e-9)[1]
    assert least == pytest.approx(2.0)  # of two days of two hundred rows one row is two a day, and twice that for the day to come
    for budget, said in ((least - 0.01, True), (least, False)):
        found = judged({"x": np.zeros(400)}, days(400), budget=budget)
        assert ("At this traffic the reference is too small to tell fewer than 2 a day." in found.sentence) == said


def explained(names, **values):
    """Columns and sentence of one row that is over the threshold."""
    rows = pa.table({name: [*[0.0] * 399, values.get(name, 0.0)] for name in names})
    found = find_anomalies(simple(names=names), rows, days(400), [str(i) for i in range(400)], name="n", alarms_per_day=2.0)
    [shown] = found.shown
    return shown.columns, shown.sentence


def test_columns_are_named_that_make_a_row_strange():
    """MN-05: by how much less strange it were without; one of two when both are as strange by themselves."""
    assert explained(["a", "b"], b=6.0) == (("b",), "`b` is 6, usual is -2 to 2.")
    assert explained(["a", "b"], a=-6.0) == (("a",), "`a` is -6, usual is -2 to 2.")
    scale = simple(names=("a", "b", "c", "d")).scale
    summed = Watch("n", scale, Univariate(np.zeros(4), np.ones(4), largest=False), np.repeat([0.0, 8.0], [396, 4]), days(200, 200))
    rows = pa.table({name: [*[0.0] * 399, value] for name, value in zip("abcd", (6.0, 4.2, 4.3, 4.4), strict=True)})
    [shown] = find_anomalies(summed, rows, days(400), ["x"] * 400, name="n", alarms_per_day=2.0).shown
    assert shown.columns == ("a", "d", "c")  # three at most, of those half as much to blame as the first
    rows = pa.table({name: [*[0.0] * 399, 6.0] for name in "abcd"})
    assert find_anomalies(summed, rows, days(400), ["x"] * 400, name="n", alarms_per_day=2.0).shown[0].columns == ("a", "b", "c")
    rows = pa.table({name: [*[0.0] * 399, value] for name, value in zip("abcd", (6.0, 4.0, 4.3, 0.0), strict=True)})
    assert find_anomalies(summed, rows, days(400), ["x"] * 400, name="n", alarms_per_day=2.0).shown[0].columns == ("a", "c")


@pytest.mark.parametrize("level", [-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_a_column_is_tried_with_usual_values(level):
    """MN-05: it alone is to blame where one of them in its place, at halves up to one and a half, leaves nothing strange."""

    class Together:
        """A row is strange if its two columns are not the same."""

        def score(self, rows):
            return np.where(np.abs(rows[:, 1] - rows[:, 0]) < 1e-6, 0.0, 10.0)

    watched = Watch("n", simple(names=("a", "b")).scale, Together(), np.repeat([0.0, 8.0], [396, 4]), days(200, 200))
    rows = pa.table({"a": [*[0.0] * 399, level + 3.2], "b": [*[0.0] * 399, level]})
    [shown] = find_anomalies(watched, rows, days(400), ["x"] * 400, name="n", alarms_per_day=2.0).shown
    assert (shown.columns, shown.score) == (("a",), 10.0)


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ([("n", 7.0, 3.1)], "`n` is 7, usual is -2 to 2.5."),
        ([("n", -7.25, -3.1)], "`n` is -7.25, usual is -2 to 2.5."),
        ([("n", 1234567.0, 3.0)], "`n` is 1.23457e+06: usual by itself, not with the rest of the row."),
        ([("n", 7.0, -3.0), ("n", 1, 0.0)], "`n` is 7; `n` is 1: usual each for itself, not together."),
        ([("n", None, 3.1)], "`n` is missing, usual is -2 to 2.5."),
        ([("c", "a", 3.1)], "`c` is a, which is rare."),
        ([("c", "z", 5.0)], "`c` is z, which the reference does not have."),
        ([("c", None, 3.1)], "`c` is missing, which is rare."),
        ([("c", "a", 3.1), ("n", 1.0, 0.0)], "`c` is a, which is rare; `n` is 1."),
        ([("c", True, 3.1)], "`c` is True, which the reference does not have."),
    ],
)
def test_what_is_said_of_columns(named, sentence):
    """MN-05: a value farther than three from the usual is strange by itself; where none is, that is said."""
    scale = Scale({"n": Number(np.zeros(1), np.zeros(1), 1.0, 0.0, (-2.0, 2.5)), "c": Category({"a": 0.0, None: 3.0}, 5.0)})
    assert anomalies._says(named, scale) == sentence


def test_what_was_said_of_a_row_stays():
    """MN-11: a stored anomaly is evidence: nobody changes it, and nothing is added to it."""
    facts = {"prediction_id": "a-0", "score": 3.5, "columns": ("km",), "sentence": "`km` is 900."}
    anomaly = anomalies.Anomaly(**facts)
    with pytest.raises(ValidationError, match="frozen"):
        anomaly.score = 0.0
    with pytest.raises(ValidationError, match="usual"):
        anomalies.Anomaly(**facts, usual=True)
