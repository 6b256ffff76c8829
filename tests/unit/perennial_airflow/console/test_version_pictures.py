"""Pictures of versions: each metric on a scale of its own, nothing drawn that is not known, the table says the same."""

from __future__ import annotations

from perennial.lineage.version_notes import Figure
from perennial.views.comparison import MetricLine, SliceLine
from perennial_airflow.console.pictures import figures, learning

NAMES = ("A, version 1", "B, version 2")


def line(name: str, a: float | None, b: float | None, *, ends: bool = True, between: tuple[float, float] | None = None) -> MetricLine:
    """A metric of both, with intervals 0.2 wide."""

    def side(value: float | None) -> Figure | None:
        if value is None:
            return None
        return Figure(name=name, value=value, low=value - 0.1 if ends else None, high=value + 0.1 if ends else None)

    difference = None if a is None or b is None else b - a
    low, high = between or (None, None)
    return MetricLine(name=name, a=side(a), b=side(b), difference=difference, low=low, high=high, better="b" if between else "unknown")


LINES = [line("log_loss", 0.6, 0.5, between=(-0.12, -0.08)), line("mse", 1e6, None), line("f1", 0.0, 0.0, ends=False)]


def test_each_metric_has_a_scale_that_holds_both_versions() -> None:
    """MO-10: A bar from end to end of an interval, a dot at the value, on an axis that reaches beyond both."""
    option = figures.option(LINES, NAMES)
    assert [title["text"] for title in option["title"]] == ["log loss", "mse", "f1"]
    assert len(option["grid"]) == len(option["xAxis"]) == len(option["yAxis"]) == 3
    for axis in option["xAxis"]:
        assert axis["min"] < axis["max"]
    for one in option["series"]:
        axis = option["xAxis"][one["xAxisIndex"]]
        assert all(axis["min"] <= x <= axis["max"] for x, _ in one["data"])
    bars = [one for one in option["series"] if one["type"] == "line"]
    assert [(one["name"], [x for x, _ in one["data"]]) for one in bars[:2]] == [(NAMES[0], [0.5, 0.7]), (NAMES[1], [0.4, 0.6])]
    assert [one["name"] for one in option["series"] if one["xAxisIndex"] == 1] == [NAMES[0], NAMES[0]]  # B has none
    assert [one["type"] for one in option["series"] if one["xAxisIndex"] == 2] == ["scatter", "scatter"]  # no interval is known


def test_the_tables_say_what_the_pictures_show() -> None:
    """Values with intervals, the difference with its own, and who is shown to be better; what is not known is empty."""
    assert figures.rows(LINES) == [
        ["log loss", "0.6 (0.5 to 0.7)", "0.5 (0.4 to 0.6)", "-0.1 (-0.12 to -0.08)", "B"],
        ["mse", "1e+06 (1e+06 to 1e+06)", "", "", ""],
        ["f1", "0", "0", "+0", ""],
    ]
    part = SliceLine(column="carrier", value="AA", rows_a=1200, rows_b=None, metric=LINES[0])
    assert figures.slice_rows([part])[0][:4] == ["carrier", "AA", "1,200", ""]


def test_the_largest_differences_of_slices_are_drawn() -> None:
    """MO-21: Of hundreds of slices the dozen that differ most; long names are cut, and the table has them all."""
    lines = [
        SliceLine(column="city", value=f"{place:03d}{'x' * 5000}", rows_a=9, rows_b=9, metric=line("rmse", 1.0, 1.0 + place / 100))
        for place in range(200)
    ]
    option = figures.slices_option(lines, NAMES)
    places = option["yAxis"][1]["data"]
    assert len(places) == figures.MOST
    assert places[0].startswith("city 199")
    assert max(map(len, places)) <= 24
    assert len(figures.slice_rows(lines)) == 200


def test_learning_is_drawn_against_the_epoch() -> None:
    """MO-03: A line for each loss, at its epoch; the learning rate has another scale and is left out; calibration has its diagonal."""
    history = [{"epoch": 1.0, "train_loss": 2.0, "validation_loss": 2.5, "learning_rate": 0.1}, {"epoch": 3.0, "train_loss": 1.0}]
    option = learning.option(history)
    assert [one["name"] for one in option["series"]] == ["train loss", "validation loss"]
    assert [one["data"] for one in option["series"]] == [[[1.0, 2.0], [3.0, 1.0]], [[1.0, 2.5], [3.0, None]]]
    assert (learning.head(history), learning.rows(history)[1]) == (["epoch", "train loss", "validation loss"], [3.0, "1", ""])
    curve = learning.curve_option([(0.2, 0.25, 0.5)])
    assert [one["data"] for one in curve["series"]] == [[[0.2, 0.25]], [[0, 0], [1, 1]]]
    assert learning.curve_rows([(0.2, 0.25, 0.5)]) == [["0.200", "0.250", "50.0 %"]]
