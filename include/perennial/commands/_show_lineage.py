"""The lineage of a version, or how far a batch reached, in lines."""

from __future__ import annotations

from perennial.counted import counted
from perennial.store import Store
from perennial.views.data import BatchView, ReachedVersion, batch_view, windows_words
from perennial.views.lineage import LineageView, lineage_view
from perennial.views.view import View

LINES = 30  # files that a terminal gets; --json has all that the page has


def show(store: Store, name: str, version: int | None = None, batch: str | None = None) -> tuple[View, list[str]]:
    """The lineage of a version, or what a batch reached. Raises UnknownName if nothing is called so."""
    if batch:
        reached = batch_view(store, name, batch)
        return reached, _batch_lines(reached)
    view = lineage_view(store, name, version)
    return view, _version_lines(view)


def _version_lines(view: LineageView) -> list[str]:
    lines = [view.sentence, *view.damage]
    if view.version is None:
        return lines
    lines.append("Files, newest first:")
    lines += [
        f"  {one.name}: {counted(one.rows, 'row')}{f', {one.days[0]} to {one.days[1]}' if one.days else ''}"
        f"{', measured on it only' if one.how == 'measured' else ''}{', taken out since' if one.removed else ''}"
        for one in view.files[:LINES]
    ]
    if len(view.files) > LINES:
        lines.append(f"  {len(view.files) - LINES} more are in `perennial show lineage {view.model} --version {view.version} --json`.")
    lines += [f"Scores of {model}, version {', '.join(map(str, numbers))}" for model, numbers in view.reads.items()]
    lines += [f"Snapshot {one.version} of {one.dataset}: {counted(one.files, 'file')}, {one.rows:,} rows" for one in view.snapshots]
    lines += [f"  {part}: {first} to {last}" for part, (first, last) in view.days.items()]
    trained = f" on {view.trained:%Y-%m-%d %H:%M} UTC" if view.trained else ""
    lines.append(f"Training {view.run_key} because of {view.cause}{trained}{f': {view.reason}' if view.reason else ''}")
    lines.append(f"Version {view.version} of {view.model}, {view.digest[:12]}")
    lines += [
        f"  {window.begin:%Y-%m-%d %H:%M} to {f'{window.end:%Y-%m-%d %H:%M}' if window.end else 'now'}: "
        f"{'in the shadow' if window.shadow else f'{100 * window.share:g} %'}"
        for window in view.windows
    ]
    lines += [f"Read by {one.words}" for one in view.read_by]
    return [*lines, *([view.remark] if view.remark else [])]


def _batch_lines(view: BatchView) -> list[str]:
    lines = [view.sentence, view.batch.sentence, *view.damage, *(f"  {_words(one)}" for one in view.reached)]
    if view.namesakes:
        lines.append(f"{counted(len(view.namesakes), 'other file has', 'other files have')} that name: {', '.join(view.namesakes[:3])}.")
    return [*lines, *([f"Next: `{view.command}`"] if view.command else [])]


def _words(one: ReachedVersion) -> str:
    how = "learned from it" if one.version.how == "learned" else "was only measured on it"
    return f"{one.version.words} {how} and {windows_words(one.windows)}"
