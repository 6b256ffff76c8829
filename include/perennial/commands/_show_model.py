"""One model, in lines: what serves, what was decided, its versions, its windows, its incidents."""

from __future__ import annotations

from perennial.commands._show_drift import metrics_line
from perennial.commands._show_models import row_lines
from perennial.counted import counted
from perennial.store import Store
from perennial.views.model import ModelView, model_view


def show(store: Store, name: str) -> tuple[ModelView, list[str]]:
    """The model's page as text. Raises UnknownName if there is no such model."""
    view = model_view(store, name)
    lines = [*row_lines(view.row), *view.damage]
    if view.training:
        lines.append(f"  {view.training.sentence}")
    if view.refused:
        lines.append(f"  The newest candidate was refused: {view.refused}")
    lines.append(f"  {view.delivery.sentence}")
    parts = {
        "Decisions, newest first": [
            f"{one.time:%Y-%m-%d %H:%M} {one.kind.replace('_', ' ')}, version {one.version} at {100 * one.share:g} %, "
            f"by {one.actor}: {one.reason}"
            for one in view.decisions
        ],
        "Versions, newest first": [
            f"{one.number}{f' ({one.role})' if one.role else ''}, registered {one.registered:%Y-%m-%d %H:%M}"
            f"{', trained because of ' + one.cause if one.cause else ''}: "
            + (", ".join(f"{metric} {value:.4g}" for metric, value in one.metrics.items()) or "no figures are stored")
            for one in view.versions
        ],
        "Windows of live traffic, newest first": [
            f"{one.name.replace('_', ' to ')}, version {one.version}, {counted(one.requests, 'request')}: {one.sentence}"
            for one in reversed(view.windows[-12:])
        ],
        "Metrics of the newest window with outcomes": [
            f"{one.name.replace('_', ' to ')}, version {one.version}, {one.labelled:,} outcomes: {metrics_line(one)}"
            for one in view.windows[::-1]
            if one.metrics
        ][:1],
        "Open incidents": [f"{one.severity} {one.kind}, since {one.opened:%Y-%m-%d %H:%M}: {one.sentence}" for one in view.incidents],
    }
    return view, lines + [line for head, told in parts.items() if told for line in (f"{head}:", *(f"  {each}" for each in told))]
