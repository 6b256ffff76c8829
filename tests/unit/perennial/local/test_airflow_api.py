"""What the client does when an answer gets lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from perennial.errors import Fault
from perennial.local import airflow_api
from perennial.local.airflow_api import AirflowApi


class Airflow(BaseHTTPRequestHandler):
    """As much of Airflow as starts runs, on a network that loses the first answers."""

    runs: dict[str, dict[str, Any]]
    lost: int
    log_message = lambda *_: None  # noqa: E731

    def do_POST(self) -> None:
        """Log in, or start a run."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/auth/token":
            self._say(201, {"access_token": "t"})
        elif asked["conf"].get("broken"):
            self._say(400, {"detail": "no such parameter"})
        elif asked["dag_run_id"] in self.runs:
            self._say(409, {"detail": "exists"})
        else:
            self.runs[asked["dag_run_id"]] = {"dag_id": "a", "dag_run_id": asked["dag_run_id"], "state": "queued"}
            if type(self).lost:
                type(self).lost -= 1
                self.close_connection = True
            else:
                self._say(200, self.runs[asked["dag_run_id"]])

    def do_GET(self) -> None:
        """Show a run, or all."""
        (run,) = self.runs.values()
        self._say(200, {"dag_runs": [run]} if self.path.split("?")[0].endswith("/dagRuns") else run)

    def _say(self, code: int, answer: dict[str, Any]) -> None:
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


@pytest.fixture
def airflow() -> Iterator[type[Airflow]]:
    """A fresh one that listens; its address is `url`."""
    kind = type("Fresh", (Airflow,), {"runs": {}, "lost": 0})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    kind.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield kind
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("lost", [0, 1])
def test_a_run_is_started_once_though_its_answer_got_lost(airflow, lost):
    """DE-22: Asking again finds the run that was started."""
    airflow.lost = lost
    run = AirflowApi(airflow.url, "ada", "secret").trigger("a", version=3)
    assert list(airflow.runs) == [run.id]
    assert (run.dag, run.state) == ("a", "queued")


def test_two_wishes_are_two_runs(airflow):
    """DE-22: Each has an id of its own."""
    api = AirflowApi(airflow.url, "ada", "secret")
    assert api.trigger("a").id != api.trigger("a").id
    assert len(airflow.runs) == 2


def test_a_refusal_is_told(airflow):
    """DE-15: With Airflow's own words."""
    with pytest.raises(Fault, match=r"400 .*no such parameter"):
        AirflowApi(airflow.url, "ada", "secret").trigger("a", broken=True)


def test_one_waits_longer_while_a_run_is_at_work(airflow, monkeypatch):
    """DE-22: A slow machine is waited for, a run that hangs not for ever, and where nothing is at work the time is up at once."""
    monkeypatch.setattr(airflow_api, "_RETRY_SECONDS", 0.005)
    api = AirflowApi(airflow.url, "ada", "secret")
    run = api.trigger("a")
    waited = {}
    for dag, state in (("", "running"), ("a", "success"), ("a", "running")):
        airflow.runs[run.id]["state"] = state
        began = time.monotonic()
        with pytest.raises(Fault, match="for nothing, in vain"):
            api.until(lambda: None, "nothing", 0.2, dag)
        waited[dag, state] = time.monotonic() - began
    assert waited["a", "running"] >= 2.0
    assert max(waited["", "running"], waited["a", "success"]) < 2.0
