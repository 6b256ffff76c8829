"""The console on loopback with a store that has everything, and a browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html import unescape
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urljoin, urlsplit

import pytest

from perennial.testing import wait_until

from ... import browser as browsers
from ...payloads import payloads
from . import filled

AIRFLOW = Path(sys.prefix).parent / "airflow/bin/python"
PREFIX = "/perennial"
FOR_EACH = 1  # pages of one route and one model that are looked at: a second has the same parts
# Pages to which Airflow leads, by tabs of its own pages, and one whose address a person writes.
FROM_ELSEWHERE = (
    f"/run?dag_id={filled.HOSTILE}_training&run_id={filled.RUN}",
    f"/run?dag_id={filled.CALM}_release&run_id={filled.RUN}",
    f"/dag?dag_id={filled.CALM}_rows_ingestion",
    f"/models/{filled.CALM}/versions/1/2",
)


@dataclass
class Shown:
    """The console while it is served."""

    address: str
    texts: list[str]  # what the stranger wrote
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)  # by path: status, and the document if it is HTML

    def ask(self, path: str) -> tuple[int, str]:
        """Status and text of a path, asked once."""
        if path not in self.answers:
            try:
                with urllib.request.urlopen(self.address + path, timeout=browsers.PATIENCE) as answer:
                    told = answer.read().decode() if "html" in answer.headers.get_content_type() else ""
                    self.answers[path] = answer.status, told
            except HTTPError as error:
                self.answers[path] = error.code, ""
        return self.answers[path]

    def told(self, path: str) -> Any:
        """A document."""
        with urllib.request.urlopen(self.address + path, timeout=browsers.PATIENCE) as answer:
            return json.loads(answer.read())

    @cached_property
    def routes(self) -> dict[str, re.Pattern[str]]:
        """Every page of the console, as an expression that its addresses match; documents and the look are none."""
        found = [route for route in self.told("/routes") if not route.startswith("/static") and not route.endswith(".json")]
        found.sort(key=lambda route: ("{" in route.rsplit("/", 1)[1], route))  # a name before a variable
        return {route: re.compile(PREFIX + re.sub(r"\\\{.*?\\\}", r"[^?]+" if ":path" in route else "[^/?]+", re.escape(route)))
                for route in found}  # fmt: skip

    def route_of(self, address: str) -> str:
        """The route that answers an address."""
        path = urlsplit(address).path
        return next((route for route, pattern in self.routes.items() if pattern.fullmatch(path)), "")

    @cached_property
    def pages(self) -> list[str]:
        """Addresses of pages that are found by following links from the list of models, and from where else one comes from: some of each
        route and model."""
        waiting, found, count = [f"{PREFIX}{page}" for page in ("/models", *FROM_ELSEWHERE)], [], dict[tuple[str, str], int]()
        asked = set(waiting)
        while waiting:
            address = waiting.pop(0)
            model, route = re.search(rf"{PREFIX}/models/[^/?]+|dag_id=[^_&]+", address), self.route_of(address)
            key = (route, model[0] if model else "")
            if not route or count.get(key, 0) >= FOR_EACH:
                continue
            count[key] = count.get(key, 0) + 1
            found.append(address)
            for link in re.findall(r"href=[\"']([^\"'#]+)", self.ask(address)[1]):
                to = urljoin(address, unescape(link))
                if to.startswith(f"{PREFIX}/") and not to.startswith(f"{PREFIX}/static/") and to not in asked:
                    asked.add(to)
                    waiting.append(to)
        return found


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """The console of a store with everything."""
    folder = tmp_path_factory.mktemp("console")
    texts = payloads("http://127.0.0.1:1")
    filled.fill(folder, texts)
    with open(folder / "serve.log", "w") as log:
        server = subprocess.Popen([AIRFLOW, Path(__file__).with_name("serve.py"), folder], stdout=log, stderr=log)
    try:
        wait_until(lambda: (folder / "address").exists() or server.poll() is not None, 300, "the console to listen")
        assert server.poll() is None, (folder / "serve.log").read_text()
        yield Shown((folder / "address").read_text(), texts)
    finally:
        server.terminate()
        server.wait()
        print((folder / "serve.log").read_text()[-5000:])


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browsers.Browser]:
    """One for all pages."""
    if not browsers.found():
        pytest.skip(browsers.ABSENT)
    found = browsers.Browser(browsers.found(), tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture
def page(browser: browsers.Browser) -> Iterator[browsers.Page]:
    """An empty page."""
    found = browser.page()
    found.media()
    found.size(1280)
    yield found
    found.close()
