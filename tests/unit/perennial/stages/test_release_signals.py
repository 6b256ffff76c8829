"""A release with signals that a team added: from the log, from outcomes, from a Prometheus."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from perennial.commands import show
from perennial.lineage.release_record import release_record
from perennial.serving import canary
from perennial.serving.watch import Watch
from perennial.settings import Settings
from perennial.specs import SignalSpec
from perennial.stages import release as stage
from perennial.testing import World, small_dataset
from perennial.views.release import release_view

ALARMS = {"name": "alarms", "column": "score", "event": "> 0.9"}
SURE = {"name": "sure", "column": "score", "low": 0, "high": 1, "max_difference": 0.1}


def world_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *signals: dict[str, Any], **release: Any) -> World:
    """A champion and a candidate on its first step, of a release with these signals."""
    monkeypatch.setattr(stage.discovery, "dataset", lambda name: small_dataset())
    world = World(tmp_path, signals=tuple(SignalSpec(**given) for given in signals), **release).with_champion()
    return world


def begun(world: World) -> World:
    world.candidate("b" * 64)
    assert world.look().action == "started"
    return world


def answered(
    world: World, version: int, count: int, share: float, *, outcomes: int | None = None, hours_ago: float = 0, **row: Any
) -> None:
    """What a server logs: so many answers, of which this share is sure; and the outcomes of as many, all zero."""
    moment = datetime.now(timezone.utc) - timedelta(hours=hours_ago)
    given = {"carrier": "AA", "origin": "JFK", "scheduled_departure": "2013-02-01T06:00:00", "distance": 500, "temp": None, **row}
    common = {"model": world.spec.name, "version": version, "time": moment.isoformat(), "event_time": moment.isoformat(), "ms": 2.0}
    ids = [f"v{version}-{moment:%H%M%S%f}-{i}-0" for i in range(count)]
    scores = [[0.05, 0.95] if i < round(share * count) else [0.6, 0.4] for i in range(count)]
    lines = [{"id": name, **common, "row": given, "scores": score} for name, score in zip(ids, scores, strict=True)]
    told = [{"id": name, "outcome": 0, "time": moment.isoformat()} for name in ids[: outcomes or 0]]
    for kind, which in (("predictions", lines), ("outcomes", told)):
        if which:
            name = f"{kind}/{world.spec.name}/{version}-{moment:%H%M%S%f}.jsonl"
            world.store.write(name, "".join(json.dumps(line) + "\n" for line in which).encode())


def later(world: World) -> Any:
    """A look half a minute later, when the log may be read again."""
    Watch.load(world.store, world.spec.name, 2).model_copy(update={"labelled_at": None}).keep(world.store, world.spec.name)
    return world.look()


def test_a_candidate_that_alarms_more_often_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09, SE-10: by the answers in the log alone: without an error, without an outcome."""
    world = begun(world_with(tmp_path, monkeypatch, ALARMS))
    answered(world, 1, 300, 0.1)
    answered(world, 2, 300, 0.4)
    result = later(world)
    assert result.action == "rolled_back"
    said = "The signal alarms (score > 0.9) shows 120 of 300 of the candidate's requests, 30 of 300 of the champion's."
    assert said in result.sentence
    assert result.evidence["alarms"]["limit"] == 400
    world.agrees()
    began = next(entry.seq for entry in world.ledger.newest_first() if entry.kind == "started")
    record = release_record(world.store, world.spec.name, began)
    assert record
    assert record.plan.limits.words == {"alarms": "alarms (score > 0.9)"}
    assert record.looks[-1].tallies["alarms"].candidate_events == 120


