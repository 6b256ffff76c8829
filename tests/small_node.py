"""`small_node.py PORT`: the pods of a small cluster, in one process of the serving environment: each is what a version's server answers,
at an address of its own on loopback.

Told by POST: /start {"address", "model", "version", "digest"}, /stop {"address"}, each with the other's answer `{}` once it is so.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import sys
import threading
from typing import Any

from perennial.serving.refused import Refused
from perennial.serving.served_version import VERSION_HEADER, ServedVersion

PORT = 9000


class Pod:
    """One server of one version, until `stop`."""

    def __init__(self, address: str, model: str, version: int, digest: str) -> None:
        self.served = ServedVersion(model, version, digest)
        self.connections: set[socket.socket] = set()
        pod = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                pod.connections.add(self.connection)

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    return self.answer(200, pod.served.metrics.text())
                status = 200 if self.path == "/live" or pod.served.ready else 503
                return self.answer(status, json.dumps(pod.served.readiness()).encode())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                try:
                    found = pod.served.take_outcome(body) if "feedback" in self.path else pod.served.answer(body, headers)
                except Refused as refused:
                    return self.answer(refused.status, json.dumps(refused.document()).encode())
                return self.answer(200, found)

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.send_header(VERSION_HEADER, str(version))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer((address, PORT), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.served.load()

    def stop(self) -> None:
        """End it, and whatever talks to it."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.served.close()


def main(port: int) -> None:
    """Until its end."""
    pods: dict[str, Pod] = {}

    class Control(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/start":
                pods[told["address"]] = Pod(told["address"], told["model"], told["version"], told["digest"])
            else:
                pods.pop(told["address"]).stop()
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            """Quiet."""

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Control).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]))
