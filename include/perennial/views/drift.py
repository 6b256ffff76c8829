"""Which features of a model drift, over its windows of live traffic, and what that does to the loss; and one finding with its picture.

>>> import tempfile
>>> from perennial.store import open_store
>>> drift_view(open_store(tempfile.mkdtemp()), "digits").needs
'Nothing serves yet: a window is judged once a version answers.'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from itertools import pairwise

from pydantic import Field

from perennial import discovery
from perennial.errors import StoredDataDamaged, UnknownName
from perennial.incidents.incidents import Incidents
from perennial.monitoring.figures import LiveMetrics
from perennial.monitoring.report.numbers import SliceLosses, WindowReport, decoded
from perennial.monitoring.report.sizes import MOST_COLUMNS, MOST_WINDOWS, Mark, WindowSizes, limits_of, relative_size, sizes, sizes_of
from perennial.monitoring.report.timeline import WindowPoint, point_of, timeline, window_names
from perennial.monitoring.verdict import ColumnDrift
from perennial.monitoring.windows import FEW_REQUESTS
from perennial.specs import DriftKind, ModelSpec
from perennial.store import Store
from perennial.views.model import row_of
from perennial.views.models import ModelRow
from perennial.views.schedule import next_time
from perennial.views.view import View

LEAST_WINDOWS = 8  # with a loss, from which on it is told whether a feature moves with it
MOST_SLICES = 100  # shown


class Feature(View):
    """How far one column moved in each window, in units of the effect that alarms."""

    column: str = Field(description="Column, two columns of a correlation joined by ' and ', or 'all columns'.")
    kind: DriftKind = Field(description="In which respect it moved farthest.")
    sizes: tuple[float | None, ...] = Field(description="Of each window; none where it was not compared.")
    marks: tuple[Mark, ...] = Field(description="Whether it drifted, or even alarmed.")
    confirmed: bool = Field(description="Whether it has drifted for as many windows as count, the newest included.")
    largest: float = Field(description="Its largest size, of the windows in which it drifted if there are any.")
    largest_in: str = Field(description="Name of that window.")
    drifted: int = Field(description="Windows in which it drifted.")
    alarmed: int = Field(description="Windows in which it drifted so far that it alarms.")
    with_loss: float | None = Field(
        description="How closely it goes with the loss over the windows (rank correlation, -1 to 1); none of fewer than eight windows."
    )


class VersionChange(View):
    """Another version began to answer most of the traffic."""

    window: str = Field(description="First window that it answered.")
    version: int
    before: int


class IncidentMark(View):
    """An incident, at its window."""

    window: str = Field(description="The window whose look opened it, or in which it was opened.")
    id: str
    kind: str
    severity: str
    sentence: str
    over_in: str = Field(description="The window that found it to be over; empty if none of those shown did.")


class DriftView(View):
    """All that the page of drift and performance shows."""

    row: ModelRow
    windows: tuple[WindowPoint, ...] = Field(description="Of live traffic, oldest first.")
    older_windows: int = Field(description="Windows before those.")
    features: tuple[Feature, ...] = Field(
        description="Those that are confirmed first, then those that drifted, each by their largest size."
    )
    more_columns: int = Field(description="Columns that moved less, of which this view says nothing.")
    version_changes: tuple[VersionChange, ...]
    incidents: tuple[IncidentMark, ...] = Field(description="In the order of their windows.")
    slices: tuple[SliceLosses, ...] = Field(description="Losses of the newest window by slice, the worst of each column first.")
    next_look: datetime | None = Field(description="When monitoring looks next, UTC, unless its DAG is paused; none if there is no spec.")
    needs: str = Field(description="What the next look needs to judge a window, as a sentence.")
    notes: tuple[str, ...] = Field(description="Sentences on what the figures rest on.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


class Finding(View):
    """One finding of the drift test, with what it is measured against."""

    found: ColumnDrift
    drift_limit: float = Field(description="Effect from which on a significant finding of its kind counts as drift.")
    alarm_limit: float = Field(description="Effect from which on it alarms.")
    size: float = Field(description="The effect in units of the one that alarms.")


class ColumnSize(View):
    """The largest finding of a column in one window."""

    column: str
    kind: DriftKind
    size: float
    mark: Mark


class WindowSize(View):
    """How far one column moved in a window."""

    window: str
    version: int
    size: float | None
    mark: Mark


class WindowView(View):
    """One window: what drifted in it, or all about one column of it."""

    row: ModelRow
    window: WindowPoint
    before: str | None = Field(description="Name of the window before it.")
    after: str | None = Field(description="Name of the window after it.")
    report: str = Field(description="Path of its page below the reports; empty if there is none.")
    column: str = Field(description="The column that is shown; empty if the window as a whole is.")
    findings: tuple[Finding, ...] = Field(description="About that column, those that drifted first.")
    not_tested: str = Field(description="Why the column was not tested; empty if it was.")
    columns: tuple[ColumnSize, ...] = Field(description="The largest finding of each column, the farthest first.")
    more_columns: int = Field(description="Columns that moved less than those.")
    history: tuple[WindowSize, ...] = Field(description="How far that column moved in each window, oldest first.")
    metrics: LiveMetrics = Field(description="Accuracy and the like, each class, the confusion matrix; empty without outcomes.")
    slices: tuple[SliceLosses, ...] = Field(description="Losses by slice, the worst of each column first.")
    more_slices: int
    labellings: int = Field(description="Ways to exchange whole days that the window was compared with.")
    alpha: float = Field(description="False-alarm rate of the drift test over all columns together.")
    notes: tuple[str, ...] = Field(description="Sentences on what the figures rest on.")
    damage: tuple[str, ...] = Field(description="Sentences on what could not be read; all else is shown.")


def drift_view(store: Store, name: str, now: datetime | None = None) -> DriftView:
    """Drift and performance of one model over its newest windows.

    Args:
        store: has the reports and what is noted of them.
        name: of the model.
        now: the next look is after it; the clock's time if absent.

    Raises:
        UnknownName: neither a folder nor the ledger has that name.
    """
    row = row_of(store, name)
    damage: list[str] = []
    windows = tuple(timeline(store, name, MOST_WINDOWS, damage))
    noted = sizes(store, name, [window.name for window in windows], damage)
    features, beyond = _features(windows, noted)
    spec = discovery.models().get(name)
    slices, _ = _worst_first(_newest_slices(store, name, windows, damage))
    return DriftView(
        row=row,
        windows=windows,
        older_windows=max(len(window_names(store, name)) - MOST_WINDOWS, 0),
        features=features,
        more_columns=max(beyond, max((part.left_out for part in noted.values()), default=0)),
        version_changes=tuple(
            VersionChange(window=later.name, version=later.version, before=earlier.version)
            for earlier, later in pairwise(windows)
            if later.version != earlier.version
        ),
        incidents=_incidents(store, name, windows, damage),
        slices=slices,
        next_look=next_time(spec.monitoring.schedule, now or datetime.now(timezone.utc)) if spec else None,
        needs=_needs(row, spec),
        notes=_notes(noted.values()),
        damage=tuple(dict.fromkeys(damage)),
    )


def window_view(store: Store, name: str, window: str, column: str = "") -> WindowView:
    """One window, and all about one column of it if that is named.

    Raises:
        UnknownName: there is no such model, or no report on that window.
        StoredDataDamaged: its report cannot be read.
    """
    row = row_of(store, name)
    names = window_names(store, name)
    place = f"reports/{name}/windows/{window}/report.json"
    try:
        report = decoded(store.read(place), place) if window in names else None
    except KeyError:
        report = None
    if report is None:
        raise UnknownName(f"There is no report on the window {window} of {name}: the page of its drift lists those that there are.")
    damage: list[str] = []
    here = names.index(window)
    here_sizes = sizes_of(report)
    page = f"{name}/windows/{window}/index.html"
    slices, more_slices = _worst_first(report.slices)
    return WindowView(
        row=row,
        window=point_of(report),
        before=names[here - 1] if here else None,
        after=names[here + 1] if here + 1 < len(names) else None,
        report=page if store.exists(f"reports/{page}") else "",
        column=column,
        findings=_findings(report, column),
        not_tested=report.drift.skipped.get(column, ""),
        columns=tuple(
            ColumnSize(column=column, kind=kind, size=size, mark=mark)
            for column, kind, size, mark in zip(here_sizes.columns, here_sizes.kinds, here_sizes.sizes, here_sizes.marks, strict=True)
        ),
        more_columns=here_sizes.left_out,
        history=_history(store, name, column, damage) if column else (),
        metrics=report.metrics,
        slices=slices,
        more_slices=more_slices,
        labellings=report.drift.labellings,
        alpha=report.drift.alpha,
        notes=_notes([here_sizes]),
        damage=tuple(dict.fromkeys(damage)),
    )


def _features(windows: Sequence[WindowPoint], noted: dict[str, WindowSizes]) -> tuple[tuple[Feature, ...], int]:
    """The columns of some windows, those that matter first, and how many more there are."""
    of_column: dict[str, dict[int, tuple[float, Mark, DriftKind]]] = {}
    for place, window in enumerate(windows):
        if (part := noted.get(window.name)) is not None:
            for column, kind, size, mark in zip(part.columns, part.kinds, part.sizes, part.marks, strict=True):
                of_column.setdefault(column, {})[place] = size, mark, kind
    confirmed = set(windows[-1].confirmed) if windows else set()
    farthest = {column: max(cells.values(), key=lambda cell: (cell[1] != "", cell[0])) for column, cells in of_column.items()}
    order = sorted(
        of_column,
        key=lambda column: (column not in confirmed, farthest[column][1] == "", -farthest[column][0], column),
    )
    losses = _losses(windows)
    return tuple(_feature(column, of_column[column], windows, losses, column in confirmed) for column in order[:MOST_COLUMNS]), len(
        order
    ) - MOST_COLUMNS


def _feature(
    column: str,
    cells: dict[int, tuple[float, Mark, DriftKind]],
    windows: Sequence[WindowPoint],
    losses: Sequence[float | None],
    confirmed: bool,
) -> Feature:
    at = max(cells, key=lambda place: (cells[place][1] != "", cells[place][0]))
    marks = [cells[place][1] if place in cells else "" for place in range(len(windows))]
    placed = [cells[place][0] if place in cells else None for place in range(len(windows))]
    return Feature(
        column=column,
        kind=cells[at][2],
        sizes=tuple(placed),
        marks=tuple(marks),
        confirmed=confirmed,
        largest=cells[at][0],
        largest_in=windows[at].name,
        drifted=sum(mark != "" for mark in marks),
        alarmed=marks.count("alarms"),
        with_loss=_together(placed, losses),
    )


def _losses(windows: Sequence[WindowPoint]) -> list[float | None]:
    """The realised loss of each window; what the scores expect of all rows where too few windows have outcomes."""
    realised = [window.realised for window in windows]
    if sum(loss is not None for loss in realised) >= LEAST_WINDOWS:
        return realised
    return [window.estimated for window in windows]


def _together(sizes: Sequence[float | None], losses: Sequence[float | None]) -> float | None:
    """Spearman's rank correlation of the windows that have both; none where they are too few, or one of the two never changes."""
    both = [(size, loss) for size, loss in zip(sizes, losses, strict=True) if size is not None and loss is not None]
    if len(both) < LEAST_WINDOWS:
        return None
    first, second = _ranks([size for size, _ in both]), _ranks([loss for _, loss in both])
    middle = (len(both) - 1) / 2
    product = sum((a - middle) * (b - middle) for a, b in zip(first, second, strict=True))
    scale = (sum((a - middle) ** 2 for a in first) * sum((b - middle) ** 2 for b in second)) ** 0.5
    return round(product / scale, 3) if scale else None


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0 on; equal values share the mean of theirs."""
    order = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(order)))}
    last = {value: place for place, value in enumerate(order)}
    return [(first[value] + last[value]) / 2 for value in values]


def _incidents(store: Store, name: str, windows: Sequence[WindowPoint], damage: list[str]) -> tuple[IncidentMark, ...]:
    """Incidents that looks at the windows opened, and open ones that others opened while a window lasted."""
    over = {id: window.name for window in reversed(windows) for id in window.resolved}
    marks = [
        IncidentMark(window=window.name, over_in=over.get(one.id, ""), **one.model_dump()) for window in windows for one in window.opened
    ]
    known = {mark.id for mark in marks}
    try:
        open_ones = Incidents(store, name).summary().open
    except StoredDataDamaged as error:
        damage.append(str(error))
        open_ones = ()
    for one in open_ones:
        window = next((window for window in windows if window.first <= one.opened < window.last), None)
        if window and one.id not in known:
            marks.append(
                IncidentMark(window=window.name, id=one.id, kind=one.kind, severity=one.severity, sentence=one.sentence, over_in="")
            )
    order = {window.name: place for place, window in enumerate(windows)}
    return tuple(sorted(marks, key=lambda mark: (order[mark.window], mark.id)))


def _newest_slices(store: Store, name: str, windows: Sequence[WindowPoint], damage: list[str]) -> tuple[SliceLosses, ...]:
    if not windows:
        return ()
    place = f"reports/{name}/windows/{windows[-1].name}/report.json"
    try:
        return decoded(store.read(place), place).slices
    except KeyError:
        return ()
    except StoredDataDamaged as error:
        damage.append(str(error))
        return ()


def _worst_first(slices: Sequence[SliceLosses]) -> tuple[tuple[SliceLosses, ...], int]:
    """Slices in the order of their columns, the greatest loss of each first, and how many more there are."""
    columns = list(dict.fromkeys(part.column for part in slices))
    order = sorted(slices, key=lambda part: (columns.index(part.column), -(part.realised or 0.0), part.name))
    return tuple(order[:MOST_SLICES]), max(len(order) - MOST_SLICES, 0)


def _findings(report: WindowReport, column: str) -> tuple[Finding, ...]:
    findings = []
    for found in report.drift.columns:
        if found.column == column:
            limits = limits_of(found.kind, report.drift.limits)
            size = relative_size(found, report.drift.limits)
            findings.append(Finding(found=found, drift_limit=limits.drift, alarm_limit=limits.alarm, size=size))
    return tuple(findings)


def _history(store: Store, name: str, column: str, damage: list[str]) -> tuple[WindowSize, ...]:
    windows = timeline(store, name, MOST_WINDOWS, damage)
    noted = sizes(store, name, [window.name for window in windows], damage)
    history = []
    for window in windows:
        part = noted.get(window.name)
        place = part.columns.index(column) if part and column in part.columns else None
        history.append(
            WindowSize(
                window=window.name,
                version=window.version,
                size=None if part is None or place is None else part.sizes[place],
                mark="" if part is None or place is None else part.marks[place],
            )
        )
    return tuple(history)


def _needs(row: ModelRow, spec: ModelSpec | None) -> str:
    """What the next look needs, as a sentence."""
    if spec is None:
        return f"{row.name} has no spec that can be read, so nothing looks at its traffic."
    if row.state == "retired":
        return f"{row.name} is retired: nothing is watched."
    if not row.serving:
        return "Nothing serves yet: a window is judged once a version answers."
    days = spec.monitoring.window_days
    length = "A window is one day" if days == 1 else f"A window is {days} days"
    return (
        f"{length} of event time. It is judged once it is over, which a prediction after its end shows, "
        f"and with at least {FEW_REQUESTS} predictions in it."
    )


def _notes(parts: Iterable[WindowSizes]) -> tuple[str, ...]:
    known = [part.limits_known for part in parts]
    if all(known):
        return ()
    return (
        f"Reports from before limits were kept in them: {len(known) - sum(known)} of {len(known)}. Their sizes are in units of the default "
        "limits; whether something drifted is as it was judged then.",
    )