def test_each_answer_counts_once_and_equal_arms_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: however often the log is read; a look that reads nothing keeps what was."""
    world = begun(world_with(tmp_path, monkeypatch, ALARMS, SURE))
    answered(world, 1, 300, 0.1)
    answered(world, 2, 300, 0.1)
    tallies = []
    for _ in range(3):
        assert later(world).action == "hold"
        assert world.look().action == "hold"
        tallies.append(Watch.load(world.store, world.spec.name, 2).evidence.tallies)
    assert tallies[0] == tallies[1] == tallies[2]
    assert (tallies[0]["alarms"].candidate_requests, tallies[0]["alarms"].champion_events) == (300, 30)
    assert tallies[0]["sure"].candidate_mean == pytest.approx(0.455)


def test_a_dry_run_decides_nothing_and_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: its evidence is beyond its limit, and the release goes on."""
    world = begun(world_with(tmp_path, monkeypatch, {**ALARMS, "dry_run": True}))
    for _ in range(3):
        answered(world, 1, 300, 0.1)
        answered(world, 2, 300, 0.4)
        result = later(world)
    assert result.action == "hold"
    assert result.evidence["alarms"]["dry_run"] is True
    assert result.evidence["alarms"]["evidence"] > result.evidence["alarms"]["limit"]
    assert result.evidence["errors"]["limit"] == 222  # no share of alpha went to it


def test_a_success_metric_must_be_shown_before_a_promotion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: it never rolls back; without evidence it holds the promotion, and with it the promotion follows."""
    world = begun(world_with(tmp_path, monkeypatch, {**SURE, "role": "success"}))
    for _ in range(8):
        world.backend.serve(4000)
        result = world.look()
    assert result.action == "hold"
    assert (
        "the evidence that it is within what sure (mean of score) tolerates is 1 to 1 of the 20 to 1 that promotion wants"
        in result.sentence
    )
    answered(world, 1, 900, 0.3)
    answered(world, 2, 900, 0.6)
    assert later(world).action == "hold"  # far worse, and no reason to roll back
    for _ in range(6):
        answered(world, 1, 3000, 0.6)
        answered(world, 2, 3000, 0.3)
        result = later(world)
        if result.action == "promoted":
            break
    assert result.action == "promoted"
    assert result.evidence["sure"]["within"] >= 20


def test_outcomes_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09, SE-10: the mean error of what turned out; an answer without an outcome is no evidence."""
    wrong = {"name": "missed", "source": "outcomes", "column": "error", "event": "== 1", "max_ratio": 1.2}
    world = begun(world_with(tmp_path, monkeypatch, wrong, alpha=0.4))
    for version, share in ((1, 0.1), (2, 0.3)):
        answered(world, version, 300, share)
    assert later(world).action == "hold"
    assert "missed" not in Watch.load(world.store, world.spec.name, 2).evidence.tallies
    for version, share in ((1, 0.1), (2, 0.2)):
        answered(world, version, 300, share, outcomes=300)
    later(world)
    tally = Watch.load(world.store, world.spec.name, 2).evidence.tallies["missed"]
    assert (tally.candidate_requests, tally.candidate_events, tally.champion_requests, tally.champion_events) == (300, 60, 300, 30)


def test_a_quantile_is_read_from_before_the_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: of the champion's answers; it stays what it was, and without enough of them nothing is counted."""
    world = world_with(tmp_path, monkeypatch, {"name": "far", "column": "distance", "quantile": 0.9})
    answered(world, 1, 150, 0.1, hours_ago=1, distance=100)
    begun(world)
    answered(world, 1, 40, 0.1, distance=500)
    answered(world, 2, 40, 0.1, distance=500)
    later(world)
    assert "far" not in Watch.load(world.store, world.spec.name, 2).evidence.tallies
    answered(world, 1, 150, 0.1, hours_ago=2, distance=200)
    later(world)
    watch = Watch.load(world.store, world.spec.name, 2)
    assert watch.edges == {"far": 200.0}
    assert (watch.evidence.tallies["far"].candidate_events, watch.evidence.tallies["far"].champion_events) == (40, 40)


