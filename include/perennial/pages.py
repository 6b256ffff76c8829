"""Pages for people: their look in light and dark rooms, on paper and on a phone, and the HTML that all of them share.

No page has a script or asks a network for anything.

>>> from perennial.pages import code, shortened
>>> code("`carrier`: AA: 50 % of rows")
'<code>carrier</code>: AA: 50\xa0% of rows'
>>> shortened("cancelled", 6)
'cance…'
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# The colours of every page, as CSS. Whether a room is light or dark says the browser, or the page in which a page is shown.
LIGHT = """--ink:#1c2430;--quiet:#5b6672;--line:#d8dee6;--paper:#fff;--card:#f6f8fa;--before:#8b97a5;--after:#c2571a;
--good:#2e7d4f;--good-bg:#edf7f0;--warn:#a85414;--warn-bg:#fdf3ea;--bad:#b3261e;--bad-bg:#fdecea"""
DARK = """--ink:#e1e7ee;--quiet:#9da8b5;--line:#38414b;--paper:#14181d;--card:#1c2229;--before:#7c8896;--after:#f0955c;
--good:#6cc391;--good-bg:#16271d;--warn:#f0a65c;--warn-bg:#2f2216;--bad:#f58b83;--bad-bg:#331a18"""

STYLE = (
    f"""
:root{{color-scheme:light dark;{LIGHT}}}
@media(prefers-color-scheme:dark){{:root{{{DARK}}}}}
"""
    + """\
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--ink);background:var(--paper);\
overflow-wrap:break-word}
main{max-width:60rem;margin:0 auto;padding:1.2rem 1rem 4rem}h1{font-size:1.5rem;line-height:1.25;margin:.4rem 0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:0 0 .3rem}\
p{margin:.5rem 0}
.quiet{color:var(--quiet)}.small{font-size:.875rem}code{font:.92em ui-monospace,monospace;background:var(--card);padding:0 .2em;\
border-radius:3px}
.verdict{padding:.8rem 1rem;border-left:6px solid var(--good);background:var(--good-bg);font-size:1.08rem}\
.verdict.changed{border-color:var(--warn);background:var(--warn-bg)}
.verdict.alarm{border-color:var(--bad);background:var(--bad-bg)}.verdict b{display:block}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.4rem,1fr));gap:.6rem;margin:1rem 0;padding:0;list-style:none}
.tiles li{background:var(--card);padding:.55rem .75rem;border-radius:6px}.tiles strong{display:block;font-size:1.15rem;line-height:1.3}\
.tiles span{color:var(--quiet);font-size:.85rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem;align-items:start}figure{margin:0;\
padding:.8rem;border:1px solid var(--line);border-radius:6px;break-inside:avoid}
figcaption{margin-bottom:.5rem}.mark{font-weight:600;color:var(--warn)}.mark.bad{color:var(--bad)}
svg[role=img]{display:block;width:100%;max-width:32rem;height:auto}svg[role=img] text{font:11px system-ui,sans-serif;fill:var(--ink)}\
svg .soft{fill:var(--quiet)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;\
color:var(--quiet);font-size:.875rem;padding-bottom:.3rem}
td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}th{font-weight:600}\
.n{white-space:nowrap}
td svg{width:8rem}td:first-child{min-width:6rem}
.matrix{width:auto}.matrix td,.matrix thead th{text-align:center;padding:.3rem .5rem}.matrix tbody th{position:sticky;left:0;\
background:var(--paper);max-width:9rem}.matrix .n{white-space:nowrap}
@media(max-width:30rem){td,th{padding-right:.5rem}.n{white-space:normal}td svg{width:5rem}td:first-child{min-width:3.5rem}}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 .9em}.key i:first-child{margin-left:0}\
details{margin:.6rem 0}summary{cursor:pointer}
@media print{body{font-size:11pt}main{max-width:none;padding:0}.verdict,.tiles li,svg *{print-color-adjust:exact;\
-webkit-print-color-adjust:exact}h2{break-after:avoid}details>*{display:block}}
"""
)


@dataclass(frozen=True)
class Span:
    """A value with its interval, for a picture."""

    name: str
    value: float
    low: float
    high: float
    usual: float | None = None  # what it is compared with


def document(title: str, sections: Iterable[str]) -> str:
    """A whole page. It has no script and asks no network."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>"
    )


def table_of(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already."""
    heads = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=scroll tabindex=0><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"


def tiles(figures: Iterable[tuple[str, str]]) -> str:
    """Figures, each with what it is, side by side."""
    drawn = "".join(f"<li><strong>{escape(value)}</strong><span>{escape(label)}</span></li>" for value, label in figures)
    return f"<ul class=tiles>{drawn}</ul>"


def code(sentence: str) -> str:
    """A sentence as HTML, what stands between backticks as code."""
    pieces = escape(sentence).replace(" %", "\u00a0%").split("`")
    if len(pieces) % 2 == 0:  # a name has a backtick of its own: better all as text than half a page as code
        return escape(sentence)
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def shortened(text: str, letters: int) -> str:
    """A text of so many letters at most; an ellipsis stands for what is cut off."""
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def spans(lines: Sequence[Span], what: str) -> str:
    """A line for each value with its interval, and a mark where it usually is, from 0 or the lowest to the highest; an SVG in the colour of
    the text around it, so that it fits any page."""
    if not lines:
        return ""
    low, high = min(0.0, *(line.low for line in lines)), max(*(line.high for line in lines), *(line.usual or 0.0 for line in lines), 1e-12)
    scale, drawn = 180 / (high - low), []
    for place, line in enumerate(lines):
        y = 12 + 18 * place
        x, begin, end = (124 + (at - low) * scale for at in (line.value, line.low, line.high))
        drawn.append(
            f"<text x=116 y={y + 4} text-anchor=end style='font:11px system-ui,sans-serif;fill:currentColor'>"
            f"{escape(shortened(line.name, 18))}</text>"
            f"<line x1={begin:.1f} x2={end:.1f} y1={y} y2={y} stroke=currentColor stroke-opacity=.45 stroke-width=3 />"
            f"<circle cx={x:.1f} cy={y} r=3.5 fill=currentColor />"
        )
        if line.usual is not None:
            at = 124 + (line.usual - low) * scale
            drawn.append(f"<line x1={at:.1f} x2={at:.1f} y1={y - 7} y2={y + 7} stroke=currentColor stroke-dasharray='2 2' />")
    said = f"{what}: " + "; ".join(f"{line.name} {line.value:.3g}, {line.low:.3g} to {line.high:.3g}" for line in lines)
    size = f"viewBox='0 0 320 {18 * len(lines) + 6}' style='display:block;width:100%;max-width:32rem;height:auto'"
    return f"<svg role=img aria-label='{escape(said)}' {size}>{''.join(drawn)}</svg>"
