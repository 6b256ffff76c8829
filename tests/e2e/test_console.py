"""The console in a browser, on the platform on which the demo was told: behind Airflow's login, in the frame that Airflow shows it in.

Each question is asked from the list of models, to which Airflow's menu leads. What is pressed and released here ends as it began: version 2
serves, version 1 stands behind it.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from perennial import discovery
from perennial.lineage.ledger import Ledger
from perennial.local import airflow_programs
from perennial.local.airflow_api import Run
from perennial.local.demo import LIVE, MODEL, Story, _requests, live_traffic
from perennial.serving.load import Call, Load, send
from perennial.store import open_store

from .. import browser as browsers
from .conftest import Platform

pytestmark = [pytest.mark.timeout(900), pytest.mark.skipif(not browsers.found(), reason=browsers.ABSENT)]
IN_FRAME = "iframe >>> "
ROW = f"#model-{MODEL} "
GOOD_FILE, BAD_FILE = "flights-2013-05-19", "flights-2013-05-20"
PREDICTION = "asked-on-the-page"  # id of a request that is sent here: no monitoring has collected it yet
Clicks = tuple[tuple[str, str], ...]  # what is clicked, and the words that it holds
# Question -> the clicks that it may take, and what the answer says at least. `=` is typed, and is no click.
QUESTIONS: dict[str, tuple[int, Clicks, tuple[str, ...]]] = {
    "which version serves, at what weight, since when, why, and what would a rollback go to": (
        0,
        (),
        ("version 2 100 % champion", "version 1 0 % last good", "requests failed", "by perennial", "Roll back to version 1"),
    ),
    "how far did the canary come, and what was its evidence": (
        1,
        ((ROW + "a", "Release"),),
        ("Release of version 4: rolled back", "5 % ended here", "requests that failed", "rolled back at", "100 %"),
    ),
    "which features drift, over weeks, and what does that to the loss": (
        1,
        ((ROW + "a", "Drift"),),
        ("dewp", "temp", "Goes with the loss", "log loss of live traffic, realised", "2013-06-14"),
    ),
    "all incidents, with severity, verdict and the rate of alarms": (
        1,
        (("a", "All incidents"),),
        ("open", "over", "alarms a month", "judged were false", "warning data quality of flight_delays", "real, said admin"),
    ),
    "what is the difference of version 1 and 2": (
        2,
        ((ROW + "a", "Versions"), ("a[href$='/versions/1/2']", "compare with version 2")),
        ("The gate let it in", "Both were measured on the same", "log loss", "By slice", "Parameters", "Data", "files of the code"),
    ),
    "which files and days did the version that serves learn from": (
        2,
        ((ROW + "a", "Lineage"),),
        ("Version 2 of flight_delays was trained because of drift", GOOD_FILE, "train\n2013-", "Snapshot"),
    ),
    "which versions, and which of their windows of serving, did a file reach": (
        2,
        ((ROW + "a", "Data"), ("th a", GOOD_FILE)),
        ("What it reached", "It learned from it, by snapshot", "Served from", "perennial remove-batch"),
    ),
    "what became of the file that was broken": (
        2,
        ((ROW + "a", "Data"), ("tr:has(.state.refused) a", BAD_FILE)),
        ("refused", "carrier has unknown values", "No version."),
    ),
    "which version answered this prediction": (
        2,
        ((ROW + "a", "Ledger"), ("=input[name=id]", PREDICTION), ("button", "Who answered?")),
        (PREDICTION, "version 2"),
    ),
}
# What the page of a release shows now: how it stands, the step, and the requests that the evidence is about.
SHOWN = """(() => {
    const page = document.querySelector("iframe")?.contentDocument;
    const text = (part) => page?.querySelector(part)?.innerText.replace(/\\s+/g, " ").trim() ?? "";
    return [text(".verdict b"), text("[aria-current=step] b"), text("table.keep tbody td"), text(".wants li")];
})()"""


class Visitor:
    """Somebody who is logged in to Airflow and clicks through the console in its frame."""

    def __init__(self, page: browsers.Page, airflow: str, token: str) -> None:
        self.page, self.airflow, self.clicks = page, airflow, 0
        page.cookie("_token", token, airflow)

    def comes(self) -> None:
        """Open Airflow and choose *Models* in its menu: from here on clicks count."""
        self.page.go(self.airflow)
        self.page.click("a[href$='/plugin/models']")
        self.reads("Models about which somebody may have to do something stand first.")
        self.clicks = 0

    def clicks_on(self, selector: str, words: str = "") -> None:
        """Click a part of the page in the frame."""
        self.page.click(IN_FRAME + selector, words)
        self.clicks += 1

    def types(self, selector: str, text: str) -> None:
        """Write into a field of the page in the frame."""
        self.page.click(IN_FRAME + selector)
        self.page.type(text)

    def reads(self, words: str, selector: str = "main", seconds: float = 60) -> None:
        """Wait until a part of the page in the frame shows some words, whatever space is between them."""
        until = time.monotonic() + seconds
        while " ".join(words.split()) not in (shown := " ".join(self.page.text(IN_FRAME + selector).split())):
            assert time.monotonic() < until, f"{words!r} is not shown after {seconds:.0f} s: {shown}"
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        """What the console's pages complained of. Airflow's own pages, and the frame that it made, are not ours."""
        return [problem for problem in self.page.problems if "/perennial" in problem and "escape its sandboxing" not in problem]


def visiting(platform: Platform, token: str, profile: Path) -> Iterator[Visitor]:
    """A visitor with a browser of its own."""
    browser = browsers.Browser(browsers.found(), profile)
    try:
        page = browser.page()
        page.size(1280)
        page.media()
        yield Visitor(page, platform.settings.airflow_url, token)
    finally:
        browser.close()


@pytest.fixture(scope="module")
def admin(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visitor]:
    """Who may do all."""
    yield from visiting(platform, platform.api.token(), tmp_path_factory.mktemp("admin"))


@pytest.fixture
def viewer(platform: Platform, tmp_path: Path) -> Iterator[Visitor]:
    """Vera, whom Airflow lets look and do nothing."""
    code = (
        "from airflow.api_fastapi.app import create_auth_manager\n"
        "from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser as User\n"
        "print('token', create_auth_manager().generate_jwt(User(username='vera', role='viewer')))"
    )
    settings = platform.settings
    environment = {**os.environ, **airflow_programs.environment(settings)}
    made = subprocess.run(
        [settings.venv("airflow") / "bin/python", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    (token,) = [line.split()[1] for line in made.stdout.splitlines() if line.startswith("token ")]
    yield from visiting(platform, token, tmp_path / "profile")


@pytest.fixture(scope="module")
def story(platform: Platform) -> Story:
    """What tells and starts DAGs on the platform."""
    return Story(platform.settings, open_store(platform.settings.store), platform.api)


@pytest.fixture(scope="module")
def prediction(story: Story) -> None:
    """One request with an id of its own, answered and in the log."""
    row, when, _ = next(_requests(*LIVE))
    sent = send(story.settings, discovery.model(MODEL), [Call([row], PREDICTION, when.isoformat())])
    assert not sent.failures
    time.sleep(2)  # a segment of the log is written at most a second after its last answer


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_in_so_many_clicks(admin: Visitor, prediction: None, question: str) -> None:
    """MN-18: From the list of models, in Airflow's own frame, with nothing to complain of on the way."""
    allowed, clicks, answer = QUESTIONS[question]
    admin.comes()
    for selector, words in clicks:
        if selector.startswith("="):
            admin.types(selector[1:], words)
        else:
            admin.clicks_on(selector, words)
    for words in answer:
        admin.reads(words)
    assert admin.clicks <= allowed
    assert admin.complaints() == []


