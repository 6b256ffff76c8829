"""The steps of a plan for a release, a rollback or a retirement. Plain data: `_release_evaluator` carries them out, in order.

A round is a list of steps. Its last one ends the look (`Tell`, `Refuse`, `LookAgain`) or asks for what the plan does not know yet
(an `Ask`): the answer is in what the next round is planned from, and so is a step that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from perennial.errors import PerennialError
from perennial.lineage.experiments import Look as ExperimentLook
from perennial.lineage.experiments import Plan as ExperimentPlan
from perennial.lineage.ledger import EXPERIMENT, UNDER_WAY, Entry, Kind
from perennial.lineage.release_record import Look
from perennial.results import ReleaseResult
from perennial.serving.route import WHOLE
from perennial.serving.watch import Watch


@dataclass(frozen=True, kw_only=True)
class Change:
    """An entry of the ledger before it is written: what is to hold, and why. Its fields are those of `Entry`."""

    kind: Kind
    version: int
    champion: int | None
    weights: Mapping[int, int]
    versions: Mapping[int, str]
    reason: str
    actor: str
    good: tuple[int, ...] = ()
    shadow: int | None = None
    salt: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def candidate(self) -> int | None:
        """The version whose release is under way then; None if none is."""
        return self.version if self.kind in UNDER_WAY else None

    @property
    def tried(self) -> int | None:
        """The version with which the champion shares an experiment then; None if none is under way."""
        return self.version if self.kind in EXPERIMENT else None

    @property
    def last_good(self) -> int | None:
        """The version to go back to then; None if there is none."""
        return self.good[0] if self.good else None


@dataclass(frozen=True)
class Step:
    """One step of a plan."""

    @property
    def sentence(self) -> str:
        """A sentence on what the step does, as `--plan` prints it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Write(Step):
    """Write the next entry of the ledger."""

    change: Change
    after: int | None  # number of the entry on which the decision rests; None for an empty ledger
    time: datetime | None = None  # of the entry; that of the writing if absent

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        place = 0 if self.after is None else self.after + 1
        said = f"{self.change.kind}, version {self.change.version}, {_traffic(self.change)}"
        return f"Write entry {place} into the ledger: {said}. Reason: {self.change.reason}"


@dataclass(frozen=True)
class Apply(Step):
    """Give the gateway an entry's route and start the servers that it names, without waiting for them."""

    of: Entry | Change

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Start what that entry names: {_traffic(self.of)}."


@dataclass(frozen=True)
class BringUp(Step):
    """Start a version next to those that serve and wait until it is ready, so that later only traffic has to move."""

    version: int
    of: Entry | Change  # holds meanwhile

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Start version {self.version} unless it runs, wait until it is ready, and compare the scores of its golden rows."


@dataclass(frozen=True)
class Move(Step):
    """Make the gateway do what an entry says: versions that are to get traffic are waited for, those that leave are stopped last."""

    of: Entry | Change

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        which = f"entry {self.of.seq}" if isinstance(self.of, Entry) else "that entry"
        return f"Make the gateway do what {which} says: {_traffic(self.of)}."


@dataclass(frozen=True)
class Confirm(Step):
    """Look whether somebody wrote to the ledger meanwhile. If so, what was planned here is out of date."""

    of: Entry | Change

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return "Make sure that nobody wrote to the ledger meanwhile; else decide anew."


@dataclass(frozen=True)
class Follow(Step):
    """Give the registry's aliases to the versions that an entry names."""

    of: Entry | Change

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        champion, last_good = (f"version {number}" if number else "no version" for number in (self.of.champion, self.of.last_good))
        return f"Give the registry's aliases as the ledger says: champion to {champion}, last_good to {last_good}."


@dataclass(frozen=True)
class BeginWatch(Step):
    """Begin the working file of a release: what its versions show counts from now on."""

    candidate: int
    champion: int

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Begin to count what versions {self.candidate} and {self.champion} show."


@dataclass(frozen=True)
class KeepWatch(Step):
    """Write the working file of a release, evidence and counters together; then record what this look showed."""

    watch: Watch
    look: Look

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Keep what versions {self.watch.candidate} and {self.watch.champion} have shown so far."


