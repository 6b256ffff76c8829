"""Shows the store's `reports/` on a local port: a folder listing, and the pages as they are. Reads any kind of store.

Run as `python -m perennial.local.reports_server`.
"""

from __future__ import annotations

import html
import mimetypes
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

from perennial.errors import PerennialError
from perennial.settings import Settings
from perennial.store import Store, open_store

FOLDER = "reports"


class ReportsServer(ThreadingHTTPServer):
    """Serves one store's reports."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], store: Store) -> None:
        super().__init__(address, _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    server: ReportsServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            status, kind, body = _answer(self.server.store, unquote(urlsplit(self.path).path))
        except PerennialError as error:
            status, kind, body = HTTPStatus.BAD_GATEWAY, "text/plain; charset=utf-8", str(error).encode()
        self.send_response(status)
        if status in (HTTPStatus.MOVED_PERMANENTLY,):
            self.send_header("Location", body.decode())
            body = b""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Only failures are worth a line."""
        if args and str(args[1] if len(args) > 1 else "").startswith("5"):
            sys.stderr.write(f"{self.path} {args}\n")


def _answer(store: Store, path: str) -> tuple[HTTPStatus, str, bytes]:
    parts = [p for p in path.split("/") if p]
    if "\0" in path or "\\" in path or any(p in (".", "..") for p in parts):
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There is no such report."
    key = "/".join([FOLDER, *parts])
    if not path.endswith("/"):
        try:
            return HTTPStatus.OK, _kind(key), store.read(key)
        except KeyError:
            pass  # not a page: a folder, perhaps
    names = _children(store, key)
    if not names and parts:
        return HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"There is no such report."
    if not path.endswith("/"):
        return HTTPStatus.MOVED_PERMANENTLY, "text/plain", ("/" + "/".join(map(quote, parts)) + "/").encode()
    if "index.html" in names:
        return HTTPStatus.OK, _kind("index.html"), store.read(f"{key}/index.html")
    return HTTPStatus.OK, _kind("index.html"), _listing("/".join(parts), names).encode()


def _kind(key: str) -> str:
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") or kind in ("application/json", "application/javascript") else kind


def _children(store: Store, key: str) -> list[str]:
    """Names below a folder; those of folders end in a slash."""
    below = (o.key[len(key) + 1 :] for o in store.list(key))
    return sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in below})


def _listing(title: str, names: list[str]) -> str:
    rows = "".join(f'<li><a href="{quote(n)}">{html.escape(n)}</a></li>' for n in names) or "<li>No report was written yet.</li>"
    up = '<p><a href="../">up</a></p>' if title else ""
    return f'<!doctype html><meta charset="utf-8"><title>Reports {html.escape(title)}</title><style>body{{font:16px sans-serif;margin:2rem}}</style><h1>Reports {html.escape(title)}</h1>{up}<ul>{rows}</ul>'


def main() -> None:
    """Serve until stopped."""
    settings = Settings.from_environment()
    ReportsServer((settings.host, settings.reports_port), open_store(settings.store, writes=False)).serve_forever()


if __name__ == "__main__":
    main()
