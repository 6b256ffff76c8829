"""The page of a window: one self-contained HTML file, the verdict on top. No script, no network; light, dark, printed, on a phone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

MAX_COLUMNS, MAX_BINS, MAX_ANOMALIES = 12, 20, 15
NEAREST = 2  # findings shown with a plot where nothing drifted
WIDTH = 360  # of every plot, in its own units: a phone shows it at about that size, so its text stays readable

Report = Mapping[str, Any]

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--quiet:#5b6672;--line:#d8dee6;--paper:#fff;--card:#f6f8fa;--before:#8b97a5;--after:#c2571a;
--good:#2e7d4f;--good-bg:#edf7f0;--warn:#a85414;--warn-bg:#fdf3ea;--bad:#b3261e;--bad-bg:#fdecea}
@media(prefers-color-scheme:dark){:root{--ink:#e1e7ee;--quiet:#9da8b5;--line:#38414b;--paper:#14181d;--card:#1c2229;--before:#7c8896;--after:#f0955c;
--good:#6cc391;--good-bg:#16271d;--warn:#f0a65c;--warn-bg:#2f2216;--bad:#f58b83;--bad-bg:#331a18}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;color:var(--ink);background:var(--paper);overflow-wrap:break-word}
main{max-width:60rem;margin:0 auto;padding:1.2rem 1rem 4rem}h1{font-size:1.5rem;line-height:1.25;margin:.4rem 0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem;padding-bottom:.2rem;border-bottom:1px solid var(--line)}h3{font-size:1rem;margin:0 0 .3rem}p{margin:.5rem 0}
.quiet{color:var(--quiet)}.small{font-size:.875rem}code{font:.92em ui-monospace,monospace;background:var(--card);padding:0 .2em;border-radius:3px}
.verdict{padding:.8rem 1rem;border-left:6px solid var(--good);background:var(--good-bg);font-size:1.08rem}.verdict.changed{border-color:var(--warn);background:var(--warn-bg)}
.verdict.alarm{border-color:var(--bad);background:var(--bad-bg)}.verdict b{display:block}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.4rem,1fr));gap:.6rem;margin:1rem 0;padding:0;list-style:none}
.tiles li{background:var(--card);padding:.55rem .75rem;border-radius:6px}.tiles strong{display:block;font-size:1.15rem;line-height:1.3}.tiles span{color:var(--quiet);font-size:.85rem}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem;align-items:start}figure{margin:0;padding:.8rem;border:1px solid var(--line);border-radius:6px;break-inside:avoid}
figcaption{margin-bottom:.5rem}.mark{font-weight:600;color:var(--warn)}.mark.bad{color:var(--bad)}
svg{display:block;width:100%;max-width:32rem;height:auto}svg text{font:11px system-ui,sans-serif;fill:var(--ink)}svg .soft{fill:var(--quiet)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--quiet);font-size:.875rem;padding-bottom:.3rem}
td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}th{font-weight:600}.n{white-space:nowrap}
td svg{width:8rem}td:first-child{min-width:6rem}
@media(max-width:30rem){td,th{padding-right:.5rem}td svg{width:5rem}td:first-child{min-width:3.5rem}}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .3em 0 .9em}.key i:first-child{margin-left:0}details{margin:.6rem 0}summary{cursor:pointer}
@media print{body{font-size:11pt}main{max-width:none;padding:0}.verdict,.tiles li,svg *{print-color-adjust:exact;-webkit-print-color-adjust:exact}h2{break-after:avoid}details>*{display:block}}
"""


def page(report: Report) -> str:
    """The HTML of a window's report (the content of its `report.json`)."""
    state, headline = _state(report)
    answered = report["by_version"].get(str(report["version"]), 0)
    sections = [
        f"<h1>{escape(report['title'])}</h1>",
        f"<p class=quiet>{_when(report['first'])} to {_when(report['last'])}, event time. Version {report['version']} answered {answered} of {report['requests']} predictions.</p>",
        f"<div class='{state}'><b>{escape(headline)}</b>{_code(report['sentence'].removesuffix(report['decision']['why']))}</div>",
        _tiles(report),
        f"<h2>What was decided and why</h2><p>{_code(report['decision']['why'])}</p>",
        _incidents(report),
        _inputs(report),
        _together(report["drift"]),
        _predictions(report),
        _anomalies(report["anomalies"]),
        _performance(report),
        _slices(report),
        _service(report),
        _method(report),
    ]
    title = f"{report['title']} {report['name']}"
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main>{''.join(sections)}</main></body></html>"
    )


