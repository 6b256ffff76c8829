"""The index of reports, newest first: evaluations of versions, windows of live traffic, and Data Docs of batches.

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> store.write("reports/flights/docs/validations/2013-07-04.csv~0123456789ab~891~refused.html", b"<h1>Refused</h1>")
>>> [(row.about, row.title, row.verdict) for row in reports(store, [], ["flights"]).batches.rows]
[('flights', 'Batch 2013-07-04.csv', 'refused')]
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from heapq import nlargest
from itertools import islice
from typing import Literal

from pydantic import Field

from perennial.counted import counted
from perennial.data.batches import Batches
from perennial.data.receipts import Receipt
from perennial.monitoring.report.timeline import WindowPoint, noted_timeline
from perennial.reports import notes, sandbox
from perennial.reports.notes import Batch, Evaluated
from perennial.store import Store
from perennial.views.view import View

SHOWN = 50  # of each kind, the newest
READ = 2_000  # landed files of a dataset that are looked through for why one was refused

SAID = {"passed": "Its suite let it pass.", "warning": "Its suite let it pass with a warning.", "refused": "It was refused."}

Verdict = Literal["passed", "warning", "refused", "not judged"]


class ReportRow(View):
    """One report."""

    path: str = Field(description="Of its page, below the reports.")
    about: str = Field(description="Name of the model or dataset.")
    title: str = Field(description="What it shows.")
    time: datetime = Field(description="When it was written; of a window, its end.")
    verdict: Verdict = Field(description="What it says in a word: whether a version passed the gate, a window is quiet, a batch was taken.")
    sentence: str = Field(description="The same as a sentence.")


class ReportList(View):
    """The newest reports of one kind."""

    rows: tuple[ReportRow, ...] = Field(description="Newest first.")
    more: int = Field(ge=0, description="Older ones that are not shown.")


class ReportsView(View):
    """The index of reports."""

    about: str = Field(description="Name of the one model or dataset that is shown; empty for all.")
    refused: bool = Field(description="Whether only those are shown that say no: a version or a batch that was refused.")
    models: tuple[str, ...] = Field(description="Models that have reports.")
    datasets: tuple[str, ...] = Field(description="Datasets that have Data Docs.")
    evaluations: ReportList
    windows: ReportList
    batches: ReportList
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


class ReportView(View):
    """One report among those of its kind."""

    path: str
    about: str
    title: str
    row: ReportRow | None = Field(description="What the index says of it; none where it does not stand there.")
    newer: str = Field(description="Path of the next one of its kind; empty if it is the newest.")
    older: str = Field(description="Path of the one before; empty if it is the oldest that is known.")


def names(store: Store) -> tuple[str, ...]:
    """Every model and dataset that has a folder of reports."""
    return tuple(store.folders(sandbox.FOLDER))


def reports(store: Store, models: Iterable[str], datasets: Iterable[str], *, about: str = "", refused: bool = False) -> ReportsView:
    """The index of reports.

    Args:
        store: has them, and the notes of them.
        models: names of which evaluations and windows are shown, such as `names` gives.
        datasets: names of which Data Docs are shown.
        about: the one name that is shown; all if empty.
        refused: whether only refused versions and batches are shown.
    """
    damage: list[str] = []
    models, datasets = sorted(models), sorted(datasets)
    of_models, of_datasets = ([name for name in some if about in ("", name)] for some in (models, datasets))
    evaluations = {name: _evaluations(store, name) for name in of_models}
    windows = {name: _windows(store, name, damage) for name in of_models}
    batches = {name: _batches(store, name) for name in of_datasets}
    newest = _newest(batches.values(), refused=refused)
    return ReportsView(
        about=about,
        refused=refused,
        models=tuple(name for name in models if about or evaluations[name] or windows[name]),
        datasets=tuple(name for name in datasets if about or batches[name]),
        evaluations=_newest(evaluations.values(), refused=refused),
        windows=_newest(windows.values(), refused=refused),
        batches=newest.model_copy(update={"rows": tuple(_with_reasons(store, newest.rows, damage))}),
        damage=tuple(dict.fromkeys(damage)),
    )


def report(store: Store, path: str) -> ReportView:
    """A report, and those before and after it. It is there, as `sandbox.place` says."""
    about = path.split("/", 1)[0]
    rows = next((rows for rows in _kinds(store, path, about) if any(row.path == path for row in rows)), [])
    at = next((place for place, row in enumerate(rows) if row.path == path), None)
    row = None if at is None else rows[at]
    return ReportView(
        path=path,
        about=about,
        title=path.split("/", 1)[-1] if row is None else row.title,
        row=row and (_with_reasons(store, [row], []) if sandbox.is_data_docs(path) else [row])[0],
        newer=rows[at - 1].path if at else "",
        older=rows[at + 1].path if at is not None and at + 1 < len(rows) else "",
    )


def _kinds(store: Store, path: str, about: str) -> Iterator[list[ReportRow]]:
    """The reports of the kind of a path, newest first; of a path that may be of several kinds, each."""
    if sandbox.is_data_docs(path):
        yield _batches(store, about)
    elif path.startswith(f"{about}/windows/"):
        yield _windows(store, about, [])
    else:
        yield _evaluations(store, about)


def _newest(of_names: Collection[list[ReportRow]], *, refused: bool) -> ReportList:
    rows = [row for of_one in of_names for row in of_one if row.verdict == "refused" or not refused]
    newest = nlargest(SHOWN, rows, key=lambda row: (row.time, row.path))
    return ReportList(rows=tuple(newest), more=len(rows) - len(newest))


def _evaluations(store: Store, model: str) -> list[ReportRow]:
    return [_of_evaluation(model, one) for one in notes.evaluations(store, model)]


def _of_evaluation(model: str, one: Evaluated) -> ReportRow:
    verdicts: dict[bool | None, Verdict] = {True: "passed", False: "refused", None: "not judged"}
    return ReportRow(
        path=f"{model}/{one.digest}/evaluation.html",
        about=model,
        title=f"Evaluation of {one.digest[:12]}",
        time=one.time,
        verdict=verdicts[one.passed],
        sentence=one.sentence,
    )


def _windows(store: Store, model: str, damage: list[str]) -> list[ReportRow]:
    return [_of_window(model, point) for point in reversed(noted_timeline(store, model, damage))]


def _of_window(model: str, point: WindowPoint) -> ReportRow:
    alarms = point.jumped or point.breaks or any(change.alarms for change in point.changes)
    return ReportRow(
        path=f"{model}/windows/{point.name}/index.html",
        about=model,
        title=f"Window {point.name.replace('_', ' to ')}",
        time=point.last if point.last.tzinfo else point.last.replace(tzinfo=timezone.utc),
        verdict="warning" if alarms else "passed",
        sentence=point.sentence,
    )


def _with_reasons(store: Store, rows: Sequence[ReportRow], damage: list[str]) -> list[ReportRow]:
    """Rows of batches; what was refused says why, as the receipt of its file does where that is among the newest."""
    reasons: dict[str, str] = {}
    refused = [(row.about, row.path) for row in rows if row.verdict == "refused"]
    for dataset in dict.fromkeys(about for about, _ in refused):
        pages = {path for about, path in refused if about == dataset}
        landed = Batches(store, dataset)
        for receipt in islice(landed.newest_first(), READ):
            if receipt.outcome == "refused" or (receipt.counts and receipt.counts.refused):
                told = {path for path in pages if _is_of(receipt, path)}
                reasons |= dict.fromkeys(told, receipt.sentence)
                pages -= told
            if not pages:
                break
        damage += landed.damage
    return [
        row.model_copy(update={"sentence": row.sentence.replace(SAID["refused"], reasons[row.path])}) if row.path in reasons else row
        for row in rows
    ]


def _is_of(receipt: Receipt, path: str) -> bool:
    """Whether a page of Data Docs is of a landed file: its receipt names it, or the page is of the rows of it that were refused."""
    return f"{sandbox.FOLDER}/{path}" == receipt.report or (receipt.digest != "" and f"~{receipt.digest[:12]}~" in path)


def _batches(store: Store, dataset: str) -> list[ReportRow]:
    return [_of_batch(dataset, one) for one in notes.batches(store, dataset)]


def _of_batch(dataset: str, one: Batch) -> ReportRow:
    rows = "Its rows could not be read." if one.rows is None else f"{counted(one.rows, 'row')}."
    return ReportRow(
        path=one.path,
        about=dataset,
        title=f"Batch {one.batch}",
        time=one.time,
        verdict=one.verdict,
        sentence=f"{rows} {SAID[one.verdict]}",
    )
