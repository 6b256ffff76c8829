"""What landed for a dataset, in lines: days, then batches with what became of each."""

from __future__ import annotations

from perennial.counted import counted
from perennial.store import Store
from perennial.views.data import BatchRow, DataView, DayOfData, Only, data_view

LINES = 40  # batches that a terminal gets; --json has all that the page has


def show(store: Store, name: str, only: Only = "") -> tuple[DataView, list[str]]:
    """What landed for a dataset, or for the one that a model learns from. Raises UnknownName if nothing is called so."""
    view = data_view(store, name, only=only)
    lines = [f"{view.dataset}: {counted(len(view.batches), 'file')}{f', {only} ones alone' if only else ''}.", *view.damage]
    lines += [view.source.sentence] if view.source else []
    lines += [_waiting(view)] if view.waiting else []
    if not view.batches and not view.waiting:
        lines.append("No file like that has come." if only else _nothing(view))
    lines += ["By the day on which they came, newest first:", *(f"  {day_words(day)}" for day in view.came[::-1][:10])] if view.came else []
    lines += [line for row in view.batches[:LINES] for line in batch_lines(row)]
    if len(view.batches) > LINES:
        lines.append(f"{len(view.batches) - LINES} more are in `perennial show data {name} --json`.")
    return view, [*lines, *([view.remark] if view.remark else [])]


def day_words(day: DayOfData) -> str:
    """A day in words."""
    parts = {"accepted": day.accepted, "late": day.late, "corrected": day.corrected, "refused": day.refused}
    rows = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count) or "no rows"
    unreadable = f"; {counted(day.unreadable, 'file')} could not be read" if day.unreadable else ""
    return f"{day.day}: {counted(day.files, 'file')}, {rows}{unreadable}"


def batch_lines(row: BatchRow) -> list[str]:
    """A batch in words, and which versions it reached."""
    learned = [version.words for version in row.versions if version.how == "learned"]
    more = f" and {len(learned) - 6} more" if len(learned) > 6 else ""
    return [
        f"{row.time:%Y-%m-%d %H:%M} {row.outcome} {row.name} ({row.digest[:12] or 'not read'}): {row.sentence}",
        *([f"  Learned from it: {', '.join(learned[:6])}{more}."] if learned else []),
    ]


def _nothing(view: DataView) -> str:
    more = f", or run perennial collect --dataset {view.dataset}" if view.source else ""
    return f"Nothing has landed yet: put files into the store's landing/{view.dataset}/{more}."


def _waiting(view: DataView) -> str:
    are = counted(view.waiting, "file waits", "files wait")
    return f"{are} to be taken in: the newest run of {view.dataset}_ingestion says why, if it was refused. By hand: perennial ingest."
