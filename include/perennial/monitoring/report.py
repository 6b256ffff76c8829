"""The page of a window: one self-contained HTML file, the verdict on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

MAX_COLUMNS, MAX_BINS = 12, 24

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430;background:#fff}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2rem;border-bottom:1px solid #d8dee6}
.verdict{padding:.8rem 1rem;border-left:6px solid #2e7d4f;background:#eef7f1;font-size:1.1rem}.verdict.changed{border-color:#b4541a;background:#fdf3ec}
table{border-collapse:collapse}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}th{font-weight:600}
.quiet{color:#66707c}figure{margin:1rem 0}figcaption{margin-bottom:.3rem}svg text{font:11px system-ui,sans-serif;fill:#444}
@media(prefers-color-scheme:dark){body{background:#14181d;color:#dfe5ec}.verdict{background:#17291f}.verdict.changed{background:#33231a}svg text{fill:#bbb}h2{border-color:#38414b}}
"""


def page(report: Mapping[str, Any]) -> str:
    """The HTML of a window's report (the content of its `report.json`)."""
    drift, decision = report["drift"], report["decision"]
    changed = bool(drift["drifted"] or decision["cause"])
    sections = [
        f"<h1>{escape(report['title'])}: {escape(report['first'][:16])} to {escape(report['last'][:16])} (event time)</h1>",
        f"<p class=quiet>Version {report['version']} answered {report['by_version'].get(str(report['version']), 0)} of {report['requests']} predictions.</p>",
        f"<p class='verdict{' changed' if changed else ''}'>{escape(report['sentence'])}</p>",
        f"<h2>What was decided and why</h2><p>{escape(decision['why'])}</p>",
        _drift(drift),
        _performance(report),
        _scores(report["scores"]),
        _service(report),
    ]
    title = f"{report['title']} {report['name']}"
    return f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(sections)}</body></html>"


def _drift(drift: Mapping[str, Any]) -> str:
    shown = drift["columns"][:MAX_COLUMNS]
    parts = [f"<h2>Inputs against the champion's snapshot ({drift['reference_days']} days)</h2>"]
    if drift["power"]:
        parts.append(f"<p>{escape(drift['power'])}</p>")
    if drift["confirmed"]:
        parts.append(f"<p>Confirmed over {drift['windows']} windows in a row: {escape(', '.join(drift['confirmed']))}.</p>")
    for column in shown:
        mark = "<b>drifted</b> · " if column["drifted"] else ""
        parts.append(
            f"<figure><figcaption>{mark}{_code(column['sentence'])} <span class=quiet>p = {column['p_value']:.3g}</span></figcaption>{_bars(column['bins'])}</figure>"
        )
    if len(drift["columns"]) > len(shown):
        parts.append(f"<p class=quiet>{len(drift['columns']) - len(shown)} more columns moved less; report.json has them.</p>")
    if drift["skipped"]:
        rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(why)}</td></tr>" for name, why in drift["skipped"].items())
        parts.append(f"<p>Not tested:</p><table>{rows}</table>")
    return "".join(parts)


def _code(sentence: str) -> str:
    pieces = escape(sentence).split("`")
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def _bars(bins: Iterable[Mapping[str, Any]]) -> str:
    """Two bars for each range or category: the reference in grey, the window in colour."""
    shown = [b for b in bins if b["reference"] or b["window"]][:MAX_BINS]
    top = max((max(b["reference"], b["window"]) for b in shown), default=1.0) or 1.0
    drawn = []
    for i, b in enumerate(shown):
        y, before, after = 20 * i, 420 * b["reference"] / top, 420 * b["window"] / top
        drawn.append(
            f"<text x=170 y={y + 13} text-anchor=end>{escape(str(b['label'])[:26])}</text>"
            f"<rect x=176 y={y + 1} width={before:.1f} height=7 fill='#9aa5b1'/><rect x=176 y={y + 9} width={after:.1f} height=7 fill='#d9782d'/>"
            f"<text x={182 + max(before, after):.1f} y={y + 13}>{b['reference'] * 100:.1f} → {b['window'] * 100:.1f} %</text>"
        )
    return f"<svg role=img aria-label='shares of rows, reference and window' width=720 height={20 * len(shown) + 4} viewBox='0 0 720 {20 * len(shown) + 4}'>{''.join(drawn)}</svg>"


