"""One trace as a waterfall: which part began when, within which other one, how long it took, and of which service it is. Pure.

>>> spans = [
...     {"trace": "a" * 32, "span": "1", "parent": "", "service": "airflow", "name": "run", "start": 0, "end": 3_000_000_000},
...     {"trace": "a" * 32, "span": "2", "parent": "1", "service": "stage", "name": "train", "start": 1_000_000_000, "end": 2_500_000_000},
... ]
>>> print(text_of(waterfall(spans), width=40))  # doctest: +NORMALIZE_WHITESPACE
run      airflow  3.0 s  ███████████████
  train  stage    1.5 s       ████████
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

SAID = 120  # signs of a sentence that are shown
COLOURS = ("#4477aa", "#228833", "#ee6677", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")  # Tol's bright ones, which all can tell apart
ERROR = "#b3001b"
LINE, LEFT, WIDTH, TOP = 22, 430, 1200, 60  # of the picture, pixels


class Part(BaseModel):
    """One span, as it is drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depth: int = Field(ge=0, description="Parts that it is within.")
    name: str = Field(description="What was done.")
    service: str = Field(description="Which part of the platform did it.")
    begins: float = Field(ge=0, description="When, seconds after the trace began.")
    seconds: float = Field(ge=0, description="How long it took.")
    error: bool = Field(description="Whether it broke.")
    said: str = Field(description="What it says of itself: outcome and sentence, else model and version.")
    links: tuple[str, ...] = Field(default=(), description="Other traces that it has to do with.")


class Trace(BaseModel):
    """A trace, its parts in the order in which they are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trace_id: str = Field(description="Its identity, 32 hexadecimal digits.")
    began_ns: int = Field(description="When its first part began, ns since the epoch.")
    seconds: float = Field(ge=0, description="From the beginning of the first part to the end of the last.")
    parts: tuple[Part, ...] = Field(description="Each after the one that it is within.")

    @property
    def services(self) -> tuple[str, ...]:
        """The services, in the order in which they come."""
        return tuple(dict.fromkeys(part.service for part in self.parts))

    @property
    def links(self) -> tuple[str, ...]:
        """Other traces that it has to do with."""
        return tuple(dict.fromkeys(link for part in self.parts for link in part.links if link != self.trace_id))


def waterfall(spans: Iterable[Mapping[str, Any]]) -> Trace:
    """The spans of one trace, put in order; a part whose surrounding one never came stands beside the outermost.

    Args:
        spans: of one trace, at least one, as `perennial.local.span_receiver` keeps them.
    """
    by_id = {str(span["span"]): span for span in spans}
    within: dict[str, list[Mapping[str, Any]]] = {}
    for span in by_id.values():
        parent = str(span["parent"])
        within.setdefault(parent if parent in by_id else "", []).append(span)
    began = min(int(span["start"]) for span in by_id.values())
    ended = max(int(span["end"]) for span in by_id.values())
    parts: list[Part] = []
    drawn: set[str] = set()
    # The outermost, then those that lie within one another in a ring, as no honest sender has them.
    for outermost in (*_in_order(within.get("", [])), *_in_order(list(by_id.values()))):
        waiting = [(outermost, 0)]
        while waiting:
            span, depth = waiting.pop()
            if str(span["span"]) not in drawn:
                drawn.add(str(span["span"]))
                parts.append(_part(span, depth, began))
                waiting += [(one, depth + 1) for one in reversed(_in_order(within.get(str(span["span"]), [])))]
    trace_id = next(str(span["trace"]) for span in by_id.values())
    return Trace(trace_id=trace_id, began_ns=began, seconds=(ended - began) / 1e9, parts=tuple(parts))


def _in_order(spans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(spans, key=lambda span: (int(span["start"]), str(span["span"])))


def _part(span: Mapping[str, Any], depth: int, began: int) -> Part:
    said: Mapping[str, Any] = span.get("attributes") or {}
    outcome, sentence = said.get("perennial.outcome", ""), str(said.get("perennial.sentence", ""))
    words = (
        f"{outcome}: {sentence}"
        if sentence
        else " ".join(
            str(said[name])
            for name in ("perennial.model", "perennial.version", "perennial.weights", "upstream_cluster.name")
            if name in said
        )
    )
    return Part(
        depth=depth,
        name=_plain(str(span["name"])),
        service=_plain(str(span["service"])),
        begins=(int(span["start"]) - began) / 1e9,
        seconds=max(int(span["end"]) - int(span["start"]), 0) / 1e9,
        error=bool(span.get("error")) and said.get("airflow.task_instance.state") != "skipped",  # Airflow calls that one too
        said=words if len(words) <= SAID else f"{words[: SAID - 1]}…",
        links=tuple(map(str, span.get("links") or ())),
    )


def _plain(text: str) -> str:
    """A text without signs that move a terminal's cursor, begin a line, or may not stand in a picture."""
    return "".join(sign if sign.isprintable() else " " for sign in text)


