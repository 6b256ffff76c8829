"""Pages of web sites: a function `parse` of the dataset's file takes rows out of each, and may name pages that are to be read too.

    def parse(page):
        for line in lines_of(page.text):
            yield {"id": line.number, "title": line.title}
        page.follow("/news?page=2")

What `robots.txt` does not allow is not read, there is a pause between requests, and the User-Agent names the project. All else is as with
`http`: kills, pauses, credentials, cursors, answers that are kept.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urldefrag, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from perennial.counted import counted
from perennial.errors import SourceRefused
from perennial.sources.answers import Request, charset_of
from perennial.sources.functions import as_record, function, given_by
from perennial.sources.http import NOT_MODIFIED, Reading
from perennial.sources.interface import Look, Piece
from perennial.sources.web import AGENT, Answer, Rejected, shown
from perennial.specs import PagesSource

_CHARSET = re.compile(rb"<meta[^>]+charset=[\"']?([\w-]+)", re.IGNORECASE)
_HEAD = 2048  # bytes in which a page names its encoding


def pieces(look: Look) -> Iterator[Piece]:
    """The rows that `parse` finds. Raises what `http` raises, and SourceRefused where robots.txt or `parse` is against it."""
    yield from Pages(look).pieces()


@dataclass
class Page:
    """A page as `parse` gets it."""

    address: str
    text: str
    headers: Any
    body: bytes
    followed: list[str] = field(default_factory=list)

    def follow(self, address: str) -> None:
        """Read another page too; its address may be relative to this one. Each is read once."""
        self.followed.append(urldefrag(urljoin(self.address, address)).url)


class Pages(Reading):
    """The reading of a site during one look.

    The watermark of an unfinished round also has `todo`, and `known`: what is not to be read again.
    """

    def __init__(self, look: Look) -> None:
        super().__init__(look)
        self.site = cast(PagesSource, look.dataset.source)
        self.parse: Callable[[Page], Any] = function(look.dataset.name, "parse", "page")
        self.agent = self.site.headers.get("User-Agent", AGENT)
        self.robots: dict[str, RobotFileParser] = {}  # by host
        self.rested = True
        self.unchanged = False  # the server says so
        self.rows = self.gone = 0
        self.begun_before = "next" in self.state

    def _anew(self) -> Request:
        request = super()._anew()
        self.state.update(todo=[], known=[request.address])
        return request

    def _end(self) -> None:
        if not self.rows and not self.begun_before and not self.site.cursor and "todo" in self.state and not self.unchanged:
            raise SourceRefused(
                f"parse of {self.look.dataset.name} found no row at {shown(self.client.address)}: has the site changed? Mend parse; "
                "nothing was read."
            )
        if self.gone:
            self.look.notes.append(f"{counted(self.gone, 'page')} that others lead to {'is' if self.gone == 1 else 'are'} not there")
        self.state.pop("todo", None)
        self.state.pop("known", None)
        super()._end()

    def _read(self, request: Request) -> Request | None:
        try:
            return super()._read(request)
        except Rejected:
            if request.address == self.client.address or self._may_be_stale():
                raise
            self.gone += 1
            self.pages += 1
            self.gathered.pages += 1
            return self._next_to_do()

    def _count(self, answer: Answer, request: Request) -> None:
        self.unchanged = self.unchanged or answer.status == NOT_MODIFIED
        super()._count(answer, request)

    def _file_for(self, headers: Any, address: str) -> Path | None:
        return None

    def _form(self, answer: Answer) -> str:
        return "page"

    def _records(self, answer: Answer) -> tuple[list[Any], Any]:
        name = self.look.dataset.name
        page = Page(answer.address, _text(answer), answer.headers, answer.body)
        records = []
        for row in given_by(lambda: self.parse(page), name, "parse"):
            try:
                records.append(as_record(row))
            except (TypeError, AttributeError) as error:
                raise SourceRefused(
                    f"parse of {name} gives what is no row at {shown(answer.address)} ({error}): let it yield dicts of texts and numbers."
                ) from None
        for address in page.followed:
            if address not in self.state["known"]:
                self.state["known"].append(address)
                self.state["todo"].append(address)
        self.rows += len(records)
        return records, None

    def _following(self, request: Request, document: Any, answer: Answer, records: int) -> Request | None:
        if after := super()._following(request, document, answer, records):
            return after
        return self._next_to_do()

    def _next_to_do(self) -> Request | None:
        return Request(self.state["todo"].pop(0)) if self.state["todo"] else None

    # -- manners -------------------------------------------------------------------------------------------------

    def _ask(self, request: Request) -> Answer:
        self._refuse_disallowed(request.address)
        self._rest(request.address)
        answer = super()._ask(request)
        if answer.address != request.address:
            self._refuse_disallowed(answer.address)  # a redirect led there
        return answer

    def _rest(self, address: str) -> None:
        if not self.rested:
            delay = self._rules(address).crawl_delay(self.agent) if self.site.robots else None
            time.sleep(max(self.site.pause, float(delay or 0)))
        self.rested = False

    def _refuse_disallowed(self, address: str) -> None:
        if self.site.robots and not self._rules(address).can_fetch(self.agent, address):
            raise SourceRefused(
                f"robots.txt does not allow {self.agent.partition('/')[0]} to read {shown(address)}: ask its owner. Where they agree, "
                "write robots=False into the source."
            )

    def _rules(self, address: str) -> RobotFileParser:
        """robots.txt of an address's server; where there is none all is allowed (RFC 9309), where it is locked nothing is."""
        parts = urlsplit(address)
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self.robots:
            rules = RobotFileParser()
            try:
                answer = self.client.get(f"{host}/robots.txt", {})
                rules.parse(answer.body.decode("utf-8", "replace").splitlines())
            except Rejected:
                rules.parse([])
            except SourceRefused:
                rules.parse(["User-agent: *", "Disallow: /"])
            self.robots[host] = rules
        return self.robots[host]


def _text(answer: Answer) -> str:
    """A page as text: in the encoding that its type or its head names, else UTF-8."""
    named = _CHARSET.search(answer.body[:_HEAD])
    charset = charset_of(answer.headers) or (named[1].decode() if named else "utf-8")
    try:
        return answer.body.decode(charset, "replace").removeprefix("\ufeff")
    except LookupError:
        return answer.body.decode("utf-8", "replace")
