"""The load generator against a small server of its own."""

import http.server
import json
import threading
import time

import pytest

from perennial import testing
from perennial.serving.load import Call, Load, send
from perennial.settings import Settings

MODEL = testing.small_model()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as a gateway would; fails rows whose `bad` is true."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        """Answer one request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        bad = body["data"]["rows"][0].get("bad")
        puid = body["meta"].get("puid", "made")
        answer = json.dumps(
            {"data": {"ndarray": [[1]]}, "meta": {"puid": puid, "tags": {"version": 7}}} if not bad else {"status": {"info": "no"}}
        ).encode()
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def gateway():
    """The server, with what it has seen and the settings that lead to it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.settings = Settings.from_environment({"PERENNIAL_GATEWAY_PORT": str(server.server_address[1])})
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_call_is_sent_once_and_counted(gateway):
    """DE-11: Requests, failures, versions and row ids add up to what was sent."""
    calls = [Call([{"n": n, "bad": n % 5 == 0}, {"n": n}], id=f"c{n}", event_time="2013-02-01T06:00:00") for n in range(50)]
    load = send(gateway.settings, MODEL, calls)
    assert sorted(body["meta"]["puid"] for _, body in gateway.seen) == sorted(f"c{n}" for n in range(50))
    assert {path for path, _ in gateway.seen} == {gateway.settings.prediction_path(MODEL.name)}
    assert gateway.seen[0][1]["meta"]["tags"] == {"event_time": "2013-02-01T06:00:00"}
    assert (load.requests, len(load.failures), load.by_version) == (50, 10, {7: 40})
    assert load.failures[0].startswith("500: ")
    assert sorted(load.ids) == sorted(f"c{n}-{i}" for n in range(50) if n % 5 for i in (0, 1))
    assert load.sentence().startswith("50 requests, 10 failed; version 7: 40; p50 ")


def test_a_stop_ends_endless_calls(gateway):
    """DE-11: Endless calls end soon after the stop is set, and what had been sent is counted."""
    stop = threading.Event()
    shown = []

    def calls():
        while True:
            if len(gateway.seen) > 20:
                stop.set()
            yield Call([{}])

    load = send(gateway.settings, MODEL, calls(), rate=500, stop=stop, progress=shown.append)
    assert load.requests == len(gateway.seen)
    assert load.requests > 20


def test_seconds_bound_the_sending(gateway):
    """DE-11: Nothing more is sent once the seconds are over."""
    begun = time.monotonic()
    load = send(gateway.settings, MODEL, (Call([{}]) for _ in range(10**9)), seconds=0.2, rate=200)
    assert 0 < load.requests < 200
    assert time.monotonic() - begun < 30


def test_a_gateway_that_is_gone_is_a_failure_each(gateway):
    """DE-11: Without a server every call fails with a sentence."""
    port = testing.free_ports(1)[0]
    load = send(Settings.from_environment({"PERENNIAL_GATEWAY_PORT": str(port)}), MODEL, [Call([{}])] * 3)
    assert [failure.split(":")[0] for failure in load.failures] == ["no answer"] * 3
    assert Load().quantile(0.5) == 0.0