def test_who_may_only_look_starts_nothing(viewer: Visitor, story: Story) -> None:
    """SE-11, DM-09: The button is off and says why, on the list and on the model's page; and Airflow refuses what no button would ask."""
    before = story.api.runs(story.dag("rollback"))
    viewer.comes()
    viewer.reads(f"You may not start {MODEL}_rollback", ROW)
    viewer.clicks_on(ROW + "a", "Late arrivals")
    viewer.reads(f"You may not start {MODEL}_training")
    buttons = viewer.page.run(
        "[...document.querySelector('iframe').contentDocument.querySelectorAll('[data-dag]')].map((one) => one.disabled)"
    )
    assert len(buttons) >= 4
    assert all(buttons)
    asked = f"""fetch("/api/v2/dags/{MODEL}_rollback/dagRuns", {{method: "POST", headers: {{"Content-Type": "application/json"}},
        body: JSON.stringify({{logical_date: null, conf: {{}}}})}}).then((answer) => answer.status)"""
    assert viewer.page.run(asked) == 403
    assert story.api.runs(story.dag("rollback")) == before


def test_roll_back_is_pressed(admin: Visitor, story: Story) -> None:
    """SE-11: Two clicks, to the version that the button named, although perennial rolled another one back moments ago. The ledger has who
    pressed and why, traffic has moved, and the page says so by itself."""
    story.expect("rollback")
    admin.comes()
    admin.clicks_on(ROW + "button", "Roll back to version 1")
    admin.page.type("It feels wrong.")
    admin.clicks_on("#yes")
    admin.reads("Started: manual__", "#said")
    assert admin.clicks == 2
    admin.reads("version 1 serves all traffic", "#said", 300)
    story.next("rollback", "rollback", champion=1)
    last = Ledger(story.store, MODEL).last()
    assert last is not None
    assert (last.kind, last.version, last.champion, last.actor) == ("rolled_back", 2, 1, airflow_programs.USER)
    assert last.reason == "It feels wrong."
    assert set(traffic_of(story).by_version) == {1}
    admin.clicks_on("#no")
    admin.reads("version 1 100 % champion", ROW)
    admin.reads("It feels wrong.", ROW)
    assert admin.complaints() == []


