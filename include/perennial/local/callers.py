"""Which requests a local server answers: those for one of its host names, from a program or from one of its own pages.

A page of any site can send requests to servers on loopback, and can give its own name their address (DNS rebinding) to read the answers
too. The browser says under which name a request was meant (`Host`) and which page sent it (`Origin`).
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from perennial.settings import PREFIX, Settings

_PORTS = {"http": 80, "https": 443}


def refusal(settings: Settings, host: str, origin: str | None, pages: Collection[str] = ()) -> str:
    """Why a request is not answered, as a sentence; empty if it is.

    Args:
        settings: they hold the names of the local servers.
        host: the request's `Host`.
        origin: its `Origin`, if it has one; `null` is that of a page in a sandbox.
        pages: origins that may send requests besides the server's own, such as `https://ml.example.com`; `*` for any.
    """
    if not settings.allows_host(host):
        return f"No server here has the name {host[:100]!r}: ask it by one it has, or add this one to {PREFIX}ALLOWED_HOSTS."
    # Another port is another server, whose pages are not this one's: a browser gives them the same cookies all the same.
    if origin is None or "*" in pages or origin in pages or _place(origin) == host.lower():
        return ""
    return f"A page of {origin[:100]!r} may not send requests to {host[:100]!r}."


def _place(origin: str) -> str:
    """Host and port of an `Origin`; empty if it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:  # such as http://[
        return ""


def origin_of(address: str) -> str:
    """The header `Origin` that a browser sends from a page at this address; empty if it is not an address."""
    parts = urlsplit(address)
    if not parts.hostname:
        return ""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{name}" + ("" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}")