def _state(report: Report) -> tuple[str, str]:
    """Class and headline of the verdict."""
    drift = report["drift"]
    rules = (
        (report["breaks"], " alarm", "A feed looks broken."),
        (report["jump"]["found"], " alarm", "The model has become worse."),
        (drift["confirmed"], " changed", f"The world has changed: drift in {drift['windows']} windows in a row."),
        (drift["alarming"], " changed", "Something has changed; it is not confirmed yet."),
        (report["anomalies"]["unusual"], " changed", "Unusually many strange requests."),
        (report["decision"]["cause"], " changed", "Retraining was asked for."),
        (drift["drifted"], "", "Small changes, none worth an alarm."),
    )
    return next(((f"verdict{mark}", headline) for found, mark, headline in rules if found), ("verdict", "Nothing stands out."))


def _tiles(report: Report) -> str:
    drift, p, estimate, anomalies = report["drift"], report["performance"], report["estimate"], report["anomalies"]
    if p["realised"] is not None:
        loss = f"{p['realised']:.3f}", f"{p['loss']}, {p['low']:.3f} to {p['high']:.3f}"
    elif estimate is not None:
        loss = f"≈ {estimate['loss']:.3f}", f"{p['loss']} by the scores alone"
    else:
        loss = "?", f"{p['loss']}: no outcomes yet"
    open_ones = report["incidents"]["open"]
    tiles = [
        (f"{report['requests']:,}", "predictions"),
        (str(len(drift["alarming"])), f"drifted of {len(drift['columns'])} findings"),
        loss,
        (f"{p['coverage'] * 100:.0f} %", f"outcomes known, {p['labelled']:,} of {p['predictions']:,}"),
        (str(anomalies["found"]), f"strange requests, {anomalies['alarms_per_day']:g} a day expected"),
        (str(len(open_ones)), f"open incident{'' if len(open_ones) == 1 else 's'}"),
    ]
    return f"<ul class=tiles>{''.join(f'<li><strong>{escape(value)}</strong><span>{escape(label)}</span></li>' for value, label in tiles)}</ul>"


def _incidents(report: Report) -> str:
    incidents = report["incidents"]
    rows = []
    for i in incidents["open"]:
        seen = f"{_code(i['sentence'])}{' <b>Training waits for it.</b>' if i['blocks_training'] else ''}"
        since = f"{i['id']}, {'new at this look' if i['id'] in incidents['changed'] else 'open since ' + _when(i['opened'])}"
        judged = f", judged {escape(i['verdict'])}" if i["verdict"] else ""
        rows.append(
            (
                f"<span class='mark{' bad' if i['severity'] == 'critical' else ''}'>{escape(i['severity'])}</span><div>{escape(i['kind'])}</div>",
                f"{seen}<div class='quiet small'>{escape(since)}{judged}</div>",
            )
        )
    table = _table(("Incident", "What was seen"), rows) if rows else "<p>None is open.</p>"
    return f"<h2>Incidents</h2>{table}<p class='quiet small'>{escape(incidents['rate'])}</p>"


