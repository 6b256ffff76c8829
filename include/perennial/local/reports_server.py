"""Shows the store's `reports/` on a local port: a folder listing, and the pages as they are. Reads any kind of store.

Nothing that a page holds can act: each is shown in a sandbox of its own, apart from every other page and without its cookies, and runs
no script but that of Data Docs (docs/decisions/0037-pages-that-cannot-act.md).

Run as `python -m perennial.local.reports_server`.
"""

from __future__ import annotations

import functools
import html
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

from perennial.errors import PerennialError
from perennial.local import callers
from perennial.quality import data_docs
from perennial.settings import Settings
from perennial.store import Store, open_store

FOLDER = "reports"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_BYTES = "application/octet-stream"
_LONGEST_NAME, _LONGEST_PATH = 255, 1000  # bytes; a store cannot be asked for longer ones
_ABSENT = HTTPStatus.NOT_FOUND, _KINDS["txt"], b"There is no such report."


class ReportsServer(ThreadingHTTPServer):
    """Serves one store's reports."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], store: Store, settings: Settings) -> None:
        super().__init__(address, _Handler)
        self.store = store
        self.settings = settings
        self.framed_by = callers.origin_of(settings.airflow_url)  # the web UI may show a report within its own pages


class _Handler(BaseHTTPRequestHandler):
    server: ReportsServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "perennial", ""

    def do_GET(self) -> None:
        path = _path_of(self.path)
        if refused := callers.refusal(self.server.settings, self.headers.get("Host", ""), self.headers.get("Origin")):
            status, kind, body = HTTPStatus.FORBIDDEN, _KINDS["txt"], refused.encode()
        else:
            try:
                status, kind, body = _answer(self.server.store, path)
            except PerennialError as error:
                status, kind, body = HTTPStatus.BAD_GATEWAY, _KINDS["txt"], str(error).encode()
        self.send_response(status)
        if status == HTTPStatus.MOVED_PERMANENTLY:
            self.send_header("Location", body.decode())
            body = b""
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-cache")
        if kind == _BYTES:
            self.send_header("Content-Disposition", "attachment")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def end_headers(self) -> None:
        """Add the Content-Security-Policy to every answer, errors included."""
        self.send_header("Content-Security-Policy", _policy(_path_of(getattr(self, "path", "")), self.server.framed_by))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log failures only."""
        if args and str(args[1] if len(args) > 1 else "").startswith("5"):
            sys.stderr.write(f"{args}\n")


def _path_of(asked: str) -> str:
    """The path of a request's target, which may be a whole address; one that is no address is a path that no report has."""
    try:
        return unquote(urlsplit(asked).path)
    except ValueError:  # such as http://[/
        return asked


def _answer(store: Store, path: str) -> tuple[HTTPStatus, str, bytes]:
    parts = [p for p in path.split("/") if p]
    if (
        "\0" in path
        or "\\" in path
        or any(p in (".", "..") or len(p.encode()) > _LONGEST_NAME for p in parts)
        or len(path.encode()) > _LONGEST_PATH
    ):
        return _ABSENT
    key = "/".join([FOLDER, *parts])
    if not path.endswith("/"):
        try:
            return HTTPStatus.OK, _kind(key), store.read(key)
        except KeyError:
            pass  # not a page: a folder, perhaps
    names = _children(store, key)
    if not names and parts:
        return _ABSENT
    if not path.endswith("/"):
        return HTTPStatus.MOVED_PERMANENTLY, _KINDS["txt"], ("/" + "/".join(map(quote, parts)) + "/").encode()
    if "index.html" in names:
        return HTTPStatus.OK, _kind("index.html"), store.read(f"{key}/index.html")
    return HTTPStatus.OK, _kind("index.html"), _listing("/".join(parts), names).encode()


def _policy(path: str, framed_by: str) -> str:
    """The Content-Security-Policy of a page: it may do nothing but use its own style.

    A sandbox has an origin of its own, so no cookie and no storage is in its reach.
    """
    is_data_docs = path.strip("/").split("/")[1:2] == ["docs"]
    scripts = f"script-src {_scripts()}; " if is_data_docs else ""
    allowed = "allow-scripts allow-downloads" if is_data_docs else "allow-downloads"
    return (
        f"default-src 'none'; {scripts}style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'self' {framed_by}; sandbox {allowed}"
    )


@functools.cache
def _scripts() -> str:
    return " ".join(f"'{script_hash}'" for script_hash in data_docs.script_hashes())


def _kind(key: str) -> str:
    return _KINDS.get(key.rsplit(".", 1)[-1].lower(), _BYTES)


def _children(store: Store, key: str) -> list[str]:
    """Names below a folder; those of folders end in a slash."""
    below = (o.key[len(key) + 1 :] for o in store.list(key))
    return sorted({name.split("/")[0] + ("/" if "/" in name else "") for name in below})


def _listing(title: str, names: list[str]) -> str:
    rows = "".join(f'<li><a href="{quote(n)}">{html.escape(n)}</a></li>' for n in names) or "<li>No report was written yet.</li>"
    up = '<p><a href="../">up</a></p>' if title else ""
    return (
        f'<!doctype html><meta charset="utf-8"><title>Reports {html.escape(title)}</title><style>body{{font:16px '
        f"sans-serif;margin:2rem}}</style><h1>Reports {html.escape(title)}</h1>{up}<ul>{rows}</ul>"
    )


def main() -> None:
    """Serve until stopped."""
    settings = Settings.from_environment()
    ReportsServer((settings.host, settings.reports_port), open_store(settings.store, writes=False), settings).serve_forever()


if __name__ == "__main__":
    main()
