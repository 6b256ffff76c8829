"""The lines of JSON of the programs that serve, from a real gateway, a real server and the program of the metrics."""

import json
import sys
import urllib.error
import urllib.request

import pytest

from perennial import log_lines, testing
from perennial.log_line import LogLine
from perennial.serving.backends.local import program
from perennial.settings import Settings

RUN = "manual__2026-03-01T00:00:00+00:00"
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def lines_of(platform, name: str) -> list[LogLine]:
    """All lines of a program; each is of the documented form, or the test fails."""
    return [LogLine.model_validate_json(line) for line in platform.programs.log(name).read_text().splitlines()]


def test_one_run_and_one_prediction_are_found_in_the_lines_of_all_that_saw_them(new_platform):
    """MN-12, SY-23: Server, gateway and metrics write objects of the one form and no text. The run of the release that asked is in the
    server's line; the id of a failed request is in those of server and gateway, its trace in the server's."""
    platform = new_platform(log_format="json")
    good = platform.version()
    digests = {1: platform.saboteur(good, share=1.0)}
    with log_lines.during(run=RUN):
        platform.serve({1: 100}, digests)
    url = platform.settings.gateway_url + platform.settings.prediction_path(platform.model.name)
    body = json.dumps({"data": {"rows": testing.small_rows(1, seed=77)}}).encode()
    headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{SPAN}-01", "x-perennial-run": "a caller's"}
    with pytest.raises(urllib.error.HTTPError, match="500"):
        urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60)
    server = testing.wait_until(
        lambda: (lines := lines_of(platform, program(platform.model.name, 1))) and lines[-1].level == "ERROR" and lines,
        30,
        "the server's line",
    )
    (asked,) = [line for line in server if line.run]
    assert (asked.run, asked.message) == (RUN, "Version 1 of small_delays was found ready by a run.")
    failed = server[-1]
    assert (failed.program, failed.model, failed.version, failed.trace_id, failed.span_id) == ("server", "small_delays", 1, TRACE, SPAN)
    (gateway,) = testing.wait_until(
        lambda: [line for line in lines_of(platform, "gateway") if line.logger == "gateway.requests"], 30, "the gateway's line"
    )
    assert (gateway.status, gateway.prediction) == (500, failed.prediction)
    assert gateway.message.startswith("POST /seldon/perennial/small-delays/api/v1.0/predictions was answered with 500")

    settings = Settings.from_environment(platform.settings.environment())
    platform.programs.add_program("metrics", [sys.executable, "-m", "perennial.local.metrics_server"], settings.environment())
    (said,) = testing.wait_until(lambda: lines_of(platform, "metrics"), 30, "the metrics' line")
    assert (said.program, said.level) == ("metrics", "INFO")
