"""Data Docs: Great Expectations' pages in the store, one for each validation, readable without a network.

The pages' content is rendered by Great Expectations, whose templates escape little: what a file or a person wrote goes through them in
stand-ins for the characters of markup, which become entities at the end. What it would fetch from seven content networks (Bootstrap,
jQuery, Vega ...) is replaced by a small style sheet and script of ours inside each page
(docs/decisions/0004-data-docs-without-a-network.md). A page is written once, beside the others; the index is made from the listing
alone, since a page's key says what it shows. A file that was refused otherwise than by the suite has a page of ours with the reason.
"""

from __future__ import annotations

import functools
import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast, get_args

from perennial.quality import suites
from perennial.reports import notes, sandbox
from perennial.store import Store

Status = notes.Verdict
_SHOWN = 1000  # newest validations on the index
_MARKUP = "<>&\"'`$"  # `$` begins a placeholder in Great Expectations' own templates
_STAND_INS = range(0x10600, 0x10737)  # signs of Linear A: letters to every library, and in nobody's data
_OVERALL = re.compile(
    r'(Status:</span> )<i class="fas [^>]*></i> (Failed|Succeeded)'
)  # Great Expectations': any warning is a failure to it
_WORDS: dict[Status, str] = {"passed": "passed", "warning": "passed with a warning", "refused": "refused"}


@dataclass(frozen=True)
class Page:
    """One validation's page; the same content with the same result has the same page."""

    dataset: str
    batch: str
    digest: str
    rows: int | None  # None if the file could not be read
    status: Status

    @property
    def key(self) -> str:
        """The store key of the page."""
        batch = re.sub(r"[^A-Za-z0-9._-]", "-", self.batch)[:150]
        return f"{folder(self.dataset)}/validations/{batch}~{self.digest[:12]}~{'' if self.rows is None else self.rows}~{self.status}.html"


def folder(dataset: str) -> str:
    """Key of a dataset's Data Docs."""
    return f"reports/{dataset}/docs"


def index_key(dataset: str) -> str:
    """Key of the index of a dataset's Data Docs."""
    return f"{folder(dataset)}/index.html"


def write_page(store: Store, page: Page, result: Any, sentence: str, failures: Sequence[tuple[str, str]], more: str = "") -> None:
    """Write the page of one validation.

    Args:
        store: where it goes.
        page: what it shows.
        result: Great Expectations' ExpectationSuiteValidationResult.
        sentence: the verdict for a person.
        failures: severity and clause of each expectation that does not hold, worst first.
        more: a section of ours between the verdict and Great Expectations' content, as HTML.
    """
    reasons = "".join(f'<li><span class="status {severity}">{severity}</span> {html.escape(clause)}</li>' for severity, clause in failures)
    verdict = (
        '<section class="verdict '
        f'{page.status}"><strong>{html.escape(sentence)}</strong>{f"<ul>{reasons}</ul>" if reasons else ""}</section>'
    )
    plain = json.loads(json.dumps(result.to_json_dict(), default=str))  # the renderer knows only plain numbers, not NumPy's
    plain["meta"] = {**plain.get("meta", {}), "run_id": {"run_name": page.batch, "run_time": datetime.now(timezone.utc).isoformat()}}
    body = _OVERALL.sub(
        f'\\1<span class="status {page.status}">{_WORDS[page.status]}</span>', _content(_rendered, plain, up="../"), count=1
    )
    store.write(page.key, _page(f"{page.batch}: {page.status}", f"{page.dataset} / {page.batch}", "../index.html", verdict + more + body))


def write_refusal(store: Store, page: Page, sentence: str, earlier: str = "") -> None:
    """Write the page of a file that was refused before its validation, or in spite of passing its suite.

    Args:
        store: where it goes.
        page: what it shows.
        sentence: why, for a person.
        earlier: key of the page of the validation that it passed, if it did.
    """
    passed = f'<p><a href="{html.escape(earlier.rsplit("/", 1)[1])}">What the suite says of its rows</a></p>' if earlier else ""
    verdict = f'<section class="verdict refused"><strong>{html.escape(sentence)}</strong></section><main class="page">{passed}</main>'
    store.write(page.key, _page(f"{page.batch}: {page.status}", f"{page.dataset} / {page.batch}", "../index.html", verdict))


