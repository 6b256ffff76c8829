"""How a run went, told by what its tasks left: pure functions, for the note that a run gets and the page that shows it.

>>> refused = TaskEnd("register", "failed", {"outcome": "refused", "sentence": "Candidate 1a2b is worse than the champion."})
>>> verdict([TaskEnd("train", "success", {"outcome": "done", "sentence": "Trained."}), refused])
Verdict(word='Refused', sentence='Candidate 1a2b is worse than the champion.', task='register')
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

NOTE = 1_000  # characters of a note, as Airflow stores it
PARAGRAPH = "\n\n"

Word = Literal["Done", "Skipped", "Rejected", "Rolled back", "Refused", "Fault", "Running", "Waiting", "Not reached"]
AGAINST: tuple[Word, ...] = ("Rolled back", "Refused", "Fault", "Rejected")  # what a run's note says, the most telling first
GOES_ON = ("running", "queued", "deferred", "up_for_retry", "up_for_reschedule", "restarting", "awaiting_input")


@dataclass(frozen=True)
class TaskEnd:
    """What one task of a run left, or how far it is."""

    task: str
    state: str | None  # as Airflow names it; None before it was looked at
    result: Mapping[str, Any] | None = None  # the stage's result, or outcome and sentence of a task that runs no stage
    started: datetime | None = None
    ended: datetime | None = None
    part: int = -1  # of a task that runs in parts

    @property
    def name(self) -> str:
        """The task, and which part of it."""
        return self.task if self.part < 0 else f"{self.task} {self.part}"

    @property
    def seconds(self) -> float | None:
        """How long it took, its waits included."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    dag: str
    run: str
    state: str
    queued: datetime | None
    started: datetime | None
    ended: datetime | None
    by: str  # who started it; empty if nobody did
    landed: datetime | None  # when the files that started it were seen
    after: tuple[str, str] | None  # DAG and run that started it
    kind: str = ""  # in Airflow's words: `manual`, `scheduled`, `asset_triggered` ...
    asset: str = ""  # name of the asset whose event started it
    conf: Mapping[str, Any] = field(default_factory=dict)  # parameters that whoever started it gave
    waits_for: str = ""  # the run of the same DAG that is at work, while this one waits


@dataclass(frozen=True)
class Verdict:
    """The decisive sentence of a run, after the word that tells a decision from a crash."""

    word: Word
    sentence: str
    task: str

    def __str__(self) -> str:
        return f"{self.word}: {self.sentence}"


def word_of(end: TaskEnd) -> Word:
    """How a task ended, in a word."""
    outcome, action = (str((end.result or {}).get(name) or "") for name in ("outcome", "action"))
    if end.state == "success":
        return {"rolled_back": "Rolled back", "rejected": "Rejected"}.get(action, "Done")  # type: ignore[return-value]
    if end.state == "failed":
        return "Fault" if outcome != "refused" else "Rolled back" if action == "rolled_back" else "Refused"
    if end.state == "skipped":
        return "Skipped"
    return "Running" if end.state in GOES_ON else "Waiting" if end.state in (None, "scheduled") else "Not reached"


def sentence_of(end: TaskEnd) -> str:
    """What a task said last; what can be said of one that was ended before it said anything."""
    word, outcome = word_of(end), (end.result or {}).get("outcome")
    if word in ("Not reached", "Waiting") or (word == "Skipped" and outcome != "skipped"):
        return ""  # a run that was cleared keeps what tasks said that did not run again
    if end.state == "failed" and outcome not in ("refused", "fault"):
        return f"The task {end.name} was ended before it had a result; its log shows how far it came."
    return " ".join(str((end.result or {}).get("sentence") or "").split())


def verdict(ends: Sequence[TaskEnd]) -> Verdict | None:
    """Why a run came to no good end, or took traffic from a version; None if it did neither."""
    against = [Verdict(word, sentence_of(end), end.name) for end in ends if (word := word_of(end)) in AGAINST]
    return min(against, key=lambda said: AGAINST.index(said.word), default=None)


def noted(before: str | None, said: Verdict | None) -> str | None:
    """A run's note with its decisive sentence as the last paragraph, in place of the one that an earlier try of the run got.

    Args:
        before: the note as it is; what a person wrote stays as it stands.
        said: the sentence; None takes the earlier one out.

    Returns:
        The note; None if there is nothing to say. A person's note that leaves no room stays alone.
    """
    own, _, last = (before or "").rpartition(PARAGRAPH)
    if not last.startswith(tuple(f"{word}: " for word in AGAINST)):
        own = before or ""
    if said is None:
        return own or None
    room = NOTE - (len(own) + len(PARAGRAPH) if own else 0)
    text = str(said)
    text = text if len(text) <= room else f"{text[: room - 2]} …"
    return own if room < len(said.word) + 10 else PARAGRAPH.join(part for part in (own, text) if part)
