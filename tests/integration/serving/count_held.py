"""What a server holds after some requests and after many more: counts, without the network. Runs in the serving environment.

    python count_held.py MODEL DIGEST BODIES

BODIES is a file with a JSON list of [path, type, body]. Prints one JSON list of counts for each number of rounds over them.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from perennial.serving.http_server import HttpServer
from perennial.serving.served_version import ServedVersion

ROUNDS = (20, 100)


async def answered(app: HttpServer, path: str, kind: str, body: bytes) -> int:
    """The status of one answer."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
    await app({"type": "http", "method": "POST", "path": path, "headers": headers}, receive, send)
    return int(sent[0]["status"])


def held(served: ServedVersion, answers: int) -> dict[str, int]:
    """Counts of what a process has once its log is written; of Python's objects those that may hold others."""
    while served.predictions.segments.written < answers:
        time.sleep(0.05)
    time.sleep(0.2)  # in which the log's thread lets go of what it has written
    gc.collect()
    return {
        "threads": threading.active_count(),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "lines of metrics": served.metrics.text().count(b"\n"),
        "objects": len(gc.get_objects()),
    }


if __name__ == "__main__":
    name, digest, bodies = sys.argv[1:]
    version = ServedVersion(name, 1, digest)
    application, loop = HttpServer(version, 2), asyncio.new_event_loop()
    version.load()
    asked = [(path, kind, base64.b64decode(body)) for path, kind, body in json.loads(Path(bodies).read_text())]
    answers = 0
    for rounds in ROUNDS:
        for _ in range(rounds):
            statuses = [loop.run_until_complete(answered(application, *each)) for each in asked]
            answers += sum(status == 200 and "feedback" not in each[0] for status, each in zip(statuses, asked, strict=True))
        print(json.dumps({"statuses": statuses, **held(version, answers)}), flush=True)
    version.close()
