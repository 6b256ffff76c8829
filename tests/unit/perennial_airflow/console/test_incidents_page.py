"""The pages of incidents: of all models and of one, narrowed by the address, with a verdict a click away, and any text shown as text."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest

from perennial.counted import spent
from perennial.incidents.incidents import Incidents
from perennial.incidents.kinds import KINDS
from perennial.store import FolderStore
from perennial.views.incidents import MonthOfAlarms
from perennial_airflow.console.pictures import alarms

from .test_pages import HOSTILE, Somebody, ask

__all__ = ["ask"]
pytestmark = pytest.mark.filterwarnings("ignore:Using `httpx` with")
PAGES = ("/incidents", "/models/churn/incidents")


@pytest.fixture
def incidents(ask: Any, tmp_path: Path) -> Incidents:
    """Three incidents of a model that may be read, the first two judged and over, and one of a model that may not."""
    store = FolderStore(str(tmp_path))
    found = Incidents(store, "churn")
    found.open("drift", HOSTILE, "warning", f"Drifted {HOSTILE}", {"Report": "http://r.test/w", HOSTILE: "javascript:alert(1)"})
    found.open("service", "x", "critical", "MLflow is down.")
    found.open("release", "version 2", "info", "For the record.")
    found.verdict("1", "false alarm", HOSTILE, HOSTILE)
    found.resolve("1", HOSTILE)
    found.missed("2", "mail", HOSTILE)
    Incidents(store, "secret").open("drift", "x", "warning", "A secret drifted.")
    return found


def _ids(page: str) -> list[str]:
    return re.findall(r'<li id="([^"]*)">', page)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_incidents_without_a_login_or_of_what_may_not_be_read(ask: Any, incidents: Incidents, path: str) -> None:
    """DM-09: Page and document alike; an incident of another model is on none of them."""
    for address in (path, f"{path}.json"):
        assert ask(address, user=None).status_code == 401
        assert "secret" not in ask(address).text
    for address in ("/models/secret/incidents", "/models/secret/incidents.json"):
        assert ask(address).status_code == 404


@pytest.mark.parametrize("path", PAGES)
def test_the_list_is_narrowed_by_the_address(ask: Any, incidents: Incidents, path: str) -> None:
    """MN-11: Open, over, of a kind or without a verdict: each a link of the page, and the document says the same."""
    everything = ["churn-0003-release", "churn-0002-service", "churn-0001-drift"]
    for query, shown in (
        ("", everything),
        ("?state=open", everything[:2]),
        ("?state=over", everything[2:]),
        ("?kind=drift", everything[2:]),
        ("?unjudged=true", everything[1:2]),
        ("?kind=drift&state=open", []),
        ("?page=7", everything),
    ):
        page = ask(path + query)
        assert page.status_code == 200
        assert _ids(page.text) == shown
        assert [f"{row['model']}-{row['id']}" for row in ask(f"{path}.json{query}").json()["rows"]] == shown
    linked = {html.unescape(address) for address in re.findall(rf'<a href="(/perennial{path}[^"]*)"', ask(f"{path}?kind=drift").text)}
    assert {f"/perennial{path}?state=open&kind=drift", f"/perennial{path}?kind=service", f"/perennial{path}"} <= linked
    for query in ("?state=none", "?kind=x", "?page=0", "?page=x"):
        assert ask(path + query).status_code == 422


@pytest.mark.parametrize("path", PAGES)
def test_hostile_text_of_an_incident_is_shown_as_text(ask: Any, incidents: Incidents, path: str) -> None:
    """DM-09: Sentence, end, verdict, note and channel; a link that is none is none."""
    page = ask(path).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "javascript:" not in page
    assert '<a href="http://r.test/w">Report</a>' in page


def test_a_verdict_is_given_by_a_button(ask: Any, incidents: Incidents, monkeypatch: pytest.MonkeyPatch) -> None:
    """MN-11: It starts the model's DAG with the incident and the verdict; who may not start it reads why, and nobody judges a record."""
    found = re.findall(
        r'<button type="button" data-dag="(\w+)" data-conf="([^"]*)"[^>]*?( disabled)?( title="[^"]*")?>', ask(PAGES[0]).text
    )
    told = [(dag, json.loads(html.unescape(conf)), bool(disabled)) for dag, conf, disabled, _ in found]
    verdicts = ("real", "false alarm", "known")
    silence = ("churn_incidents", {"incident": "0002-service", "silence_hours": 4}, True)
    assert told.pop(3) == silence, "what is open can be silenced"
    assert told == [
        ("churn_incidents", {"incident": one, "verdict": verdict}, True) for one in ("0002-service", "0001-drift") for verdict in verdicts
    ]
    assert "You may not start churn_incidents" in ask(PAGES[0]).text
    monkeypatch.setattr(Somebody, "startable", frozenset({"churn_incidents"}))
    assert "disabled" not in ask(PAGES[0]).text


def test_where_nothing_was_wrong_the_page_says_so(ask: Any) -> None:
    """MN-11: And what would be an incident."""
    for path in PAGES:
        assert "There was no incident yet." in ask(path).text


def test_the_picture_stacks_kinds_by_month() -> None:
    """MN-11: Only kinds that there were; the table behind it has the same figures, newest first."""
    months = (MonthOfAlarms(month="2026-01", alarms={"service": 2, "drift": 1}), MonthOfAlarms(month="2026-02", alarms={}))
    option = alarms.option(months)
    assert option["xAxis"]["data"] == ["2026-01", "2026-02"]
    assert [(part["name"], part["data"]) for part in option["series"]] == [("drift", [1, 0]), ("service", [2, 0])]
    assert len({part["itemStyle"]["color"] for part in option["series"]}) == 2
    assert alarms.head(months) == ["month", "drift", "service", "all"]
    assert alarms.rows(months) == [["2026-02", 0, 0, 0], ["2026-01", 1, 2, 3]]
    json.dumps(option, allow_nan=False)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.125, "0.125 s"),
        (59.4, "59.4 s"),
        (60, "1 min"),
        (3599, "59 min 59 s"),
        (3660, "1 h 1 min"),
        (86_400, "1 d"),
        (93_700, "1 d 2 h"),
        (90_000_000.4, "1041 d 16 h"),
    ],
)
def test_a_time_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    """MN-11: A short one is in seconds."""
    assert spent(seconds).replace("\u00a0", " ") == words


def test_every_kind_of_incident_has_a_bar_of_its_own() -> None:
    """MN-18: Also the kinds that came last: a picture without a colour for one would be no page at all."""
    month = MonthOfAlarms(month="2026-11", alarms=dict.fromkeys(KINDS, 1))
    bars = alarms.option([month])["series"]
    assert [bar["name"] for bar in bars] == list(KINDS)
    assert len({bar["itemStyle"]["color"] for bar in bars}) == len(KINDS) == len(alarms.COLOURS)