def took(seconds: float) -> str:
    """A time that may be short: `850 µs`, `12 ms`, `3.4 s`, `2 min 5 s`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def text_of(trace: Trace, width: int = 140) -> str:
    """The waterfall as lines of text that are at most so long."""
    rows = [(f"{'  ' * part.depth}{'✗ ' if part.error else ''}{part.name}", part.service, took(part.seconds)) for part in trace.parts]
    first, second, third = (max(len(row[place]) for row in rows) for place in range(3))
    first = min(first, width // 2)
    bar = max(width - first - second - third - 6, 10)
    lines = []
    for part, row in zip(trace.parts, rows, strict=True):
        begins = round(bar * part.begins / trace.seconds) if trace.seconds else 0
        length = max(round(bar * part.seconds / trace.seconds) if trace.seconds else 0, 1)
        begins = min(begins, bar - 1)
        drawn = " " * begins + "█" * min(length, bar - begins)
        lines.append(f"{_cut(row[0], first):<{first}}  {row[1]:<{second}}  {row[2]:>{third}}  {drawn}".rstrip())
    return "\n".join(lines)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def picture_of(trace: Trace, title: str = "") -> str:
    """The waterfall as a picture in SVG, which a browser shows; each bar says on hovering what the part says of itself."""
    height, bar = TOP + LINE * len(trace.parts) + 30, WIDTH - LEFT - 90
    colours = {service: COLOURS[place % len(COLOURS)] for place, service in enumerate(trace.services)}
    title = title or f"Trace {trace.trace_id}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title><rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-size="15" fill="#222222">{escape(title)}</text>',
    ]
    place = 10.0
    for service, colour in colours.items():
        lines.append(f'<rect x="{place:g}" y="32" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{place + 17:g}" y="42" fill="#222222">{escape(service)}</text>')
        place += 32 + 7 * len(service)
    for row, part in enumerate(trace.parts):
        top = TOP + LINE * row
        begins = LEFT + (bar * part.begins / trace.seconds if trace.seconds else 0)
        length = max(bar * part.seconds / trace.seconds if trace.seconds else 0, 2)
        about = f"{part.name} ({part.service})" + (f": {_plain(part.said)}" if part.said else "")
        name = _cut(part.name, max((LEFT - 20 - 14 * part.depth) // 7, 8))
        lines.append(
            f"<g><title>{escape(about)}</title>"
            f'<rect x="0" y="{top}" width="{WIDTH}" height="{LINE}" fill="{"#f6f6f6" if row % 2 else "#ffffff"}"/>'
            f'<text x="{10 + 14 * part.depth}" y="{top + 15}" fill="{ERROR if part.error else "#222222"}">{escape(name)}</text>'
            f'<rect x="{begins:.1f}" y="{top + 4}" width="{length:.1f}" height="{LINE - 8}" rx="2" '
            f'fill="{ERROR if part.error else colours[part.service]}"/>'
            f'<text x="{begins + length + 5:.1f}" y="{top + 15}" fill="#555555">{took(part.seconds)}</text></g>'
        )
    lines.append("</svg>")
    return "\n".join(lines) + "\n"
