"""A stored report as a server may answer it: which file an address names, and a policy under which nothing in it can act. Light.

Each page is shown in a sandbox of its own, apart from every other page and without its cookies, and runs no script but that of Data Docs
(docs/decisions/0037-pages-that-cannot-act.md).

>>> import tempfile
>>> from perennial.store import open_store
>>> store = open_store(tempfile.mkdtemp())
>>> store.write("reports/flights/docs/index.html", b"<h1>Flights</h1>")
>>> place(store, "flights/docs/")
'reports/flights/docs/index.html'
>>> place(store, "../ledger/flights/00000000.json") is None
True
>>> policy("flights/2013/evaluation.html")
"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox allow-downloads"
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from perennial.store import Store

FOLDER = "reports"
BYTES = "application/octet-stream"
_KINDS = {
    "html": "text/html; charset=utf-8",
    "json": "application/json; charset=utf-8",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
}
_REPORT = re.compile(r"/([^/]+/(?:docs|windows|replays|[0-9a-f]{64})/.+)$")  # the end of a link to one
_LONGEST_NAME, _LONGEST_PATH = 255, 1000  # bytes; a store cannot be asked for longer ones
_EARLIER_SCRIPTS = ("sha256-diNLMrI+DNg/+9CDrhhjbMfk27GKCs4DzsBiQz0ip/s=",)  # in pages that were written with an earlier data_docs.js


def place(store: Store, path: str) -> str | None:
    """Store key of the report at a path below `reports/`, a folder's being its index; None if there is none.

    Args:
        store: has the reports.
        path: as a browser asked for it, decoded: it may be anything.
    """
    parts = [part for part in path.split("/") if part]
    if not parts or "\0" in path or "\\" in path or len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        return None
    if any(part in (".", "..") or len(part.encode("utf-8", "surrogatepass")) > _LONGEST_NAME for part in parts):
        return None
    key = "/".join((FOLDER, *parts))
    for file in (f"{key}/index.html",) if path.endswith("/") else (key, f"{key}/index.html"):
        if store.exists(file) and store.lies_in(file, FOLDER):
            return file
    return None


def path_of(link: str) -> str:
    """The path below `reports/` to which a stored link leads, also that of an earlier release that had a server for reports.

    >>> path_of("http://127.0.0.1:8081/flights/docs/index.html"), path_of("http://127.0.0.1:8080/dags/flights_ingestion/runs/1")
    ('flights/docs/index.html', '')
    """
    try:
        found = _REPORT.search(unquote(urlsplit(link).path))
    except ValueError:  # such as http://[/
        return ""
    return found[1] if found else ""


def is_data_docs(path: str) -> bool:
    """Whether a path below `reports/` is one of a dataset's Data Docs; all else there is a model's."""
    return path.strip("/").split("/")[1:2] == ["docs"]


def policy(path: str) -> str:
    """The Content-Security-Policy of the report at a path: it may do nothing but use its own style.

    A sandbox has an origin of its own, so no cookie and no storage is in its reach.
    """
    scripts = f"script-src {_scripts()}; " if is_data_docs(path) else ""
    allowed = "allow-scripts allow-downloads" if is_data_docs(path) else "allow-downloads"
    return (
        f"default-src 'none'; {scripts}style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"frame-ancestors 'self'; sandbox {allowed}"
    )


def headers(path: str) -> dict[str, str]:
    """What every answer about the report at a path says of itself, an error too."""
    return {
        "Content-Security-Policy": policy(path),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "private, no-cache",
    }


def kind(key: str) -> str:
    """The media type of a report; files of kinds that no report has are saved by a browser and not shown."""
    return _KINDS.get(key.rsplit(".", 1)[-1].lower(), BYTES)


def data_docs_script() -> str:
    """The one script that a page may hold: that of Data Docs."""
    return Path(__file__).with_name("data_docs.js").read_text(encoding="utf-8")


def script_hashes() -> tuple[str, ...]:
    """The scripts that pages of Data Docs hold, as a Content-Security-Policy names them."""
    digest = hashlib.sha256(data_docs_script().encode()).digest()
    return (f"sha256-{base64.b64encode(digest).decode()}", *_EARLIER_SCRIPTS)


@functools.cache
def _scripts() -> str:
    return " ".join(f"'{script_hash}'" for script_hash in script_hashes())
