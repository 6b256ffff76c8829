from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from perennial.local import probe

HEALTH = {"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}, "triggerer": {"status": None}}


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()
        self.wfile.write(json.dumps(HEALTH).encode() if self.path == "/health" else b"The gateway is not started yet.")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that is well at /health and not elsewhere."""
    found = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_a_server_that_answers_is_well(server: str) -> None:
    """OP-08: Nothing is printed then."""
    assert probe.main([f"{server}/health"]) == 0


def test_what_a_failing_server_says_is_passed_on(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    """OP-08: `docker inspect` shows the sentence."""
    assert probe.main([f"{server}/"]) == 1
    assert "503: The gateway is not started yet." in capsys.readouterr().err


def test_a_server_that_is_away_is_not_well() -> None:
    """OP-08: No traceback: a sentence with the address."""
    assert probe.trouble_at("http://127.0.0.1:9/").startswith("http://127.0.0.1:9/ does not answer")


@pytest.mark.parametrize(
    ("part", "trouble"), [("metadatabase", ""), ("scheduler", "is unhealthy"), ("triggerer", "is None"), ("dag", "says nothing of dag")]
)
def test_the_named_part_decides(server: str, part: str, trouble: str) -> None:
    """OP-08: The API server answers 200 whatever its components do."""
    assert trouble in probe.trouble_at(f"{server}/health", part)
    assert bool(probe.trouble_at(f"{server}/health", part)) == bool(trouble)