def write_index(store: Store, dataset: str) -> str:
    """Write the index of a dataset's validations, newest first, and the page of its suite; returns the index's key."""
    batches = notes.listed_batches(store, dataset)
    notes.note_batches(store, dataset, batches)
    counts = {status: sum(batch.verdict == status for batch in batches) for status in get_args(Status)}
    rows = "".join(
        f'<tr><td><a href="validations/{html.escape(batch.path.rsplit("/", 1)[1])}">{html.escape(batch.batch)}</a></td><td class="status '
        f'{batch.verdict}">{batch.verdict}</td>'
        f'<td class="number">{_count(batch.rows)}</td><td>{batch.time:%Y-%m-%d %H:%M:%S} UTC</td></tr>'
        for batch in batches[:_SHOWN]
    )
    older = (
        f"<p>The newest {_SHOWN:,} are shown; the others lie beside them in <code>validations/</code>.</p>" if len(batches) > _SHOWN else ""
    )
    said = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    table = (
        '<table id="validations"><thead><tr><th>batch</th><th>verdict</th><th '
        f'class="number">rows</th><th>validated</th></tr></thead><tbody>{rows}</tbody></table>'
    )
    body = (
        f'<main class="page"><h1>Validations of {html.escape(dataset)}</h1><p>{len(batches):,} in all: {said}. '
        f'<a href="suite.html">What the suite expects</a></p>{table}{older}</main>'
    )
    store.write(f"{folder(dataset)}/suite.html", _suite_page(dataset))
    store.write(index_key(dataset), _page(f"Validations of {dataset}", dataset, "index.html", body))
    return index_key(dataset)


def _count(rows: int | None) -> str:
    return "unknown" if rows is None else f"{rows:,}"


@functools.cache
def _suite_page(dataset: str) -> bytes:
    plain = json.loads(json.dumps(suites.load_suite(dataset).to_json_dict(), default=str))
    return _page(f"Suite {dataset}", f"{dataset} / suite", "index.html", _content(_rendered_suite, plain, up=""))


def _content(render: Callable[[Any], str], plain: Any, up: str) -> str:
    """Render a JSON document with Great Expectations, with every text in it shown as text.

    Its templates put texts into elements, attributes, scripts and templates of their own, escaped here and raw there. So they get none
    that any of these could take for markup.
    """
    said = json.dumps(plain, ensure_ascii=False)
    stand_ins = dict(zip(map(ord, _MARKUP), (chr(c) for c in _STAND_INS if chr(c) not in said), strict=False))
    content = _offline(render(_texts(plain, stand_ins)), up)
    return content.translate({ord(letter): f"&#{mark};" for mark, letter in stand_ins.items()})


def _texts(value: Any, table: dict[int, str]) -> Any:
    """A JSON document with its texts translated. A key keeps its `$`, which marks parameters for Great Expectations."""
    if isinstance(value, str):
        return value.translate(table)
    if isinstance(value, list):
        return [_texts(one, table) for one in value]
    if isinstance(value, dict):
        names = {code: letter for code, letter in table.items() if code != ord("$")}
        return {name.translate(names): _texts(one, table) for name, one in value.items()}
    return value


def _rendered_suite(plain: Any) -> str:
    gx = suites.great_expectations()
    from great_expectations.render.renderer.page_renderer import ExpectationSuitePageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    view, renderer = cast(Any, DefaultJinjaPageView()), cast(Any, ExpectationSuitePageRenderer())  # neither is typed
    return cast(str, view.render(renderer.render(gx.ExpectationSuite(name=plain["name"], expectations=plain["expectations"]))))


def _rendered(plain: Any) -> str:
    from great_expectations.core.expectation_validation_result import expectationSuiteValidationResultSchema
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view.view import DefaultJinjaPageView

    view = cast(Any, DefaultJinjaPageView())
    return cast(str, view.render(ValidationResultsPageRenderer().render(expectationSuiteValidationResultSchema.load(plain))))


def _offline(page: str, up: str) -> str:
    """The content of a page of Great Expectations: without its head, scripts, page header and footer, with links that lead to our pages."""
    body = page[page.index('<div class="container-fluid') : page.rindex("</body>")]
    body = re.sub(r"<script\b.*?</script>|<footer\b.*?</footer>|<link\b[^>]*>", "", body, flags=re.DOTALL)
    body = re.sub(r' onclick="[^"]*"', "", body)  # our script listens for itself: a page runs nothing but that
    body = re.sub(r'href="[./]*expectations/[^"]*"', f'href="{up}suite.html"', body)
    return re.sub(r'href="[./]*index\.html"', f'href="{up}index.html"', body)


def _page(title: str, where: str, home: str, body: str) -> bytes:
    style, script = _asset("data_docs.css"), sandbox.data_docs_script()
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, '
        f'initial-scale=1"><title>{html.escape(title)}</title>'
        f'<style>{style}</style></head><body><header class="page"><strong><a href="{home}">Data Docs</a></strong><span '
        f'class="where">{html.escape(where)}</span></header>'
        f"{body}<script>{script}</script></body></html>\n"
    ).encode("utf-8", "backslashreplace")


@functools.cache
def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