def _inputs(report: Report) -> str:
    drift = report["drift"]
    found = [f for f in drift["columns"] if f["kind"] in ("shift", "nulls", "new category")]
    drifted = [f for f in found if f["drifted"]]  # those that alarm come first
    parts = [f"<h2>Inputs against the champion's snapshot ({drift['reference_days']} days)</h2>"]
    if drift["power"]:
        parts.append(f"<p>{escape(drift['power'])}</p>")
    parts += [f"<p><span class='mark bad'>Diagnosis:</span> {_code(b['sentence'])}</p>" for b in report["breaks"]]
    if drift["confirmed"]:
        parts.append(f"<p>Confirmed over {drift['windows']} windows in a row: {escape(', '.join(drift['confirmed']))}.</p>")
    if not drifted and found:
        parts.append("<p>No input drifted. The nearest to it:</p>")
    elif drifted and not any(f["alarms"] for f in drifted):
        parts.append("<p>Inputs changed for certain, but too little to act on.</p>")
    shown = drifted[:MAX_COLUMNS] or found[:NEAREST]
    parts.append(_key() if shown else "")
    parts.append(_cards(shown))
    left = [f for f in found if f not in shown]
    if left:
        rows = [(_code(f["sentence"]), f"{f['effect']:.3g}{_interval(f)}", f"{f['p_value']:.3g}", _mark(f)) for f in left]
        table = _table(("What was compared", "Effect", "p", ""), rows)
        parts.append(f"<details><summary>{len(left)} more that moved less</summary>{table}</details>")
    return "".join(parts)


def _together(drift: Mapping[str, Any]) -> str:
    found = [f for f in drift["columns"] if f["kind"] in ("correlation", "joint")]
    if not found:
        return ""
    rows = [
        (
            f"{_mark(f)}{_code(f['sentence'])}",
            _range(f["effect"], f["low"], f["high"], top=_top(f), usual=f["usual"]),
            f"{f['effect']:.3g}{_interval(f)}",
            f"{f['p_value']:.3g}",
        )
        for f in found[:MAX_COLUMNS]
    ]
    return f"<h2>Columns together</h2>{_table(('What was compared', 'Change; grey: usual', 'Effect', 'p'), rows)}"


def _predictions(report: Report) -> str:
    found = [f for f in report["drift"]["columns"] if f["kind"] == "predictions"]
    bins = report["scores"]
    if not found and not bins:
        return ""
    parts = ["<h2>Scores</h2>"]
    if found:
        parts += ["<p class=quiet>Against days of the snapshot that the training did not see.</p>", _key(), _cards(found)]
    if bins and not found:
        shown = [{"label": b["label"], "reference": 0.0, "window": b["share"]} for b in bins]
        parts.append(f"<figure><figcaption>{escape(bins[0]['of'])}</figcaption>{_bars(shown, 'scores', both=False)}</figure>")
    return "".join(parts)


def _anomalies(found: Mapping[str, Any]) -> str:
    parts = [f"<h2>Strange requests</h2><p>{escape(found['sentence'])}</p>"]
    if found["shown"]:
        alike: dict[str, list[Mapping[str, Any]]] = {}
        for one in found["shown"]:
            alike.setdefault(one["sentence"], []).append(one)
        told, rows = 0, []
        for sentence, those in list(alike.items())[:MAX_ANOMALIES]:
            told += len(those)
            which = f"{len(those)} requests, the strangest is {those[0]['prediction_id']}" if len(those) > 1 else those[0]["prediction_id"]
            rows.append((f"{_code(sentence)}<div class='quiet small'>{escape(which)}</div>", f"{those[0]['score']:.4g}"))
        parts.append(_table(("What is strange", "Score"), rows))
        if found["found"] > told:
            parts.append(f"<p class='quiet small'>{found['found'] - told} more; report.json has the first {len(found['shown'])}.</p>")
    if found["threshold"] is not None:
        held = (
            f" On {found['held_out_days']} held-out days of the reference, at this traffic, {found['achieved']:.3g} a day were, {found['highest']:.3g} on the worst."
            if found["achieved"] is not None
            else ""
        )
        parts.append(
            f"<p class='quiet small'>Detector {escape(found['detector'])}; a request counts from a score of {found['threshold']:.4g}, so that while nothing is wrong no more than {found['alarms_per_day']:g} a day do in the mean.{held}</p>"
        )
    return "".join(parts)


