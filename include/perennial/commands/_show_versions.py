"""All versions of a model, in lines."""

from __future__ import annotations

from perennial.counted import counted
from perennial.lineage.version_notes import Figure
from perennial.store import Store
from perennial.views.versions import VersionLine, VersionsView, versions_view


def show(store: Store, name: str, page: int | None = None) -> tuple[VersionsView, list[str]]:
    """A paragraph for each version of a page, newest first. Raises UnknownName if there is no such model."""
    view = versions_view(store, name, page or 1)
    if not view.versions:
        return view, [f"{name} has no version yet, and the gate has refused none."]
    lines = [f"{name}: {counted(view.total, 'version')}{f', page {view.page} of {view.pages}' if view.pages > 1 else ''}, newest first."]
    for one in view.versions:
        lines += version_lines(one)
    if view.page < view.pages:
        lines.append(f"Older ones: `perennial show versions {name} --page {view.page + 1}`.")
    return view, lines


def version_lines(one: VersionLine) -> list[str]:
    """What the list says of one version."""
    when = one.trained or one.registered
    lines = [
        f"{one.title} {'' if one.number is None else one.digest[:12] + ' '}{f'({one.role}) ' if one.role else ''}{one.gate}"
        + (f", {when:%Y-%m-%d %H:%M} UTC" if when else "")
        + (f", because of {one.cause}" if one.cause else "")
        + (f": {one.reason}" if one.reason else "")
    ]
    made = f"Made by {one.learner}. {one.used}".strip() if one.learner else one.used
    lines += [f"  {text}" for text in (one.sentence, ", ".join(map(figure, one.figures)), made, one.damage) if text]
    return lines


def figure(one: Figure) -> str:
    """A metric with its interval."""
    return f"{one.name.replace('_', ' ')} {one.value:.4g}" + (f" ({one.low:.4g} to {one.high:.4g})" if one.low is not None else "")
