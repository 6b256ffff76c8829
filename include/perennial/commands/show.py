"""`perennial show`: print what the console shows, in a terminal or as JSON.

$ perennial show models
"""

from __future__ import annotations

from perennial.errors import EXIT_DONE
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.models import ModelRow, ModelsView, models


def run(settings: Settings, store: Store, *, what: str, json: bool = False) -> int:
    """Print a view."""
    del settings, what
    view = models(store)
    print(view.model_dump_json(indent=1) if json else on_terminal("\n".join(lines(view))))
    return EXIT_DONE


def lines(view: ModelsView) -> list[str]:
    """A paragraph for each model; a sentence where there is none."""
    if not view.rows:
        return ["There is no model yet. `perennial add model NAME --dataset DATASET --label COLUMN` writes the first one."]
    return [line for row in view.rows for line in _lines(row)]


def _lines(row: ModelRow) -> list[str]:
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
