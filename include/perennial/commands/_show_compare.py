"""Two versions side by side, in lines."""

from __future__ import annotations

from collections.abc import Iterable

from perennial.commands._show_versions import figure, version_lines
from perennial.store import Store
from perennial.views.comparison import ComparisonView, MetricLine, Pair, comparison_view

FILES = 40  # files and packages that are listed


def show(store: Store, name: str, a: str | None = None, b: str | None = None) -> tuple[ComparisonView, list[str]]:
    """Verdicts, figures, slices, parameters, data and code of both. Raises UnknownName if there is no such model or version."""
    view = comparison_view(store, name, a or "", b or "")
    lines = [f"{name}: A is {view.a.line.title}, B is {view.b.line.title}. {view.measured}"]
    for letter, side in (("A", view.a), ("B", view.b)):
        told = version_lines(side.line)
        lines += [f"{letter}: {told[0]}", *told[1:], *(f"  {sentence}" for sentence in side.damage)]
    lines += _part("Figures", map(_metric, view.figures))
    lines += _part("By slice", (f"{line.column} {line.value}: {_metric(line.metric)}" for line in view.slices))
    for head, pairs in (("Parameters", view.parameters), ("Data", view.data), ("Training", view.making)):
        differing = [pair for pair in pairs if pair.differs]
        alike = len(pairs) - len(differing)
        lines += _part(head, [*map(_pair, differing), *([f"{alike} are the same"] if alike else [])])
    for head, changed in (("Files of the code", view.code), ("Packages", view.packages)):
        more = [f"{len(changed) - FILES} more"] if len(changed) > FILES else []
        lines += _part(head, [*map(_pair, changed[:FILES]), *more])
    return view, [*lines, *view.unknown]


def _part(head: str, told: Iterable[str]) -> list[str]:
    every = list(told)
    return [f"{head}:", *(f"  {line}" for line in every)] if every else []


def _metric(line: MetricLine) -> str:
    sides = [figure(side) if side else f"{line.name.replace('_', ' ')} unknown" for side in (line.a, line.b)]
    said = f"A {sides[0]}, B {sides[1]}"
    if line.difference is None:
        return said
    span = f" ({line.low:+.4g} to {line.high:+.4g})" if line.low is not None and line.high is not None else ""
    better = {"a": "; A is better", "b": "; B is better", "neither": "; neither is shown to be better", "unknown": ""}[line.better]
    return f"{said}; B less A {line.difference:+.4g}{span}{better}"


def _pair(pair: Pair) -> str:
    return f"{pair.name}: A {pair.a or 'none'}, B {pair.b or 'none'}"
