"""The list of models, in lines."""

from __future__ import annotations

from perennial.store import Store
from perennial.views.models import ModelRow, ModelsView, models


def show(store: Store) -> tuple[ModelsView, list[str]]:
    """A paragraph for each model; a sentence where there is none."""
    view = models(store)
    if not view.rows:
        return view, ["There is no model yet. `perennial add model NAME --dataset DATASET --label COLUMN` writes the first one."]
    return view, [view.sentence, *(line for row in view.rows for line in row_lines(row))]


def row_lines(row: ModelRow) -> list[str]:
    """What the list says of one model."""
    shares = ", ".join(f"version {part.version} {100 * part.share:g} % ({part.role})" for part in row.serving)
    told = [f"{row.name}: {row.state}. {row.sentence}"]
    if shares:
        told.append(
            f"  {shares}; a rollback goes to {f'version {row.back_to}' if row.back_to else 'nothing: there is no earlier champion'}."
        )
    if row.since:
        told.append(f"  Since {row.since:%Y-%m-%d %H:%M} UTC, by {row.actor}: {row.reason}")
    if row.incidents.open:
        told.append(f"  {row.incidents.open} open, the worst is {row.incidents.severity}: {row.incidents.sentence}")
    return told
