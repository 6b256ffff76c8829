"""The inbox of retraining requests of one model. Light: sensors and DAG files read it.

Kept as an event log below `requests/<model>/`. A request's state is what the events add up to:

    asked -> open -> claimed by a run (again, if that run died) -> ended: trained or refused, with a sentence

    >>> import tempfile
    >>> from perennial.incidents.inbox import Inbox
    >>> from perennial.store import open_store
    >>> inbox = Inbox(open_store(tempfile.mkdtemp()), "flight_delay")
    >>> inbox.ask("drift", snapshot=7, evidence={"columns": ["distance"]})
    '00000007-drift'
    >>> inbox.claim("00000007-drift", run="manual-1").state
    'claimed'
    >>> inbox.end("00000007-drift", "trained", "Version 4 is a candidate.").outcome
    'trained'
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from perennial.errors import UnknownName
from perennial.incidents import event_log
from perennial.specs import Cause
from perennial.store import Store

MAX_CLAIMS = 3

Outcome = Literal["trained", "refused"]


class Event(event_log.Event):
    """One change of one request, as stored."""

    kind: Literal["asked", "claimed", "ended"]
    key: str
    cause: Cause | None = None
    snapshot: int | None = None
    evidence: dict[str, object] = Field(default_factory=dict)
    run: str = ""
    outcome: Outcome | None = None
    sentence: str = ""


class Request(BaseModel):
    """A retraining request as it stands now."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    key: str = Field(description="`<snapshot>-<cause>`: what makes two requests the same.")
    cause: Cause
    snapshot: int = Field(description="Table version that was the newest when it was asked.")
    evidence: dict[str, object] = Field(description="What the one who asked had seen.")
    asked: datetime
    state: Literal["open", "claimed", "ended"] = "open"
    runs: tuple[str, ...] = Field(default=(), description="Runs that claimed it, in order; the last one holds it.")
    outcome: Outcome | None = None
    sentence: str = Field(default="", description="How it ended.")


class Inbox:
    """Retraining requests of one model: at most one is active (open or claimed) at any time."""

    def __init__(self, store: Store, model: str) -> None:
        self.store, self.model = store, model
        self._log = event_log.EventLog(store, f"requests/{model}", Event, f"The inbox of {model}")

    def all(self) -> list[Request]:
        """Every request ever made, oldest first."""
        known: dict[str, Request] = {}
        for event in self._log.events():
            if event.kind == "asked":
                assert event.cause is not None
                assert event.snapshot is not None
                known[event.key] = Request(
                    key=event.key, cause=event.cause, snapshot=event.snapshot, evidence=event.evidence, asked=event.time
                )
            elif event.kind == "claimed":
                request = known[event.key]
                known[event.key] = request.model_copy(update={"state": "claimed", "runs": (*request.runs, event.run)})
            else:
                known[event.key] = known[event.key].model_copy(
                    update={"state": "ended", "outcome": event.outcome, "sentence": event.sentence}
                )
        return list(known.values())

    def get(self, key: str) -> Request:
        """The request of that key. Raises UnknownName."""
        for request in self.all():
            if request.key == key:
                return request
        raise UnknownName(f"{self.model} has no retraining request {key!r}; its requests are below requests/{self.model} in the store.")

    def active(self) -> Request | None:
        """The request that is open or claimed, if any."""
        return next((r for r in self.all() if r.state != "ended"), None)

    def open(self) -> list[Request]:
        """Requests that no run has claimed: one at most."""
        return [r for r in self.all() if r.state == "open"]

    def ask(self, cause: Cause, snapshot: int, evidence: dict[str, object], labels: int | None = None) -> str | None:
        """Make a request.

        Args:
            cause: why.
            snapshot: table version that is the newest now.
            evidence: what it was made on.
            labels: version of the label feed's table, where the model has one.

        Returns:
            Its key, or None where the same was asked before (same snapshot, labels and cause) or another request is active.
        """
        key = f"{snapshot:08d}-{cause}" if labels is None else f"{snapshot:08d}-{labels:08d}-{cause}"

        def decide() -> Event | None:
            if any(r.key == key or r.state != "ended" for r in self.all()):
                return None
            return Event(kind="asked", key=key, cause=cause, snapshot=snapshot, evidence=evidence)

        return key if self._log.write(decide) else None

    def claim(self, key: str, run: str) -> Request | None:
        """Claim a request for a run.

        Runs of one model follow one another, so a claim by another run is that of a dead one and is taken over.

        Returns:
            The request, or None where it has ended; a request that MAX_CLAIMS runs left without an end is ended here as refused.
        """

        def decide() -> Event | None:
            request = self.get(key)
            if request.state == "ended" or (request.runs and request.runs[-1] == run):
                return None
            if len(request.runs) >= MAX_CLAIMS:
                sentence = (
                    f"{MAX_CLAIMS} runs took the request and none ended it, the last was {request.runs[-1]}: "
                    "look at its log, then start a training by hand."
                )
                return Event(kind="ended", key=key, outcome="refused", sentence=sentence)
            return Event(kind="claimed", key=key, run=run)

        self._log.write(decide)
        request = self.get(key)
        return request if request.state == "claimed" and request.runs[-1] == run else None

    def end(self, key: str, outcome: Outcome, sentence: str) -> Request:
        """Close a request with its outcome. Only the first call counts; a second one changes nothing."""
        self._log.write(
            lambda: None if self.get(key).state == "ended" else Event(kind="ended", key=key, outcome=outcome, sentence=sentence)
        )
        return self.get(key)
