"""`perennial explain-run`: asks the console, prints what it says, and says by the store alone what it can where Airflow is away."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from perennial import discovery
from perennial.commands import explain_run
from perennial.errors import Fault, ServiceUnreachable, UnknownName
from perennial.lineage.registrations import note_registration
from perennial.local import airflow_programs
from perennial.settings import Settings
from perennial.testing import World, free_ports
from perennial.views.run import RunView, run_view
from perennial.views.run_story import RunRecord, TaskEnd

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


class Airflow(BaseHTTPRequestHandler):
    """Answers as Airflow's login and the console do."""

    answers: dict[str, tuple[int, str]]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._send(201, '{"access_token": "t0ken"}')

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        assert (asked.path, self.headers["Cookie"]) == ("/perennial/explain-run.json", "_token=t0ken")
        self._send(
            *self.answers.get(parse_qs(asked.query)["what"][0], (404, '{"detail": "There is no run of that name. Near to it is x."}'))
        )

    def _send(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A model with one version that serves, and settings of a platform that is down."""
    settings = Settings.from_environment({"PERENNIAL_HOME": str(tmp_path / "home"), "PERENNIAL_AIRFLOW_PORT": str(free_ports(1)[0])})
    world = World(tmp_path, settings=settings)
    monkeypatch.setattr(discovery, "_models", lambda: ({world.spec.name: world.spec}, {}))
    digest = world.published(1)
    world.with_champion(digest)
    note_registration(world.store, world.spec.name, 1, digest, {})
    return world


@pytest.fixture
def airflow(world: World) -> Iterator[dict[str, tuple[int, str]]]:
    """What Airflow answers, by what is asked."""
    airflow_programs.login(world.settings)
    answers: dict[str, tuple[int, str]] = {}
    handler = type("Handler", (Airflow,), {"answers": answers})
    with ThreadingHTTPServer(("127.0.0.1", world.settings.airflow_port), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield answers
        server.shutdown()


def view_of(world: World) -> RunView:
    left = {"outcome": "fault", "sentence": "MLflow does not answer.", "links": {"MLflow run": "http://m/1"}, "fault": "ServiceUnreachable"}
    ends = [
        TaskEnd("validate", "success", {"outcome": "done", "sentence": "Go.", "links": {}, "snapshot": 4}, NOW, NOW),
        TaskEnd("train", "failed", left, NOW, NOW),
        TaskEnd("register", "upstream_failed"),
    ]
    run = RunRecord("small_delays_training", "r1", "failed", NOW, NOW, NOW, "ada", None, None, "manual")
    return run_view(world.store, run, ends, [run], ())


def test_a_run_is_printed_with_what_ended_it_first(world: World, airflow: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """MN-18: The fault, what to do, why it ran, each stage, inputs, pages as whole addresses; as JSON the document of the console."""
    view = view_of(world)
    airflow["r1"] = (200, view.model_dump_json())
    assert explain_run.run(world.settings, world.store, name="r1") == 0
    lines = capsys.readouterr().out.replace("\u00a0", " ").splitlines()
    assert lines[:5] == [
        "Training of small_delays, small_delays_training/r1: Fault",
        "  Fault at train: MLflow does not answer.",
        "What ended it:",
        "  A server does not answer, at train",
        "  What to do: `perennial status` says which program does not run, `perennial up` starts it. Clear the task, or wait for its next "
        "try: it goes on from what is stored. (docs/runbook.md, Service)",
    ]
    assert lines[5:7] == ["Why it ran:", "  ada started it."]
    for line in ("  Done, validate, 0 s: Go.", "  Not reached, register", "  snapshot: 4", "  MLflow run: http://m/1"):
        assert line in lines
    assert f"  Ledger: {world.settings.airflow_url}/perennial/models/small_delays/ledger" in lines
    assert not [line for line in lines if line.startswith("What cannot be told")]
    explain_run.run(world.settings, world.store, name="r1", json=True)
    assert RunView.model_validate_json(capsys.readouterr().out) == view


def test_a_wrong_name_is_the_sentence_of_the_console(world: World, airflow: Any) -> None:
    """MN-18: With the nearest runs; an Airflow that answers otherwise is said to, with its status."""
    with pytest.raises(UnknownName, match=r"^There is no run of that name. Near to it is x.$"):
        explain_run.run(world.settings, world.store, name="r2")
    airflow["r3"] = (503, "")
    with pytest.raises(ServiceUnreachable, match=r"\(503\)\. Runs are in Airflow alone; of a version the store knows something too"):
        explain_run.run(world.settings, world.store, name="r3")
    airflow["r4"] = (404, "no JSON")
    with pytest.raises(UnknownName, match=r"^no JSON$"):
        explain_run.run(world.settings, world.store, name="r4")


def test_a_version_that_no_run_made_is_explained_by_the_store(world: World, airflow: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """MN-18: A version that was registered by hand: what the store knows, and that there is no run. One that there is not is refused."""
    assert explain_run.run(world.settings, world.store, name="small_delays/1") == 0
    said = capsys.readouterr().out
    assert said.startswith("small_delays, version 1, by the store alone\n")
    assert "No run in Airflow's records made it: it was made by hand, or its run was deleted." in said
    for name in ("small_delays/2", "small_delays", "other/1"):
        with pytest.raises(UnknownName):
            explain_run.run(world.settings, world.store, name=name)


@pytest.mark.parametrize("name", ["small_delays/1", "small_delays"])
def test_without_airflow_a_version_is_explained_by_the_store(world: World, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """MN-18: A version, or the newest of a model: why it was trained, that it serves, and what cannot be told. No login here: not asked."""
    for login in (False, True):
        if login:
            airflow_programs.login(world.settings)
        assert explain_run.run(world.settings, world.store, name=name, json=True) == 0
        said = json.loads(capsys.readouterr().out)
        assert said["became"][-1] == "It serves 100% of the traffic now."
        assert ("does not answer" if login else "is not known here") in said["untold"][0]


@pytest.mark.parametrize("name", ["small_delays_training/r1", "r1", "small_delays/9", "other"])
def test_without_airflow_a_run_cannot_be_explained(world: World, name: str) -> None:
    """MN-18: One sentence: why not, and what can be asked instead."""
    with pytest.raises(Fault, match="Runs are in Airflow alone; of a version the store knows something too: name it as model/7"):
        explain_run.run(world.settings, world.store, name=name)