@dataclass(frozen=True)
class KeepExperiment(Step):
    """Record what a look at an experiment showed, and write the working file of its versions' requests."""

    began: int  # number of the ledger entry
    plan: ExperimentPlan
    look: ExperimentLook
    watch: Watch | None = None

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Keep what the experiment has shown so far: {self.look.sentence}"


@dataclass(frozen=True)
class CheckGateway(Step):
    """Ask whether the gateway answers: where it does not, a version that is not ready may be none of its own fault."""

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return "Make sure that the gateway answers."


@dataclass(frozen=True)
class EndIncidents(Step):
    """Resolve every open incident of the model."""

    reason: str

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Resolve its open incidents: {self.reason}"


@dataclass(frozen=True)
class Tell(Step):
    """The end: what the look answers."""

    result: ReleaseResult
    linked: bool = True  # to the pages of its version and its route

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Answer: {self.result.sentence}"


@dataclass(frozen=True)
class Refuse(Step):
    """The end: an error."""

    error: PerennialError

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Refuse: {self.error}"


@dataclass(frozen=True)
class LookAgain(Step):
    """The end of a round: the facts behind the decision have changed, so it is decided again."""

    cause: PerennialError

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return "Read the ledger again and decide anew."


@dataclass(frozen=True)
class Ask(Step):
    """The end of a round: what the next one has to know. Answering it changes nothing, unless it says so."""


@dataclass(frozen=True)
class AskRegistry(Ask):
    """Which version waits to be released (None), or a version by its number; first whether the registry is the ledger's."""

    version: int | None

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Ask the registry for {'its candidate' if self.version is None else f'version {self.version}'}."


@dataclass(frozen=True)
class AskHistory(Ask):
    """Read what the ledger says of a version."""

    version: int

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Read in the ledger what became of version {self.version}."


@dataclass(frozen=True)
class AskRoute(Ask):
    """Which route is applied."""

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return "Ask for the route that is applied."


@dataclass(frozen=True)
class AskCounts(Ask):
    """Read the evidence on both versions of a release."""

    of: Entry

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Ask what versions {self.of.version} and {self.of.champion} have shown."


@dataclass(frozen=True)
class AskKin(Ask):
    """Which versions came of the same training as a version."""

    version: int
    versions: Mapping[int, str]  # number -> digest, of those that are asked about

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Ask which versions came of the same training as version {self.version}."


@dataclass(frozen=True)
class AskReaders(Ask):
    """Have the champions of the models that read its scores answer with those of a candidate."""

    candidate: int
    candidate_digest: str
    champion: int
    champion_digest: str

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Have the models that read the scores answer with those of version {self.candidate}, before it gets traffic."


@dataclass(frozen=True)
class CountWrong(Ask):
    """Take in the outcomes that came, and count the wrong predictions of each version since a time."""

    since: datetime
    candidate: int
    champion: int
    usual_error: float | None
    edges: Mapping[str, float] = field(default_factory=dict)  # of signals of a quantile, as far as they are known

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        since = f"{self.since:%Y-%m-%d %H:%M:%S} UTC"
        return f"Take in the outcomes that have come, and count the wrong predictions since {since}: they may change what follows."


@dataclass(frozen=True)
class ExplainSplit(Ask):
    """Take in what was logged, and look which requests one of both versions gets too few of."""

    since: datetime
    candidate: int
    champion: int

    @property
    def sentence(self) -> str:
        """See `Step.sentence`."""
        return f"Traffic is not split as wanted: look in the log which requests version {self.candidate} gets too few or too many of."


def _traffic(of: Entry | Change) -> str:
    """A sentence on the weights of the versions."""
    if of.candidate is not None and of.champion is None:
        return f"version {of.version} gets all traffic once it is ready"
    if not of.weights:
        return "nothing serves"
    shares = [
        f"version {number} gets {weight * 100 / WHOLE:g} %" if weight else f"version {number} runs without traffic"
        for number, weight in of.weights.items()
    ]
    return ", ".join([*shares, *([] if of.shadow is None else [f"version {of.shadow} gets a copy of all traffic"])])
