"""Derives incidents from the results of tasks, as pure functions: failures around a model, which monitoring itself does not see.

A result is what a stage answered, or what was made up for one that could not; None where the task did not run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from perennial.discovery import Broken
from perennial.incidents.incidents import REFUSED_FILES, Incidents, named
from perennial.incidents.kinds import QUESTION, Kind, Severity

if TYPE_CHECKING:
    from perennial.lineage.progress import Progress

NO_FOLDER = "no folder"  # key of the incident that a model serves although its folder is gone


@dataclass(frozen=True)
class Seen:
    """Something is wrong."""

    kind: Kind
    key: str
    severity: Severity
    sentence: str
    evidence: dict[str, JsonValue] = field(default_factory=dict)
    files: tuple[str, ...] = ()  # names of the files that it is of

    def note(self, incidents: Incidents, pages: Mapping[str, JsonValue] | None = None) -> None:
        """Open an incident, unless one is open: further files are added to that one. `pages` show more, by title."""
        incidents.open(self.kind, self.key, self.severity, self.sentence, {**self.evidence, **(pages or {})}, self.files)


@dataclass(frozen=True)
class Over:
    """It is right again, if it was wrong."""

    kind: Kind
    key: str | None  # every one if None
    sentence: str

    def note(self, incidents: Incidents, pages: Mapping[str, JsonValue] | None = None) -> None:
        """Resolve what is open of it."""
        for incident in incidents.open_ones():
            if incident.kind == self.kind and self.key in (incident.key, None):
                incidents.resolve(incident.id, self.sentence)


REFUSED_CANDIDATE = "refused candidate"  # key of the incident that the gate turned a candidate down

STALLED = "stalled"  # key of the incident that a training makes no step
REFUSALS = "refused in a row"  # key of the incident that it turned down one candidate after the other

Sightings = list[Seen | Over]
Sight = Callable[[Mapping[str, Any] | None], Sightings]


def in_monitoring(result: Mapping[str, Any] | None) -> Sightings:
    """A model that nobody looks at."""
    return _fault("monitoring", result) if result else []


def in_collection(result: Mapping[str, Any] | None) -> Sightings:
    """A source that is not read: it does not answer, or is not as its spec says; until it is read again."""
    if not result:
        return []
    if result["outcome"] == "refused":
        return [Seen("service", "collection", "warning", result["sentence"], dict(result["links"]))]
    return _fault("collection", result)


def in_ingestion(result: Mapping[str, Any] | None) -> Sightings:
    """Files in quarantine, until a run takes files and refuses none; data that do not come in at all."""
    if not result:
        return []
    sightings = _fault("ingestion", result)
    if refused := result.get("refused"):
        names = tuple(sorted(refused))
        count = "1 file was refused and lies" if len(refused) == 1 else f"{len(refused)} files were refused and lie"
        sentence = f"{count} in quarantine: {named(names)}. {next(iter(refused.values()))}"
        sightings.append(Seen("data quality", REFUSED_FILES, "warning", sentence, dict(result["links"]), names))
    elif result.get("appended"):
        sightings.append(Over("data quality", REFUSED_FILES, "The next files were taken, none was refused."))
    return sightings


def in_release(result: Mapping[str, Any] | None) -> Sightings:
    """A candidate that was rolled back or may not be released, until another is promoted; traffic that could not be moved."""
    if not result:
        return []
    sightings = _fault("release", result)
    action, sentence = result.get("action"), result["sentence"]
    if action == "rolled_back":
        version = result.get("version")
        sightings.append(Seen("release", f"version {version}", "warning", sentence, {**result["evidence"], **result["links"]}))
    elif result["outcome"] == "refused":
        sightings.append(Seen("release", "refused", "info", sentence, dict(result["links"])))
    elif action == "promoted":
        sightings.append(Over("release", None, sentence))
    return sightings


def in_experiment(result: Mapping[str, Any] | None) -> Sightings:
    """A version that did harm in an experiment; looks that failed."""
    if not result:
        return []
    sightings = _fault("experiment", result)
    if result.get("verdict") == "harm":
        evidence = {**result["evidence"], **result["links"]}
        sightings.append(Seen("release", f"version {result.get('version')}", "warning", result["sentence"], evidence))
    return sightings


def in_progress(known: Progress | None, limit_seconds: float, now: datetime) -> Sightings:
    """A training that makes no step, until it goes on, ends, or another begins.

    Args:
        known: how far the model's training is; None if none runs.
        limit_seconds: it may be so long without a step.
        now: time of the look.
    """
    if known is None or not known.has_stalled(now, limit_seconds):
        return [Over("pipeline", STALLED, "The training goes on, or has ended.")]
    far = f"after epoch {known.epoch} of at most {known.limit}" if known.epoch else "before its first epoch was done"
    sentence = (
        f"The training has made no step since {known.heard:%Y-%m-%d %H:%M} UTC, {far}: it hangs, or was killed without a word. Look in the "
        "log of `train` for what it waits for. If it is gone, train again: it goes on from its checkpoint."
    )
    return [Seen("pipeline", STALLED, "warning", sentence)]


def in_question(version: str, sentence: str, page: str, *, reminds: bool = False) -> Seen:
    """A question about a version that waits for a person; a second one, which all channels are told again, where nobody has answered for
    long."""
    pages: dict[str, JsonValue] = {"Answer": page}
    if reminds:
        return Seen("release", f"{QUESTION} about version {version}, still open", "critical", f"Nobody has answered yet. {sentence}", pages)
    return Seen("release", f"{QUESTION} about version {version}", "warning", sentence, pages)


def answered(incidents: Incidents, sentence: str) -> None:
    """End what says that a question waits: a model asks about one version at a time."""
    for incident in incidents.open_ones():
        if incident.kind == "release" and incident.key.startswith(QUESTION):
            incidents.resolve(incident.id, sentence)


def in_specs(broken: Iterable[Broken], unowned: Mapping[str, str], before: Iterable[str]) -> dict[str, Sightings]:
    """What is wrong with files, by the name of the dataset or model.

    Args:
        broken: what is broken now.
        unowned: a sentence for each model that serves while its folder is gone.
        before: names that had an incident: what is right again is over.
    """
    wrong: list[tuple[str, Seen]] = []
    mistakes = sorted(broken, key=lambda mistake: (mistake.name, mistake.kind))
    for (owner, kind), of_one in groupby(mistakes, key=lambda mistake: (mistake.name, mistake.kind)):  # a project may have several
        first, *others = of_one
        sentence = " ".join([first.sentence, *(other.sentence for other in others)])
        wrong.append((owner, Seen("spec", kind, "warning", sentence, {"file": first.place})))
    wrong += [(name, Seen("service", NO_FOLDER, "warning", sentence)) for name, sentence in unowned.items()]
    sightings: dict[str, Sightings] = {}
    for name in sorted({*before, *(name for name, _ in wrong)}):
        seen = {(s.kind, s.key): s for known, s in wrong if known == name}
        mended = [Over("spec", kind, f"The files of the {kind} are mended or gone.") for kind in ("dataset", "model", "project")]
        over = [*mended, Over("service", NO_FOLDER, "The folder is back, or the model was retired.")]
        sightings[name] = [*seen.values(), *(o for o in over if (o.kind, o.key) not in seen)]
    return sightings


def in_rollback(result: Mapping[str, Any] | None) -> Sightings:
    """A wish to go back that did not come true, until one does."""
    if result and result["outcome"] == "refused":
        return [Seen("service", "rollback", "critical", result["sentence"], dict(result["links"]))]
    return _fault("rollback", result) if result else []


def in_stage(stage: str) -> Sight:
    """A stage on the way to a new version: failed, or refused, until it works the next time."""

    def sight(result: Mapping[str, Any] | None) -> Sightings:
        if not result:
            return []
        if result["outcome"] in ("fault", "refused"):
            return [Seen("pipeline", stage, "warning", result["sentence"], dict(result["links"]))]
        return [Over("pipeline", stage, f"The stage {stage} works again.")]

    return sight


def in_gate(result: Mapping[str, Any] | None) -> Sightings:
    """A candidate that the gate turned down, for the record, until one is registered; a gate that broke."""
    if result and result["outcome"] == "refused":
        refused = Seen("pipeline", REFUSED_CANDIDATE, "info", result["sentence"], dict(result["links"]))
        return [refused, Over("pipeline", "register", "The gate has decided on a later candidate.")]
    sightings = in_stage("register")(result)
    if result and result["outcome"] == "done":
        sightings.append(Over("pipeline", REFUSED_CANDIDATE, result["sentence"]))
    return sightings


def in_refusals(refused: int, limit: int, why: str) -> Sightings:
    """Candidates that are refused one after the other: nothing is broken, and the champion grows older all the same.

    Args:
        refused: the newest candidates that the gate refused one after the other.
        limit: so many are told.
        why: what the gate said of the newest.
    """
    if refused >= limit:
        said = f"The gate refused the last {limit} candidates one after the other; the champion serves and grows older. The newest: {why}"
        return [Seen("pipeline", REFUSALS, "warning", said)]
    return [] if refused else [Over("pipeline", REFUSALS, "A candidate passed the gate.")]


def _fault(what: str, result: Mapping[str, Any]) -> Sightings:
    if result["outcome"] == "fault":
        return [Seen("service", what, "critical", result["sentence"], dict(result["links"]))]
    return [Over("service", what, f"{what.capitalize()} works again.")]
