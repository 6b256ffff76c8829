"""`perennial show`: print what the console shows, in a terminal or as JSON.

$ perennial show models
$ perennial show model digits
$ perennial show compare digits 1 2
$ perennial show incidents
$ perennial show release digits --version 2
$ perennial show experiment digits
$ perennial show data digits --only refused
$ perennial show lineage digits --batch 2013-07-04.csv
$ perennial show drift digits
$ perennial show reports --only refused
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from perennial import discovery
from perennial.commands import (
    _show_compare,
    _show_data,
    _show_drift,
    _show_experiment,
    _show_incidents,
    _show_lineage,
    _show_model,
    _show_models,
    _show_release,
    _show_reports,
    _show_versions,
)
from perennial.errors import EXIT_DONE, UnknownName
from perennial.lineage.ledger import known_models
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.view import View

# Of each view: how it is made of the store and the other arguments, and its lines.
OF_ALL: dict[str, Callable[..., tuple[View, list[str]]]] = {"models": _show_models.show}
OF_ONE: dict[str, Callable[..., tuple[View, list[str]]]] = {
    "model": _show_model.show,
    "versions": _show_versions.show,
    "compare": _show_compare.show,
    "release": _show_release.show,
    "experiment": _show_experiment.show,
    "drift": _show_drift.show,
    "data": _show_data.show,
    "lineage": _show_lineage.show,
}
OF_ONE_OR_ALL: dict[str, Callable[..., tuple[View, list[str]]]] = {"incidents": _show_incidents.show, "reports": _show_reports.show}
MAKES = {**OF_ALL, **OF_ONE, **OF_ONE_OR_ALL}


def run(settings: Settings, store: Store, *, what: str, name: str | None = None, json: bool = False, **options: Any) -> int:
    """Print a view.

    Raises:
        UnknownName: there is no such model, or none is named and there are several; or an option belongs to another view.
    """
    del settings
    view, lines = shown(store, what, name, **options)
    print(view.model_dump_json(indent=1) if json else on_terminal("\n".join(lines)))
    return EXIT_DONE


def shown(store: Store, what: str, name: str | None = None, **options: Any) -> tuple[View, list[str]]:
    """A view and its lines.

    Raises:
        UnknownName: there is no such model, or none is named and there are several; or an option belongs to another view.
    """
    given = {option: value for option, value in options.items() if value is not None and value is not False}
    for option in sorted(given.keys() - inspect.signature(MAKES[what]).parameters):
        others = [other for other, make in MAKES.items() if option in inspect.signature(make).parameters]
        if not others:
            raise UnknownName(f"`perennial show {what}` has no --{option}: `perennial show --help` lists what it has.")
        raise UnknownName(f"`perennial show {what}` has no --{option}: `show {' and `show '.join(f'{other}`' for other in others)} has.")
    names = [] if what in OF_ALL else [name] if what in OF_ONE_OR_ALL else [name or _only_model(store, what)]
    return MAKES[what](store, *names, **given)


def _only_model(store: Store, what: str) -> str:
    """The one model that there is."""
    names = sorted({*discovery.models(), *known_models(store)})
    if len(names) != 1:
        raise UnknownName(
            f"Say which model: `perennial show {what} NAME`. There are {', '.join(names)}." if names else "There is no model yet."
        )
    return names[0]