def test_a_canary_is_watched_until_it_is_promoted(admin: Visitor, story: Story) -> None:
    """SE-06: One click from the list once the list shows the release by itself. The page is loaded once, and goes with the release from
    step to step, with the requests that the evidence is about, to its end."""
    with live_traffic(story) as load:
        seen, run = watched(admin, story, version=2)
    assert story.api.result(run, "move_traffic")["action"] == "promoted"
    assert seen[-1][0] == "Release of version 2: promoted"
    assert set(load.by_version) == {1, 2}
    steps = list(dict.fromkeys(step for state, step, _, _ in seen if state.endswith("running") and step))
    assert len(steps) >= 2
    assert steps == [step for step in ("5 %", "25 %", "50 %", "100 %") if step in steps]
    assert len({requests for _, _, requests, _ in seen}) >= 3
    assert len({wanted for _, _, _, wanted in seen}) >= 3
    assert admin.complaints() == []


def test_a_canary_is_watched_until_it_is_rolled_back(admin: Visitor, story: Story) -> None:
    """SE-10: The sabotaged version of the demo, once more: its page shows that it runs, and then by itself that it ended and why."""
    with live_traffic(story) as load:
        seen, run = watched(admin, story, version=4)
    assert run.state == "failed"
    assert [state for state in dict.fromkeys(state for state, _, _, _ in seen)][-2:] == [
        "Release of version 4: running",
        "Release of version 4: rolled back",
    ]
    admin.reads("5 % ended here")
    admin.reads("The evidence that it is worse is")
    assert not load.failures
    admin.comes()
    admin.reads("version 2 100 % champion", ROW)
    assert admin.complaints() == []


def watched(visitor: Visitor, story: Story, version: int) -> tuple[list[list[str]], Run]:
    """Release a version and look at its page, without loading it again, until it says that the release ended: each thing that it showed."""
    visitor.comes()
    run = story.trigger("release", version=version, again=True)
    visitor.clicks_on(ROW + "a.state", "releasing")
    visitor.reads(f"Release of version {version}")
    assert visitor.clicks == 1
    visitor.page.run("document.querySelector('iframe').contentWindow.isTheSame = true")
    seen: list[list[str]] = []
    until = time.monotonic() + 420
    while not seen or not seen[-1][0].endswith(("promoted", "rolled back")):
        assert time.monotonic() < until, seen[-3:]
        shown = visitor.page.run(SHOWN)
        if not seen or shown != seen[-1]:
            seen.append(shown)
        time.sleep(0.3)
    assert visitor.page.run("document.querySelector('iframe').contentWindow.isTheSame") is True
    return seen, story.api.wait(run, 120)


def traffic_of(story: Story) -> Load:
    """A moment of live traffic."""
    with live_traffic(story) as load:
        time.sleep(2)
    assert not load.failures
    return load
