"""A real browser without a window, for tests: it opens a page and tells everything that the page did.

It is Debian's Chromium, spoken to over a pipe in the DevTools protocol.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMANDS = ("chromium-headless-shell", "chromium", "google-chrome")
ABSENT = "no Chromium here: sudo apt-get install -y --no-install-recommends chromium-headless-shell"
PATIENCE = 60.0  # s, for one answer of the browser on a busy machine
AFTERMATH = 0.5  # s in which a page that was loaded may still act
# The pipe's ends have to be 3 and 4 in the browser.
_EXEC = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"


@dataclass
class Seen:
    """What a page was and did."""

    text: str = ""  # all of its text, and what its attributes say to a reader
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)  # source of each script that ran
    requests: list[str] = field(default_factory=list)  # addresses beside its own that it asked for, also in vain
    dialogs: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)  # what its policy had to forbid
    address: str = ""  # where it ended
    value: Any = None  # of the code that was run in it


class Browser:
    """One browser process."""

    def __init__(self, command: str, profile: Path) -> None:
        (reads, theirs_out), (theirs_in, writes) = os.pipe(), os.pipe()
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (theirs_in, theirs_out)]
        for end in (theirs_in, theirs_out):
            os.close(end)
        options = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        options += ["--no-first-run", "--disable-background-networking", "--disable-component-update", "--proxy-server=direct://"]
        if not os.geteuid():
            options.append("--no-sandbox")  # which root cannot have
        self._process = subprocess.Popen(
            [sys.executable, "-c", _EXEC, *map(str, theirs), command, *options],
            pass_fds=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in theirs:
            os.close(end)
        self._reads, self._writes, self._rest, self._number = reads, writes, b"", 0
        self._events: list[dict[str, Any]] = []
        self._answers: dict[int, dict[str, Any]] = {}

    def close(self) -> None:
        """End it with all of its processes."""
        os.close(self._writes)
        os.close(self._reads)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.poll()
        self._process.wait(PATIENCE)

    def open(self, *addresses: str, code: str = "") -> list[Seen]:
        """Open pages side by side, wait until all are loaded and a moment longer, run JavaScript in them, if any is given, and look."""
        sessions: dict[str, _Visit] = {}
        for address in addresses:
            target = self._ask("Target.createTarget", url="about:blank")["targetId"]
            session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Debugger", "Log", "DOM"):
                self._ask(f"{domain}.enable", session)
            sessions[session] = _Visit(target, address)
        self._events.clear()
        for session, visit in sessions.items():
            self._send("Page.navigate", session, url=visit.address)
        until, quiet = time.monotonic() + PATIENCE, 0.0
        while not quiet or time.monotonic() < quiet:
            if time.monotonic() > until:
                late = [visit.address for visit in sessions.values() if not visit.is_loaded]
                raise TimeoutError(f"{late} not loaded after {PATIENCE:.0f} s")
            self._read(0.05)
            while self._events:
                event = self._events.pop(0)
                if visit := sessions.get(event.get("sessionId", "")):
                    visit.note(event)
            quiet = quiet or (time.monotonic() + AFTERMATH) * all(visit.is_loaded for visit in sessions.values())
        return [self._look(session, visit, code) for session, visit in sessions.items()]

    def _look(self, session: str, visit: _Visit, code: str) -> Seen:
        seen = visit.seen
        seen.scripts = [self._ask("Debugger.getScriptSource", session, scriptId=number)["scriptSource"] for number in visit.scripts]
        if code:
            seen.value = self._ask("Runtime.evaluate", session, expression=code, returnByValue=True, awaitPromise=True)["result"].get(
                "value"
            )
        document = self._ask("DOM.getDocument", session, depth=-1, pierce=True)["root"]
        seen.address = document.get("documentURL", "")
        _walk(document, seen)
        self._ask("Target.closeTarget", targetId=visit.target)
        return seen

    def _send(self, method: str, session: str = "", **params: Any) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writes, data) :]
        return self._number

    def _ask(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        number, until = self._send(method, session, **params), time.monotonic() + PATIENCE
        while number not in self._answers:
            if time.monotonic() > until:
                raise TimeoutError(f"the browser does not answer {method}")
            self._read(0.05)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _read(self, seconds: float) -> None:
        """Sort what the browser says into answers and events. A dialog is closed at once: its page stands still until then."""
        if not select.select([self._reads], [], [], seconds)[0]:
            return
        read = os.read(self._reads, 1 << 20)
        if not read:
            raise RuntimeError("the browser has ended")
        *whole, self._rest = (self._rest + read).split(b"\0")
        for message in map(json.loads, whole):
            if "id" in message:
                self._answers[message["id"]] = message
                continue
            self._events.append(message)
            if message["method"] == "Page.javascriptDialogOpening":
                self._send("Page.handleJavaScriptDialog", message["sessionId"], accept=False)


@dataclass
class _Visit:
    """A page while it loads."""

    target: str
    address: str
    seen: Seen = field(default_factory=Seen)
    scripts: list[str] = field(default_factory=list)  # the protocol's numbers of them
    is_loaded: bool = False

    def note(self, event: dict[str, Any]) -> None:
        """Keep what an event tells."""
        told = event["params"]
        match event["method"]:
            case "Page.loadEventFired":
                self.is_loaded = True
            case "Network.requestWillBeSent":
                address = told["request"]["url"]
                if address.partition("#")[0] != self.address and not address.endswith("/favicon.ico"):  # which it asks for by itself
                    self.seen.requests.append(address)
            case "Debugger.scriptParsed":
                self.scripts.append(told["scriptId"])
            case "Page.javascriptDialogOpening":
                self.seen.dialogs.append(told["message"])
            case "Log.entryAdded" if told["entry"]["source"] == "security":
                self.seen.violations.append(told["entry"]["text"])


def found() -> str:
    """Command of the browser, empty if there is none."""
    return next(filter(None, map(shutil.which, COMMANDS)), "")


def _walk(node: dict[str, Any], seen: Seen) -> None:
    if node["nodeType"] == 3:
        seen.text += node["nodeValue"]
    pairs = node.get("attributes", ())
    attributes = dict(zip(pairs[::2], pairs[1::2], strict=True))
    if node["nodeType"] == 1:
        seen.elements.append((node["localName"], attributes))
        seen.text += attributes.get("aria-label", "")
    for child in (*node.get("children", ()), *filter(None, (node.get("contentDocument"),))):
        _walk(child, seen)
