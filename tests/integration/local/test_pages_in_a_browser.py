"""Every kind of page in a real browser, with all that a stranger can write into files, columns, values and names."""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pandas as pd
import pytest

from perennial.monitoring import replay_picture
from perennial.monitoring.replay import Day, History, Policy
from perennial.monitoring.report.numbers import WindowReport
from perennial.monitoring.report.page import page as window_page
from perennial.quality import data_docs, suites
from perennial.quality.validation import validate
from perennial.reports import sandbox
from perennial.specs import RetrainSpec
from perennial.store import FolderStore
from perennial.training import report as evaluation_report
from perennial_datasets.flights import DATASET

from ... import browser as browsers
from ...payloads import payloads
from ...unit.perennial.monitoring.test_report import hostile_report
from ...unit.perennial.stages.test_evaluate_page import evaluated
from ...unit.perennial.stages.test_evaluate_page import model as evaluation_model

pytestmark = pytest.mark.skipif(not browsers.found(), reason=browsers.ABSENT)
SCRIPT = sandbox.data_docs_script()
# Kind of page -> its place below the reports, scripts that it runs, how many of the forty texts it shows whole.
KINDS = {
    "validation": ("sales/docs/validations/batch.html", [SCRIPT], 40),
    "suite": ("sales/docs/suite.html", [SCRIPT], 40),
    "index": ("sales/docs/index.html", [SCRIPT], 0),  # a batch's name is part of an address there, and has no other characters
    "window": ("sales/windows/2013-02/index.html", [], 40),
    "multiclass": ("sales/0123/evaluation.html", [], 40),
    "regression": ("sales/4567/evaluation.html", [], 40),
    "picture": ("sales/replays/replay.svg", [], 40),
}


class Canary(ThreadingHTTPServer):
    """Serves pages without any policy, and keeps every other path that is asked for: somebody's page ran, or was loaded."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.pages: dict[str, bytes] = {}
        self.asked: list[str] = []


class Reports(ThreadingHTTPServer):
    """Answers with reports as the console does; it asks for no login."""

    daemon_threads = True

    def __init__(self, store: FolderStore) -> None:
        super().__init__(("127.0.0.1", 0), _ReportHandler)
        self.store = store


class _ReportHandler(BaseHTTPRequestHandler):
    server: Reports

    def do_GET(self) -> None:
        path = unquote(self.path[1:])
        key = sandbox.place(self.server.store, path)
        self.send_response(200 if key else 404)
        for name, value in {**sandbox.headers(path), "Content-Type": sandbox.kind(key or "")}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.store.read(key) if key else b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class _Handler(BaseHTTPRequestHandler):
    server: Canary

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        if page is None and self.path != "/favicon.ico":
            self.server.asked.append(self.path)
        self.send_response(200 if page else 404)
        self.send_header("Content-Type", "image/svg+xml" if self.path.endswith(".svg") else "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(page or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    """One for all pages."""
    found = browsers.Browser(browsers.found(), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    """A stranger's server."""
    yield from _running(Canary())


@pytest.fixture(scope="module")
def texts(canary: Canary) -> list[str]:
    """What the stranger writes."""
    return payloads(canary.url)