def test_evidence_of_before_there_were_signals_still_opens(tmp_path: Path) -> None:
    """OP-08: the working file and the record of a release that began with an earlier Perennial."""
    world = World(tmp_path)
    kept = {
        "candidate": 2, "champion": 1, "step": 3, "since": "2026-03-01T12:00:00Z", "begun": "2026-03-01T11:59:00Z",
        "counters": {"1": {"requests": 900, "errors": 1, "answered": 900, "unreadable": 0, "latency_ms": [[5.0, 900], [None, 900]]}},
        "labelled": {"1": [300, 30]}, "labelled_mark": "x", "labelled_at": None, "usual_error": None, "edge_ms": 25.0,
        "latency_ms": {"1": [[5.0, 900]]},
        "evidence": {
            "tallies": {
                "errors": {
                    "candidate_requests": 100, "candidate_events": 1, "champion_requests": 900, "champion_events": 1,
                    "against": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
                }
            },
            "not_worse": [0.0, 0.1, 0.2, 0.3], "rare": [0.0, 0.1, 0.2, 0.3], "step_requests": 100, "silent_requests": 0.0,
            "silent_looks": 0, "unhealthy_looks": 0,
        },
    }  # fmt: skip
    world.store.write(f"releases/{world.spec.name}/2.json", json.dumps(kept).encode())
    watch = Watch.load(world.store, world.spec.name, 2)
    assert watch
    assert canary.figures(watch.evidence, world.spec.release)["errors"] == {
        "candidate_requests": 100, "candidate_events": 1, "champion_requests": 900, "champion_events": 1, "evidence": 1.44, "limit": 222,
    }  # fmt: skip
    look = {
        "time": "2026-03-01T12:00:00Z", "step": 3, "share": 0.05, "action": "hold", "sentence": "So.",
        "tallies": {"errors": {"candidate_requests": 100, "candidate_events": 1, "evidence": 1.5}},
    }  # fmt: skip
    limits = {"requests": 100, "seconds": 10.0, "longest_seconds": 3600.0, "worse": {"errors": 2.3468}}
    record = {"plan": {"candidate": 2, "champion": 1, "steps": [5, 100], "limits": limits}, "looks": [look]}
    world.store.write(f"releases/{world.spec.name}/looks/00000002.json", json.dumps(record).encode())
    opened = release_record(world.store, world.spec.name, 2)
    assert opened
    assert opened.looks[0].tallies["errors"].evidence == 1.5


def test_the_page_and_the_terminal_show_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """SE-09: beside the signals of every release; a dry run is marked and never the nearest; a step waits for a success metric."""
    signals = (
        ALARMS,
        {**ALARMS, "name": "rehearsed", "dry_run": True},
        {**SURE, "role": "success"},
        {**SURE, "name": "later", "dry_run": True, "role": "success"},
    )
    world = begun(world_with(tmp_path, monkeypatch, *signals))
    monkeypatch.setattr(stage.discovery, "_models", lambda: ({world.spec.name: world.spec}, {}))
    monkeypatch.setattr(stage.discovery, "_datasets", lambda: ({}, {}))
    for _ in range(8):
        world.backend.serve(4000)
        world.look()
    answered(world, 1, 100, 0.1)
    answered(world, 2, 100, 0.22)
    assert later(world).action == "hold"
    view = release_view(world.store, world.spec.name)
    told = {one.name: one for one in view.signals}
    assert [*told][-3:] == ["rehearsed", "sure", "later"]
    assert {name: (one.role, one.dry_run) for name, one in told.items() if name in ("alarms", "rehearsed", "sure", "later")} == {
        "alarms": ("guardrail", False), "rehearsed": ("guardrail", True), "sure": ("success", False), "later": ("success", True),
    }  # fmt: skip
    assert told["alarms"].what == "alarms (score > 0.9)"
    assert told["alarms"].evidence == told["alarms"].tally.evidence > 0
    assert told["alarms"].way == pytest.approx(told["alarms"].evidence / told["alarms"].limit)
    assert told["sure"].evidence == told["sure"].tally.within > 0
    assert told["sure"].limit == pytest.approx(1.301, abs=0.001)
    assert told["errors"].role == "guardrail"
    (want,) = (want for want in view.wants if "sure" in want.what)
    assert want.what.startswith("the evidence that it is within what sure (mean of score) tolerates is ")
    assert want.way == told["sure"].way < 1
    assert "Nearest to a rollback: alarms (score > 0.9)" in view.next
    show.run(Settings.from_environment({}), world.store, what="release")
    said = capsys.readouterr().out
    assert "  alarms (score > 0.9): candidate 22 of 100, champion 10 of 100; " in said
    assert ", rolled back at 400 to 1" in said
    assert "  rehearsed (score > 0.9), dry run: candidate 22 of 100, champion 10 of 100; " in said
    assert ", would roll back at 800 to 1" in said
    assert "  sure (mean of score): candidate mean 0.521 of 100, champion mean 0.455 of 100; " in said
    assert ", promotion wants 20 to 1" in said
    assert ", would be shown at 20 to 1" in said


