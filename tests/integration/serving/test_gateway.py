"""The gateway before a server that misbehaves: what one request provokes is no other's trouble."""

import http.client
import socketserver
import threading

import pytest

from perennial import testing
from perennial.serving import envoy
from perennial.serving.backends.local import server_socket
from perennial.serving.route import Route

from .conftest import settings_for

WRONG = {
    "protocol": b"this is no HTTP\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    "nothing": b"",
    **{str(code): b"HTTP/1.1 %d Wrong\r\nContent-Length: 0\r\n\r\n" % code for code in (500, 502, 503, 504)},
}


class Misbehaving(socketserver.StreamRequestHandler):
    """Answers as the body asks: `good`, or one of `WRONG`, after which it closes."""

    def handle(self):
        """Answer requests until one goes wrong."""
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()).strip():
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            asked = self.rfile.read(length).decode()
            if asked in WRONG and b"/ready" not in line:
                self.wfile.write(WRONG[asked])
                return
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """Settings of a gateway whose one model is served by one server that misbehaves on demand."""
    folder = tmp_path_factory.mktemp("gateway")
    settings, prefix = settings_for(folder), "/seldon/perennial/alone/"
    route = Route({1: 10_000}, None, {1: "d"})
    served = [envoy.Served("alone", prefix, 10, {1: server_socket(settings, "alone", 1)}, route)]
    server = socketserver.ThreadingUnixStreamServer(str(server_socket(settings, "alone", 1)), Misbehaving)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    envoy.prepare(settings)
    envoy.write(settings, "cds", envoy.clusters(served))
    envoy.write(settings, "rds", [envoy.routes(served, settings.host_names())])
    with testing.started(testing.Programs(folder / "logs")) as programs:
        programs.add_program("gateway", envoy.command(settings), {})
        testing.wait_until(lambda: ask(settings, "good") == 200, 60, "an answer through the gateway")
        yield settings
    server.shutdown()
    server.server_close()


def ask(settings, body):
    """Status of one prediction request; None while nothing listens."""
    connection = http.client.HTTPConnection(settings.host, settings.gateway_port, timeout=60)
    try:
        connection.request("POST", "/seldon/perennial/alone/api/v1.0/predictions", body)
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


@pytest.mark.parametrize("wrong", WRONG)
def test_a_request_that_goes_wrong_takes_no_server_from_the_others(gateway, wrong):
    """SE-12: Whatever the only server answers to some requests, errors, nonsense or nothing, all others are answered by it."""
    answers = [(ask(gateway, wrong), ask(gateway, "good")) for _ in range(10)]
    assert all(bad >= 500 for bad, _ in answers)
    assert [good for _, good in answers] == [200] * 10
