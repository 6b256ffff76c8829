"""The incidents of a model or of all, in lines: how often alarms are raised, then each incident, the newest last."""

from __future__ import annotations

from perennial import discovery
from perennial.counted import counted
from perennial.incidents.listing import Wanted
from perennial.store import Store
from perennial.views.incidents import IncidentRow, IncidentsView, Rate, incidents_view, names_with_incidents


def show(
    store: Store,
    name: str | None = None,
    wanted: Wanted = Wanted(),  # noqa: B008 - it is frozen
    page: int = 1,
) -> tuple[IncidentsView, list[str]]:
    """One page of incidents, by model.

    Raises:
        UnknownName: there is no such model.
    """
    view = incidents_view(store, discovery.models_asked_about(name, names_with_incidents(store)), wanted, page)
    lines = [*view.damage, *view.silences]
    for model in view.models:
        lines.append(f"{model.name}: {counted(model.count, 'incident')}, {model.open:,} open. {model.rate.sentence}")
        lines += [line for row in reversed(view.rows) if row.model == model.name for line in _described(row)]
    if len(view.kinds) > 1:
        lines.append("By kind:")
        lines += [f"  {each.kind}: {each.count:,}, {each.open:,} open, {_often(each.rate)}" for each in view.kinds]
    if view.pages > 1:
        lines.append(
            f"Page {view.page} of {view.pages}: {len(view.rows)} of {view.matching:,} incidents. "
            f"`perennial incidents{f' --model {name}' if name else ''} --page N` shows another."
        )
    return view, lines


def _often(rate: Rate) -> str:
    return f"{rate.per_month:.1f} alarms a month{f', {rate.false} of {rate.judged} judged were false' if rate.judged else ''}"


def _described(row: IncidentRow) -> list[str]:
    """The lines that describe one incident and its history."""
    until = f"until {row.resolved:%Y-%m-%d %H:%M}" if row.resolved else "open"
    lines = [f"  {row.id}  {row.severity}  {row.opened:%Y-%m-%d %H:%M} UTC, {until}: {row.sentence}"]
    if row.resolution:
        lines.append(f"    over: {row.resolution}")
    if row.verdict:
        lines.append(f"    {row.by}: {row.verdict}{f', {row.note}' if row.note else ''}")
    lines += [f"    not told on {channel}: {why}" for channel, why in sorted(row.missed.items())]
    lines += [f"    {title}: {address}" for title, address in row.links.items()]
    return lines
