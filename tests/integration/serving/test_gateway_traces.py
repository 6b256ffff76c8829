"""The gateway's spans, at a receiver of OTLP over HTTP."""

import http.client
import socketserver
import threading

import pytest

from perennial import testing, tracing
from perennial.serving import envoy
from perennial.serving.backends.local import server_socket
from perennial.serving.route import Route
from perennial.testing.spans import Spans

from .conftest import settings_for

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Headers(socketserver.StreamRequestHandler):
    """Answers with the traceparent that it was asked with."""

    def handle(self):
        """Answer requests until the gateway closes."""
        while self.rfile.readline():
            length, parent = 0, b""
            while (header := self.rfile.readline()).strip():
                name, _, value = header.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                parent = value.strip() if name.lower() == b"traceparent" else parent
            self.rfile.read(length)
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(parent), parent))


def gateway(folder, variables):
    """Settings of a gateway that was started with these variables, before a server that answers with what it was asked with."""
    settings = settings_for(folder)
    tracing.keep(settings.home, variables)
    server = socketserver.ThreadingUnixStreamServer(str(server_socket(settings, "alone", 1)), Headers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    served = [
        envoy.Served("alone", "/seldon/perennial/alone/", 10, {1: server_socket(settings, "alone", 1)}, Route({1: 10_000}, None, {1: "d"}))
    ]
    envoy.prepare(settings)
    envoy.write(settings, "cds", envoy.clusters(served))
    envoy.write(settings, "rds", [envoy.routes(served, settings.host_names())])
    return settings, server


def ask(settings, **headers):
    """Status and text of one prediction request; None while nothing listens."""
    connection = http.client.HTTPConnection(settings.host, settings.gateway_port, timeout=60)
    try:
        connection.request("POST", "/seldon/perennial/alone/api/v1.0/predictions", b"{}", headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except OSError:
        return None
    finally:
        connection.close()


@pytest.fixture(scope="module")
def spans():
    with Spans() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def traced(tmp_path_factory, spans):
    folder = tmp_path_factory.mktemp("gateway")
    settings, server = gateway(folder, spans.variables(OTEL_EXPORTER_OTLP_HEADERS="x-key=50%25"))
    with testing.started(testing.Programs(folder / "logs")) as programs:
        programs.add_program("gateway", envoy.command(settings), {})
        testing.wait_until(lambda: (ask(settings) or [0])[0] == 200, 60, "an answer through the gateway")
        yield settings
    server.shutdown()
    server.server_close()


def test_a_callers_trace_goes_on_through_the_gateway(traced, spans):
    """MN-13: The gateway's span is a part of the trace that the caller names, and the server is asked in the gateway's."""
    status, parent = ask(traced, traceparent=f"00-{TRACE}-{CALLER}-01")
    assert status == 200
    (span,) = spans.wait_for(lambda known: [one for one in known if one["trace"] == TRACE])
    assert (span["parent"], span["service"]) == (CALLER, "perennial-gateway")
    assert parent == f"00-{TRACE}-{span['span']}-01"
    assert span["attributes"]["upstream_cluster.name"] == "alone-v1"
    assert spans.keys == {"50%"}


def test_a_caller_that_keeps_its_trace_to_itself_is_left_alone(traced, spans):
    """MN-13: A caller who says that its trace is not kept gets no span."""
    unkept = TRACE[::-1]
    status, parent = ask(traced, traceparent=f"00-{unkept}-{CALLER}-00")
    assert status == 200
    assert (parent.split("-")[1], parent.split("-")[3]) == (unkept, "00")
    ask(traced, traceparent=f"00-{TRACE[:-1]}0-{CALLER}-01")
    spans.wait_for(lambda known: [one for one in known if one["trace"] == f"{TRACE[:-1]}0"])
    assert not [one for one in spans.known if one["trace"] == unkept]


@pytest.mark.parametrize(
    "wrong", ["nonsense", f"00-{TRACE}-{CALLER}", f"00-{'0' * 32}-{CALLER}-01", "00-" + "f" * 30_000, f"ff-{TRACE}-{CALLER}-01"]
)
def test_a_wrong_traceparent_changes_no_answer(traced, wrong):
    """MN-13: A caller's traceparent that is none, or much too long, costs no request its answer."""
    assert ask(traced, traceparent=wrong)[0] == 200


def test_without_a_receiver_the_gateway_makes_no_spans(tmp_path, spans):
    """MN-13: The start-up file has no word of tracing, and a caller's header reaches the server as it was."""
    settings, server = gateway(tmp_path, {})
    assert "tracing" not in (settings.home / "envoy" / "bootstrap.json").read_text()
    with testing.started(testing.Programs(tmp_path / "logs")) as programs:
        programs.add_program("gateway", envoy.command(settings), {})
        testing.wait_until(lambda: (ask(settings) or [0])[0] == 200, 60, "an answer through the gateway")
        assert ask(settings) == (200, "")
        assert ask(settings, traceparent=f"00-{TRACE}-{CALLER}-01") == (200, f"00-{TRACE}-{CALLER}-01")
    server.shutdown()
    server.server_close()
