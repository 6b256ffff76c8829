"""The picture of a replay: the loss by day of the policies that matter, and below it when each policy trained and why."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date, timedelta

from perennial.monitoring.replay import History

SHOWN = {"never": "#9aa5b1", "nightly": "#66707c", "spec": "#d9782d"}
CAUSES = {"schedule": "#66707c", "data": "#9aa5b1", "performance": "#b3261e", "drift": "#2a6fb0"}
SMOOTHED = timedelta(days=7)


def draw(histories: Sequence[History], title: str, loss: str) -> bytes:
    """An SVG; the same replay gives the same bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "perennial", "svg.fonttype": "none", "text.parse_math": False}):  # a `$` is a `$`
        return _drawn(histories, title, loss)


def _drawn(histories: Sequence[History], title: str, loss: str) -> bytes:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4 + 0.3 * len(histories)), layout="constrained")
    FigureCanvasSVG(figure)
    above, below = figure.subplots(2, sharex=True, height_ratios=(3, 0.3 * len(histories)))
    for history in histories:
        if history.policy.name in SHOWN:
            days = [d for d in history.days if d.realised is not None]
            colour, when = SHOWN[history.policy.name], [d.day for d in days]
            above.plot(when, [d.realised for d in days], color=colour, linewidth=0.5, alpha=0.4)
            above.plot(when, [_mean(history, day) for day in when], color=colour, linewidth=1.6, label=history.policy.title)
    above.set_ylabel(f"{loss}, by day (thin) and 7 days")
    above.set_title(title, loc="left")
    above.legend(loc="upper left", ncols=len(SHOWN), frameon=False)
    for row, history in enumerate(reversed(histories)):
        for cause, colour in CAUSES.items():
            when = [d.day for d in history.days if d.retrained == cause]
            below.plot(when, [row] * len(when), "|", color=colour, markersize=9, markeredgewidth=1.6, label=cause if row == 0 else None)
        alarms = [d.day for d in history.days if d.alarms]
        below.plot(alarms, [row - 0.32] * len(alarms), "^", color="#c9a227", markersize=3, label="alarm" if row == 0 else None)
    below.set_yticks(range(len(histories)), [h.policy.title for h in reversed(histories)])
    below.set_ylim(-0.7, len(histories) - 0.3)
    below.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=len(CAUSES) + 1, frameon=False, title="trained because of")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    written = io.BytesIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _mean(history: History, last: date) -> float:
    """Mean loss of the labelled rows of the seven days up to a day."""
    known = [(d.realised, d.labelled) for d in history.days if d.realised is not None and last - SMOOTHED < d.day <= last]
    return sum(value * rows for value, rows in known) / sum(rows for _, rows in known)