def _performance(report: Report) -> str:
    p, counts, estimate = report["performance"], report["outcomes"], report["estimate"]
    rows = [("Outcomes known", f"{p['labelled']} of {p['predictions']} predictions ({p['coverage'] * 100:.0f} %)")]
    if p["realised"] is not None:
        rows.append(
            (
                f"Realised {p['loss']}",
                f"{p['realised']:.4f}, 95 % interval {p['low']:.4f} to {p['high']:.4f} ({p['blocks']} resampled{', too narrow: rows of one day are alike' if p['blocks'] == 'rows' else ''})",
            )
        )
    if p["expected"] is not None:
        rows.append(("Expected by the model's own scores, same rows", f"{p['expected']:.4f} (excess {p['excess']:+.4f})"))
    if estimate is not None:
        area = f", ROC AUC {estimate['roc_auc']:.4f}" if estimate["roc_auc"] is not None else ""
        until = "" if p["realised"] is not None else " until outcomes come"
        rows.append(
            (
                "By the scores alone, without outcomes",
                f"{p['loss']} {estimate['loss']:.4f}, accuracy {estimate['accuracy']:.4f}{area} on {estimate['rows']} predictions. An estimate{until}: it follows inputs that become harder, and is blind to a changed concept, where the same inputs lead to other outcomes.",
            )
        )
    rows.append(
        (
            "Outcomes that repeat, are overruled, have no prediction yet",
            f"{counts['repeated']}, {counts['contradicted']}, {counts['unknown']}",
        )
    )
    rows += [("Could not be read", sentence) for sentence in report["damaged"]]
    table = "".join(f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<h2>Performance</h2><div class=scroll><table>{table}</table></div><p>{escape(report['jump']['sentence'])}</p>{_curve(report)}"


def _slices(report: Report) -> str:
    if not report["slices"]:
        return ""
    top = max(s["high"] for s in report["slices"])
    parts = [
        f"<h2>Performance by slice</h2><p class=quiet>Realised {escape(report['performance']['loss'])}, 95 % interval; the worst first.</p>"
    ]
    for column in dict.fromkeys(s["column"] for s in report["slices"]):
        found = sorted((s for s in report["slices"] if s["column"] == column), key=lambda s: -s["realised"])
        rows = [
            (
                escape(s["name"]),
                _range(s["realised"], s["low"], s["high"], top=top),
                f"{s['realised']:.3f} <span class='quiet small n'>{s['low']:.3f} to {s['high']:.3f}</span>",
                "" if s["excess"] is None else f"{s['excess']:+.3f}",
                f"{s['labelled']} of {s['predictions']}",
            )
            for s in found
        ]
        parts.append(_table((column, "", "Loss", "Excess", "Outcomes known"), rows))
    return "".join(parts)


def _service(report: Report) -> str:
    s = report["service"]
    times = "" if s["p50_ms"] is None else f"; half within {s['p50_ms']:.1f} ms, 99 % within {s['p99_ms']:.1f} ms in the serving process"
    rows = "".join(
        f"<tr><th scope=row>Version {escape(str(v))}</th><td>{a['requests']} requests, {a['errors']} errors, p50 ≤ {_ms(a['p50_ms'])}, p99 ≤ {_ms(a['p99_ms'])}</td></tr>"
        for v, a in report["gateway"]["versions"].items()
    )
    table = f"<div class=scroll><table>{rows}</table></div>" if rows else ""
    return (
        f"<h2>Service</h2><p>{s['predictions']} predictions within {max(s['seconds'], 1):.0f} s of serving ({s['per_second']:.1f} a second){times}.</p>"
        f"<p class=quiet>{escape(report['gateway']['sentence'])}</p>{table}"
    )


def _method(report: Report) -> str:
    drift = report["drift"]
    how = "all there are" if drift["exact"] else "drawn at random"
    parts = [
        f"<h2>How it was judged</h2><p class=small>{drift['window_days']} days of the window against {drift['reference_days']} of the reference, by {drift['labellings']} labellings of whole days ({how}). "
        f"If nothing changed, anything at all is called drift in {drift['alpha'] * 100:g} of 100 windows at most; besides, an effect must be large enough to matter.</p>"
    ]
    if drift["skipped"]:
        rows = [(escape(name), escape(why)) for name, why in drift["skipped"].items()]
        parts.append(_table(("Not tested", "Why"), rows))
    return "".join(parts)


def _cards(findings: Iterable[Mapping[str, Any]]) -> str:
    drawn = []
    for f in findings:
        effect = f"effect {f['effect']:.3g}{_interval(f)}, usual up to {f['usual']:.3g}, p = {f['p_value']:.3g}"
        drawn.append(
            f"<figure><figcaption>{_mark(f)}{_code(f['sentence'])} <span class='quiet small'>{effect}</span></figcaption>{_bars(f['bins'], f['column'])}</figure>"
        )
    return f"<div class=cards>{''.join(drawn)}</div>" if drawn else ""


def _mark(finding: Mapping[str, Any]) -> str:
    if finding["alarms"]:
        return "<span class=mark>drifted</span> "
    return "<span class=quiet>a little</span> " if finding["drifted"] else ""


def _interval(finding: Mapping[str, Any]) -> str:
    return "" if finding["low"] is None else f" ({finding['low']:.3g} to {finding['high']:.3g})"


def _top(finding: Mapping[str, Any]) -> float:
    return max(float(finding["effect"]), float(finding["usual"]), float(finding["high"] or 0.0))


def _key() -> str:
    return "<p class='key quiet small'><i style='background:var(--before)'></i>reference<i style='background:var(--after)'></i>window, share of rows</p>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are HTML already."""
    heads = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=scroll><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"


def _code(sentence: str) -> str:
    pieces = escape(sentence).replace(" %", "\u00a0%").split("`")
    if len(pieces) % 2 == 0:  # a name has a backtick of its own: better all as text than half a page as code
        return escape(sentence)
    return "".join(f"<code>{piece}</code>" if i % 2 else piece for i, piece in enumerate(pieces))


def _bars(bins: Sequence[Mapping[str, Any]], of: str, *, both: bool = True) -> str:
    """A row for each range or category: the reference above, the window below. Of too many, those that changed most, in their order."""
    held = [b for b in bins if b["reference"] or b["window"]]
    most = sorted(held, key=lambda b: -abs(b["window"] - b["reference"]))[:MAX_BINS]
    shown = [b for b in held if b in most] if len(held) > MAX_BINS else held
    top = max((max(abs(b["reference"]), abs(b["window"])) for b in shown), default=1.0) or 1.0
    drawn, height = [], 22 if both else 17
    for i, b in enumerate(shown):
        y, before, after = height * i, 130 * abs(b["reference"]) / top, 130 * abs(b["window"]) / top
        told = f"{_share(b['reference'])} → {_share(b['window'])}" if both else _share(b["window"])
        bars = (
            f"<rect x=120 y={y + 2} width={before:.1f} height=7 fill='var(--before)'/><rect x=120 y={y + 10} width={after:.1f} height=7 fill='var(--after)'/>"
            if both
            else f"<rect x=120 y={y + 3} width={after:.1f} height=11 fill='var(--after)'/>"
        )
        drawn.append(
            f"<text x=114 y={y + 13} text-anchor=end>{escape(_cut(str(b['label']), 19))}</text>{bars}<text class=soft x={126 + max(before * both, after):.1f} y={y + 13}>{told}</text>"
        )
    told = f"{of}: " + "; ".join(f"{b['label']} {_share(b['reference'])} to {_share(b['window'])}" for b in shown)
    left = f"<p class='quiet small'>{len(held) - len(shown)} more that changed less.</p>" if len(held) > len(shown) else ""
    size = height * max(len(shown), 1) + 4
    return f"<svg role=img aria-label='{escape(told)}' viewBox='0 0 {WIDTH} {size}'>{''.join(drawn)}</svg>{left}"


def _share(value: float) -> str:
    if abs(value) > 1 or value < 0:
        return f"{value:.2f}"
    return f"{value * 100:.2g} %" if 0 < value < 0.01 else f"{value * 100:.1f} %"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _range(value: float, low: float | None, high: float | None, *, top: float, usual: float | None = None) -> str:
    """A value and its interval on a line that begins at zero."""
    scale = 130 / (top or 1.0)
    drawn = [] if usual is None else [f"<rect x=4 y=3 width={usual * scale:.1f} height=10 fill='var(--line)'/>"]
    drawn.append("<line x1=4 y1=1 x2=4 y2=15 stroke='var(--before)'/>")
    if low is not None and high is not None:
        drawn.append(
            f"<line x1={4 + low * scale:.1f} x2={4 + min(high, top) * scale:.1f} y1=8 y2=8 stroke='var(--after)' stroke-width='2.5'/>"
        )
    drawn.append(f"<circle cx={4 + value * scale:.1f} cy=8 r=4 fill='var(--after)'/>")
    span = "" if low is None or high is None else f", interval {low:.3g} to {high:.3g}"
    return f"<svg role=img aria-label='{value:.3g}{span}' viewBox='0 0 142 16'>{''.join(drawn)}</svg>"


def _curve(report: Report) -> str:
    """Realised and expected loss by day, and below it which share of the outcomes is known."""
    days = report["days"]
    values = [v for d in days for v in (d["realised"], d["expected"]) if v is not None]
    if len([d for d in days if d["realised"] is not None]) < 2:
        return ""
    low, high = min(values), max(values)
    step = (WIDTH - 72) / (len(days) - 1)
    scale = 100 / ((high - low) or 1.0)

    def line(name: str, style: str) -> str:
        """One stroke for each run of known days, and a dot for each day."""
        known = [(60 + step * i, 112 - (d[name] - low) * scale, i) for i, d in enumerate(days) if d[name] is not None]
        runs: list[list[tuple[float, float, int]]] = []
        for point in known:
            if runs and runs[-1][-1][2] == point[2] - 1:
                runs[-1].append(point)
            else:
                runs.append([point])
        return "".join(f"<polyline fill=none {style} points='{' '.join(f'{x:.1f},{y:.1f}' for x, y, _ in run)}'/>" for run in runs)

    dots = "".join(
        f"<circle cx={60 + step * i:.1f} cy={112 - (d['realised'] - low) * scale:.1f} r=2.5 fill='var(--after)'/>"
        for i, d in enumerate(days)
        if d["realised"] is not None
    )
    width = min(step * 0.7, 14)
    coverage = "".join(
        f"<rect x={60 + step * i - width / 2:.1f} y={154 - 24 * d['coverage']:.1f} width={width:.1f} height={24 * d['coverage']:.1f} fill='var(--before)'/>"
        for i, d in enumerate(days)
    )
    told = "; ".join(f"{d['day']}: {d['realised']:.3f}" for d in days if d["realised"] is not None)
    loss = escape(report["performance"]["loss"])
    drawn = (
        f"<text class=soft x=44 y=16 text-anchor=end>{high:.3f}</text><text class=soft x=44 y=116 text-anchor=end>{low:.3f}</text>"
        f"<line x1=50 x2={WIDTH - 2} y1=112 y2=112 stroke='var(--line)'/><line x1=50 x2={WIDTH - 2} y1=154 y2=154 stroke='var(--line)'/>"
        + line("expected", "stroke='var(--before)' stroke-width=2 stroke-dasharray='4 4'")
        + line("realised", "stroke='var(--after)' stroke-width=2")
        + dots
        + coverage
        + f"<text class=soft x=44 y=144 text-anchor=end>known</text><text class=soft x=52 y=170>{escape(days[0]['day'])}</text><text class=soft x={WIDTH - 4} y=170 text-anchor=end>{escape(days[-1]['day'])}</text>"
    )
    return (
        f"<figure><figcaption>Loss by day: realised (line), expected by the scores (dashes); bars: share of the outcomes that is known</figcaption>"
        f"<svg role=img aria-label='{loss} by day. {escape(told)}' viewBox='0 0 {WIDTH} 176'>{drawn}</svg></figure>"
    )


def _when(time: str) -> str:
    return escape(time[:16].replace("T", " "))


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:g} ms"