def _performance(report: Mapping[str, Any]) -> str:
    p, counts = report["performance"], report["outcomes"]
    rows = [("Outcomes known", f"{p['labelled']} of {p['predictions']} predictions ({p['coverage'] * 100:.0f} %)")]
    if p["realised"] is not None:
        rows.append(
            (
                f"Realised {p['loss']}",
                f"{p['realised']:.4f}, 95 % interval {p['low']:.4f} to {p['high']:.4f} ({p['blocks']} resampled{', too narrow: rows of one day are alike' if p['blocks'] == 'rows' else ''})",
            )
        )
    if p["expected"] is not None:
        rows.append(("Expected by the model's own scores", f"{p['expected']:.4f} (excess {p['excess']:+.4f})"))
    rows.append(
        (
            "Outcomes that repeat, are overruled, have no prediction yet",
            f"{counts['repeated']}, {counts['contradicted']}, {counts['unknown']}",
        )
    )
    table = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    days = [d for d in report["days"] if d["realised"] is not None]
    return f"<h2>Performance</h2><table>{table}</table><p>{escape(report['jump']['sentence'])}</p>{_curve(days)}"


def _curve(days: list[Mapping[str, Any]]) -> str:
    """Realised (line) and expected (dashes) loss by day."""
    if len(days) < 2:
        return ""
    values = [v for d in days for v in (d["realised"], d["expected"]) if v is not None]
    low, high = min(values), max(values)
    scale = 130 / ((high - low) or 1.0)

    def points(name: str) -> str:
        return " ".join(
            f"{50 + 650 * i / (len(days) - 1):.1f},{140 - (d[name] - low) * scale:.1f}" for i, d in enumerate(days) if d[name] is not None
        )

    return (
        f"<figure><figcaption class=quiet>Loss by day, {days[0]['day']} to {days[-1]['day']}: realised (line), expected (dashes)</figcaption>"
        f"<svg role=img aria-label='loss by day' width=720 height=160 viewBox='0 0 720 160'><text x=44 y=16 text-anchor=end>{high:.3f}</text><text x=44 y=144 text-anchor=end>{low:.3f}</text>"
        f"<polyline fill=none stroke='#d9782d' stroke-width=2 points='{points('realised')}'/><polyline fill=none stroke='#66707c' stroke-dasharray='4 4' points='{points('expected')}'/></svg></figure>"
    )


def _scores(bins: list[Mapping[str, Any]]) -> str:
    if not bins:
        return ""
    shown = [{"label": b["label"], "reference": 0.0, "window": b["share"]} for b in bins]
    return f"<h2>Scores</h2><figure><figcaption class=quiet>{escape(bins[0]['of'])}</figcaption>{_bars(shown)}</figure>"


def _service(report: Mapping[str, Any]) -> str:
    s = report["service"]
    times = "" if s["p50_ms"] is None else f"; half within {s['p50_ms']:.1f} ms, 99 % within {s['p99_ms']:.1f} ms in the serving process"
    rows = "".join(
        f"<tr><th>Version {v}</th><td>{a['requests']} requests, {a['errors']} errors, p50 ≤ {_ms(a['p50_ms'])}, p99 ≤ {_ms(a['p99_ms'])}</td></tr>"
        for v, a in report["gateway"]["versions"].items()
    )
    return (
        f"<h2>Service</h2><p>{s['predictions']} predictions within {s['seconds']:.0f} s of serving ({s['per_second']:.1f} a second){times}.</p>"
        f"<p class=quiet>{escape(report['gateway']['sentence'])}</p><table>{rows}</table>"
    )


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:g} ms"