ORDERS = {"name": "orders", "source": "prometheus", "query": 'orders{v="{version}"}', "low": 0, "high": 10, "direction": "higher"}


@contextmanager
def prometheus(orders: dict[int, list[float]]) -> Iterator[str]:
    """A server that answers as Prometheus does: the orders of each version."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)["query"][0]
            found = [{"metric": {}, "value": [0, str(value)]} for value in orders[int(query.split('"')[1])]]
            body = json.dumps({"data": {"result": found}}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *given: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kept(world: World, **changed: Any) -> Watch:
    """The working file, after fields of it were changed."""
    watch = Watch.load(world.store, world.spec.name, 2)
    assert watch
    watch.model_copy(update=changed).keep(world.store, world.spec.name)
    return watch


def test_a_prometheus_is_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09, SE-10: one value a minute of each version; fewer orders roll the candidate back."""
    orders = {1: [7.0], 2: [3.0]}
    world = begun(world_with(tmp_path, monkeypatch, ORDERS))
    with prometheus(orders) as url:
        world.settings = Settings.from_environment({"PERENNIAL_PROMETHEUS_URL": url})
        assert world.look().action == "hold"
        assert world.look().action == "hold"
        watch = kept(world)
        assert watch.evidence.tallies["orders"].candidate_requests == 1  # it was asked a moment ago
        assert watch.fed_at["orders"] == watch.asked_at["orders"]
        orders[2] = []
        kept(world, asked_at={})
        world.look()
        assert kept(world, asked_at={}).evidence.tallies["orders"].candidate_requests == 1
        orders[2] = [3.0]
        for _ in range(40):
            result = world.look()
            if result.action == "rolled_back":
                break
            kept(world, asked_at={})
    assert result.action == "rolled_back"
    assert 'The signal orders (mean of orders{v="{version}"}) shows mean 3 of ' in result.sentence


def test_a_signal_that_sees_nothing_for_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: with the reason where one is known; it is no evidence, and the release goes on."""
    world = begun(world_with(tmp_path, monkeypatch, ORDERS, ALARMS))
    assert "blind" not in world.look().evidence
    long_ago = datetime.now(timezone.utc) - timedelta(minutes=11)
    kept(world, begun=long_ago, asked_at={})
    result = world.look()
    assert result.action == "hold"
    assert result.evidence["blind"] == ["alarms", "orders"]
    assert "The signal orders has had no value of both versions for 11 minutes: PERENNIAL_PROMETHEUS_URL is not set." in result.sentence
    assert "The signal alarms has had no value of both versions for 11 minutes." in result.sentence
    answered(world, 1, 30, 0.1)
    answered(world, 2, 30, 0.1)
    with prometheus({1: [7.0], 2: [7.0]}) as url:
        world.settings = Settings.from_environment({"PERENNIAL_PROMETHEUS_URL": url})
        kept(world, asked_at={}, labelled_at=None)
        assert "blind" not in world.look().evidence
    kept(world, asked_at={}, fed_at={"orders": long_ago, "alarms": datetime.now(timezone.utc)})
    result = world.look()  # it does not answer any more
    assert result.evidence["blind"] == ["orders"]
    assert "does not answer" in result.sentence


def test_the_log_is_read_before_there_is_more_traffic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SE-09: a step ends with what the log says then, though it was read a moment ago; while a step lasts that is not done."""
    world = begun(world_with(tmp_path, monkeypatch, ALARMS))
    answered(world, 1, 30, 0.1)
    assert world.look().action == "hold"
    answered(world, 1, 300, 0.1)
    answered(world, 2, 300, 0.4)
    assert world.look().action == "hold"
    world.backend.serve(8000)
    assert world.look().action == "rolled_back"
