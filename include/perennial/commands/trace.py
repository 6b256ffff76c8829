"""`perennial trace`: draw one trace that this machine's receiver keeps, or list the newest.

$ perennial trace                                  # the newest, one a line
$ perennial trace 4bf92f35                         # by the first digits of its identity
$ perennial trace manual__2026-03-01T10:00:00 --svg trace.svg
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from perennial.errors import EXIT_DONE, UnknownName
from perennial.local.span_receiver import SpanFiles, folder
from perennial.results import on_terminal
from perennial.settings import Settings
from perennial.store import Store
from perennial.views.trace import Trace, picture_of, text_of, took, waterfall

NEWEST = 20
RUN = ("airflow.dag_run.run_id", "perennial.run_id", "perennial.prediction")  # attributes by which a trace is asked for too


def run(settings: Settings, store: Store, *, which: str | None = None, svg: Path | None = None) -> int:
    """Print a trace, or the newest ones.

    Args:
        settings: say where the spans are kept.
        store: not asked.
        which: a trace's identity or its first digits, a run of Airflow or MLflow, or a prediction's id; the list if absent.
        svg: file for the picture, which is replaced.

    Raises:
        UnknownName: no trace is kept, or none of that name, or several begin so.
    """
    del store
    traces = _traces(SpanFiles(folder(settings)).spans())
    if not traces:
        raise UnknownName(
            f"No spans are kept in {folder(settings)}: set PERENNIAL_TRACES=1, run `perennial up`, and trigger a run "
            "(docs/tracing.md). A receiver of your own keeps its spans itself."
        )
    if which is None:
        for spans in sorted(traces.values(), key=lambda spans: -min(int(span["start"]) for span in spans))[:NEWEST]:
            print(on_terminal(_line(waterfall(spans))))
        return EXIT_DONE
    trace = waterfall(traces[_found(traces, which)])
    print(on_terminal(f"Trace {trace.trace_id}, {_when(trace)}, {took(trace.seconds)}"))
    print(text_of(trace, max(get_terminal_size((140, 50)).columns, 80)))
    for part in trace.parts:
        if part.said and (part.error or part.said.startswith("refused")):
            print(on_terminal(f"{part.name}: {part.said}"))
    for link in trace.links:
        print(f"Has to do with trace {link}{'' if link in traces else ' (not kept here)'}.")
    if svg:
        svg.write_text(picture_of(trace))
        print(f"The picture is in {svg}.", file=sys.stderr)
    return EXIT_DONE


def _traces(spans: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    by_trace: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        by_trace.setdefault(str(span["trace"]), []).append(span)
    return by_trace


def _found(traces: Mapping[str, Iterable[Mapping[str, Any]]], which: str) -> str:
    """The trace that is meant. Raises UnknownName."""
    wanted = which.lower()
    begin_so = [trace for trace in traces if trace.startswith(wanted)]
    about = [
        trace
        for trace, spans in traces.items()
        if any(span["attributes"].get(name) in (which, which.rpartition("-")[0]) for span in spans for name in RUN)
    ]
    matches = list(dict.fromkeys([*begin_so, *about]))
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise UnknownName(
            f"No trace {which!r} is kept, and none of a run or a prediction of that name: `perennial trace` lists the newest."
        )
    several = ", ".join(trace[: len(wanted) + 8] if trace in begin_so else trace for trace in matches[:3])
    raise UnknownName(f"{len(matches)} traces are meant by {which!r}, such as {several}: give more of its identity.")


def _line(trace: Trace) -> str:
    first = trace.parts[0]
    broke = " with errors" if any(part.error for part in trace.parts) else ""
    what = f"{first.name} {first.said}".strip()
    return f"{trace.trace_id}  {_when(trace)}  {took(trace.seconds):>12}  {len(trace.parts):>4} parts{broke}  {what}"


def _when(trace: Trace) -> str:
    return f"{datetime.fromtimestamp(trace.began_ns / 1e9, timezone.utc):%Y-%m-%d %H:%M:%S} UTC"
