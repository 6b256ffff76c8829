"""A Kubernetes API of a few kinds over real HTTP, for tests without a cluster: objects, their versions, refusals, what a test puts in."""

from __future__ import annotations

import http.server
import json
import threading
import uuid
from typing import Any
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]
KINDS = {"seldondeployments", "models", "experiments", "inferenceservices", "httproutes", "deployments", "pods"}


class SmallKubernetes:
    """Serves until `stop`."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}  # by kind and name
        self.refused: dict[str, tuple[int, str]] = {}  # method -> status and message
        self.logs: dict[str, str] = {}  # by pod
        self.after_write: list[Any] = []  # called with the API after each change
        self.writes = 0
        self._number = 100
        self._one_at_a_time = threading.RLock()
        small = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                small._answer(self)

            do_POST = do_PUT = do_DELETE = do_GET

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def kubeconfig(self) -> str:
        """A file's text that leads here."""
        named = {"clusters": [{"name": "small", "cluster": {"server": self.url}}], "users": [{"name": "me", "user": {"token": "t"}}]}
        context = {"contexts": [{"name": "c", "context": {"cluster": "small", "user": "me"}}], "current-context": "c"}
        return json.dumps({"apiVersion": "v1", "kind": "Config", **named, **context})

    def put(self, kind: str, document: Json) -> Json:
        """Write an object as its owner would."""
        meta = document["metadata"]
        before = self.objects.get((kind, meta["name"]))
        self._number += 1
        generation = 1 if before is None else before["metadata"]["generation"] + (before.get("spec") != document.get("spec"))
        own = {
            "uid": before["metadata"]["uid"] if before else uuid.uuid4().hex,
            "generation": generation,
            "resourceVersion": str(self._number),
        }
        found = {**document, "metadata": {**meta, **own}}
        self.objects[kind, meta["name"]] = found
        return found

    def _answer(self, request: Any) -> None:
        length = int(request.headers.get("Content-Length") or 0)
        sent = json.loads(request.rfile.read(length)) if length else None
        with self._one_at_a_time:
            status, body = self._do(request.command, urlsplit(request.path), sent)
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def _do(self, method: str, address: Any, body: Any) -> tuple[int, Any]:
        if method in self.refused:
            status, message = self.refused[method]
            return status, {"message": message, "details": {"name": "x"}}
        _, _, tail = address.path.partition("/namespaces/")
        _, kind, name = [*tail.split("/", 2), "", ""][:3]
        if kind not in KINDS:
            return 404, "404 page not found\n"
        if name.endswith("/log"):
            found = self.logs.get(name.removesuffix("/log"))
            return (200, found) if found is not None else (400, {"message": "previous terminated container not found", "details": {}})
        if method == "GET" and not name:
            wanted = dict(pair.split("=") for pair in parse_qs(address.query)["labelSelector"][0].split(","))
            there = list(self.objects.items())
            items = [o for (k, _), o in there if k == kind and wanted.items() <= o["metadata"].get("labels", {}).items()]
            return 200, {"items": items}
        name = name or body["metadata"]["name"]
        live = self.objects.get((kind, name))
        if method == "GET" and live:
            return 200, live
        if method == "POST" and live:
            return 409, {"message": f"{kind} {name} already exists", "details": {"name": name}}
        if method != "POST" and not live:
            return 404, {"message": f"{kind} {name} not found", "details": {"name": name}}
        if method == "PUT" and body["metadata"]["resourceVersion"] != live["metadata"]["resourceVersion"]:
            return 409, {"message": "the object has been modified", "details": {"name": name}}
        self.writes += 1
        if method == "DELETE":
            del self.objects[kind, name]
            found = {}
        else:
            found = self.put(kind, body)
        for react in self.after_write:
            react(self)
        return 200, found