@pytest.fixture(scope="module")
def store(texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """Reports of each kind, made by what makes them, with every text in every place."""
    root = tmp_path_factory.mktemp("hostile")
    store = FolderStore(str(root / "store"))
    with pytest.MonkeyPatch.context() as patch:
        _write_data_docs(store, root, texts, patch)
    said = " | ".join(texts)
    store.write("reports/sales/windows/2013-02/index.html", window_page(WindowReport.model_validate(hostile_report(said))).encode())
    for task in ("multiclass", "regression"):
        store.write(f"reports/{KINDS[task][0]}", _evaluation(texts, task).encode())
    store.write("reports/sales/replays/replay.svg", _picture(texts))
    return store


@pytest.fixture(scope="module")
def reports(store: FolderStore) -> Iterator[str]:
    """Address of a server of reports."""
    for server in _running(Reports(store)):
        yield f"http://127.0.0.1:{server.server_address[1]}"


@pytest.mark.parametrize("kind", KINDS)
def test_text_is_shown_as_text(browser: browsers.Browser, canary: Canary, store: FolderStore, texts: list[str], kind: str) -> None:
    """SC-01: Without any policy of a server: no script but ours, no dialog, nothing fetched, no handler left for a click, every text
    readable."""
    place, scripts, shown = KINDS[kind]
    canary.pages["/" + place] = store.read(f"reports/{place}")
    (seen,) = browser.open(f"{canary.url}/{place}")
    _harmless(seen, f"{canary.url}/{place}", scripts)
    _readable(seen, texts, shown)
    assert not canary.asked


@pytest.mark.parametrize("kind", KINDS)
def test_the_policy_has_nothing_to_forbid(browser: browsers.Browser, canary: Canary, reports: str, texts: list[str], kind: str) -> None:
    """SC-01: As the console sends them, the pages work under their policy: it allows what they need and meets nothing else."""
    place, scripts, shown = KINDS[kind]
    (seen,) = browser.open(f"{reports}/{place}")
    assert not seen.violations
    _harmless(seen, f"{reports}/{place}", scripts)
    _readable(seen, texts, shown)
    assert not canary.asked


def test_data_docs_can_be_used_in_their_sandbox(browser: browsers.Browser, reports: str) -> None:
    """DM-10: The filter hides what holds and shows it again, a fold opens, and the page has no cookie and no storage in its reach."""
    code = """
        const at = (words) => [...document.querySelectorAll(".btn")].find((found) => found.textContent.includes(words));
        const hidden = () => document.querySelectorAll("[hidden]:not(thead)").length;
        const fold = document.querySelector('[data-toggle="collapse"]');
        const before = hidden(); at("Failed Only").click(); const failed = hidden(); at("Show All").click();
        fold.click();
        let reached = "";
        try { reached = document.cookie + window.localStorage.length; } catch (error) { reached = error.name; }
        [before, failed > 0, hidden(), document.getElementById(fold.getAttribute("href").slice(1)).classList.contains("show"), reached]
    """
    (seen,) = browser.open(f"{reports}/{KINDS['validation'][0]}", code=code)
    assert seen.value == [0, True, 0, True, "SecurityError"]


def test_the_texts_act_where_they_are_markup(browser: browsers.Browser, canary: Canary, texts: list[str]) -> None:
    """Written into pages as they are, most of them run a script, fetch something or lead away, and the browser tells it."""
    canary.pages |= {f"/raw/{number}.html": _raw(text) for number, text in enumerate(texts)}
    addresses = [f"{canary.url}/raw/{number}.html" for number in range(len(texts))]
    seen = browser.open(*addresses)
    canary.asked.clear()
    acted = [s.dialogs or s.requests or s.scripts or s.address != address for s, address in zip(seen, addresses, strict=True)]
    assert sum(map(bool, acted)) >= 25


@pytest.mark.parametrize("folder", ["sales/docs/validations", "sales/windows/2013-01"])
def test_an_old_page_that_holds_markup_runs_none(
    browser: browsers.Browser, canary: Canary, reports: str, store: FolderStore, texts: list[str], folder: str
) -> None:
    """SC-01: A page that was stored before texts were escaped is still shown, and the policy alone keeps its markup from acting."""
    # What a page with a script of ours may still do is to lead to another page, where it is a stranger.
    held = [text for text in texts if "docs" not in folder or "http-equiv=refresh" not in text]
    for number, text in enumerate(held):
        store.write(f"reports/{folder}/old{number}.html", _raw(text))
    for text, seen in zip(held, browser.open(*(f"{reports}/{folder}/old{number}.html" for number in range(len(held)))), strict=True):
        assert (seen.dialogs, seen.scripts) == ([], []), text
        assert re.fullmatch(rf"{reports}/{folder}/old\d+.html", seen.address), text
    assert not canary.asked


def _running(server: ThreadingHTTPServer) -> Iterator:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _harmless(seen: browsers.Seen, address: str, scripts: list[str]) -> None:
    assert seen.scripts == scripts
    assert (seen.dialogs, seen.requests, seen.address) == ([], [], address)
    for name, attributes in seen.elements:
        assert name not in ("iframe", "object", "embed", "base", "form", "img", "video", "audio", "foreignobject"), attributes
        assert not [key for key in attributes if key.startswith("on")], (name, attributes)
        assert not any(re.match(r"\s*(javascript|data|vbscript):", value, re.I) for value in attributes.values()), (name, attributes)


def _readable(seen: browsers.Seen, texts: list[str], shown: int) -> None:
    said = "".join(seen.text.split())
    missing = [text for text in texts if "".join(text.split()) not in said]
    assert len(texts) - len(missing) >= shown, missing


def _raw(text: str) -> bytes:
    return f"<!doctype html><meta charset=utf-8><title>old</title><p>{text}</p>".encode()


def _write_data_docs(store: FolderStore, root: Path, texts: list[str], patch: pytest.MonkeyPatch) -> None:
    """A batch whose name, columns, values, and a suite whose columns, values, patterns and reasons are the stranger's."""
    folder = root / "great_expectations"
    (folder / "expectations").mkdir(parents=True)
    (folder / "great_expectations.yml").write_text((suites.folder() / "great_expectations.yml").read_text())
    notes = {"notes": {"format": "markdown", "content": [" ".join(texts)]}}

    def rule(kind: str, **kwargs: object) -> dict[str, object]:
        return {"type": kind, "kwargs": kwargs, "severity": "critical", "meta": notes}

    rules = [
        rule("expect_table_columns_to_match_set", column_set=["a", "b", *texts[:30]]),
        rule("expect_column_values_to_be_in_set", column="a", value_set=["x", *texts]),
        rule("expect_column_values_to_be_in_set", column="b", value_set=["x"]),
        rule("expect_column_values_to_be_in_set", column="c", value_set=["x"]),
        rule("expect_column_distinct_values_to_equal_set", column="b", value_set=texts[:5]),
        rule("expect_compound_columns_to_be_unique", column_list=["b", texts[0]]),
        *(rule("expect_column_values_to_not_be_null", column=text) for text in texts),
        *(rule("expect_column_values_to_match_regex", column="a", regex=re.escape(text)) for text in texts[:12]),
        *(rule("expect_column_values_to_be_of_type", column=f"absent {text}", type_=text) for text in texts[:5]),
    ]
    (folder / "expectations" / "sales.json").write_text(json.dumps({"name": "sales", "expectations": rules}))
    patch.setattr(suites, "folder", lambda: folder)
    batch = pd.DataFrame({"a": texts, "b": texts[:20] * 2, "c": texts[20:] * 2, **dict.fromkeys(texts)})
    verdict = validate(batch, DATASET.model_copy(update={"name": "sales"}), " ".join(texts), store=store)
    assert not verdict.passed
    data_docs.write_index(store, "sales")
    store.copy(verdict.report_key, "reports/sales/docs/validations/batch.html")


def _evaluation(texts: list[str], task: str) -> str:
    """The page of a task in which every name and value that files and specs can hold is the stranger's."""
    said, spec = " ".join(texts), evaluation_model(task)
    document = evaluated(spec)
    slices = {said: {text: {"rows": 3, "log_loss": 0.5, "rmse": 0.5} for text in texts}}
    for part in document["parts"].values():
        part["days"] = [said, said]
        for who in ("candidate", "champion"):
            part[who] |= {"metrics": part[who]["metrics"] | {said: 0.5}, "slices": slices}
    test = document["parts"]["test"]
    test["worst"] = [{"key": {said: text}, "actual": 1.0 if task == "regression" else text} for text in texts]
    for row, text in zip(test["worst"], texts, strict=True):
        row["candidate"] = 1.0 if task == "regression" else [text, 0.1]
    for who in ("candidate", "champion"):
        if task == "regression":
            test[who]["residuals"]["days"] = [one | {"first": said, "last": said} for one in test[who]["residuals"]["days"]]
        else:
            test[who]["confusion"]["classes"] = texts[: len(test[who]["confusion"]["classes"])]
    document |= {
        "digest": said,
        "bounds": {"test": [said, said]},
        "split": {"by": "group", "group": [said]},
        "champion": {"version": said},
        "champion_saw_test_days": True,
        "incomparable": said,
        "coverage": {text: [9, 3] for text in texts},
    }
    changed = {"title": said, "dataset": said, "slices": (said,), "label": said}
    return evaluation_report.page(spec.model_copy(update=changed | ({"classes": tuple(texts[:3])} if spec.classes else {})), document)


def _picture(texts: list[str]) -> bytes:
    day = Day(date(2013, 2, 1), date(2013, 1, 1), 9, 9, 0.5, 0.5, "data", False, ("drift",), texts[0])
    histories = [
        History(Policy(name, text, RetrainSpec()), (day,)) for name, text in zip(["never", "spec"] + ["x"] * 38, texts, strict=True)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that its font has not
        return replay_picture.draw(histories, " ".join(texts), texts[1])
