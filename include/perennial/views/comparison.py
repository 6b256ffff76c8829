"""Two versions side by side: figures with their difference, what the gate said of each, parameters, data, code, packages.

>>> import tempfile
>>> from pathlib import Path
>>> from perennial.lineage.registrations import note_registration
>>> from perennial.store import open_store
>>> from perennial.testing import publish_small_version
>>> store = open_store(tempfile.mkdtemp())
>>> for number in (1, 2):
...     digest = publish_small_version(store, Path(tempfile.mkdtemp()) / "version", model="digits", seed=number)
...     note_registration(store, "digits", number, digest, {})
>>> view = comparison_view(store, "digits", "1", "2")
>>> [(line.name, line.a, line.b) for line in view.parameters if line.differs]
[('seed', '1', '2')]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from perennial.counted import counted
from perennial.errors import UnknownName
from perennial.lineage.making import Making
from perennial.lineage.version_notes import Figure, VersionNote, evaluation_of, figures_of, is_number, part_of, versions_newest_first
from perennial.specs import HIGHER_IS_BETTER
from perennial.store import Store
from perennial.views.model import row_of
from perennial.views.models import ModelRow
from perennial.views.version import PARTS, Slice, VersionView, slices_of, view_of_line
from perennial.views.versions import chosen, default_pair, version_line
from perennial.views.view import View

Better = Literal["a", "b", "neither", "unknown"]


class MetricLine(View):
    """One metric of both versions."""

    name: str
    a: Figure | None
    b: Figure | None
    difference: float | None = Field(description="The second's less the first's; none if one of them lacks it.")
    low: float | None = Field(description="Lower end of the difference's 95 % interval; none unless both were measured on the same rows.")
    high: float | None
    better: Better = Field(description="Which one is shown to be better: the interval of the difference lies on one side of 0.")


class SliceLine(View):
    """One metric of both versions on the rows with one value of a column."""

    column: str
    value: str
    rows_a: int | None
    rows_b: int | None
    metric: MetricLine


class Pair(View):
    """A fact of both versions."""

    name: str
    a: str = Field(description="Of the first; empty if it has none.")
    b: str

    @property
    def differs(self) -> bool:
        """Whether the two are different."""
        return self.a != self.b


class ComparisonView(View):
    """Two versions of a model, the first called A and the second B; differences are B less A."""

    row: ModelRow
    a: VersionView
    b: VersionView
    same_rows: bool = Field(description="Whether both were measured on the same rows; only then a difference is the versions' alone.")
    measured: str = Field(description="Which rows the figures are of.")
    figures: tuple[MetricLine, ...]
    slices: tuple[SliceLine, ...] = Field(description="Of the gate's metric, the largest difference first.")
    parameters: tuple[Pair, ...] = Field(description="All of them, those that differ first.")
    data: tuple[Pair, ...]
    making: tuple[Pair, ...] = Field(description="Cause, time and seconds of the training, digests of code and lock file, commit.")
    code: tuple[Pair, ...] = Field(description="Files of the code that differ, each with its digest on both sides.")
    packages: tuple[Pair, ...] = Field(description="Packages whose version differs.")
    unknown: tuple[str, ...] = Field(description="What cannot be compared, as sentences.")


def comparison_view(store: Store, name: str, a: str = "", b: str = "") -> ComparisonView:
    """Compare two versions.

    Args:
        store: has both.
        name: of the model.
        a: the first: its number, or the first signs of its digest. What is not given is the champion, or the candidate or what is newest.
        b: the second.

    Raises:
        UnknownName: there is no such model or version, or nothing to compare with.
    """
    row, notes = row_of(store, name), versions_newest_first(store, name)
    two = _two(notes, name, a, b, default_pair(notes, row))
    left, right = (version_line(store, row, note) for note in two)
    one, other = view_of_line(store, row, left), view_of_line(store, row, right)
    rows_of, parts = _measured(store, name, one, other)
    figures = tuple(_metric_lines(parts[0], parts[1], parts[2]))
    return ComparisonView(
        row=row,
        a=one,
        b=other,
        same_rows=rows_of is not None,
        measured=_words(one, other, rows_of),
        figures=figures,
        slices=_slices(parts, _leading(figures)),
        parameters=tuple(sorted(_pairs(one.parameters, other.parameters), key=lambda pair: not pair.differs)),
        data=tuple(_pairs(_data(one), _data(other))),
        making=tuple(_pairs(_making(one), _making(other))),
        code=tuple(pair for pair in _pairs(*_noted(one, other, "code")) if pair.differs),
        packages=tuple(pair for pair in _pairs(*_noted(one, other, "packages")) if pair.differs),
        unknown=tuple(_unknown(one, other)),
    )


Measured = Mapping[str, Any]


def _two(notes: list[VersionNote], name: str, a: str, b: str, usual: tuple[str, str] | None) -> tuple[VersionNote, VersionNote]:
    """The versions that are asked for; in place of one that is not named, that of the usual two which is not the other."""
    if a and b:
        return chosen(notes, name, a), chosen(notes, name, b)
    if usual is None:
        raise UnknownName(f"{name} has {len(notes) or 'no'} version{'s' if len(notes) != 1 else ''} yet: there are not two to compare.")
    older, newer = (chosen(notes, name, which) for which in usual)
    if a:
        first = chosen(notes, name, a)
        return first, older if first is newer else newer
    second = chosen(notes, name, b) if b else newer
    return newer if second is older else older, second


def _measured(store: Store, name: str, a: VersionView, b: VersionView) -> tuple[VersionView | None, tuple[Measured, Measured, Measured]]:
    """Whose test rows both were measured on, none if each has its own; then what was measured of the two, and between them."""
    of_a, of_b = (evaluation_of(store, name, side.line.digest) for side in (a, b))
    for document, other, turned in ((of_b, a, False), (of_a, b, True)):
        champion, test = document.get("champion"), part_of(document, "parts", "test")
        if isinstance(champion, dict) and champion.get("digest") == other.line.digest and "champion" in test:
            beside, own = part_of(test, "champion"), part_of(test, "candidate")
            differences = _turned(part_of(test, "difference")) if turned else part_of(test, "difference")
            return (a, (own, beside, differences)) if turned else (b, (beside, own, differences))
    rows_of = b if _same_rows((a, of_a), (b, of_b)) else None
    return rows_of, (part_of(of_a, "parts", "test", "candidate"), part_of(of_b, "parts", "test", "candidate"), {})


def _same_rows(*sides: tuple[VersionView, Measured]) -> bool:
    """Whether two versions that were not measured beside one another have the same test rows: split alike from the same content."""
    rows = [
        (view.data.digest, part_of(document, "bounds").get("test"), document.get("split"), part_of(document, "parts", "test").get("rows"))
        for view, document in sides
        if view.data and view.measured
    ]
    return len(rows) == 2 and rows[0] == rows[1]


def _turned(differences: Mapping[str, Any]) -> dict[str, Any]:
    """Differences of candidate less champion as those of champion less candidate, slices too."""
    turned: dict[str, Any] = {}
    for name, value in differences.items():
        if isinstance(value, dict):
            turned[name] = _turned(value)
        elif isinstance(value, list) and len(value) == 2 and all(map(is_number, value)):
            turned[name] = [-value[1], -value[0]]
    return turned


def _metric_lines(a: Measured, b: Measured, differences: Measured) -> Sequence[MetricLine]:
    left, right = ({figure.name: figure for figure in figures_of(part.get("metrics"), part.get("intervals"))} for part in (a, b))
    between = {
        figure.name: figure for figure in figures_of(dict.fromkeys(part_of(differences, "metrics"), 0.0), differences.get("metrics"))
    }
    return [_line(name, left.get(name), right.get(name), between.get(name)) for name in dict.fromkeys([*right, *left])]


def _line(name: str, a: Figure | None, b: Figure | None, between: Figure | None) -> MetricLine:
    low, high = (between.low, between.high) if between else (None, None)
    return MetricLine(
        name=name,
        a=a,
        b=b,
        difference=b.value - a.value if a and b else None,
        low=low,
        high=high,
        better=_better(name, low, high),
    )


def _better(name: str, low: float | None, high: float | None) -> Better:
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "neither"
    return "b" if (low > 0) == (name in HIGHER_IS_BETTER) else "a"


def _leading(figures: Sequence[MetricLine]) -> str:
    """The metric by which slices are compared: a loss, else the first that there is."""
    names = [line.name for line in figures]
    return next((name for name in ("log_loss", "rmse", "mse") if name in names), names[0] if names else "")


def _slices(parts: tuple[Measured, Measured, Measured], metric: str) -> tuple[SliceLine, ...]:
    left, right = ({(one.column, one.value): one for one in slices_of(part)[0]} for part in parts[:2])
    lines = []
    for column, value in dict.fromkeys([*right, *left]):
        a, b = left.get((column, value)), right.get((column, value))
        interval = part_of(parts[2], "slices", column, value).get(metric)
        between = next(iter(figures_of({metric: 0.0}, {metric: interval})), None)
        lines.append(
            SliceLine(
                column=column,
                value=value,
                rows_a=a.rows if a else None,
                rows_b=b.rows if b else None,
                metric=_line(metric, _figure(a, metric), _figure(b, metric), between),
            )
        )
    return tuple(sorted(lines, key=lambda line: (line.column, -abs(line.metric.difference or 0.0))))


def _figure(part: Slice | None, metric: str) -> Figure | None:
    return next((figure for figure in part.figures if figure.name == metric), None) if part else None


def _words(a: VersionView, b: VersionView, rows_of: VersionView | None) -> str:
    if not (a.measured and b.measured):
        lacking = " and ".join(side.line.title for side in (a, b) if not side.measured)
        return f"There are no figures of {lacking}: nothing compares the two."
    if rows_of:
        return f"Both were measured on the same {rows_of.measured}."
    return (
        f"Each was measured on rows of its own, {a.line.title} on {a.measured}, {b.line.title} on {b.measured}: "
        "a difference may be the rows' and not the versions'."
    )


def _pairs(a: Mapping[str, str], b: Mapping[str, str]) -> list[Pair]:
    return [Pair(name=name, a=a.get(name, ""), b=b.get(name, "")) for name in dict.fromkeys([*a, *b])]


def _data(view: VersionView) -> dict[str, str]:
    data = view.data
    if data is None:
        return {}
    facts = {"dataset": data.dataset, "snapshot": f"{data.snapshot}", "snapshot's digest": data.digest}
    for part in PARTS:
        if part in data.rows:
            facts[f"{part} rows"] = f"{data.rows[part]:,}"
        if part in data.spans:
            first, last = data.spans[part]
            facts[f"{part} days"] = f"{first} to {last}, {counted(data.days(part) or 0, 'day')}"
    return facts | ({"labels": data.labels} if data.labels else {})


def _making(view: VersionView) -> dict[str, str]:
    facts = {
        "trained": f"{view.line.trained:%Y-%m-%d %H:%M} UTC" if view.line.trained else "",
        "cause": view.line.cause,
        "reason": view.line.reason,
        "seconds": f"{view.made.seconds:.1f}" if view.made and view.made.seconds is not None else "",
        **({"used": view.made.usage.sentence, "profile": view.made.usage.profile} if view.made and view.made.usage else {}),
        "learner": view.line.learner,
        f"{view.counted}s": "" if view.epochs is None else str(view.epochs),
        "followed": ", ".join(digest[:12] for digest in view.parents),
        "code": view.code_digest,
        "lock file": view.lock_digest,
        "commit": view.made.commit if view.made else "",
        "commit of the project": view.made.project_commit if view.made else "",
    }
    return {name: value for name, value in facts.items() if value}


def _noted(a: VersionView, b: VersionView, what: Literal["code", "packages"]) -> tuple[dict[str, str], dict[str, str]]:
    """Files or packages of both; nothing where one of the two was made before that was noted."""

    def of(made: Making) -> dict[str, str]:
        return made.code if what == "code" else made.packages

    return (of(a.made), of(b.made)) if a.made and b.made else ({}, {})


def _unknown(a: VersionView, b: VersionView) -> list[str]:
    unnoted = " and ".join(side.line.title for side in (a, b) if side.made is None)
    if not unnoted:
        return []
    parts = [
        word for word, one, other in (("code", a.code_digest, b.code_digest), ("packages", a.lock_digest, b.lock_digest)) if one != other
    ]
    if not parts:
        return []
    return [f"The {' and the '.join(parts)} of the two differ; in what, cannot be said: nobody noted it when {unnoted} was made."]
