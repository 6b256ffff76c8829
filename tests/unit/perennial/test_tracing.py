"""Spans of a stage, and what happens where none are sent."""

import json
import os
import socket
import stat
import subprocess
import sys
import time

import pytest

from perennial import tracing
from perennial.testing.spans import Spans
from perennial.tracing import Receiver, Trouble, is_on, kept, named, receiver, variables

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.fixture(scope="module")
def spans():
    """A receiver."""
    with Spans() as receiver_of_spans:
        yield receiver_of_spans


def stage(store, code="", **environment):
    """Run a stage that refuses, as its task does; the finished process."""
    command = [sys.executable, *(["-c", code] if code else ["-m", "perennial.cli", "validate", "--model", "unheard_of"])]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    given = {**inherited, "PERENNIAL_STORE": str(store), **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("given", "url", "share"),
    [
        ({ENDPOINT: "http://127.0.0.1:4318"}, "http://127.0.0.1:4318/v1/traces", 1.0),
        ({ENDPOINT: "https://spans.example.com/otlp/"}, "https://spans.example.com/otlp/v1/traces", 1.0),
        ({ENDPOINT: "http://a", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b/own"}, "http://b/own", 1.0),
        ({ENDPOINT: "http://a", "OTEL_TRACES_EXPORTER": "otlp_proto_http", "OTEL_SDK_DISABLED": "false"}, "http://a/v1/traces", 1.0),
        ({ENDPOINT: "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://a/v1/traces", 1.0),
        ({ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "always_off"}, "http://a/v1/traces", 0.0),
        ({ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}, "http://a/v1/traces", 1.0),
        ({ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, "http://a/v1/traces", 0.25),
    ],
)
def test_the_standard_variables_say_where_spans_go(given, url, share):
    """MN-13: Endpoint, its path, exporter, protocol and sampler are read as OpenTelemetry's specification has them."""
    found = receiver(given)
    assert (found.url, found.share) == (url, share)
    assert is_on(given)


def test_headers_and_certificate_go_with_the_spans():
    """MN-13: A key in a header and an authority's certificate are those of the variables, the ones of traces first."""
    given = {
        ENDPOINT: "https://a",
        "OTEL_EXPORTER_OTLP_HEADERS": "X-Key=of%20all, other=1,nonsense",
        "OTEL_EXPORTER_OTLP_CERTIFICATE": "/ca.pem",
    }
    assert receiver(given) == Receiver("https://a/v1/traces", {"x-key": "of all", "other": "1"}, "/ca.pem")
    assert receiver({**given, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-key=own"}).headers == {"x-key": "own"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {ENDPOINT: "  "},
        {ENDPOINT: "http://a", "OTEL_SDK_DISABLED": "True"},
        {ENDPOINT: "http://a", "OTEL_TRACES_EXPORTER": "none"},
        {ENDPOINT: "http://a", "OTEL_TRACES_EXPORTER": "console"},
    ],
)
def test_without_a_receiver_no_spans_are_sent(given):
    """MN-13: Tracing is off unless a receiver is named, and can be switched off by the standard variables."""
    assert receiver(given) is None
    assert not is_on(given)
    assert variables(given) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({ENDPOINT: "127.0.0.1:4318"}, "'127.0.0.1:4318', which is no address of a receiver of spans: give one like http://127.0.0.1:4318"),
        ({ENDPOINT: "http://"}, f"{ENDPOINT} is 'http://', which is no address"),
        ({ENDPOINT: "http://a:b"}, "which is no address"),
        ({ENDPOINT: "http://a:0"}, "which is no address"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://a"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is 'ftp://a'"),
        (
            {ENDPOINT: "http://a", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc', and spans are sent as http/protobuf",
        ),
        ({ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "jaeger_remote"}, "OTEL_TRACES_SAMPLER is 'jaeger_remote'"),
        ({ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "1.5"}, "OTEL_TRACES_SAMPLER_ARG '1.5'"),
        (
            {ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "some"},
            "OTEL_TRACES_SAMPLER_ARG 'some'",
        ),
        (
            {ENDPOINT: "http://a", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "-0.1"},
            "OTEL_TRACES_SAMPLER_ARG '-0.1'",
        ),
    ],
)
def test_variables_that_cannot_work_are_a_sentence(given, words):
    """MN-13: An address that is none, gRPC, or a sampler that Envoy cannot follow is said with what to do, and nothing is sent."""
    with pytest.raises(Trouble) as told:
        receiver(given)
    assert words in str(told.value)
    assert not is_on(given)


def test_every_part_has_a_name_of_its_own():
    """MN-13: A receiver tells gateway, servers, stages and Airflow apart, and two platforms by OTEL_SERVICE_NAME."""
    given = variables({ENDPOINT: "http://a", "OTEL_RESOURCE_ATTRIBUTES": "team=x", "OTEL_EMPTY": "", "HOME": "/root"})
    assert given == {ENDPOINT: "http://a", "OTEL_RESOURCE_ATTRIBUTES": "team=x"}
    assert named(given, "gateway") == {**given, "OTEL_SERVICE_NAME": "perennial-gateway"}
    assert named({**given, "OTEL_SERVICE_NAME": "shop"}, "server")["OTEL_SERVICE_NAME"] == "shop-server"
    assert named({}, "server") == {}


def test_what_the_platform_came_up_with_is_kept_for_what_starts_later(tmp_path):
    """MN-13: Servers that a release starts send their spans where `perennial up` said; a key among it is the owner's alone to read."""
    given = {ENDPOINT: "http://a", "OTEL_EXPORTER_OTLP_HEADERS": "key=secret"}
    assert kept(tmp_path) == {}
    tracing.keep(tmp_path, given)
    assert kept(tmp_path) == given
    assert stat.S_IMODE((tmp_path / tracing.KEPT).stat().st_mode) == 0o600
    assert tracing.of_part(tmp_path, "gateway") == (Receiver("http://a/v1/traces", {"key": "secret"}), "perennial-gateway")
    (tmp_path / tracing.KEPT).write_text("{")
    assert kept(tmp_path) == {}
    tracing.keep(tmp_path, {})
    assert tracing.of_part(tmp_path, "gateway") == (None, "")
    assert not (tmp_path / tracing.KEPT).exists()


def test_a_refused_stage_is_a_span_of_its_tasks_trace(tmp_path, spans):
    """MN-13: The span continues the task's trace and says stage, model, outcome and sentence, though the stage is refused."""
    done = stage(tmp_path, TRACEPARENT=PARENT, **spans.variables())
    assert done.returncode == 2
    trace, parent = PARENT.split("-")[1:3]
    (span,) = spans.wait_for(lambda known: [one for one in known if one["trace"] == trace])
    assert (span["name"], span["service"], span["parent"], span["error"]) == ("stage validate", "perennial-stage", parent, False)
    said = {name.removeprefix("perennial."): value for name, value in span["attributes"].items()}
    assert (said["stage"], said["model"], said["outcome"]) == ("validate", "unheard_of", "refused")
    assert said["sentence"] == done.stderr.strip().splitlines()[-1]
    assert span["end"] - span["start"] > 100e6  # from the start of the process on, not from when it could trace


FAULT = """
import sys
from perennial import cli, tracing
from perennial.stages import validate
def broken(settings, store, **given):
    with tracing.span("read", rows=3) as note:
        note(files=2)
        with tracing.span("count", links=("00-" + "ab" * 16 + "-" + "cd" * 8 + "-01", "nonsense")):
            print(tracing.trace_id(), tracing.headers()["traceparent"], tracing.parent_variables()["TRACEPARENT"])
    with tracing.span("write"):
        raise RuntimeError("row 7 of anna@example.com")
validate.run = broken
sys.exit(cli.main(["validate", "--model", "digits"]))
"""


def test_parts_of_a_stage_are_spans_and_a_fault_is_an_error(tmp_path, spans):
    """MN-13: What is done within a stage is told as parts of it, with links to other traces; what breaks is an error, without its data."""
    done = stage(tmp_path, FAULT, OTEL_SERVICE_NAME="shop-stage", **spans.variables())
    assert done.returncode == 1
    trace, header, variable = done.stdout.split()
    assert header == variable
    own = spans.wait_for(lambda known: {one["name"]: one for one in known if one["trace"] == trace if len(known) >= 4})
    whole, read, count, write = (own[name] for name in ("stage validate", "read", "count", "write"))
    assert header.startswith(f"00-{trace}-{count['span']}-0")
    assert (whole["parent"], read["parent"], count["parent"]) == ("", whole["span"], read["span"])
    assert (read["attributes"], count["links"], read["error"]) == ({"perennial.rows": 3, "perennial.files": 2}, ["ab" * 16], False)
    assert (write["error"], write["attributes"]["perennial.sentence"]) == (True, "RuntimeError")
    assert (whole["error"], whole["service"], whole["attributes"]["perennial.outcome"]) == (True, "shop-stage", "fault")
    assert "anna" in done.stderr
    assert "anna" not in str(own)


@pytest.mark.parametrize(
    "wrong", ["", "nonsense", "00-" + "f" * 100_000, f"{PARENT}-more", PARENT.replace("4bf9", "xxxx"), PARENT.upper(), "ff" + PARENT[2:]]
)
def test_a_wrong_parent_changes_nothing(tmp_path, spans, wrong):
    """MN-13: A TRACEPARENT that is none or much too long costs nothing: the stage begins a trace of its own."""
    before = len(spans.known)
    done = stage(tmp_path, TRACEPARENT=wrong, TRACESTATE="=" * 10_000, **spans.variables())
    assert done.returncode == 2
    span = spans.wait_for(lambda known: known[before:])[0]
    assert span["parent"] == ""
    assert len(span["trace"]) == 32


def test_a_long_sentence_is_cut(tmp_path, spans, monkeypatch):
    """MN-13: No attribute is longer than a receiver takes."""
    monkeypatch.setattr(tracing, "_process", tracing._Process())
    tracing.begin("stage ingest", "perennial-stage", {"dataset": "x", "version": None, "model": ""}, environment=spans.variables())
    tracing.end("done", "s" * 5000, {"rows": True})
    span = spans.wait_for(lambda known: [one for one in known if one["name"] == "stage ingest"])[0]
    assert len(span["attributes"].pop("perennial.sentence")) == tracing.LONGEST_TEXT
    assert span["attributes"] == {"perennial.dataset": "x", "perennial.outcome": "done", "perennial.rows": True}
    assert (tracing.trace_id(), tracing.headers()) == ("", {})


def test_nothing_is_loaded_and_nothing_changes_without_a_receiver(tmp_path):
    """MN-13: Without OpenTelemetry's variables a stage loads none of it, and says what it always said."""
    code = (
        "import sys\nfrom perennial import cli, tracing\ncode = cli.main(['validate', '--model', 'unheard_of'])\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')], tracing.trace_id() == '')\nsys.exit(code)"
    )
    done = stage(tmp_path, code, TRACEPARENT=PARENT)
    assert (done.returncode, done.stdout) == (2, "[] True\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("variables_of", [{ENDPOINT: "nonsense"}, {ENDPOINT: "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}])
def test_a_stage_goes_on_where_spans_cannot_be_sent(tmp_path, variables_of):
    """MN-13: Variables that cannot work cost a stage a line in its log."""
    done = stage(tmp_path, **variables_of)
    assert done.returncode == 2
    assert "No spans are sent: OTEL_EXPORTER_OTLP" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("There is no model 'unheard_of'")


def test_a_receiver_that_is_gone_or_silent_delays_no_stage(tmp_path):
    """MN-13: Where nobody listens, or somebody who never answers, the stage ends as ever, some seconds later at most, with a line that
    names the receiver and no key."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        for endpoint in ("http://user:secret@127.0.0.1:9", address):
            begun = time.monotonic()
            done = stage(tmp_path, **{ENDPOINT: endpoint})
            assert time.monotonic() - begun < 20  # the library's own limits are 10 and 30
            assert done.returncode == 2
            lines = done.stderr.strip().splitlines()
            assert len(lines) == 2
            assert "Some spans could not be sent to http://127.0.0.1:" in lines[0]
            assert "secret" not in done.stderr


def test_a_result_is_written_before_spans_are_sent(tmp_path):
    """MN-13: A task that is ended while its stage still waits for a silent receiver has the result."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code = "import sys\nfrom perennial import cli\nsys.exit(cli.main(['validate', '--model', 'unheard_of', '--result', sys.argv[1]]))"
        environment = {**os.environ, "PERENNIAL_STORE": str(tmp_path), ENDPOINT: f"http://127.0.0.1:{silent.getsockname()[1]}"}
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "result.json")], env=environment, stderr=subprocess.DEVNULL)
        silent.accept()[0].close()
        connection, _ = silent.accept()  # spans are on their way
        assert json.loads((tmp_path / "result.json").read_text())["outcome"] == "refused"
        process.kill()
        process.wait()
        connection.close()
