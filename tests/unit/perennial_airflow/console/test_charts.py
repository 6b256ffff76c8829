"""A picture says the same as the table behind it, and no text of a person or a file acts in either."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone
from html import unescape
from typing import Any

import pytest

from perennial.monitoring.report.timeline import WindowPoint
from perennial_airflow.console import charts
from perennial_airflow.console.pictures import loss

BEGIN = datetime(2026, 3, 1, tzinfo=timezone.utc)


def window(day: int, version: int, realised: float | None, low: float | None = None, high: float | None = None) -> WindowPoint:
    """A window of a day."""
    first = BEGIN + timedelta(days=day)
    return WindowPoint(
        name=f"w{day}", first=first, last=first + timedelta(days=1), version=version, requests=100, labelled=10, loss="log loss",
        realised=realised, low=low, high=high, expected=0.4, estimated=0.5 if day else None, jumped=False, confirmed=(), breaks=(),
        anomalies=0, changes=(), retraining="", cause=None, sentence="",
    )  # fmt: skip


WINDOWS = [window(0, 1, 0.3, 0.25, 0.35), window(1, 1, None), window(2, 2, 0.2, 0.1, 0.4)]


def series(option: dict[str, Any], name: str) -> list[Any]:
    return next(one["data"] for one in option["series"] if one.get("name") == name)


def test_the_loss_is_drawn_with_its_band_and_where_the_version_changed() -> None:
    """MN-08: Realised loss with its interval, what is expected, and a line where another version began to serve."""
    option = loss.option(WINDOWS)
    day = 24 * 3600 * 1000
    begin = round(BEGIN.timestamp() * 1000)
    assert series(option, "realised") == [[begin + day, 0.3], [begin + 2 * day, None], [begin + 3 * day, 0.2]]
    assert [value for _, value in series(option, "expected")] == [0.4, 0.5, 0.5]
    lower, distance = (one["data"] for one in option["series"][:2])
    assert [(low, low + width) for (_, low), (_, width) in zip(lower, distance, strict=True)] == [
        (pytest.approx(0.25), pytest.approx(0.35)),
        (pytest.approx(0.1), pytest.approx(0.4)),
    ]
    marks = option["series"][2]["markLine"]["data"]
    assert [(mark["xAxis"], mark["label"]["formatter"]) for mark in marks] == [(begin + 2 * day, "version 2")]


def test_times_without_a_zone_are_utc() -> None:
    """A window's times are drawn alike on every machine."""
    naive = WINDOWS[0].model_copy(update={"last": WINDOWS[0].last.replace(tzinfo=None)})
    assert loss.option([naive])["series"][2]["data"] == loss.option(WINDOWS[:1])["series"][2]["data"]


def test_the_table_has_the_figures_of_the_picture() -> None:
    """A picture's figures are there for who cannot see it, newest first; what is not known is empty."""
    assert loss.rows(WINDOWS) == [
        ["w2", 2, "0.2", "0.1 to 0.4", "0.4", "0.5", "", ""],
        ["w1", 1, "", "", "0.4", "0.5", "", ""],
        ["w0", 1, "0.3", "0.25 to 0.35", "0.4", "", "", ""],
    ]


def test_hostile_text_stays_text() -> None:
    """Markup in a label, a name or a cell is shown as it stands, and what the library is told arrives as it was."""
    hostile = "</figure><script>alert(1)</script>'\"&"
    html = str(charts.chart("x", hostile, {"title": {"text": hostile}}, [hostile], [[hostile]]))
    assert "<script" not in html
    told = re.search("data-chart='([^']*)'", html)
    assert told
    assert json.loads(unescape(told[1])) == {"title": {"text": hostile}}
