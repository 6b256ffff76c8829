"""The index of reports, in lines: evaluations, windows of live traffic and Data Docs of batches, the newest first."""

from __future__ import annotations

from perennial import discovery
from perennial.errors import UnknownName
from perennial.store import Store
from perennial.views.data import Only, datasets_of
from perennial.views.reports import ReportList, ReportsView, names, reports


def show(store: Store, name: str | None = None, only: Only = "") -> tuple[ReportsView, list[str]]:
    """The reports of all models and datasets, or of one model with the datasets that it reads, or of one dataset.

    Raises:
        UnknownName: nothing is called so, or other reports are asked for than all or the refused ones.
    """
    if only not in ("", "refused"):
        raise UnknownName(f"`perennial show reports` has no --only {only}: leave it out, or ask for --only refused.")
    known = names(store)
    models, datasets = (known, known) if name is None else ((name,), _datasets(store, name, known))
    view = reports(store, models, datasets, refused=bool(only))
    parts = {"Evaluations": view.evaluations, "Windows of live traffic": view.windows, "Data Docs of batches": view.batches}
    lines = [line for head, part in parts.items() if part.rows for line in _part(head, part)]
    nothing = f"There is no report{' that says no' if only else ''} yet{f' of {name}' if name else ''}."
    return view, [*view.damage, *(lines or [nothing])]


def _datasets(store: Store, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The datasets whose Data Docs are meant; a model or dataset that is gone has its reports still."""
    return (name,) if name in known and name not in discovery.models() else datasets_of(store, name)


def _part(head: str, part: ReportList) -> list[str]:
    rows = [f"  {row.time:%Y-%m-%d %H:%M} {row.about}, {row.title}, {row.verdict}: {row.sentence} ({row.path})" for row in part.rows]
    return [f"{head}, newest first:", *rows, *([f"  {part.more:,} more, older ones are not shown."] if part.more else [])]
