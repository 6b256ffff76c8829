"""A real browser without a window, for tests: it opens a page and tells everything that the page did, and clicks and types in it.

It is Debian's Chromium, spoken to over a pipe in the DevTools protocol.
"""

from __future__ import annotations

import base64
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
PATIENCE = 180.0  # s, for one answer of the browser on a busy machine
AFTERMATH = 0.5  # s in which a page that was loaded may still act
PHONE = 600  # px: what is narrower is a phone
AXE = Path(sys.prefix).parent / "airflow/share/perennial/axe.min.js"  # `make setup` puts it there
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

    def page(self) -> Page:
        """An empty page of its own, to go to an address with and to act in."""
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._ask(f"{domain}.enable", session)
        return Page(self, target, session)

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


class Page:
    """A page in which a test acts as a person does. A part is named by a CSS selector; in a frame, by the frame's, ` >>> ` and the part's.

    Args:
        browser: it is shown there.
        target: the protocol's name of it.
        session: the protocol's name of what is spoken with it.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        self.problems: list[str] = []  # what its console, its policy and its scripts complained of

    def close(self) -> None:
        """Close it."""
        self._ask("Target.closeTarget", targetId=self._target)

    def size(self, width: int, height: int = 900) -> None:
        """Give its window a size in px."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < PHONE)

    def media(self, *, dark: bool = False, kind: str = "") -> None:
        """Show it in a light or a dark room; `kind="print"`: on paper."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._ask("Emulation.setEmulatedMedia", media=kind, features=[scheme, motion])

    def by_hand(self) -> None:
        """From the next address on do what it repeats by a timer only when `tick` says so."""
        self._ask("Page.addScriptToEvaluateOnNewDocument", source="window.repeated = []; window.setInterval = (f) => repeated.push(f);")

    def tick(self) -> None:
        """Do once what it repeats, and wait for that. It goes by hand."""
        self.run("Promise.all(window.repeated.map((one) => one())).then(() => true)")

    def cookie(self, name: str, value: str, address: str) -> None:
        """Give it a cookie, as a login does."""
        self._ask("Network.setCookie", name=name, value=value, url=address)

    def go(self, address: str) -> None:
        """Open an address and wait until it is loaded with all that it asks for."""
        if trouble := self._ask("Page.navigate", url=address).get("errorText"):
            raise RuntimeError(f"{address} does not open: {trouble}")
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, code: str) -> Any:
        """The value of an expression in it; one that is waited for, if it is a promise."""
        told = self._ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise RuntimeError(f"{code[:200]}: {told['exceptionDetails'].get('exception', told['exceptionDetails']).get('description')}")
        return told["result"].get("value")

    def until(self, code: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression is true in it, also across a change of the page; its value."""
        end = time.monotonic() + seconds
        while True:
            try:
                if value := self.run(code):
                    return value
            except RuntimeError:  # the page is being changed for another, or has not what is looked for yet
                value = None
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds:.0f} s not true: {code[:300]}\n{self.text()[:2000]}")
            self._listen(0.05)

    def text(self, selector: str = "body") -> str:
        """The text of a part as it is shown."""
        return str(self.run(f"{_part(selector)}?.innerText ?? ''"))

    def see(self, words: str, selector: str = "body", seconds: float = PATIENCE) -> None:
        """Wait until a part shows some words."""
        self.until(f"{_part(selector)}?.innerText.includes({json.dumps(words)})", seconds)

    def click(self, selector: str, words: str = "") -> None:
        """Click the middle of a part, with a mouse; of several, the first that holds the words."""
        middle = f"({_MIDDLE})({json.dumps(selector.split(_WITHIN))}, {json.dumps(words)})"
        x, y = self.until(middle)
        while (now := self.until(middle)) != [x, y]:  # it moves: what stands above it is still being filled
            x, y = now
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="none" if kind == "mouseMoved" else "left", clickCount=1)

    def type(self, text: str) -> None:
        """Type where the cursor is."""
        self._ask("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key, such as Tab or Enter."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27}[key]
        written = {"text": "\r"} if key == "Enter" else {}
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, windowsVirtualKeyCode=code, **written)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def axe(self, *, least: tuple[str, ...] = ("serious", "critical"), rules: tuple[str, ...] = ()) -> list[str]:
        """What axe finds against accessibility, a line for each thing; all rules unless some are named."""
        if not self.run("typeof axe !== 'undefined'"):
            self.run(AXE.read_text() + ";1")
        options: dict[str, Any] = {"resultTypes": ["violations"], "iframes": False}
        options |= {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        found = self.run(f"axe.run(document, {json.dumps(options)}).then(r => r.violations)")
        return [
            f"{one['impact']} {one['id']}: {one['help']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
            for one in found
            if one["impact"] in least
            for node in one["nodes"]
        ]

    def picture(self, file: Path, *, height: int | None = None) -> None:
        """A PNG of all of it, or of its upper part."""
        clip: dict[str, Any] = {}
        if height is not None:
            clip = {"clip": {"x": 0, "y": 0, "width": self.run("innerWidth"), "height": height, "scale": 1}}
        shot = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, **clip)
        file.write_bytes(base64.b64decode(shot["data"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        answer = self._browser._ask(method, self._session, **params)
        self._note()
        return answer

    def _listen(self, seconds: float) -> None:
        self._browser._read(seconds)
        self._note()

    def _note(self) -> None:
        """Keep what it complained of."""
        for event in [event for event in self._browser._events if event.get("sessionId") == self._session]:
            self._browser._events.remove(event)
            told = event["params"]
            match event["method"]:
                case "Log.entryAdded" if told["entry"]["level"] == "error" or told["entry"]["source"] == "security":
                    self.problems.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
                case "Runtime.exceptionThrown":
                    self.problems.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"]))[:500])
                case "Runtime.consoleAPICalled" if told["type"] in ("error", "assert", "warning"):
                    self.problems.append(" ".join(str(part.get("value", part.get("description"))) for part in told["args"])[:500])
                case "Page.javascriptDialogOpening":
                    self.problems.append(f"a dialog: {told['message']}")


_WITHIN = " >>> "
_MIDDLE = """(names, words) => {
    let root = document;
    const around = [];
    for (const frame of names.slice(0, -1)) {
        around.push(root.querySelector(frame));
        root = around.at(-1).contentDocument;
    }
    const part = [...root.querySelectorAll(names.at(-1))].find((one) => one.textContent.includes(words) && one.getClientRects().length);
    if (!part) return null;
    part.scrollIntoView({block: "center", inline: "center", behavior: "instant"}); // the pages around the frames scroll, too
    const box = part.getClientRects()[0]; // of a link of several lines the first one: between them there is no link
    const frames = around.map((frame) => frame.getBoundingClientRect());
    const [x, y] = frames.reduce(([left, top], frame) => [left + frame.x, top + frame.y], [box.x, box.y]);
    return [x + box.width / 2, y + box.height / 2];
}"""


def _part(selector: str) -> str:
    """Code that gives a part."""
    *frames, name = selector.split(_WITHIN)
    within = "".join(f"?.querySelector({json.dumps(frame)})?.contentDocument" for frame in frames)
    return f"document{within}?.querySelector({json.dumps(name)})"


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
