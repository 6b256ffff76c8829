"""Answers requests from standard input by a server's own application: a version, without the network. Runs in the serving environment.

A request is a line `{"path", "type", "body"}`, its answer a line `{"status", "text"}`; bodies are base64. At the end of the input the logs
are written.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
import warnings
from typing import Any

warnings.filterwarnings("ignore")
logging.getLogger("seldon_core").setLevel(logging.CRITICAL)

from perennial.serving.served_version import ServedVersion  # noqa: E402


def with_wrapper(served: ServedVersion) -> Any:
    """Asks seldon-core's wrapper."""
    from perennial.serving.server import application

    client = application(served)[0].test_client()

    def ask(path: str, kind: str, body: bytes) -> tuple[int, str]:
        answer = client.post(path, data=body, content_type=kind)
        return answer.status_code, answer.get_data(as_text=True)

    return ask


def with_own(served: ServedVersion) -> Any:
    """Asks this project's server."""
    from perennial.serving.http_server import HttpServer

    app, loop = HttpServer(served, 1), asyncio.new_event_loop()

    def ask(path: str, kind: str, body: bytes) -> tuple[int, str]:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        loop.run_until_complete(app({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send))
        told = {name.decode(): value.decode() for name, value in sent[0]["headers"] if name.startswith(b"x-grpc")}
        body_sent = sent[1]["body"]
        return sent[0]["status"], json.dumps(told) if told else body_sent.decode("latin-1" if path.startswith("/inference") else "utf-8")

    return ask


if __name__ == "__main__":
    name, version, digest, server = sys.argv[1:]
    served = ServedVersion(name, int(version), digest)
    ask = (with_wrapper if server == "seldon" else with_own)(served)
    served.load()
    for line in sys.stdin:
        given = json.loads(line)
        status, text = ask(given["path"], given["type"], base64.b64decode(given["body"]))
        print(json.dumps({"status": status, "text": text}), flush=True)
    served.close()
