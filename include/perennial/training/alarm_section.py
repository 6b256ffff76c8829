"""The part of an evaluation's page that shows an anomaly model's scores, its threshold, its alarms by day and the least usual rows.

>>> alarms = {"bins": [[0.0, 1.0, 9, 0], [1.0, 2.0, 1, 1]], "days": [["2024-01-01", 10, 1]]}
>>> pieces = sections({"rows": 10, "labelled": 1, "candidate": {"alarm_above": 1.5, "alarms": alarms, "stability": {}}})
>>> [piece for piece in pieces if piece.startswith("<h2>")]
['<h2>How unusual rows are</h2>', '<h2>Alarms by day</h2>']
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from perennial.counted import percent
from perennial.pages import shortened, table_of
from perennial.training import pictures
from perennial.training.pictures import COLOURS, Range, figure_of, key_of, number

_MOST_LETTERS = 80  # of a key's value among the least usual rows


def sections(test: dict[str, Any]) -> list[str]:
    """HTML of the test rows' scores and alarms."""
    who = [name for name in COLOURS if "alarms" in test.get(name, {})]
    ours = test["candidate"]
    known = f" In colour those of the {test['labelled']:,} labelled rows that are anomalies." if test["labelled"] else ""
    thresholds = ", ".join(f"{name} {number(test[name]['alarm_above'])}" for name in who)
    bins = [row for row in ours["alarms"]["bins"] if row[2]]
    days = {name: test[name]["alarms"]["days"] for name in who}
    return [
        "<h2>How unusual rows are</h2>",
        figure_of(
            "Test rows by the candidate's score, higher where a row is less usual; the dashed line is the threshold above which it raises "
            f"an alarm. Heights are roots of counts, so that few rows can be seen beside many.{known} Thresholds: {thresholds}.",
            pictures.heights(ours["alarms"]["bins"], ours["alarm_above"]),
            table_of(
                ("score", "rows", "known anomalies"),
                [(f"{number(low)} to {number(high)}", f"{rows:,}", f"{unusual:,}") for low, high, rows, unusual in bins],
            ),
        ),
        *_stability(ours["stability"]),
        "<h2>Alarms by day</h2>",
        figure_of(
            f"Share of each day's test rows that raise an alarm.{key_of(who)}",
            pictures.ranges(
                {name: [Range(day, alarms / rows, alarms / rows, alarms / rows) for day, rows, alarms in days[name]] for name in who},
                "Share of rows that raise an alarm, by day",
            ),
            table_of(
                ("day", "rows", *(f"alarms, {name}" for name in who)),
                [
                    (escape(day), f"{rows:,}", *(f"{days[name][place][2]:,} ({percent(days[name][place][2] / rows)})" for name in who))
                    for place, (day, rows, _) in enumerate(days["candidate"])
                ],
            ),
        ),
    ]


def unusual(rows: Sequence[dict[str, Any]], label: str) -> list[str]:
    """HTML of the least usual rows, by their key.

    Args:
        rows: `worst` of the evaluation.
        label: the label's column; empty without one.
    """
    if not rows:
        return []
    names, who = list(rows[0]["key"]), [name for name in COLOURS if name in rows[0]]
    lines = []
    for row in rows:
        actual = [] if not label else ["<span class=quiet>not known</span>" if row["actual"] is None else f"{row['actual']:g}"]
        lines.append(
            [*(escape(shortened(value, _MOST_LETTERS)) for value in row["key"].values()), *actual, *(number(row[one]) for one in who)]
        )
    said = "The test rows with the highest scores of the candidate, by their key: would you want an alarm for them?"
    head = [*names, *([f"actual {label}"] if label else []), *(f"score, {one}" for one in who)]
    return ["<h2>The least usual rows</h2>", f"<p class=quiet>{said}</p>", table_of(head, lines)]


def _stability(stable: dict[str, float]) -> list[str]:
    if not stable:
        return []
    return [
        f"<p>{stable['refits']:.0f} refits on training rows drawn again: their scores of the validation rows have a rank correlation of "
        f"{stable['rank_agreement']:.2f} with the candidate's, and they raise {percent(stable['alarm_agreement'])} of its alarms too.</p>"
    ]
